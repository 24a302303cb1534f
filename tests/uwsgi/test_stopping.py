"""Stopped or started anew, the portal answers what it has begun, ends live outputs so that they are resumed, and is gone soon."""

import contextlib
import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.git_server import GitServer, git_server
from tests.support.portal import Answer, portal
from tests.support.uwsgi_portal import UwsgiPortal, descendants
from tests.support.waiting import until

pytestmark = pytest.mark.needs_uwsgi

READERS = 120
#: Requests may take 4 s to end and the watcher takes at most 5 s; the rest is for a busy machine.
SOON = 8.0
#: A run that prints without end, as long as the file `printing` is there; no watcher follows it, since it was never launched.
PRINT = """
import random, time
from pathlib import Path
from events.models import Event
from logs.output import Recorder
from runners.models import Run
event = Event.objects.create(name="event-1", repo="app", status="2", managed=True)
run = Run.objects.create(name="app-1", status="running", managed=True, event=event, uid="1" * 32, backend="kubernetes")
recorder = Recorder(run.pk, ("build",), [])
random.seed(5)
Path({ready!r}).touch()
number = 0
while Path({printing!r}).exists():
    number += 1
    text = "".join(random.choices("abc äöü 构建日志 🙂\\r\\n", k=random.randint(1, 2000)))
    recorder.append("build", text.encode(), str(number))
    time.sleep(0.1)
recorder.end("build", None, None)
run.finish("succeeded", reason="", digest="sha256:" + "0" * 64)
recorder.close("succeeded")
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[UwsgiPortal]:
    with portal(tmp_path, of=UwsgiPortal, build={"folder": str(tmp_path)}) as running:
        assert isinstance(running, UwsgiPortal)
        until(running.watcher, 20)
        yield running


class Reader(threading.Thread):
    """Reads a run's live output until the stream ends, and again from the last id, as browsers do, until `end` comes."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.text: list[str] = []
        self.last = ""
        self.retry = 0
        self.streams = 0
        self.cut_short = False  # a stream ended within an event
        self.over: dict[str, Any] | None = None
        self.gone = False
        self.start()

    def run(self) -> None:
        while not (self.over or self.gone):
            try:
                self._read()
            except OSError:
                time.sleep(0.2)

    def _read(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            resume = f"Last-Event-ID: {self.last}\r\n" if self.last else ""
            connection.sendall(
                f"GET /job/1/output/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{resume}\r\n".encode()
            )
            with connection.makefile("rb") as answer:
                if b" 200 " not in answer.readline():
                    return
                while answer.readline().strip():
                    pass  # headers
                self.streams += 1
                self._take_events(answer)

    def _take_events(self, answer: IO[bytes]) -> None:
        fields: dict[str, str] = {}
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            else:
                self._take(fields)
                fields = {}
        self.cut_short = self.cut_short or bool(fields)

    def _take(self, fields: dict[str, str]) -> None:
        self.retry = int(fields.get("retry", self.retry))
        if fields.get("event") == "output":
            self.text.append(json.loads(fields["data"]))
            self.last = fields["id"]
        elif fields.get("event") == "end":
            self.over = json.loads(fields["data"])


@pytest.fixture
def readers(served: UwsgiPortal) -> Iterator[list[Reader]]:
    """Readers of a run that prints on; each has got some of it. Afterwards the run ends, and they with it."""
    printing, ready = served.folder / "printing", served.folder / "ready"
    printing.touch()
    printer = served.manage(
        "shell", "--verbosity", "0", "-c", PRINT.format(printing=str(printing), ready=str(ready)), log="print.log"
    )
    until(ready.exists, 30)
    readers = [Reader(served.port) for _ in range(READERS)]
    until(lambda: all(reader.last for reader in readers), 30)
    yield readers
    printing.unlink(missing_ok=True)
    assert printer.wait(60) == 0, served.logs()
    for reader in readers:
        reader.gone = True


def all_read(served: UwsgiPortal, readers: list[Reader]) -> None:
    """Let the run end; every reader has every byte of it."""
    (served.folder / "printing").unlink()
    until(lambda: all(reader.over for reader in readers), 30)
    assert {(reader.cut_short, reader.retry) for reader in readers} == {(False, 1000)}
    whole = served.output(1)
    assert len(whole) > 20_000
    assert [reader for reader in readers if "".join(reader.text).encode() != whole] == []


def no_trouble(log: str) -> None:
    assert [word for word in ("Traceback", "NO MERCY", "did not die in time", "middle of a request") if word in log] == []


@pytest.mark.parametrize("again", [(), (signal.SIGTERM, signal.SIGINT)], ids=["once", "and told so again"])
def test_stopped_while_outputs_are_read_it_ends_soon_and_they_go_on_where_they_were(
    served: UwsgiPortal, readers: list[Reader], again: tuple[int, ...]
):
    assert served.web
    processes = [served.web.pid, *descendants(served.web.pid)]
    status, took = served.stopped(again=again)
    print(f"gone after {took:.2f} s")
    assert status == 0
    assert took < SOON
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), 5)
    no_trouble(served.log())
    served._start_processes()
    until(lambda: all(reader.streams == 2 for reader in readers), 30)
    all_read(served, readers)


def test_started_anew_while_outputs_are_read_nobody_is_refused_and_they_go_on_where_they_were(
    served: UwsgiPortal, readers: list[Reader]
):
    assert served.web
    before = (served.web.pid, served.watcher())
    served.web.send_signal(signal.SIGHUP)
    refused = []

    def ask() -> bool:
        try:
            refused.extend([] if served.get("/repo/").status == 200 else ["status"])
        except OSError as error:
            refused.append(str(error))
        return all(reader.streams == 2 for reader in readers)

    until(ask, 30)
    assert refused == []
    assert (served.web.pid, until(served.watcher, 20)) != before
    no_trouble(served.log())
    all_read(served, readers)
    assert served.stopped()[0] == 0


class Check(threading.Thread):
    """A POST /check/, in a thread."""

    def __init__(self, served: UwsgiPortal, url: str) -> None:
        super().__init__(daemon=True)
        self.served, self.url = served, url
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            self.answer = self.served.post("/check/", {"repo": self.url})


@pytest.fixture
def checking(tmp_path: Path) -> Iterator[tuple[UwsgiPortal, GitServer]]:
    """A portal, and a repository that it may check."""
    with git_server(tmp_path / "server") as server:
        server.repository("app.git").commit({"Dockerfile": "FROM scratch\n"})
        (tmp_path / "ca.pem").write_text(server.ca_pem)
        trusting = {"ca_bundle": str(tmp_path / "ca.pem"), "allow_private_networks": True}
        folder = tmp_path / "portal"
        with portal(folder, of=UwsgiPortal, git=trusting, build={"folder": str(folder)}) as running:
            assert isinstance(running, UwsgiPortal)
            until(running.watcher, 20)
            yield running, server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stopped", "started anew"])
def test_a_check_that_is_being_made_gets_its_answer(checking: tuple[UwsgiPortal, GitServer], number: int):
    served, server = checking
    asked = threading.Event()
    server.onlookers.append(lambda: (asked.set(), time.sleep(0.7)))
    check = Check(served, server.url("app.git"))
    assert asked.wait(20)
    assert served.web
    served.web.send_signal(number)
    check.join(20)
    assert check.answer, served.log()
    assert check.answer.status == 202, check.answer.body
    no_trouble(served.log())
    served.stop()
    served._start_processes()
    assert served.event(check.answer.json["event"]["id"])["job"] == check.answer.json["job"]["name"]


def test_a_check_that_takes_longer_than_stopping_may_leaves_nothing_behind(checking: tuple[UwsgiPortal, GitServer]):
    served, server = checking
    server.silent.add("app.git")
    check = Check(served, server.url("app.git"))
    until(lambda: server.asked("app.git"), 20)
    status, took = served.stopped()
    print(f"gone after {took:.2f} s")
    check.join(20)
    assert (check.answer, status) == (None, 0)
    assert took < SOON
    assert "stopped in the middle of a request" in served.log()
    assert "Traceback" not in served.log()
    served._start_processes()
    assert [served.get(f"/{table}/").json["results"] for table in ("repo", "event", "job", "log")] == [[]] * 4


def test_a_watcher_whose_database_is_locked_is_gone_before_it_would_be_killed(served: UwsgiPortal):
    until(lambda: "watching backend" in served.log(), 30)
    with contextlib.closing(sqlite3.connect(served.folder / "portal.sqlite3", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(1)
        status, took = served.stopped()
    print(f"gone after {took:.2f} s")
    assert (status, took < SOON) == (0, True)
    assert "leases that are left lapse by themselves" in served.log()
    no_trouble(served.log())
