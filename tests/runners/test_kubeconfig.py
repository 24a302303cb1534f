"""A kubeconfig that can't be used is told in one sentence; no cluster is needed for that."""

from pathlib import Path

import pytest

from runners.backends.kubernetes_api import Api, ApiError, as_backend_error


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clusters: [{name: a, cluster: {server: https://x\n", "it is no valid YAML"),
        ("{}", "Invalid kube-config file"),
        (None, "Invalid kube-config file"),
    ],
)
def test_it_says_which_file_and_why(tmp_path: Path, text: str | None, why: str):
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ApiError, match=f"^the kubeconfig {path} can't be used: .*{why}") as raised:
        Api(str(path)).request("GET", "/version")
    assert raised.value.status == 0
    assert "https://x" not in raised.value.message


@pytest.mark.parametrize("status", [0, 503])
def test_the_sentence_ends_once(status: int):
    assert str(as_backend_error(ApiError(status, "Service host/port is not set."))).endswith("is not set.")
