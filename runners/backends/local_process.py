"""Processes of a local build: dying together, and finding what is left of one. Linux, standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with_parent(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal when `parent` dies; called between fork and exec."""
    _prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # it died before the line above took hold
        os._exit(137)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none of them gets away."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def guard(supervisor: int, work: Callable[[], NoReturn]) -> NoReturn:
    """In a process that the supervisor forked: have `work` done in one below, and end with its exit code and all that it started.

    When the supervisor is killed, this one ends it all at once, whether a watcher is there to see it or not; when this one is
    killed, the work dies too and what it started becomes the supervisor's.
    """
    me = os.getpid()

    def asked(*_signal: object) -> None:
        if os.getppid() != supervisor:
            end_children(me)
            os._exit(137)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked)  # meant for the work, which gets it too, unless the supervisor is gone
    adopt_orphans()
    die_with_parent(supervisor, signal.SIGTERM)
    worker = os.fork()
    if worker == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(me)
        work()
    ended, status = 0, 0
    while ended != worker:
        ended, status = os.waitpid(-1, 0)
    end_children(me)
    os._exit(exit_code(status))


def exit_code(status: int) -> int:
    """The exit code in what waitpid(2) told, 128 + signal where a signal ended the process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end_children(parent: int) -> None:
    """Kill the children of this process, and what becomes its child by that, until the kernel knows of none.

    What /proc shows is not enough to stop at: while it is read, a process may die and leave a child that was looked at before.
    """
    while has_children():
        kill(children(parent), signal.SIGKILL)
        reap()
        time.sleep(0.005)


def has_children() -> bool:
    """Whether this process has any children, those included that have ended and were not collected yet."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> dict[int, int]:
    """Collect children that have ended; returns their exit codes."""
    codes: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            codes[found[0]] = exit_code(found[1])
    return codes


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


def is_file(path: Path, descriptor: int) -> bool:
    """Whether the open file still is the one of this name: it may have been removed, and even made anew."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat behind the command's name, from the process state on (proc_pid_stat(5), field 3)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def started_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with its number this names one process. 0: there is none."""
    try:
        return int(_stat(pid)[19])
    except (OSError, IndexError):
        return 0


def place() -> str:
    """Where process numbers mean what they mean here: this machine since it was started, and the PID namespace on it.

    A namespace's own number is given out again once it is gone; the time at which its first process started is not.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')} {started_ticks(1)}"


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


def sweep(folder: Path, sessions: dict[int, int], seconds: float = 5) -> set[int]:
    """Kill what remains of a build until nothing does, for at most that long; returns what remains even then."""
    until = time.monotonic() + seconds
    while (pids := remains(folder, sessions)) and time.monotonic() < until:
        kill(pids, signal.SIGKILL)
        time.sleep(0.02)
    return pids


def exchange(one: Path, other: Path) -> bool:
    """Give each of two paths what the other has, at one stroke (renameat2(2)); False where the system can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return int(libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)) == 0
