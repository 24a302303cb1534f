"""How a run ended, from what its backend knows. Pure; the registry has the last word on a success (`runners.follow`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runners.backends.base import ContainerState, RunState
from runners.build import BuildSpec

#: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A digest (then the run succeeded, once the registry confirms it) or the reason of the failure, one sentence."""

    digest: str = ""
    reason: str = ""


def outcome(spec: BuildSpec, state: RunState, containers: tuple[str, ...]) -> Outcome:
    """Decide from every container's exit code and report; what vanished or reported nothing never counts as success."""
    known = {container.name: container for container in state.containers}
    for name in containers:
        container = known.get(name)
        if container is None or container.exit_code != 0:
            return Outcome(reason=state.problem or _failed(name, container))
    reports = [known[name].report for name in containers]
    commit = next((str(report["commit"]) for report in reports if report.get("commit")), "")
    if commit != spec.commit:
        wrong = f"The clone reported commit {commit or '(none)'} instead of {spec.commit}"
        return Outcome(reason=f"{wrong}: nothing of this build can be trusted.")
    digest = next((str(report["digest"]) for report in reversed(reports) if report.get("digest")), "")
    if not DIGEST.fullmatch(digest):
        unsaid = "The builder ended without reporting the pushed image's digest; its output says more."
        return Outcome(reason=state.problem or unsaid)
    return Outcome(digest=digest)


def _failed(name: str, container: ContainerState | None) -> str:
    if container is None or container.started_at is None:
        return f"The run ended before its step '{name}' could start."
    if container.exit_code is None:
        return f"The run vanished while its step '{name}' was running: its Job or pod was deleted, or its node was lost."
    return f"The step '{name}' ended with exit code {container.exit_code}{f' ({container.reason})' if container.reason else ''}."


def phases(state: RunState) -> dict[str, dict[str, str]]:
    """When each container started and finished, as ISO 8601 in UTC; {} for what did not happen."""
    return {
        container.name: {
            key: moment.isoformat().replace("+00:00", "Z")
            for key, moment in (("started", container.started_at), ("finished", container.finished_at))
            if moment
        }
        for container in state.containers
    }
