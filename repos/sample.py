"""The sample repository that a fresh portal builds: small, the same commit on every machine, and built without internet."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

NAME = "sample"

_DOCKERFILE = """\
FROM scratch
LABEL org.opencontainers.image.title="CI Portal sample" \\
      org.opencontainers.image.description="Built by CI Portal from its sample repository"
COPY greeting.txt /greeting.txt
"""
_README = """\
# Sample

CI Portal made this repository so that there is something to build at once. Its Dockerfile starts from nothing (`FROM scratch`)
and copies one file, so that no image needs to be pulled.
"""
FILES: Mapping[str, str] = {
    "Dockerfile": _DOCKERFILE,
    "README.md": _README,
    "greeting.txt": "Hello from an image that CI Portal built.\n",
}
_AUTHOR = "CI Portal <ci-portal@localhost> 1767225600 +0000"  # a fixed date, so that the commit is the same everywhere


def create_sample(folder: Path) -> str:
    """Make the bare repository `sample.git` in `folder`, or leave it as it is; returns the commit of its branch `main`.

    Raises subprocess.CalledProcessError where git can't write there.
    """
    path = folder / f"{NAME}.git"
    if not (path / "HEAD").exists():
        path.mkdir(parents=True, exist_ok=True)
        _git(path, "init", "--quiet", "--bare", "--initial-branch=main", "--template=", ".")
    _git(path, "fast-import", "--quiet", "--force", stdin=_stream())
    return _git(path, "rev-parse", "--verify", "refs/heads/main").strip()


def _stream() -> str:
    """The commit in the format of https://git-scm.com/docs/git-fast-import."""
    message = "Add a Dockerfile that needs no base image"
    lines = ["commit refs/heads/main", f"committer {_AUTHOR}", f"data {len(message)}", message]
    for name, text in FILES.items():
        lines += [f"M 100644 inline {name}", f"data {len(text.encode())}", text]
    return "\n".join([*lines, "done", ""])


def _git(path: Path, *arguments: str, stdin: str = "") -> str:
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(path), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, text=True).stdout
