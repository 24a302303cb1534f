"""A local build's folder, as the backend starts, reads and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runners.backends.base import ContainerState, Held, Unreachable, sound
from runners.backends.local_build import read_json
from runners.backends.local_process import hold, is_file, is_held, place, started_ticks, sweep
from runners.backends.local_steps import PASSED_ON
from runners.build import BuildSecrets

_ROOT = Path(__file__).resolve().parents[2]  # what `-m runners.…` is found from
_PIECE_BYTES = 1 << 18


def patiently_held(folder: Path) -> int | None:
    """Take the folder's lock, unless a supervisor or another launch has it; who only asks for it has it for an instant."""
    for _ in range(500):
        if (lock := hold(folder / "lock")) is not None:
            if is_file(folder / "lock", lock):
                return lock
            os.close(lock)  # the folder is being removed
        if (folder / "supervisor.json").exists():
            return None
        time.sleep(0.02)
    return None


def name_of(work: Path) -> str:
    """The random name that the folder of builds was given when it was first used. Raises OSError."""
    path, fresh = work / ".place", work / f".place-{uuid.uuid4().hex}"
    if not path.exists():
        fresh.write_text(uuid.uuid4().hex, encoding="ascii")
        with contextlib.suppress(FileExistsError):  # of two who do this at once one is first
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text(encoding="ascii").strip()[:64]


def start(folder: Path, lock: int, secrets: BuildSecrets) -> None:
    """Start the supervisor, which takes the lock over, and wait until the build counts as started."""
    command = [sys.executable, "-S", "-m", "runners.backends.local_build", str(folder), str(lock)]
    with (folder / "supervisor.log").open("ab") as log:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(secrets)).encode(),
            stdout=log,
            stderr=log,
            cwd=_ROOT,
            env=_environment(),
            pass_fds=(lock,),
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise Unreachable(f"the build's process could not be started: {folder / 'supervisor.log'} says why")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def step_state(folder: Path, name: str, lost: bool = False) -> ContainerState:
    """What the folder tells of a step. `lost`: one without an end ended when its supervisor did."""
    told = read_json(folder / f"{name}.json")
    finished, code = _time(told.get("finished_at")), told.get("exit_code")
    reason = "" if code is None else "Completed" if code == 0 else "Error"
    if lost and told and not finished:
        finished, reason = _last_written(folder, name), "Lost"
    return ContainerState(name, _time(told.get("started_at")), finished, code, reason, sound(told.get("report")))


def _last_written(folder: Path, name: str) -> datetime:
    for path in (folder / f"{name}.log", folder):
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return datetime.now(UTC)


def held_in(folder: Path) -> Held | None:
    """What the folder says of the build it is for; None where it vanished meanwhile."""
    alive = is_held(folder / "lock")  # before the result, as for the state
    try:
        created = datetime.fromtimestamp((folder / "lock").stat().st_mtime, UTC)
        labels, result = read_json(folder / "plan.json").get("labels", {}), read_json(folder / "result.json")
    except (OSError, ValueError):
        return None if not folder.exists() else Held(folder.name, "", finished=not alive)
    return Held(
        run_uid=folder.name,
        name=labels.get("run", ""),
        installation=labels.get("installation", ""),
        repo_name=labels.get("repository", ""),
        created_at=created,
        finished=bool(result) or not alive,
        finished_at=_time(result.get("finished_at")),
    )


def read_on(path: Path, offset: int) -> Iterator[tuple[bytes, datetime]]:
    """What the file holds from `offset` on, with when it was last written to: for all but the last bytes a latest time."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        while data := file.read(_PIECE_BYTES):
            yield data, datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)


def end_supervisor(folder: Path, how: signal.Signals, seconds: float) -> bool:
    """Have the supervisor end if it lives; returns whether it is gone within so many seconds.

    One in another PID namespace (a container beside this one) can't be signalled: it is asked to stop by a file.
    """
    until = time.monotonic() + seconds
    told = False
    while is_held(folder / "lock"):
        supervisor = read_json(folder / "supervisor.json")
        if supervisor and not told:
            told = True
            if supervisor.get("place") == place():
                _signal(supervisor, how)
                if how == signal.SIGKILL:
                    end_what_remains(folder)  # a guard that was stopped holds the lock too
            else:
                with contextlib.suppress(OSError):
                    (folder / "stop").touch()
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _signal(supervisor: dict[str, Any], how: signal.Signals) -> None:
    if started_ticks(supervisor["pid"]) == supervisor.get("ticks"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor["pid"], how)


def end_what_remains(folder: Path) -> set[int]:
    """End processes of a build that lost its supervisor; returns those that don't end."""
    sessions = {}
    for path in folder.glob("*.json"):
        pid, started, where = read_json(path).get("process", (0, 0, ""))
        if pid and where == place():
            sessions[pid] = started
    return sweep(folder, sessions)
