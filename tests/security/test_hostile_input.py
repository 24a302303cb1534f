"""What is made to lead the portal, git, a builder or the cluster astray is refused with a 400 that names the field, before anything
is started or sent; what only looks unusual is taken.

`hostile.json` and `accepted.json` hold one entry a line: the field, what is put into it, and why.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.test import Client

import ci_portal.urls  # noqa: F401  GitPython runs `git version` once, when it is loaded
from repos.models import Credential, Repository
from tests.support import rows
from tests.support.git_server import git_server
from tests.support.outside import watched
from tests.support.portal import portal
from tests.support.uwsgi_portal import UwsgiPortal, descendants
from tests.support.waiting import until

HERE = Path(__file__).parent
HOSTILE = json.loads((HERE / "hostile.json").read_text())
ACCEPTED = json.loads((HERE / "accepted.json").read_text())
URL = "https://git.example/team/app.git"


def named(entry: dict[str, str]) -> str:
    return f"{entry['field']}: {entry['reason']}"


def requests_with(field: str, value: str, row: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Method, path and body of each request that takes this field; `row` is a registered repository."""
    yield "POST", "/repo/", {"repo_name": "new", "repo": URL, field: value}
    yield "PATCH", f"/repo/{row}/", {field: value}
    if field != "job":
        body: dict[str, object] = {"repo": row, field: value}
        yield "POST", "/check/", body
        yield "POST", "/check/", {**body, "dry_run": True}


def json_of(body: dict[str, object]) -> str:
    return json.dumps(body)


@pytest.fixture
def repository(db, settings) -> Repository:
    bounds = settings.PORTAL.git.model_copy(update={"allow_private_networks": False})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": bounds})
    return rows.repository("exporter", repo="https://127.0.0.1:1/team/exporter.git")


def test_there_are_enough_of_them_and_each_has_its_reason():
    assert len(HOSTILE) >= 300
    assert all(entry["reason"] for entry in [*HOSTILE, *ACCEPTED])
    assert max(Counter((entry["field"], entry["value"]) for entry in [*HOSTILE, *ACCEPTED]).values()) == 1


@pytest.mark.parametrize("entry", HOSTILE, ids=named)
def test_it_is_refused_before_anything_is_started_or_sent(client: Client, repository: Repository, entry: dict[str, str]):
    field = entry["field"]
    with watched() as outside:
        for method, path, body in requests_with(field, entry["value"], "exporter"):
            answers = [client.generic(method, path, json_of(body), content_type="application/json")]
            if path == "/repo/":  # as a page's form sends it
                answers.append(client.post(path, urlencode(body), content_type="application/x-www-form-urlencoded"))
            for answer in answers:
                assert answer.status_code == 400, (method, path, answer.content)
                assert field in {error["field"] for error in answer.json()["errors"]}, (method, path, answer.content)
    assert outside == []
    assert list(Repository.objects.values_list("repo", flat=True)) == [repository.repo]
    assert not Credential.objects.exists()


@pytest.mark.parametrize("entry", ACCEPTED, ids=named)
def test_what_only_looks_unusual_is_taken(client: Client, repository: Repository, entry: dict[str, str]):
    field, value = entry["field"], entry["value"]
    for method, path, body in list(requests_with(field, value, "exporter"))[:2]:
        answer = client.generic(method, path, json_of(body), content_type="application/json")
        assert answer.status_code in (200, 201), answer.content
        assert field == "repo" or answer.json()[field] == value


def test_the_watch_sees_what_a_check_of_an_allowed_host_starts(client: Client, repository: Repository, settings):
    """Else the tests above would prove nothing."""
    bounds = settings.PORTAL.git.model_copy(update={"allow_private_networks": True})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": bounds})
    with watched() as outside:
        answer = client.post("/check/", {"repo": "exporter"}, content_type="application/json")
    assert answer.status_code == 424
    assert any(event.startswith("subprocess.Popen") for event in outside)


#: System calls that start a program or reach anybody: sockets, but for the one that a request came in by.
CALLS = "execve,execveat,fork,vfork,clone,clone3,socket,connect,bind"
_TOLD = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


def calls(trace: Path) -> list[str]:
    """What was traced, without threads being made."""
    told = [line for line in trace.read_text(errors="replace").splitlines() if _TOLD.match(line)]
    return [line for line in told if "CLONE_THREAD" not in line]


@pytest.mark.needs_uwsgi
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_kernel_saw_nothing_leave_the_served_portal(tmp_path: Path):
    """The same requests over HTTP to uWSGI, whose every process, thread and system call strace follows."""
    with git_server(tmp_path / "git") as server:
        server.repository("app.git").commit({"Dockerfile": "FROM scratch\n"})
        (tmp_path / "ca.pem").write_text(server.ca_pem)
        git = {"ca_bundle": str(tmp_path / "ca.pem"), "allow_private_networks": ["127.0.0.2/32"]}
        limits = {"check": 0, "dry_run": 0, "remote": 0}
        with portal(tmp_path / "portal", of=UwsgiPortal, git=git, limits=limits, build={"folder": str(tmp_path)}) as running:
            assert isinstance(running, UwsgiPortal)
            assert running.web
            running.post("/repo/", {"repo_name": "exporter", "repo": URL})
            until(running.watcher, 30)
            workers = [pid for pid in descendants(running.web.pid) if pid != running.watcher()]
            trace = tmp_path / "trace"
            command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), *(f"-p{pid}" for pid in workers)]
            following = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            until(lambda: all(is_traced(pid) for pid in workers), 30)
            for entry in HOSTILE:
                for method, path, body in requests_with(entry["field"], entry["value"], "exporter"):
                    assert running.request(method, path, body).status == 400, (entry, path)
            seen = calls(trace)
            # And it would have been seen: an address that is allowed is asked.
            url = server.url("app.git").replace("localhost", "127.0.0.2")
            answer = running.post("/check/", {"repo": url, "dry_run": True})
            following.send_signal(signal.SIGINT)
            following.wait(30)
            later = " ".join(calls(trace)[len(seen) :])
    assert seen == []
    assert "execve(" in later, answer.body
    assert re.search(r'connect\(.*"127\.0\.0\.2"', later)


def is_traced(pid: int) -> bool:
    tracers = [Path(f"/proc/{pid}/task/{task}/status").read_text() for task in os.listdir(f"/proc/{pid}/task")]
    return all(re.search(r"^TracerPid:\t[1-9]", status, re.MULTILINE) for status in tracers)
