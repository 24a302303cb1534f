"""Builds on this machine, with git and buildah; the embedded default.

Every run has a folder under `work`. Its supervisor (`local_build`) is a process of its own that tells all it knows in that folder,
so that a watcher may come and go; this module starts supervisors and reads folders.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runners.backends import local_reasons
from runners.backends.base import Held, Piece, Refused, RunState, StreamBroken, Unreachable
from runners.backends.causes import Cause
from runners.backends.local_build import read_json, remove_tree, write_json
from runners.backends.local_disk import free_bytes, in_words
from runners.backends.local_folder import (
    end_supervisor,
    end_what_remains,
    held_in,
    name_of,
    patiently_held,
    read_on,
    start,
    step_state,
)
from runners.backends.local_process import is_held, place
from runners.backends.local_steps import Plan, build_command, digest_of_layout, layout_of, push_command
from runners.build import BuildSecrets, BuildSpec

_POLL_SECONDS = 0.02
_RUN_UID = re.compile(r"[0-9a-f]{1,64}")
#: How often a supervisor's lock is asked for, in case it died without a word.
_ALIVE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a build may take of this machine, in bytes; 0 is no limit."""

    disk_bytes: int = 20 << 30  # of disk, for its folder
    disk_free_bytes: int = 512 << 20  # must be free on the disk of `work` before a build starts and while it runs
    output_bytes: int = 1 << 30  # kept of what it prints


class LocalBackend:
    """Runs builds in folders under `work`.

    `certificates` holds <ca_secret>.crt files, `layouts` takes the images that have no registry (default: images beside `work`).
    `trusted_pem` is trusted by every build beside the system's certificates. `pins` gives, for a git URL, the entries of git's
    http.curloptResolve that keep it on the addresses that were judged; it may raise Refused or Unreachable. `limits`: see there.
    """

    name = "local"
    launches_in_request = False  # a supervisor outlives its starter, but only the watcher's machine is meant to build

    def __init__(
        self,
        work: Path,
        certificates: Path,
        *,
        layouts: Path | None = None,
        trusted_pem: str = "",
        pins: Callable[[str], list[str]] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.work, self.certificates = work.absolute(), certificates
        self.layouts = (layouts or self.work.parent / "images").absolute()
        self._trusted_pem = trusted_pem
        self._pins = pins or (lambda url: [])
        self._limits = limits or Limits()
        self._closed = threading.Event()
        self._place = ""
        self._seen: dict[str, tuple[Any, ...]] | None = None
        self._alive: dict[str, tuple[float, bool]] = {}

    def containers(self, spec: BuildSpec) -> tuple[str, ...]:
        """The steps in their order; nothing is pushed where there is no registry."""
        return ("clone", "build", "push") if spec.registry else ("clone", "build")

    @property
    def place(self) -> str:
        """What tells this folder of builds from that of another machine: a random name in it. "" while it can't be written."""
        if not self._place:
            with contextlib.suppress(OSError):
                self.work.mkdir(parents=True, exist_ok=True)
                self._place = name_of(self.work)
        return self._place

    # Starting

    def launch(self, spec: BuildSpec, secrets: BuildSecrets) -> None:
        """Start the run's supervisor unless it was started before. Raises Unreachable or Refused."""
        folder = self._folder(spec)
        if (folder / "supervisor.json").exists():
            return  # whatever may be missing now: it was there when the build started
        self.check(spec, secrets)
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = patiently_held(folder)
            if lock is None and not (folder / "supervisor.json").exists():
                raise Unreachable(f"another process is about to start the build in {folder}")
            if lock is not None:
                self._start(folder, lock, spec, secrets)
        except OSError as error:
            raise Unreachable(f"the folder of builds can't be written ({error}): the build waits until it can") from None

    def _start(self, folder: Path, lock: int, spec: BuildSpec, secrets: BuildSecrets) -> None:
        try:
            if not (folder / "supervisor.json").exists():
                self._prepare(folder, spec)
                start(folder, lock, secrets)
        finally:
            os.close(lock)

    def _prepare(self, folder: Path, spec: BuildSpec) -> None:
        write_json(folder / "plan.json", asdict(self._plan(spec, self._pins(spec.repo_url))))
        extra = {"secret": self.certificate(spec.ca_secret), "portal": self._trusted_pem}
        for name, pem in extra.items():
            if pem:
                (folder / "certificates").mkdir(exist_ok=True)
                (folder / "certificates" / f"{name}.crt").write_text(pem, encoding="utf-8")

    def _plan(self, spec: BuildSpec, pins: list[str]) -> Plan:
        return Plan(
            steps=list(self.containers(spec)),
            timeout_seconds=spec.timeout_seconds,
            url=spec.repo_url,
            ref=spec.ref,
            commit=spec.commit,
            dockerfile=spec.dockerfile or "Dockerfile",
            build_path=spec.build_path or ".",
            registry=spec.registry,
            image=spec.image,
            tag=spec.image_tag,
            layouts=str(self.layouts),
            insecure=spec.insecure_registry,
            submodules=spec.submodules,
            **asdict(self._limits),
            pins=pins,
            environment=spec.columns(),
            labels={"installation": spec.installation, "repository": spec.repo_name, "run": spec.name},
        )

    def check(self, spec: BuildSpec, secrets: BuildSecrets) -> list[str]:
        """Whether this machine can build at all: tools, room on the disk, the named certificate. Changes nothing."""
        for tool in ("git", "buildah"):
            if not shutil.which(tool):
                raise Unreachable(
                    f"{tool} is not installed on the machine that builds: install the package of that name, the build waits"
                )
        if os.geteuid() != 0 and not shutil.which("newuidmap"):
            raise Unreachable(
                "newuidmap is not installed on the machine that builds (package uidmap or shadow-utils): the build waits"
            )
        disk = next(path for path in (self.work, *self.work.parents) if path.exists())
        if (free := free_bytes(disk)) < (least := self._limits.disk_free_bytes):
            room = f"only {in_words(free)} are free on the disk that builds need ({disk})"
            raise Unreachable(f"{room}, less than build.disk_free_bytes ({in_words(least)}): the build waits until there is room")
        if any("\n" in value or "\0" in value for value in (secrets.git_username, secrets.git_password)):
            raise Refused("user and token for git can't hold a line break")
        if not spec.registry:
            try:
                layout_of(self.layouts, spec.image, spec.image_tag)
            except ValueError as error:
                raise Refused(f"{error}: use lower case letters, digits, dots, hyphens and slashes") from None
        self.certificate(spec.ca_secret)
        return [] if spec.registry else [f"no registry is configured: the image is left in {self.layouts}"]

    def manifest(self, spec: BuildSpec) -> list[dict[str, Any]]:
        """What a launch would run, in the order in which it runs; logins are files that only their own step has."""
        folder = self._folder(spec)
        certificates = str(folder / "certificates") if spec.ca_secret or self._trusted_pem else ""
        context = os.path.normpath(folder / "source" / (spec.build_path or "."))
        dockerfile = os.path.normpath(folder / "source" / (spec.dockerfile or "Dockerfile"))
        commands = {
            "clone": ["git", "fetch", "--depth", "1", "--", spec.repo_url, spec.commit],
            "build": build_command(folder, dockerfile, context, certificates),
            "push": push_command(folder, spec.image_reference, certificates),
        }
        return [
            {
                "kind": "LocalBuild",
                "metadata": {"name": spec.name, "labels": {"run": str(spec.run_id), "event": str(spec.event_id)}},
                "spec": {
                    "timeoutSeconds": spec.timeout_seconds,
                    "folder": str(folder),
                    "environment": spec.columns(),
                    "steps": [{"name": name, "command": commands[name]} for name in self.containers(spec)],
                    "image": spec.image_reference if spec.registry else f"oci:{self.layouts / spec.image / spec.image_tag}",
                },
            }
        ]

    # Following

    def changes(self, timeout: float) -> set[str] | None:
        """Wait for news in the folders; None the first time, when everything is news."""
        if self._seen is None:
            self._seen = self._look()
            return None
        until = time.monotonic() + timeout
        while True:
            now = self._look()
            changed = {uid for uid in now.keys() | self._seen.keys() if now.get(uid) != self._seen.get(uid)}
            self._seen = now
            if changed or time.monotonic() >= until or self._closed.wait(min(_POLL_SECONDS, timeout)):
                return changed

    def _look(self) -> dict[str, tuple[Any, ...]]:
        """What would be different after a change: a folder's time (files come by a rename) and whether its supervisor lives."""
        found: dict[str, tuple[Any, ...]] = {}
        try:
            entries = list(os.scandir(self.work))
        except FileNotFoundError:
            return {}
        for entry in entries:
            if not _RUN_UID.fullmatch(entry.name):
                continue
            try:
                found[entry.name] = (entry.stat().st_mtime_ns, self._lives(entry.name))
            except FileNotFoundError:
                continue  # removed meanwhile
        self._alive = {uid: known for uid, known in self._alive.items() if uid in found}
        return found

    def _lives(self, uid: str) -> bool:
        asked, alive = self._alive.get(uid, (0.0, False))
        if time.monotonic() - asked > _ALIVE_SECONDS:
            folder = self.work / uid
            alive = not (folder / "result.json").exists() and is_held(folder / "lock")
            self._alive[uid] = (time.monotonic(), alive)
        return alive

    def state(self, spec: BuildSpec) -> RunState:
        """Read the run's folder."""
        folder = self._folder(spec)
        if not (folder / "supervisor.json").exists():
            return RunState(spec.run_uid, exists=False, problem=local_reasons.GONE, cause=Cause.FOLDER_GONE)
        alive = is_held(folder / "lock")  # before the result: a supervisor that is gone now has written what it ever will
        result = read_json(folder / "result.json")
        if not result and not alive:
            return self._lost(spec, folder)
        steps = tuple(step_state(folder, name, lost=bool(result)) for name in self.containers(spec))
        problem = local_reasons.of_build(result, steps, spec.timeout_seconds) if result else ""
        cause = local_reasons.cause_of(result, steps) if result else None
        disrupted = result.get("outcome") in local_reasons.DISRUPTIONS
        return RunState(spec.run_uid, finished=bool(result), containers=steps, problem=problem, disrupted=disrupted, cause=cause)

    def _lost(self, spec: BuildSpec, folder: Path) -> RunState:
        """The supervisor died: nothing of the build may outlive it, and its secrets go with it."""
        end_what_remains(folder)
        remove_tree(folder / "secrets")
        steps = tuple(step_state(folder, name, lost=True) for name in self.containers(spec))
        problem = local_reasons.lost(read_json(folder / "supervisor.json").get("place", ""), place())
        cause = local_reasons.cause_of_loss(problem)
        return RunState(spec.run_uid, finished=True, containers=steps, problem=problem, disrupted=True, cause=cause)

    def stream(self, spec: BuildSpec, container: str, cursor: str) -> Iterator[Piece]:
        """Follow the step's output; the cursor is the offset of the next byte."""
        folder, offset = self._folder(spec), int(cursor or 0)
        path = folder / f"{container}.log"
        while not self._closed.is_set():
            over = self._is_over(folder, container)  # before reading: after the end no byte is added
            for data, written_at in read_on(path, offset):
                offset += len(data)
                yield Piece(data, str(offset), written_at)
            if over:
                return
            if not folder.exists():
                raise StreamBroken(f"the folder of {spec.name} is gone")
            self._closed.wait(_POLL_SECONDS)
        raise StreamBroken("the watcher is stopping")

    def _is_over(self, folder: Path, step: str) -> bool:
        told = read_json(folder / f"{step}.json")
        return bool(told.get("finished_at")) or (folder / "result.json").exists() or self._is_lost(folder)

    def _is_lost(self, folder: Path) -> bool:
        return (folder / "supervisor.json").exists() and not self._lives(folder.name)

    # What is there

    def inventory(self) -> list[Held]:
        """See Backend: the folders of builds under `work`."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.work) if entry.is_dir() and _RUN_UID.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unreachable(f"the folder of builds can't be read: {error}") from None
        return [held for name in names if (held := held_in(self.work / name))]

    def remove(self, held: Held) -> bool:
        """See Backend."""
        folder = self.work / held.run_uid
        there = folder.exists()
        self._remove(folder)
        return there

    # Ending

    def delete(self, spec: BuildSpec) -> None:
        """End the run, gently at first, and remove its folder. An image that it left on disk stays."""
        self._remove(self._folder(spec))

    def _remove(self, folder: Path) -> None:
        if not folder.exists():
            return
        for how, seconds in ((signal.SIGTERM, 12.0), (signal.SIGKILL, 5.0)):
            if end_supervisor(folder, how, seconds):
                break
        else:
            raise Unreachable(f"the build in {folder} does not end")
        if left := end_what_remains(folder):
            raise Unreachable(f"processes of the build in {folder} do not end: {', '.join(map(str, sorted(left)))}")
        remove_tree(folder / "supervisor.json")  # first: half removed it is no build any more
        remove_tree(folder)
        if folder.exists():
            raise Unreachable(f"the folder {folder} can't be removed: see to its permissions and its disk")

    def settled(self, spec: BuildSpec) -> None:
        """All is recorded: the folder has served."""
        self.delete(spec)

    def has_left(self, spec: BuildSpec) -> bool:
        """See Backend."""
        return self._folder(spec).exists()

    def digest_on_disk(self, spec: BuildSpec) -> str:
        """The digest of the image that the run left as an OCI layout; "" where there is none."""
        try:
            return digest_of_layout(layout_of(self.layouts, spec.image, spec.image_tag))
        except (OSError, ValueError):
            return ""

    def certificate(self, ca_secret: str) -> str:
        """The text of <ca_secret>.crt; "" for no name. Raises Refused where there is no such file."""
        if not ca_secret:
            return ""
        path = self.certificates / f"{ca_secret}.crt"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", ca_secret) or not path.is_file():
            raise Refused(f"there is no certificate named {ca_secret!r}: put it into {self.certificates}, as <name>.crt")
        return path.read_text(encoding="utf-8")

    def close(self) -> None:
        """Let streams and waits end; builds go on."""
        self._closed.set()

    def _folder(self, spec: BuildSpec) -> Path:
        if not _RUN_UID.fullmatch(spec.run_uid):
            raise Refused(f"{spec.run_uid!r} is not the identity of a run")
        return self.work / spec.run_uid
