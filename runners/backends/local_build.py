"""The supervisor of one local build: `python -m runners.backends.local_build <folder> <descriptor of its lock>`, secrets on stdin.

A process of its own, so that a build outlives the watcher that started it; whoever comes next reads the folder:

    plan.json         what to build (`local_steps.Plan`), written by the backend
    lock              held by the supervisor for as long as it lives
    supervisor.json   its process; there from the moment the build counts as started
    <step>.log        the raw bytes that the step printed
    <step>.json       when it started and finished, exit code, report, its process
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
import zlib
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from runners.backends.diagnosis import diagnose
from runners.backends.local_process import adopt_orphans, boot_id, children, die_with_parent, kill, started_ticks
from runners.backends.local_steps import SECRETS, STEPS, Plan, Step, StepFailed

#: Seconds between asking a step to end and killing it.
GRACE_SECONDS = 5.0
_READ_BYTES = 1 << 18
_TAIL_BYTES = 1 << 16
#: What a build needs while it runs and nobody after it.
SCRATCH = ("secrets", "source", "storage", "tmp", "home", "run", "layout", "layout-before", "certificates")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Checksum:
    """Count and POSIX `cksum` (CRC-32, highest bit first, then the length) of a stream."""

    def __init__(self) -> None:
        self.length, self._crc = 0, 0xFFFFFFFF

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.length += len(data)
        self._crc = zlib.crc32(data.translate(_REVERSED), self._crc)

    def value(self) -> int:
        """What `cksum` prints for all bytes so far."""
        size = self.length.to_bytes((self.length.bit_length() + 7) // 8, "little")
        return int(f"{zlib.crc32(size.translate(_REVERSED), self._crc):032b}"[::-1], 2)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write the file in one move: a reader finds the old one or the new one, never a part."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.rename(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the file's object, {} where there is none."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat()


def remove_tree(path: Path) -> None:
    """Remove a folder, also where a rootless build left files of its subordinate users in it."""
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
        self.outcome = "ended"  # or timeout, stopped

    def stop(self, *_signal: object) -> None:
        """On SIGTERM: end what runs and start no more."""
        if self.outcome == "ended":
            self.outcome = "stopped"

    def run(self) -> None:
        """Run all steps until one fails."""
        for name in self.plan.steps:
            if self.outcome != "ended" or self._run_step(name) != 0:
                break

    def _run_step(self, name: str) -> int:
        """Run one step to its end and record it; return its exit code."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become_step(name, writing)
        os.close(writing)
        told = {"started_at": _now(), "process": [pid, started_ticks(pid), boot_id()]}
        write_json(self.folder / f"{name}.json", told)
        with (self.folder / f"{name}.log").open("ab", buffering=0) as log:
            code, checksum, tail = self._follow(pid, reading, log)
        os.close(reading)
        remove_tree(self.folder / "secrets")
        report = read_json(self.folder / f"{name}.report")
        if code:
            found = diagnose(name, report.get("error", ""), tail.decode("utf-8", "replace"), code, self.plan.image)
            report = {"error": found.error, "why": found.sentence} | ({"step": found.step} if found.step else {}) | report
        report |= {"bytes": checksum.length, "cksum": checksum.value()}
        write_json(self.folder / f"{name}.json", {**told, "finished_at": _now(), "exit_code": code, "report": report})
        return code

    def _become_step(self, name: str, writing: int) -> None:
        """In the forked process: be the step, and end with its exit code."""
        code = 1
        try:
            os.setsid()
            os.close(self.lock)
            die_with_parent(self.pid)
            for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(sign, signal.SIG_DFL)
            for descriptor in (1, 2):
                os.dup2(writing, descriptor)
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

    def _follow(self, pid: int, reading: int, log: FileIO) -> tuple[int, Checksum, bytes]:
        """Store what the step prints until it and all that it started have ended; return exit code, checksum and the last bytes."""
        checksum, tail, code, ended = Checksum(), b"", None, False
        asked = 0.0  # when the step was asked to end
        with contextlib.suppress(PermissionError):  # over the user's limit for pipes: the usual size does too
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        while True:
            if not ended and select.select([reading], [], [], 0.1 if code is None else 0.01)[0]:
                data = os.read(reading, _READ_BYTES)
                _write_all(log, data)
                checksum.add(data)
                tail = (tail + data)[-_TAIL_BYTES:]
                ended = not data
            if code is None:
                asked = self._enforce(pid, asked)
                code = _reap(pid)
                if code is None and ended:
                    time.sleep(0.005)
                continue
            self.end_orphans()
            if ended:
                return code, checksum, tail

    def _enforce(self, pid: int, asked: float) -> float:
        """Ask the step to end once its time is over or the build is to stop, kill it after the grace; return when it was asked."""
        now = time.monotonic()
        if self.outcome == "ended" and now > self.until:
            self.outcome = "timeout"
        if self.outcome == "ended":
            return 0.0
        with contextlib.suppress(ProcessLookupError):
            if not asked:
                os.killpg(pid, signal.SIGTERM)
            elif now - asked > GRACE_SECONDS:
                os.killpg(pid, signal.SIGKILL)
        return asked or now

    def end_orphans(self) -> None:
        """Kill whatever of the steps is left (all of it is our child now), until nothing is."""
        while left := children(self.pid):
            kill(left, signal.SIGKILL)
            _reap(0)
            time.sleep(0.005)
        _reap(0)


def _reap(pid: int) -> int | None:
    """Collect children that ended; return this one's exit code (128 + signal where killed) if it is among them."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended == pid and pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not ended:
            return None


def _write_all(log: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[log.write(view) :]


def supervise(folder: Path, plan: Plan, secrets: dict[str, str], lock: int, ready: int) -> None:
    """Be the supervisor: say that the build has started, run it, say how it ended, remove what nobody needs after it."""
    supervisor = Supervisor(folder, plan, secrets, lock)
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    adopt_orphans()
    os.umask(0o022)  # modes in the checkout end up in the image; the folder itself is closed to others
    for name in ("tmp", "home", "run"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    write_json(folder / "supervisor.json", {"pid": supervisor.pid, "started_at": _now()})
    os.write(ready, b".")
    os.close(ready)
    detail = ""
    try:
        supervisor.run()
    except Exception as error:  # a full disk, most likely: make room, so that this can be told
        supervisor.outcome, detail = "broken", str(error)
        supervisor.end_orphans()
        _clear(folder)
        with contextlib.suppress(OSError):
            traceback.print_exc()
    remove_tree(folder / "secrets")
    write_json(folder / "result.json", {"finished_at": _now(), "outcome": supervisor.outcome, "detail": detail})
    _clear(folder)


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
