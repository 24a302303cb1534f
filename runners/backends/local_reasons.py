"""Why a local build failed, as one sentence with what to do about it. Pure."""

from __future__ import annotations

import re
from typing import Any

from runners.backends.base import ContainerState

LOST = "The build's process on this machine ended without a result (it was killed, or the machine restarted): build it again."
STOPPED = "The build was ended from outside on this machine, before it was done: build it again."

#: What git, buildah and registries say → what that means here. The first that fits is taken.
_GIT = (
    (r"authentication failed|could not read username|error: 401|permission denied", "the git credentials were refused: check them"),
    (r"error: 403", "these git credentials may not read the repository"),
    (r"error: 404|repository .* not found|not found", "the repository was not found: check its URL and the credentials"),
    (r"could not resolve host|name or service not known", "the git host has no address: check its name"),
    (r"certificate", "the git host's certificate is not trusted: name its authority's certificate in ca_secret"),
    (r"host key verification failed", "the git host's ssh key is not in git.known_hosts"),
    (r"connect|timed out|refused", "the git host could not be reached: try again later"),
)
_REGISTRY = (
    (
        r"unauthorized|authentication required|access denied|denied|forbidden",
        "it refused the login: check registry.username and password",
    ),
    (r"x509|certificate", "its certificate is not trusted: name its authority's certificate in ca_secret"),
    (r"server gave http response to https", "it speaks plain http: set registry.insecure if that is meant to be"),
    (r"no such host|connection refused|i/o timeout|no route", "it could not be reached: try again later"),
)


def _meaning(text: str, table: tuple[tuple[str, str], ...]) -> str:
    return next((meaning for pattern, meaning in table if re.search(pattern, text, re.IGNORECASE)), text)


def of_timeout(seconds: int, running: str) -> str:
    """It took too long."""
    where = f" in its step '{running}'" if running else ""
    return f"The build was ended{where} after its time limit of {seconds} s: make it faster, or raise build.timeout_seconds."


def of_machine(detail: str) -> str:
    """The machine can't carry the build any further."""
    return f"The build could not go on on this machine ({detail}): see to that and build it again."


def of_step(step: ContainerState, registry: str) -> str:
    """The sentence for a step that ended with an exit code other than 0."""
    if problem := step.report.get("problem"):
        return str(problem)
    error = str(step.report.get("error", "")).rstrip(".")
    if step.name == "clone":
        return _sentence("The source could not be fetched", _meaning(error, _GIT), step.exit_code)
    if step.name == "push":
        return _sentence(f"The image could not be pushed to {registry}", _meaning(error, _REGISTRY), step.exit_code)
    if step.exit_code == 137:
        return "The build was killed (exit code 137), most likely because the machine ran out of memory."
    instruction = str(step.report.get("step", ""))
    if not instruction:
        return _sentence("The image could not be built", error, step.exit_code)
    failed = f'The Dockerfile step "{instruction}" failed'
    said = re.search(r"exit status (\d+)$", error)
    return f"{failed} with exit code {said[1]}; the output says why." if said else _sentence(failed, error, step.exit_code)


def _sentence(what: str, why: str, exit_code: int | None) -> str:
    return f"{what}: {why}." if why else f"{what} (exit code {exit_code}); the output says why."


def of_build(result: dict[str, Any], steps: tuple[ContainerState, ...], timeout_seconds: int, registry: str) -> str:
    """The sentence for a build that has ended, "" where every step went well."""
    outcome = result.get("outcome")
    failed = next((step for step in steps if step.finished_at and step.exit_code != 0), None)
    if outcome == "timeout":
        return of_timeout(timeout_seconds, failed.name if failed else "")
    if outcome == "stopped":
        return STOPPED
    if outcome == "broken":
        return of_machine(str(result.get("detail", "")))
    return of_step(failed, registry) if failed else ""
