"""The supervisor of one local build: `python -m runners.backends.local_build <folder> <descriptor of its lock>`, secrets on stdin.

A process of its own, so that a build outlives the watcher that started it; whoever comes next reads the folder:

    plan.json         what to build (`local_steps.Plan`), written by the backend
    lock              held by the supervisor as long as it lives, and by the guard of a step, which may outlive it for an instant
    supervisor.json   its process; there from the moment the build counts as started
    <step>.log        the raw bytes that the step printed, up to the limit of output
    <step>.json       when it started and finished, exit code, report, its process
    stop              made by whoever wants the build to end
    result.json       how the build ended; once it is there nothing of the build runs any more

Standard library only, no Django: it starts in a few dozen milliseconds and imports nothing that could be upgraded under it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from runners.backends.diagnosis import diagnose
from runners.backends.local_disk import FULL, DiskWatch
from runners.backends.local_log import StepLog
from runners.backends.local_process import adopt_orphans, end_children, guard, is_file, place, reap, started_ticks
from runners.backends.local_steps import SECRETS, STEPS, Plan, Step, StepFailed

#: Seconds between asking a step to end and killing it.
GRACE_SECONDS = 5.0
#: How often is looked at what may end a build from outside: its time, its disk, a wish that it stop.
LOOK_SECONDS = 0.1
#: Outcomes that leave no time for a gentle end.
_AT_ONCE = ("gone", "disk_low", "disk_limit", "disk_full")
_READ_BYTES = 1 << 18
#: Given free when the disk is full and the end of the build must still be told.
_RESERVE_BYTES = 1 << 16
#: What a build needs while it runs and nobody after it.
SCRATCH = ("secrets", "source", "storage", "tmp", "home", "run", "layout", "layout-before", "certificates", "reserve")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write the file in one move: a reader finds the old one or the new one, never a part."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.rename(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the file's object, {} where there is none, or none that is whole (the machine may have lost its power)."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def remove_tree(path: Path) -> None:
    """Remove a file or folder, also where a rootless build left files of its subordinate users in it. What can't go stays."""
    with contextlib.suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    if path.exists() and os.geteuid() != 0:
        subprocess.run(["buildah", "unshare", "rm", "-rf", "--", str(path)], check=False, capture_output=True)
        shutil.rmtree(path, ignore_errors=True)


class Supervisor:
    """Runs the steps in order, each in a session of its own, and tells of them in the folder."""

    def __init__(self, folder: Path, plan: Plan, secrets: dict[str, str], lock: int) -> None:
        self.folder, self.plan, self.secrets, self.lock = folder, plan, secrets, lock
        self.pid = os.getpid()
        self.until = time.monotonic() + plan.timeout_seconds
        self.result: dict[str, Any] = {"outcome": "ended"}
        self.room = plan.output_bytes or None
        self.disk = DiskWatch(folder, plan.disk_bytes, plan.disk_free_bytes)
        self.next_look = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether nothing was heard or seen that ends the build before its last step does."""
        return bool(self.result["outcome"] == "ended")

    def end_as(self, outcome: str, **figures: Any) -> None:
        """Note why the build is ended; the first reason counts. `local_reasons` makes a sentence of it."""
        if self.goes_on:
            self.result = {"outcome": outcome, **figures}

    def stop(self, *_signal: object) -> None:
        """On SIGTERM: end what runs and start no more."""
        self.end_as("stopped")

    def start(self) -> None:
        """Say that the build has started. Raises OSError."""
        for name in ("tmp", "home", "run"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        (self.folder / "reserve").write_bytes(bytes(_RESERVE_BYTES))
        me = {"pid": self.pid, "ticks": started_ticks(self.pid), "place": place()}
        write_json(self.folder / "supervisor.json", {**me, "started_at": _now()})

    def run(self) -> None:
        """Run all steps until one fails."""
        for name in self.plan.steps:
            if not self.goes_on or self._run_step(name) != 0:
                break

    def conclude(self) -> None:
        """Say how the build ended, as long as its folder is still its own, and remove what nobody needs any more."""
        end_children(self.pid)
        if not is_file(self.folder / "lock", self.lock):
            return
        remove_tree(self.folder / "secrets")
        if not self.goes_on:
            _clear(self.folder)  # makes room, so that the end can be told
        try:
            self._tell("result.json", {**self.result, "finished_at": _now()})
        except OSError:  # without a result the build counts as lost: true, if not the whole truth
            with contextlib.suppress(OSError):
                traceback.print_exc()
        _clear(self.folder)

    def _tell(self, name: str, value: dict[str, Any]) -> None:
        """Write a file of the folder, where the disk is full by giving up the build. Raises OSError."""
        try:
            write_json(self.folder / name, value)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.end_as("disk_full")
            _clear(self.folder)
            write_json(self.folder / name, value)

    def _run_step(self, name: str) -> int:
        """Run one step to its end and record it; return its exit code."""
        log = StepLog(self.folder / f"{name}.log", self.room)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become_step(name, writing)
        os.close(writing)
        told = {"started_at": _now(), "process": [pid, started_ticks(pid), place()]}
        self._tell(f"{name}.json", told)
        code = self._follow(pid, reading, log)
        os.close(reading)
        log.close()
        self.room = log.room
        remove_tree(self.folder / "secrets")
        report = read_json(self.folder / f"{name}.report")
        if code:
            self._look(log)
            if self.disk.is_full():  # which is why it failed
                self.end_as("disk_full")
            found = diagnose(name, report.get("error", ""), log.tail.decode("utf-8", "replace"), code, self.plan.image)
            report = {"error": found.error, "why": found.sentence} | ({"step": found.step} if found.step else {}) | report
        self._tell(f"{name}.json", {**told, "finished_at": _now(), "exit_code": code, "report": report | log.report()})
        return code

    def _become_step(self, name: str, writing: int) -> NoReturn:
        """In the forked process: guard the step, and end with its exit code."""
        try:
            os.setsid()
            for descriptor in (1, 2):
                os.dup2(writing, descriptor)
            guard(self.pid, partial(self._be_step, name))
        finally:
            os._exit(1)

    def _be_step(self, name: str) -> NoReturn:
        """In a process of its own: do the step, and end with its exit code."""
        code = 1
        try:
            os.close(self.lock)
            secrets = {key: self.secrets[key] for key in SECRETS[name] if self.secrets.get(key)}
            write_json(self.folder / f"{name}.report", STEPS[name](Step(self.folder, self.plan, secrets)))
            code = 0
        except StepFailed as failed:
            code = failed.exit_code
            if str(failed):
                print(f"ci-portal: {failed}", flush=True)
            why = {"why": f"The image has no place: {failed}."} if failed.error == "image_name" else {}
            write_json(self.folder / f"{name}.report", ({"error": failed.error} if failed.error else {}) | why)
        except Exception as error:
            print(f"ci-portal: the step {name} failed: {error!r}", flush=True)
        finally:
            os._exit(code)

    def _follow(self, pid: int, reading: int, log: StepLog) -> int:
        """Store what the step prints until it and all that it started have ended; return its exit code."""
        code, ended = None, False
        asked = 0.0  # when the step was asked to end
        with contextlib.suppress(PermissionError):  # over the user's limit for pipes: the usual size does too
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        while True:
            if not ended and select.select([reading], [], [], 0.1 if code is None else 0.01)[0]:
                data = os.read(reading, _READ_BYTES)
                log.add(data)
                ended = not data
            if code is None:
                if time.monotonic() > self.next_look or log.error:
                    self._look(log)
                asked = self._enforce(pid, asked)
                code = reap().get(pid)
                if code is None and ended:
                    time.sleep(0.005)
                continue
            end_children(self.pid)
            if ended:
                return code

    def _look(self, log: StepLog) -> None:
        """Look for what ends the build from outside."""
        now = time.monotonic()
        self.next_look = now + LOOK_SECONDS
        if not is_file(self.folder / "lock", self.lock):
            self.end_as("gone")
        elif log.error is not None and log.error.errno in FULL:
            self.end_as("disk_full")
        elif log.error is not None:
            self.end_as("broken", detail=str(log.error))
        elif now > self.until:
            self.end_as("timeout")
        elif (self.folder / "stop").exists():
            self.end_as("stopped")
        else:
            with contextlib.suppress(OSError):  # the folder is just being removed: noticed at the next look
                if problem := self.disk.problem():
                    self.end_as(**problem)

    def _enforce(self, pid: int, asked: float) -> float:
        """Ask the step to end once the build is to end, kill it after the grace; return when it was asked."""
        now = time.monotonic()
        if self.goes_on:
            return 0.0
        with contextlib.suppress(ProcessLookupError):
            if self.result["outcome"] in _AT_ONCE or (asked and now - asked > GRACE_SECONDS):
                os.killpg(pid, signal.SIGKILL)
            elif not asked:
                os.killpg(pid, signal.SIGTERM)
        return asked or now


def supervise(folder: Path, plan: Plan, secrets: dict[str, str], lock: int, ready: int) -> None:
    """Be the supervisor: say that the build has started, run it, say how it ended, remove what nobody needs after it."""
    supervisor = Supervisor(folder, plan, secrets, lock)
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    adopt_orphans()
    os.umask(0o022)  # modes in the checkout end up in the image; the folder itself is closed to others
    supervisor.start()
    os.write(ready, b".")
    os.close(ready)
    try:
        supervisor.run()
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in FULL
        supervisor.end_as("disk_full" if full else "broken", detail=str(error))
        with contextlib.suppress(OSError):
            traceback.print_exc()
    supervisor.conclude()


def _clear(folder: Path) -> None:
    for name in SCRATCH:
        remove_tree(folder / name)


def main() -> None:
    """Leave the caller's process tree; return to the caller once the build counts as started."""
    folder, lock = Path(sys.argv[1]), int(sys.argv[2])
    secrets = json.load(sys.stdin)
    plan = Plan(**read_json(folder / "plan.json"))
    reading, ready = os.pipe()
    if os.fork():
        os.close(ready)
        os._exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    supervise(folder, plan, secrets, lock, ready)


if __name__ == "__main__":
    main()
