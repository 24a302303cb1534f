"""Processes of a local build: dying together, and finding what is left of one. Linux, standard library only."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies; called between fork and exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took hold
        os._exit(137)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none of them gets away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hold(path: Path) -> int | None:
    """Lock the file for as long as the returned descriptor is open in this process or in one that inherits it; None: it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether some process holds the lock. Asking takes a shared lock for an instant."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat behind the command's name, from the process state on (proc_pid_stat(5), field 3)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def started_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with its number this names one process. 0: there is none."""
    try:
        return int(_stat(pid)[19])
    except (OSError, IndexError):
        return 0


def boot_id() -> str:
    """What tells this run of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(parent: int) -> set[int]:
    """The process's children, zombies left out."""
    found = set()
    for pid in _all_pids():
        try:
            state, of = _stat(pid)[:2]
        except (OSError, ValueError):
            continue
        if int(of) == parent and state != "Z":
            found.add(pid)
    return found


def remains(folder: Path, sessions: dict[int, int]) -> set[int]:
    """Processes that belong to a build whose supervisor is gone.

    Those are the ones whose root lies in its folder (whatever a RUN step started sees a root under TMPDIR, which is in there), and
    those in a session that it began: `sessions` maps a session's leader to when that started, in ticks.
    """
    inside = f"{folder.resolve()}/"
    found = set()
    for pid in _all_pids():
        if pid == os.getpid():
            continue
        try:
            root = os.readlink(f"/proc/{pid}/root")
        except OSError:
            root = ""
        try:
            session = int(_stat(pid)[3])
        except (OSError, IndexError, ValueError):
            continue
        ours = session in sessions and started_ticks(session) in (0, sessions[session])
        if ours or f"{root}/".startswith(inside):
            found.add(pid)
    return found


def kill(pids: set[int], how: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, how)
        except (ProcessLookupError, PermissionError):
            continue


def sweep(folder: Path, sessions: dict[int, int], seconds: float = 5) -> None:
    """Kill what remains of a build until nothing does, for at most that long."""
    until = time.monotonic() + seconds
    while (pids := remains(folder, sessions)) and time.monotonic() < until:
        kill(pids, signal.SIGKILL)
        time.sleep(0.02)
