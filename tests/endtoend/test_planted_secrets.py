"""A Dockerfile prints the credentials of its own build in every spelling of SPEC section 10: they are found nowhere."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from tests.endtoend.stage import DOCKERFILE, Stage, cluster_stage, events_of
from tests.support.cluster import BUSYBOX, GIT_LOGIN, HOST, PUSH_LOGIN

pytestmark = pytest.mark.needs_cluster

REPOSITORY = "team/leaky.git"


def aligned(secret: str, before: str) -> tuple[str, str]:
    """Base64 of the secret behind a text, and the part of it that no other text has."""
    raw, start = (before + secret).encode(), -(-len(before) // 3) * 4
    encoded = b64encode(raw).decode()
    return encoded, encoded.rstrip("=")[start + 1 : -1]


def planted(user: str, secret: str) -> dict[str, tuple[str, str]]:
    """By the spelling's name: what is printed, and what must be found nowhere."""
    same = {
        "plain": secret,
        "URL": quote(secret, safe=""),
        "URL in lower case": re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
        "form": quote_plus(secret),
        "JSON": json.dumps(secret)[1:-1],
        "JSON of UTF-8": json.dumps(secret, ensure_ascii=False)[1:-1],
        "shell": shlex.quote(secret).strip("'"),
        "shell in double quotes": re.sub(r'(["\\$`])', r"\\\1", secret),
        "hex": secret.encode().hex(),
        "HEX": secret.encode().hex().upper(),
        "base64url": urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    }
    behind = {"base64": "", "base64 behind one": "x", "base64 behind two": "xy", "basic login": f"{user}:"}
    return {name: (text, text) for name, text in same.items()} | {name: aligned(secret, text) for name, text in behind.items()}


PLANTED = {
    f"{whose} {name}": both for whose, login in (("git", GIT_LOGIN), ("push", PUSH_LOGIN)) for name, both in planted(*login).items()
}


def dockerfile() -> dict[str, str | bytes]:
    """Prints each spelling on a line of its own, then as tools of the image make them, then in two pieces with a pause between."""
    lines = "".join(f"[{name}] {text}\n" for name, (text, _) in PLANTED.items())
    token = GIT_LOGIN[1]
    steps = [
        "COPY . /planted/",
        "RUN /bin/busybox cat /planted/lines",
        "RUN echo '[tool base64]'; /bin/busybox base64 /planted/token; echo '[tool xxd]'; /bin/busybox xxd -p /planted/token",
        "RUN /bin/busybox cat /planted/begin; /bin/busybox sleep 1; /bin/busybox cat /planted/end",
        f"ARG TOKEN={shlex.quote(token)}",
        "RUN set -x; /bin/busybox true $TOKEN",
    ]
    files: dict[str, str | bytes] = {
        "lines": lines,
        "token": token,
        "begin": f"[pieces] {token[:9]}",
        "end": f"{token[9:]}\n",
        "busybox": BUSYBOX.read_bytes(),
    }
    return {"Dockerfile": DOCKERFILE + "\n".join(steps) + "\n", **files}


@pytest.fixture(scope="module", params=["buildkit", "buildah"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with cluster_stage(tmp_path_factory.mktemp("planted"), request.param) as made:
        made.git.require_login(REPOSITORY, *GIT_LOGIN)
        made.git.repository(REPOSITORY).commit(dockerfile())
        yield made


@pytest.fixture(scope="module")
def leaky(stage: Stage) -> tuple[bytes, bytes]:
    """The output of the build, and all that is shown or kept of it."""
    answer = stage.check(repo=stage.git.url(REPOSITORY, HOST))
    assert answer.status == 202, answer.body
    event_id, run_id = answer.json["event"]["id"], answer.json["job"]["id"]
    live = events_of(f"{stage.portal.url}/job/{run_id}/output/")
    assert stage.portal.wait(event_id)["status"] == "3", stage.portal.output(run_id).decode(errors="replace")
    paths = [
        "/repo/",
        "/event/",
        "/job/",
        "/log/",
        f"/builds/{event_id}/",
        f"/job/{run_id}/manifest/",
        f"/job/{run_id}/output/status/",
    ]
    shown = [stage.portal.get(path).body for path in paths]
    streamed = "".join(json.loads(data) for name, _, data in live if name == "output").encode()
    output = stage.portal.output(run_id)
    return output, b"\n".join([output, streamed, *shown, stage.portal.everything(), stage.database_dump()])


@pytest.mark.parametrize("name", PLANTED)
def test_it_is_masked_and_found_nowhere(leaky: tuple[bytes, bytes], name: str):
    output, everything = leaky
    assert re.search(rb"\[" + re.escape(name.encode()) + rb"\] \S*\*\*\*", output), output.decode(errors="replace")
    assert PLANTED[name][1].encode() not in everything


@pytest.mark.parametrize("tool", ["tool base64", "tool xxd"])
def test_what_a_tool_made_of_it_is_masked(leaky: tuple[bytes, bytes], tool: str):
    printed = rb"\[" + tool.encode() + rb"\]\n(#\d+ [\d.]+ )?\*\*\*"  # BuildKit puts a step's number and a time before each line
    assert re.search(printed, leaky[0]), leaky[0].decode(errors="replace")


def test_it_is_masked_where_it_comes_in_two_pieces(leaky: tuple[bytes, bytes]):
    assert re.search(rb"\[pieces\] \*\*\*", leaky[0]), leaky[0].decode(errors="replace")
