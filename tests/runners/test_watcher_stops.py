"""`manage.py watch`, told to stop: gone within seconds whatever hangs, nothing half-done is shown, another one goes on at once."""

import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.portal import Portal, files_below, portal
from tests.support.waiting import until

#: What hangs is left after 3.5 s; the rest is for a busy machine.
SOON = 6.0
SIZE = 55_000_000

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
WAITING = """
from tests.support import rows
rows.run(rows.event(rows.repository(), status="1"))
"""
OUTPUT = """
import hashlib, random
from logs.models import Output, OutputChunk
from logs.output import Recorder
from tests.support import rows
random.seed(1)
run = rows.run(rows.event(rows.repository(), status="3", digest=rows.DIGEST))
recorder = Recorder(run.pk, ("build",), [])
for number in range({size} // 1_000_000):
    recorder.append("build", random.randbytes(500_000).hex().encode(), str(number))
recorder.end("build", None, None)
recorder.close("succeeded")
"""
MANY_OLD = """
from datetime import timedelta
from django.utils import timezone
from logs.archive import archive
from logs.models import Output
from logs.output import Recorder
from tests.support import rows
repository = rows.repository()
for number in range(400):
    run = rows.run(rows.event(repository, name=f"event-{number}", status="3", digest=rows.DIGEST))
    recorder = Recorder(run.pk, ("build",), [])
    recorder.append("build", b"line\\n", "1")
    recorder.end("build", None, None)
    recorder.close("succeeded")
    archive(Output.objects.get(run_id=run.pk))
Output.objects.update(closed_at=timezone.now() - timedelta(days=90))
"""


class Tables(Portal):
    """A portal's folder and tables; only the test starts processes."""

    def start(self) -> None:
        self.make_tables()

    def shell(self, code: str) -> None:
        assert self.manage("shell", "--verbosity", "0", "-c", code, log="shell.log").wait(120) == 0, self.logs()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.folder / "portal.sqlite3", timeout=20)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def watching(self) -> subprocess.Popen[bytes]:
        """A watcher at work."""
        started = (self.folder / "watch.log").read_text().count("watching backend") if self.watchers else 0
        watcher = self.start_watcher()
        until(lambda: (self.folder / "watch.log").read_text().count("watching backend") > started, 30)
        return watcher

    def stopped(self, watcher: subprocess.Popen[bytes], number: int = signal.SIGTERM, again: bool = False) -> float:
        """Stop it; returns the seconds that it took. It leaves with status 0 and tells of no trouble."""
        began = time.monotonic()
        watcher.send_signal(number)
        if again:
            time.sleep(0.1)
            watcher.send_signal(signal.SIGTERM)
            watcher.send_signal(signal.SIGINT)
        status = watcher.wait(60)
        took = time.monotonic() - began
        print(f"gone after {took:.2f} s")
        assert status == 0
        assert "Traceback" not in (self.folder / "watch.log").read_text()
        return took


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Callable[..., Tables]]:
    """Makes a portal's tables, once it is told its configuration."""
    made: list[Any] = []

    def make(**configuration: Any) -> Tables:
        configuration.setdefault("build", {"folder": str(tmp_path)})
        context = portal(tmp_path, of=Tables, **configuration)
        made.append(context)
        tables = context.__enter__()
        assert isinstance(tables, Tables)
        return tables

    yield make
    for context in made:
        context.__exit__(None, None, None)


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server


@pytest.mark.parametrize(("number", "again"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "Ctrl-C, thrice"])
def test_with_nothing_to_do_it_is_gone_at_once(tables: Callable[..., Tables], number: int, again: bool):
    place = tables()
    assert place.stopped(place.watching(), number, again) < SOON


def test_in_a_launch_that_hangs_it_is_gone_soon_and_another_launches_at_once(
    tables: Callable[..., Tables], mute: socket.socket, tmp_path: Path
):
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(port=mute.getsockname()[1]))
    place = tables(
        build={"backend": "kubernetes"},
        kubernetes={"kubeconfig": str(tmp_path / "kubeconfig")},
        registry={"address": "registry.example"},
    )
    place.shell(WAITING)
    launching = "SELECT claimed_by FROM runner WHERE status = 'launching' AND claimed_until > datetime('now')"
    watcher = place.watching()
    ((first,),) = until(lambda: place.query(launching), 20)
    assert place.stopped(watcher) < SOON
    assert place.query(launching) == []
    place.watching()
    assert until(lambda: place.query(launching), 5) != [(first,)]


def test_while_it_archives_what_is_read_is_whole(tables: Callable[..., Tables]):
    place = tables()
    place.shell(OUTPUT.format(size=SIZE))
    watcher = place.watching()
    until(lambda: place.query("SELECT 1 FROM output WHERE archive <> ''"), 20)
    assert place.stopped(watcher) < SOON
    before = place.query("SELECT archive, archived_at IS NOT NULL, size FROM output")
    chunks = "SELECT coalesce(sum(length(data)), 0) FROM output_chunk"
    assert before[0][1] or place.query(chunks) == [(before[0][2],)]
    place.watching()
    until(lambda: place.query("SELECT 1 FROM output WHERE archived_at IS NOT NULL"), 60)
    assert place.query(chunks) == [(0,)]
    ((name,),) = place.query("SELECT archive FROM output")
    assert [str(path.relative_to(place.folder / "output")) for path in files_below(place.folder / "output")] == [name]


def test_while_it_removes_old_output_each_is_gone_or_there(tables: Callable[..., Tables]):
    place = tables(output={"retention_days": 30})
    place.shell(MANY_OLD)
    watcher = place.watching()
    until(lambda: place.query("SELECT 1 FROM output WHERE removed_at IS NOT NULL"), 20)
    assert place.stopped(watcher) < SOON
    files = {str(path.relative_to(place.folder / "output")) for path in files_below(place.folder / "output")}
    kept = {name for (name,) in place.query("SELECT archive FROM output WHERE removed_at IS NULL")}
    assert kept <= files
    assert files <= {name for (name,) in place.query("SELECT archive FROM output")}
    print(f"{len(kept)} are still there")


def test_while_the_database_is_locked_it_is_gone_soon(tables: Callable[..., Tables]):
    place = tables()
    watcher = place.watching()
    with sqlite3.connect(place.folder / "portal.sqlite3", isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(1)
        assert place.stopped(watcher) < SOON
        connection.execute("ROLLBACK")
