"""Why a container failed, from the last lines it printed: pure text in, one sentence out.

The patterns are what git, BuildKit and buildah print in English; where none fits, the sentence points at the output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A short slug for programs, a sentence with what to do for people, and the Dockerfile's instruction that failed."""

    error: str
    sentence: str
    step: str = ""


_CLONE_ERRORS = {
    "outside_checkout": "build_path and dockerfile must lie inside the repository, symbolic links resolved: {said}.",
    "dockerfile_missing": "There is no such Dockerfile: {said}.",
    "build_path_missing": "There is no such build_path: {said}.",
    "commit_gone": "The commit is not in the repository any more: {said}. Build the latest instead.",
    "submodules_failed": "The submodules could not be fetched: see the end of the output.",
}
_GIT = (
    (
        r"authentication failed|could not read (username|password)|invalid username|returned error: 40[13]|permission denied",
        "git_credentials_refused",
        "The clone was refused: the git server does not accept the credentials. Enter user and token (or deploy key) anew.",
    ),
    (
        r"host key verification failed|no .* host key is known",
        "git_host_unknown",
        "The clone failed: the ssh host key of the git server is not known. Add it to git.known_hosts.",
    ),
    (
        r"certificate (problem|verif)|unable to get .*issuer|self.signed|CAfile",
        "git_certificate_unknown",
        "The clone failed: the git server's certificate is not trusted. Name its authority's certificate in ca_secret.",
    ),
    (
        r"repository .*not found|does not appear to be a git repository|returned error: 404",
        "git_repository_not_found",
        "The clone failed: the git server has no such repository, or these credentials may not see it.",
    ),
    (
        r"could not resolve host|connection refused|failed to connect|couldn't connect|timed out|no route|unreachable|too slow|"
        r"connection (was|reset|closed)|early eof|hung up|handshake|error: 5\d\d",
        "git_host_unreachable",
        "The clone failed: the git server can't be reached. Check its address and the network, then retry.",
    ),
    (r"no space left", "disk_full", "The clone failed: the disk is full."),
)
_REGISTRY = (
    (
        r"x509|certificate|tls: ",
        "registry_untrusted",
        "The push failed: the registry's certificate is not trusted. Name its authority's certificate in ca_secret.",
    ),
    (
        r"server gave http response to https client",
        "registry_insecure",
        "The push failed: the registry speaks plain HTTP. Set registry.insecure if that is meant.",
    ),
    (
        r"\b40[13]\b|unauthorized|forbidden|denied|authentication required|no basic auth|insufficient_scope|failed to authorize",
        "push_refused",
        "The push was refused: the registry does not accept the login, or it may not push {image}. Check its user and password.",
    ),
    (
        r"connection refused|no such host|timeout|timed out|no route to host|unreachable|connection reset",
        "registry_unreachable",
        "The push failed: the registry can't be reached. Check its address and the network, then retry.",
    ),
)


def diagnose(container: str, error: str, tail: str, exit_code: int | None = None, image: str = "the image") -> Diagnosis:
    """Explain how `container` (clone, build, push) failed, from the `error` it reported (may be "") and its last lines."""
    if container == "clone":
        return _clone(error, tail)
    if error == "no_digest":
        return Diagnosis(error, "The builder ended well but did not tell the digest of the image, so it can't count as pushed.")
    if container == "push":
        return _push(tail, image)
    return _build(tail, exit_code, image)


def _clone(error: str, tail: str) -> Diagnosis:
    if error in _CLONE_ERRORS:
        return Diagnosis(error, _CLONE_ERRORS[error].format(said=_said(tail)))
    for pattern, slug, sentence in _GIT:
        if re.search(pattern, tail, re.I):
            return Diagnosis(slug, sentence)
    return Diagnosis(error or "clone_failed", f"The clone failed: {_last_line(tail) or 'see the output'}")


def _push(tail: str, image: str) -> Diagnosis:
    for pattern, slug, sentence in _REGISTRY:
        if re.search(pattern, tail, re.I):
            return Diagnosis(slug, sentence.format(image=image))
    return Diagnosis("push_failed", f"The push failed: {_last_line(tail) or 'see the output'}")


def _build(tail: str, exit_code: int | None, image: str) -> Diagnosis:
    final = _last_line(tail)
    if re.search(r"dockerfile parse error|parsing .*dockerfile|unknown instruction|syntax error|no from statement", final, re.I):
        return Diagnosis("dockerfile_invalid", f"The Dockerfile can't be read: {_reason(final)}")
    if re.search(
        r"failed to (resolve source metadata|load metadata|copy: httpread)|creating build container|pull access denied", final, re.I
    ):
        return Diagnosis("base_image_unavailable", f"A base image can't be pulled: {_reason(final)}")
    if re.search(r"failed to (push|authorize|fetch (anonymous|oauth) token)|push access denied", final, re.I):
        return _push(final, image)
    step, line = _failed_step(tail)
    if step:
        where = f"Line {line} of the Dockerfile" if line else "A step of the Dockerfile"
        code = re.search(r"exit (?:code|status):? (\d+)", final)
        told = f" (exit code {code[1]})" if code else ""
        return Diagnosis("step_failed", f"{where} failed: {step}{told}", step)
    if re.search(r"no space left on device", tail, re.I):
        return Diagnosis("disk_full", "The build failed: the disk is full.")
    return Diagnosis("build_failed", f"The build failed: {_reason(final) or f'exit code {exit_code}, see the output'}")


def _failed_step(tail: str) -> tuple[str, str]:
    """(instruction, line number): from BuildKit's excerpt of the Dockerfile, or from buildah's last words."""
    marked = re.findall(r"^ *(\d+) \| >>> ?(.*)$", tail, re.M)
    if marked:
        return _shorten(" ".join(text.rstrip().removesuffix("\\").strip() for _, text in marked)), marked[0][0]
    step = re.search(r'building at STEP "((?:[^"\\]|\\.|"(?!: ))*)"', tail)
    if step:
        return _shorten(step[1]), ""
    process = re.search(r'process "(.*)" did not complete successfully', tail)
    return (_shorten(process[1]), "") if process else ("", "")


def _said(tail: str) -> str:
    """What the container's own script said last."""
    return next((line.removeprefix("ci-portal: ") for line in reversed(tail.splitlines()) if line.startswith("ci-portal: ")), "")


def _last_line(tail: str) -> str:
    lines = [line.strip() for line in tail.replace("\r", "\n").splitlines() if line.strip() and not line.startswith("ci-portal: ")]
    return _shorten(lines[-1], 300) if lines else ""


def _reason(line: str) -> str:
    return re.sub(r"^(error: )?(failed to solve: )?", "", line, flags=re.I)


def _shorten(text: str, size: int = 160) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"
