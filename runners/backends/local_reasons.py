"""Why a local build failed, as one sentence with what to do about it. Pure; what a step itself says about it is in its report."""

from __future__ import annotations

from typing import Any

from runners.backends.base import ContainerState

LOST = "The build's process on this machine ended without a result (it was killed, or the machine restarted): build it again."
STOPPED = "The build was ended from outside on this machine, before it was done: build it again."
KILLED = "The build was killed (exit code 137), most likely because the machine ran out of memory."


def of_build(result: dict[str, Any], steps: tuple[ContainerState, ...], timeout_seconds: int) -> str:
    """The sentence for a build that has ended, "" where every step went well."""
    outcome = result.get("outcome")
    failed = next((step for step in steps if step.finished_at and step.exit_code != 0), None)
    if outcome == "timeout":
        where = f" in its step '{failed.name}'" if failed else ""
        late = f"after its time limit of {timeout_seconds} s"
        return f"The build was ended{where} {late}: make it faster, or raise build.timeout_seconds."
    if outcome == "stopped":
        return STOPPED
    if outcome == "broken":
        return f"The build could not go on on this machine ({result.get('detail')}): see to that and build it again."
    if failed is None:
        return ""
    if failed.exit_code == 137:
        return KILLED
    return str(
        failed.report.get("why") or f"The step '{failed.name}' ended with exit code {failed.exit_code}; its output says more."
    )
