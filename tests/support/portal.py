"""A whole portal in processes of its own, as an operator runs it: web server, watcher, database. Tests speak HTTP to it."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
#: An SQLite database with all tables and no rows, once one was made.
_migrated: list[bytes] = []
KEY = "dGVzdHMtb25seS1rZXktdGVzdHMtb25seS1rZXktMDA="


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def files_below(root: Path) -> Iterator[Path]:
    """Every file there is now; folders may vanish meanwhile, which Path.rglob does not bear."""
    for folder, _, names in os.walk(root):
        yield from (path for name in names if (path := Path(folder) / name).is_file())


@dataclass
class Portal:
    """A running portal with its own folder, database and configuration."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    web: subprocess.Popen[bytes] | None = None
    watchers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *arguments: str, log: str = "manage.log") -> subprocess.Popen[bytes]:
        """Start one management command."""
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )

    def start(self) -> None:
        """Make the tables, then start web server and watcher, and wait until the first answers."""
        self.make_tables()
        self._start_processes()

    def make_tables(self) -> None:
        """Migrate an empty database; in SQLite once for all portals of this process, since it takes seconds."""
        file = self.folder / "portal.sqlite3"
        configured = json.loads(Path(self.environment["CI_PORTAL_CONFIG_FILE"]).read_text())["database"]
        if _migrated and configured == {"name": str(file)}:
            file.write_bytes(_migrated[0])
            return
        migrated = self.manage("migrate", "--verbosity", "0", log="migrate.log").wait(120)
        assert migrated == 0, (self.folder / "migrate.log").read_text()
        if configured == {"name": str(file)}:
            _migrated.append(file.read_bytes())

    def restart(self) -> None:
        """End all its processes and start them anew, on the same folder and port."""
        self.stop()
        self._start_processes()

    def _start_processes(self) -> None:
        self.web = self.manage("runserver", "--noreload", f"127.0.0.1:{self.port}", log="web.log")
        self.start_watcher()
        deadline = time.monotonic() + 90  # of a machine that has much else to do
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.get("/repo/").status == 200:
                    return
            assert self.web.poll() is None, (self.folder / "web.log").read_text()
            time.sleep(0.1)
        raise AssertionError((self.folder / "web.log").read_text())

    def start_watcher(self) -> subprocess.Popen[bytes]:
        """Start one more watcher."""
        watcher = self.manage("watch", log="watch.log")
        self.watchers.append(watcher)
        return watcher

    def kill_watchers(self) -> None:
        """SIGKILL to every watcher."""
        for watcher in self.watchers:
            watcher.kill()
            watcher.wait()
        self.watchers.clear()

    def stop(self) -> None:
        """End every process of it, the polite way first."""
        processes = [process for process in (self.web, *self.watchers) if process]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.web = None
        self.watchers.clear()

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request; an error status is an answer like any other."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers or {})
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POST JSON."""
        return self.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def event(self, event_id: int) -> dict[str, Any]:
        """The event's row."""
        return dict(self.get(f"/event/{event_id}/").json)

    def wait(self, event_id: int, status: tuple[str, ...] = ("3", "4", "5"), seconds: float = 120) -> dict[str, Any]:
        """Wait until the event has one of these statuses, and return its row."""
        deadline = time.monotonic() + seconds
        while True:
            event = self.event(event_id)
            if event["status"] in status:
                return event
            if time.monotonic() > deadline:
                raise AssertionError(f"{event}\n{self.logs()}")
            time.sleep(0.1)

    def output(self, run_id: int) -> bytes:
        """All that the run printed."""
        return self.get(f"/job/{run_id}/output/").body

    def output_status(self, run_id: int) -> dict[str, Any]:
        """What is known of the output: size, closed, verdict."""
        return dict(self.get(f"/job/{run_id}/output/status/").json)

    def logs(self) -> str:
        """What its processes wrote, the last of it."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-6000:]}" for path in sorted(self.folder.glob("*.log"))
        )

    def everything(self) -> bytes:
        """Every byte that it keeps: database, stored output, logs of its processes; not what the operator configured."""
        files = [path for path in files_below(self.folder) if path.name != "configure_server.json"]
        kept = []
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # of a build that has just ended
                data = path.read_bytes()
                kept.append(gzip.decompress(data) if path.suffix == ".gz" else data)
        return b"\n".join(kept)


@contextmanager
def portal(folder: Path, of: type[Portal] = Portal, **configuration: Any) -> Iterator[Portal]:
    """Run a portal, `of` a kind; `configuration` is {section: {key: value}} like the configuration file, over what tests need."""
    folder.mkdir(parents=True, exist_ok=True)
    sections: dict[str, dict[str, Any]] = {
        "secrets": {"keys": [KEY], "django_key": "only-the-tests-use-this-key-0123456789-abcdefghijklmnopqrstuvwxyz"},
        "auth": {"mode": "open"},
        "database": {"name": str(folder / "portal.sqlite3")},
        "output": {"storage": str(folder / "output")},
        "git": {"allow_private_networks": True},
    }
    for section, keys in configuration.items():
        sections[section] = {**sections.get(section, {}), **keys}
    path = folder / "configure_server.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(sections))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CI_PORTAL_")}
    running = of(folder, {**kept, "CI_PORTAL_CONFIG_FILE": str(path), "DJANGO_SETTINGS_MODULE": "ci_portal.settings"})
    try:
        running.start()
        yield running
    finally:
        running.stop()
