"""A portal as production runs it: `uwsgi --ini uwsgi.ini`, with the watcher that it runs."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.portal import ROOT, Portal
from tests.support.waiting import until


class UwsgiPortal(Portal):
    """A portal as production runs it, in one process so that whatever blocks it blocks all."""

    def start(self) -> None:
        self.make_tables()
        self._start_processes()

    def _start_processes(self) -> None:
        environment = {**self.environment, "UWSGI_HTTP_SOCKET": f"127.0.0.1:{self.port}", "UWSGI_PROCESSES": "1"}
        with (self.folder / "uwsgi.log").open("ab") as log:
            command = [str(Path(sys.executable).parent / "uwsgi"), "--ini", str(ROOT / "uwsgi.ini")]
            self.web = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self.answers, 60)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/repo/").status == 200
        return False

    def watcher(self) -> int:
        """The process id of the watcher that uWSGI runs, 0 while there is none."""
        assert self.web
        for pid in descendants(self.web.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"manage.py\0watch"):
                    return pid
        return 0

    def stopped(self, number: int = signal.SIGTERM, again: tuple[int, ...] = ()) -> tuple[int, float]:
        """Stop it with this signal, and send these others while it ends; returns its exit status and the seconds that it took."""
        assert self.web
        began = time.monotonic()
        for each in (number, *again):
            self.web.send_signal(each)
            time.sleep(0.2 if again else 0)
        status = self.web.wait(30)
        took = time.monotonic() - began
        self.web = None
        return status, took

    def log(self) -> str:
        """All that uWSGI, its processes and its watcher wrote."""
        return (self.folder / "uwsgi.log").read_text()

    def shell(self, code: str) -> None:
        assert self.manage("shell", "--verbosity", "0", "-c", code, log="shell.log").wait(60) == 0, self.logs()


def descendants(pid: int) -> list[int]:
    found, parents = [], {pid}
    for entry in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]) in parents:
                parents.add(entry)
                found.append(entry)
    return found
