"""What no build's pod ever has, whatever is built and whatever the operator sets; and what nobody can smuggle into it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runners.backends import manifest
from runners.build import BuildSecrets
from tests.runners.test_manifest_job import SECRETS, VARIANTS

HOSTILE = [
    'x"}, "spec": {"hostNetwork": true}',
    "x\nkueue.x-k8s.io/queue-name: theirs",
    "x: y",
    "$(REGISTRY_PASS)",
    "${HOME}",
    "'; id; '",
    "--option",
    "\N{RIGHT-TO-LEFT OVERRIDE}name",
]


def pod(variant: str) -> dict[str, Any]:
    return manifest.build_job(*VARIANTS[variant])["spec"]["template"]["spec"]


def parts(of: dict[str, Any]) -> list[dict[str, Any]]:
    return [*of["initContainers"], *of["containers"]]


def keys(of: Any) -> set[str]:
    """Every key at every depth."""
    if isinstance(of, dict):
        return set(of).union(*(keys(value) for value in of.values()))
    return set().union(*(keys(value) for value in of)) if isinstance(of, list) else set()


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "key",
    [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostPath",
        "hostPort",
        "hostAliases",
        "privileged",
        "procMount",
        "serviceAccountName",
        "serviceAccountToken",
        "projected",
        "shareProcessNamespace",
        "volumeDevices",
        "valueFrom",
        "envFrom",
        "ports",
        "lifecycle",
        "nodeName",
        "priorityClassName",
    ],
)
def test_it_never_has(variant: str, key: str):
    assert key not in keys(pod(variant))


def test_it_has_no_account_and_no_links_to_services(variant: str):
    assert (pod(variant)["automountServiceAccountToken"], pod(variant)["enableServiceLinks"]) == (False, False)


def test_it_does_not_run_as_root(variant: str):
    assert pod(variant)["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000}
    assert all(not {"runAsUser", "runAsNonRoot"} & set(part["securityContext"]) for part in parts(pod(variant)))


def test_the_clone_has_no_capabilities_no_way_to_more_and_a_read_only_root(variant: str):
    assert parts(pod(variant))[0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_a_builder_has_two_capabilities_and_no_other(variant: str):
    for part in parts(pod(variant))[1:]:
        assert part["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}


def test_its_volumes_are_its_own(variant: str):
    """Scratch space, its own Secret key by key, and ca.crt of the Secret that ca_secret names."""
    spec, _ = VARIANTS[variant]
    mounted = set()
    for volume in pod(variant)["volumes"]:
        assert set(volume) - {"name"} <= {"emptyDir", "secret"}
        for item in volume.get("secret", {}).get("items", []):
            mounted.add((volume["secret"]["secretName"], item["key"]))
        assert "secret" not in volume or volume["secret"]["items"]
    own = {"git-username", "git-password", "git-ssh-key", "git-known-hosts", "registry-config.json"}
    assert mounted == {(spec.name, key) for key in own} | ({(spec.ca_secret, "ca.crt")} if spec.ca_secret else set())


def test_git_credentials_are_mounted_in_the_clone_alone_and_the_registrys_login_in_the_last_container_alone(variant: str):
    names = [part["name"] for part in parts(pod(variant))]
    holders = {
        volume: [part["name"] for part in parts(pod(variant)) if volume in {mount["name"] for mount in part["volumeMounts"]}]
        for volume in ("git", "registry", "clone-tmp")
    }
    assert holders == {"git": ["clone"], "registry": [names[-1]], "clone-tmp": ["clone"]}


def test_the_registrys_login_is_in_no_container_that_runs_a_dockerfile_with_buildah():
    assert [part["name"] for part in parts(pod("buildah"))] == ["clone", "build", "push"]


def test_the_secret_of_a_run_has_no_key_that_another_run_could_mount_as_a_certificate():
    spec, _ = VARIANTS["buildkit"]
    owner = {"metadata": {"name": spec.name, "namespace": "builds", "uid": "5f0c"}}
    assert "ca.crt" not in manifest.build_secret(spec, SECRETS, owner)["stringData"]


def test_no_secret_is_in_the_job(variant: str):
    text = json.dumps(manifest.build_job(*VARIANTS[variant]))
    assert "REGISTRY_PASS" not in text
    assert not [value for value in ("t0ken", "s3cret") if value in text]


@pytest.mark.parametrize("said", HOSTILE)
@pytest.mark.parametrize("field", ["repo_name", "dockerfile", "build_path", "ref", "image_repo", "build_type", "registry_user"])
def test_what_people_enter_stays_a_value(field: str, said: str):
    """Names and paths are checked where they come in; here they change nothing but values of the environment and annotations."""
    spec, settings = VARIANTS["everything"]
    plain, hostile = manifest.build_job(spec, settings), manifest.build_job(replace(spec, **{field: said}), settings)
    assert hostile["metadata"]["labels"] == plain["metadata"]["labels"]
    assert hostile["spec"]["template"]["metadata"] == plain["spec"]["template"]["metadata"]
    assert set(hostile["metadata"]["annotations"]) == set(plain["metadata"]["annotations"])
    assert without_values(hostile["spec"]) == without_values(plain["spec"])


def without_values(of: Any) -> Any:
    """The Job's specification without the environment's values; a `$` in these that Kubernetes would expand is an error."""
    of = json.loads(json.dumps(of))
    for part in parts(of["template"]["spec"]):
        for entry in part["env"]:
            assert "$" not in entry.pop("value").replace("$$", "")
    return of


def test_labels_follow_from_the_runs_identity_alone():
    spec, _ = VARIANTS["buildkit"]
    others = replace(spec, repo_name="b", repo_url="https://c/d.git", ref="e", dockerfile="f", image_name="g", ca_secret="h")
    assert manifest.labels(others) == manifest.labels(spec)


def test_a_secret_is_not_shown_where_a_build_is():
    secrets = BuildSecrets("reader", "t0ken", "k3y", "hosts", "pusher", "s3cret")
    assert repr(secrets) == "BuildSecrets()"
