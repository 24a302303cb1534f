"""Why a local build failed, as one sentence with what to do about it. Pure; what a step itself says about it is in its report."""

from __future__ import annotations

from typing import Any

from runners.backends.base import ContainerState
from runners.backends.causes import Cause, of_report
from runners.backends.local_disk import in_words

LOST = "The build's process on this machine ended without a result (it was killed, or the machine restarted): build it again."
LOST_HERE = (
    "The build's process on this machine ended without a result: it was killed, or could not write to its folder. Build it again."
)
RESTARTED = "The machine that ran the build was restarted before the build had ended: build it again."
CONTAINER_ENDED = "The container in which the build ran was ended before the build had: build it again."
GONE = "The build's folder on this machine was removed before the build had ended, which ended it: build it again."
STOPPED = "The build was ended from outside on this machine, before it was done: build it again."
KILLED = "The build was killed (exit code 137), most likely because the machine ran out of memory."


#: How builds end that the machine ended, not the build: they are tried once more.
DISRUPTIONS = ("stopped", "disk_low", "disk_full")


def lost(began_at: str, here: str) -> str:
    """The sentence for a build whose supervisor is gone; both places as `local_process.place` has them, "" where unknown."""
    if began_at == here:
        return LOST_HERE
    if not began_at:
        return LOST
    return CONTAINER_ENDED if began_at.split()[0] == here.split()[0] else RESTARTED


def cause_of_loss(sentence: str) -> Cause:
    """The cause that `lost` tells with this sentence."""
    return Cause.MACHINE_RESTARTED if sentence in (RESTARTED, CONTAINER_ENDED) else Cause.PROCESS_LOST


#: By a build's outcome, as its supervisor writes it.
_CAUSES = {
    "timeout": Cause.DEADLINE,
    "stopped": Cause.STOPPED,
    "disk_limit": Cause.DISK_LIMIT,
    "disk_low": Cause.DISK_FULL,
    "disk_full": Cause.DISK_FULL,
    "broken": Cause.MACHINE_BROKEN,
}


def cause_of(result: dict[str, Any], steps: tuple[ContainerState, ...]) -> Cause | None:
    """The cause that belongs to the sentence of `of_build`; None where every step went well."""
    if known := _CAUSES.get(str(result.get("outcome"))):
        return known
    failed = next((step for step in steps if step.finished_at and step.exit_code != 0), None)
    if failed is None:
        return None
    return Cause.OUT_OF_MEMORY if failed.exit_code == 137 else of_report(failed.name, failed.report.get("error"))


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
    if outcome in ("disk_limit", "disk_low", "disk_full"):
        return _of_disk(result)
    if outcome == "broken":
        return f"The build could not go on on this machine ({result.get('detail')}): see to that and build it again."
    if failed is None:
        return ""
    if failed.exit_code == 137:
        return KILLED
    return str(
        failed.report.get("why") or f"The step '{failed.name}' ended with exit code {failed.exit_code}; its output says more."
    )


def _of_disk(result: dict[str, Any]) -> str:
    outcome = result["outcome"]
    if outcome == "disk_limit":
        limit = in_words(result["most"])
        return f"The build was ended because it took more than {limit} of disk: make it need less, or raise build.disk_bytes."
    if outcome == "disk_low":
        left = f"only {in_words(result['free'])} were left on the disk that builds need, less than build.disk_free_bytes"
        return f"The build was ended because {left} ({in_words(result['least'])}): make room there, or have fewer builds at once."
    return "The build was ended because the disk that builds need was full: make room there, or have fewer builds at once."
