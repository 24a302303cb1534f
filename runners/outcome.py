"""How a run ended, from what its backend knows. Pure; the registry has the last word on a success (`runners.follow`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runners.backends.base import ContainerState, Notice, RunState
from runners.backends.causes import Cause, of_report
from runners.build import BuildSpec

#: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A digest (then the run succeeded, once the registry confirms it) or the reason of the failure, one sentence."""

    digest: str = ""
    reason: str = ""
    cause: Cause | None = None


def outcome(spec: BuildSpec, state: RunState, containers: tuple[str, ...]) -> Outcome:
    """Decide from every container's exit code and report; what vanished or reported nothing never counts as success."""
    known = {container.name: container for container in state.containers}
    for name in containers:
        container = known.get(name)
        if container is None or container.exit_code != 0:
            return Outcome(reason=state.problem, cause=state.cause) if state.problem else _failed(name, container)
    reports = [known[name].report for name in containers]
    commit = next((str(report["commit"]) for report in reports if report.get("commit")), "")
    if commit != spec.commit:
        wrong = f"The clone reported commit {commit or '(none)'} instead of {spec.commit}"
        return Outcome(reason=f"{wrong}: nothing of this build can be trusted.", cause=Cause.COMMIT_MISMATCH)
    digest = next((str(report["digest"]) for report in reversed(reports) if report.get("digest")), "")
    if not DIGEST.fullmatch(digest):
        unsaid = "The builder ended without reporting the pushed image's digest; its output says more."
        return Outcome(reason=state.problem or unsaid, cause=state.cause or Cause.NO_DIGEST)
    return Outcome(digest=digest)


def _failed(name: str, container: ContainerState | None) -> Outcome:
    if container is None or container.started_at is None:
        return Outcome(reason=f"The run ended before its step '{name}' could start.", cause=Cause.NEVER_STARTED)
    if container.exit_code is None:
        vanished = f"The run vanished while its step '{name}' was running: its Job or pod was deleted, or its node was lost."
        return Outcome(reason=vanished, cause=Cause.VANISHED)
    ended = f"The step '{name}' ended with exit code {container.exit_code}{f' ({container.reason})' if container.reason else ''}."
    return Outcome(reason=ended, cause=of_report(name, container.report.get("error")))


def phases(state: RunState, pushing_at: datetime | None = None) -> dict[str, dict[str, str]]:
    """When each part of the run started and finished, as ISO 8601 in UTC; {} for what did not happen.

    Parts are the containers. With `pushing_at`, when the build's own output told that it began to push (BuildKit builds and pushes
    in one container), the rest of that container is the push.
    """
    parts = {container.name: (container.started_at, container.finished_at) for container in state.containers}
    started, finished = parts.get("build", (None, None))
    if pushing_at and started and "push" not in parts:
        pushing_at = max(started, min(pushing_at, finished or pushing_at))
        parts |= {"build": (started, pushing_at), "push": (pushing_at, finished)}
    return {
        name: {key: _iso(moment) for key, moment in zip(("started", "finished"), times, strict=True) if moment}
        for name, times in parts.items()
    }


def merged(known: dict[str, Any] | None, told: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """What is known of a run's phases and what its backend tells now: one that has lost the pod takes nothing back."""
    known = known or {}
    return {name: {**known.get(name, {}), **told.get(name, {})} for name in {**known, **told}}


def noted(notice: Notice) -> dict[str, Any]:
    """A notice as it is stored."""
    return {
        "uid": notice.uid,
        "at": _iso(notice.at),
        "since": _iso(notice.since),
        "reason": notice.reason[:100],
        "message": notice.message[:500],
        "about": notice.about,
        "count": notice.count,
        "warning": notice.warning,
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
