"""`manage.py dev`, as `make run` starts it, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.portal import ROOT, Portal
from tests.support.ports import free_port
from tests.support.waiting import until

CONFIGURED = str(ROOT / "tests" / "configure_server.json")


@dataclass
class Dev:
    """Starts `manage.py dev` on one folder, again and again."""

    folder: Path
    started: list[subprocess.Popen]

    def start(self, *arguments: str, port: int = 0, **environment: str) -> tuple[subprocess.Popen, Portal]:
        """Start it and return at once, with what asks it."""
        asked = Portal(self.folder, {}, port or free_port())
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CI_PORTAL_")}
        own = {
            "CI_PORTAL_DEVELOPMENT": "1",
            "CI_PORTAL_CONFIG_FILE": CONFIGURED,
            "CI_PORTAL_DATABASE__NAME": str(self.folder / "portal.sqlite3"),
            "CI_PORTAL_BUILD__FOLDER": str(self.folder),
            "CI_PORTAL_OUTPUT__STORAGE": str(self.folder / "output"),
        }
        command = [sys.executable, "manage.py", "dev", "--address", f"127.0.0.1:{asked.port}", *arguments]
        with (self.folder / "dev.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**kept, **own, "DJANGO_SETTINGS_MODULE": "ci_portal.settings", **environment},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process, asked

    def run(self, *arguments: str, port: int = 0, **environment: str) -> tuple[subprocess.Popen, Portal]:
        """Start it and wait until it says where it is."""
        before = self.said().count("CI Portal is at")
        process, asked = self.start(*arguments, port=port, **environment)
        until(lambda: self.said().count("CI Portal is at") > before or process.poll() is not None, 90)
        assert process.poll() is None, self.said()
        return process, asked

    def said(self) -> str:
        path = self.folder / "dev.log"
        return path.read_text() if path.exists() else ""


@contextmanager
def development(folder: Path) -> Iterator[Dev]:
    """What was started on the folder is ended with the block."""
    dev = Dev(folder, [])
    yield dev
    for process in dev.started:
        process.terminate()
        process.wait(20)
