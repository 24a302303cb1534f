"""The main job with the embedded default, local backend and SQLite: from `POST /check/` to an image with its digest."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_server import git_server
from tests.support.portal import Portal, portal

pytestmark = [pytest.mark.needs_buildah]

USER, TOKEN = "ci-bot", "s3cret-token-for-git"
BUSYBOX = Path("/bin/busybox")
DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "echo", "hello from the build"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with git_server(tmp_path_factory.mktemp("git")) as running:
        app = running.repository("team/app.git")
        busybox = BUSYBOX.read_bytes()
        app.commit({"Dockerfile": DOCKERFILE, "busybox": busybox})
        app.commit({"Dockerfile": DOCKERFILE + 'RUN ["/bin/busybox", "false"]\n', "busybox": busybox}, branch="broken")
        running.require_login("team/app.git", USER, TOKEN)
        yield running


@pytest.fixture(scope="module")
def running(server, tmp_path_factory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    (folder / "ca.pem").write_text(server.ca_pem)
    with portal(
        folder, git={"ca_bundle": str(folder / "ca.pem"), "allow_private_networks": True}, build={"folder": str(folder)}
    ) as it:
        yield it


def check(running, server, **body):
    return running.post("/check/", {"repo": server.url("team/app.git"), "user": USER, "token": TOKEN, **body})


def test_a_check_ends_as_an_image_on_disk(running, server):
    answer = check(running, server)
    assert answer.status == 202, answer.body
    event = running.wait(answer.json["event"]["id"])
    run = answer.json["job"]["id"]
    assert (event["status"], event["reason"]) == ("3", ""), running.output(run).decode()
    index = json.loads(next((running.folder / "images").rglob("index.json")).read_text())
    assert index["manifests"][0]["digest"] == event["digest"]
    assert b"hello from the build" in running.output(run)
    assert re.search(rb"^ci-portal: checked out [0-9a-f]+ .+ \(Tester, \d{4}-\d\d-\d\d\)$", running.output(run), re.M)
    assert running.output_status(run)["verdict"] == "verified"
    told = [entry["msg"] for entry in running.get(f"/log/?event_uuid={event['id']}&ordering=id").json["results"]]
    assert event["digest"] in told[-1]
    assert event["commit"] in told[-1]


def test_a_failing_step_is_named(running, server):
    answer = check(running, server, branch="broken")
    event = running.wait(answer.json["event"]["id"])
    assert event["status"] == "4"
    assert "/bin/busybox" in event["reason"]
    assert "false" in event["reason"]


def test_the_token_is_found_nowhere(running, server):
    running.wait(check(running, server, force=True).json["event"]["id"])
    assert TOKEN.encode() not in running.everything()
