"""`uwsgi --ini uwsgi.ini` serves the portal, keeps its watcher running, and lets live outputs block nobody."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_server import git_server
from tests.support.portal import portal
from tests.support.uwsgi_portal import UwsgiPortal, descendants
from tests.support.waiting import until

pytestmark = pytest.mark.needs_uwsgi

READERS = 300
#: A run that is going on, followed by nobody: its backend is not this portal's.
RUN = """
from events.models import Event
from logs.output import Recorder
from runners.models import Run
event = Event.objects.create(name="event-1", repo="app", status="2", managed=True)
run = Run.objects.create(name="app-1", status="running", managed=True, event=event, uid="1" * 32, backend="kubernetes")
recorder = Recorder(run.pk, ("clone", "build"), [])
recorder.append("clone", b"first line\\n", "1")
"""
NEXT_LINE = """
from logs.output import Recorder
Recorder(1, ("clone", "build"), []).append("clone", b"second line\\n", "2")
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[UwsgiPortal]:
    with portal(tmp_path, of=UwsgiPortal, build={"folder": str(tmp_path)}) as running:
        assert isinstance(running, UwsgiPortal)
        yield running


@pytest.fixture
def streams(served: UwsgiPortal) -> Iterator[list[socket.socket]]:
    """Readers of the live output of a run that goes on; each has got the first line."""
    served.shell(RUN)
    readers = []
    for _ in range(READERS):
        reader = socket.create_connection(("127.0.0.1", served.port), timeout=30)
        reader.sendall(b"GET /job/1/output/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        readers.append(reader)
    for reader in readers:
        read_to(reader, b"first line")
    yield readers
    for reader in readers:
        reader.close()


def read_to(reader: socket.socket, text: bytes) -> bytes:
    got = b""
    while text not in got:
        data = reader.recv(65536)
        assert data, got
        got += data
    return got


def test_live_outputs_block_no_other_request_and_all_get_the_next_line(served: UwsgiPortal, streams: list[socket.socket]):
    assert [served.get(path).status for path in ("/repo/", "/event/1/", "/", "/log/")] == [200] * 4
    served.shell(NEXT_LINE)
    for reader in streams:
        read_to(reader, b"second line")


def test_stopping_ends_everything_within_seconds_although_outputs_are_read(served: UwsgiPortal, streams: list[socket.socket]):
    assert served.web
    watcher = until(served.watcher, 20)
    processes = [served.web.pid, watcher, *descendants(served.web.pid)]
    served.web.send_signal(signal.SIGTERM)
    assert served.web.wait(10) == 0
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in processes), 5)


@pytest.mark.needs_buildah
def test_a_check_is_built_by_the_watcher_beside_it(tmp_path: Path):
    with git_server(tmp_path / "server") as server:
        server.repository("app.git").commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
        server.require_login("app.git", "ci-bot", "token-0123456789")
        (tmp_path / "ca.pem").write_text(server.ca_pem)
        trusting = {"ca_bundle": str(tmp_path / "ca.pem"), "allow_private_networks": True}
        with portal(tmp_path / "portal", of=UwsgiPortal, git=trusting, build={"folder": str(tmp_path / "portal")}) as running:
            answer = running.post("/check/", {"repo": server.url("app.git"), "user": "ci-bot", "token": "token-0123456789"})
            assert answer.status == 202, answer.body
            event = running.wait(answer.json["event"]["id"])
            assert (event["status"], event["reason"]) == ("3", "")
            assert b"token-0123456789" not in running.everything()


def test_a_watcher_that_dies_is_started_again(served: UwsgiPortal):
    first = until(served.watcher, 20)
    os.kill(first, signal.SIGKILL)
    assert until(lambda: (pid := served.watcher()) != first and pid, 20)


def test_query_strings_stay_out_of_the_log(served: UwsgiPortal):
    served.get("/repo/?token=not-for-the-log")
    log = until(lambda: re.search(r'"GET /repo/" 400.*', (served.folder / "uwsgi.log").read_text()), 5)
    assert "not-for-the-log" not in served.logs(), log


def test_static_files_are_served(served: UwsgiPortal):
    assert served.get("/static/ci_portal/portal.css").headers["Content-Type"].startswith("text/css")


def test_it_takes_no_upload_that_would_fill_the_disk(served: UwsgiPortal):
    head = "POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(head.format(10**9).encode() + b"--b\r\n")
        assert client.recv(100) in (b"", b"HTTP/1.1 413 Request Entity Too Large\r\n")
    body = {"repo_name": "app", "desc": "x" * 2**20}
    assert served.post("/repo/", body).status == 413
