"""Real builds on this machine: git over https with a login and an authority of its own, and buildah."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from repos.sample_certificate import ensure_certificates
from repos.sample_server import GitHttpsServer, Rules
from runners.backends.base import RunState
from runners.backends.local import LocalBackend
from runners.build import BuildSecrets, BuildSpec
from tests.support.waiting import until

USER, TOKEN = "builder", "token-0123456789-secret"
SHELL = "FROM scratch\nCOPY busybox /bin/busybox\nENV PATH=/bin\n"


@dataclass
class Project:
    """Repositories behind a server, a backend that trusts it, and the runs that were started."""

    server: GitHttpsServer
    backend: LocalBackend
    root: Path
    specs: list[BuildSpec] = field(default_factory=list)

    def commit(self, files: dict[str, str | bytes | tuple[str]], name: str = "app.git", onto: bool = False) -> str:
        """Make main a commit of these files, in the place of what it was or `onto` it; a tuple is a symlink's target."""
        work = self.root / f"work-{uuid.uuid4().hex}"
        work.mkdir()
        for path, content in files.items():
            target = work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, tuple):
                target.symlink_to(content[0])
            else:
                target.write_bytes(content.encode() if isinstance(content, str) else content)
                target.chmod(0o755)
        bare = self.root / "repositories" / name
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "core.hooksPath=/dev/null", "-C", str(work)]
        if not bare.exists():
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
        pull = (
            [["fetch", "-q", str(bare), "main"], ["reset", "-q", "--soft", "FETCH_HEAD"]]
            if onto and (bare / "refs/heads/main").exists()
            else []
        )
        commit = [["add", "-A"], ["commit", "-q", "-m", "x"], ["push", "-qf", str(bare), "main"]]
        for command in [["init", "-q", "-b", "main"], *pull, *commit]:
            subprocess.run([*git, *command], check=True)
        made = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        shutil.rmtree(work)
        return made

    def shell(self, *steps: str) -> str:
        """A commit whose Dockerfile runs these instructions on a busybox."""
        busybox = shutil.which("busybox")
        assert busybox, "these tests copy a statically linked busybox into their images: install busybox-static"
        return self.commit({"Dockerfile": SHELL + "\n".join(steps) + "\n", "busybox": Path(busybox).resolve().read_bytes()})

    def spec(self, commit: str, **changes: object) -> BuildSpec:
        values: dict = {
            "run_id": len(self.specs) + 1,
            "run_uid": uuid.uuid4().hex,
            "event_id": 1,
            "name": "app-1",
            "repo_name": "app",
            "repo_url": self.server.url("app.git"),
            "ref": "refs/heads/main",
            "commit": commit,
            "dockerfile": "Dockerfile",
            "build_path": ".",
            "registry": "",
            "image_repo": "team",
            "image_name": "app",
            "image_tag": "v1",
            "ca_secret": "git",
            "timeout_seconds": 120,
        }
        spec = BuildSpec(**(values | changes))
        self.specs.append(spec)
        return spec

    def folder(self, spec: BuildSpec) -> Path:
        return self.backend.work / spec.run_uid

    def ended(self, spec: BuildSpec, seconds: float = 60) -> RunState:
        """Wait for the end of a launched run."""
        return until(lambda: state if (state := self.backend.state(spec)).finished else None, seconds)

    def build(self, spec: BuildSpec, secrets: BuildSecrets | None = None) -> RunState:
        self.backend.launch(spec, secrets or BuildSecrets(git_username=USER, git_password=TOKEN))
        return self.ended(spec)

    def output(self, spec: BuildSpec, container: str) -> bytes:
        return b"".join(piece.data for piece in self.backend.stream(spec, container, ""))


def seeds(count: int) -> list[int]:
    """So many seeds, or as many as FAULTS_REPEAT says; FAULTS_SEED is the first."""
    first = int(os.environ.get("FAULTS_SEED", "1"))
    return list(range(first, first + int(os.environ.get("FAULTS_REPEAT", count))))


def processes_of(folder: Path) -> dict[int, tuple[bytes, bytes]]:
    """Command line and environment of every process whose root, command line or environment names the folder."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            texts = [Path(f"/proc/{entry}/{name}").read_bytes() for name in ("cmdline", "environ")]
            root = os.readlink(f"/proc/{entry}/root")
        except OSError:
            continue
        if any(str(folder).encode() in text for text in [*texts, root.encode()]):
            found[int(entry)] = (texts[0], texts[1])
    return found


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    certificates = ensure_certificates(tmp_path / "pki", ["localhost", "127.0.0.1"])
    (tmp_path / "ca").mkdir()
    shutil.copy(certificates.authority, tmp_path / "ca" / "git.crt")
    (tmp_path / "repositories").mkdir()
    backend = LocalBackend(tmp_path / "builds", tmp_path / "ca", layouts=tmp_path / "images")
    server = GitHttpsServer(tmp_path / "repositories", certificates, rules=Rules(logins={"app.git": {USER: TOKEN}}))
    with server:
        project = Project(server, backend, tmp_path)
        yield project
        for spec in project.specs:
            LocalBackend(tmp_path / "builds", tmp_path / "ca").delete(spec)
        backend.close()
