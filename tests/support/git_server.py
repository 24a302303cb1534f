"""A real git server over https for tests, with repositories made on the spot, logins, and the ways in which servers misbehave."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repos.sample_certificate import Certificates
from repos.sample_server import GitHandler, GitHttpsServer, Rules
from tests.support.pki import Authority

_PERSON = "Tester <tester@example.org> 1767225600 +0000"


@dataclass(frozen=True)
class Symlink:
    """A file of a commit that is a symlink."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A folder of a commit that is a submodule."""

    commit: str


Content = str | bytes | Symlink | Submodule


class BareRepository:
    """A bare repository on disk."""

    def __init__(self, path: Path, default_branch: str = "main") -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", f"--initial-branch={default_branch}", "--template=", ".")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in it; returns what it prints."""
        command = ["git", "-C", str(self.path), "-c", "user.name=Tester", "-c", "user.email=tester@example.org", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout.decode().strip()

    def commit(self, files: Mapping[str, Content], branch: str = "main", message: str = "A commit") -> str:
        """Add a commit with exactly these files on top of the branch; returns its id."""
        ref = f"refs/heads/{branch}"
        lines = [f"commit {ref}", f"committer {_PERSON}", f"data {len(message.encode())}", message]
        if self.git("for-each-ref", ref):
            lines.append(f"from {ref}^0")
        stream = ("\n".join([*lines, "deleteall", ""])).encode()
        self.git("fast-import", "--quiet", stdin=stream + b"".join(_entry(name, content) for name, content in files.items()))
        return self.git("rev-parse", ref)

    def tag(self, name: str, commit: str, annotated: bool = False) -> str:
        """Tag a commit; returns the id that refs/tags/… holds, of an annotated tag its own."""
        self.git("tag", *(["--annotate", "--message", "A tag"] if annotated else []), name, commit)
        return self.git("rev-parse", f"refs/tags/{name}")


def _entry(name: str, content: Content) -> bytes:
    if isinstance(content, Submodule):
        return f"M 160000 {content.commit} {name}\n".encode()
    mode, data = ("120000", content.target) if isinstance(content, Symlink) else ("100644", content)
    raw = data.encode() if isinstance(data, str) else data
    return b"M %b inline %b\ndata %d\n%b\n" % (mode.encode(), name.encode(), len(raw), raw)


class Handler(GitHandler):
    """Answers like git hosts do, or misbehaves where the server was told to."""

    server: GitServer

    def answer(self) -> None:
        """Serve, or do what `redirects`, `statuses`, `silent` or `texts` say for the repository."""
        name = self.path.removeprefix("/").partition(".git")[0] + ".git"
        for look in self.server.onlookers:
            look()
        if name in self.server.silent:
            self.note(0)
            self.server.stopping.wait(30)
            self.close_connection = True
        elif name in self.server.redirects:
            self.refuse(301, {"Location": self.server.redirects[name] + self.path.removeprefix(f"/{name}")})
        elif name in self.server.statuses:
            self.refuse(self.server.statuses[name])
        elif name in self.server.texts:
            self.say(self.server.texts[name])
        else:
            super().answer()

    def say(self, text: str) -> None:
        """Answer with a page that has nothing to do with git."""
        self.note(200)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


class GitServer(GitHttpsServer):
    """The server of the tests: its authority's certificate is `ca_pem`; repositories are named like "team/app.git"."""

    def __init__(self, folder: Path, certificates: Certificates, bind: str, ca_pem: str) -> None:
        super().__init__(folder, certificates, bind, rules=Rules(), handler=Handler)
        self.ca_pem = ca_pem
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.silent: set[str] = set()
        #: Called while a client waits for its answer.
        self.onlookers: list[Callable[[], None]] = []
        self.stopping = threading.Event()

    def repository(self, name: str = "app.git", default_branch: str = "main") -> BareRepository:
        """Make an empty repository below the root."""
        return BareRepository(self.root / name, default_branch)

    def require_login(self, name: str, username: str, password: str) -> None:
        """Let only this login (and those given before) read a repository."""
        self.rules.logins = {**self.rules.logins, name: {**self.rules.logins.get(name, {}), username: password}}

    def configure(self, **config: str) -> None:
        """Change git's configuration on the server, with "_" for ".", like uploadpack_allowFilter="false"."""
        self.rules.config = {**self.rules.config, **{key.replace("_", "."): value for key, value in config.items()}}

    def asked(self, name: str) -> list[tuple[str, int]]:
        """What the requests for a repository were (their last path segment) and how they were answered."""
        return [
            (request.path.partition("?")[0].rpartition("/")[2], request.status)
            for request in self.requests
            if request.path.startswith(f"/{name}/")
        ]

    def stop(self) -> None:
        """Wake the silent ones, then stop."""
        self.stopping.set()
        super().stop()


@contextmanager
def git_server(folder: Path, bind: str = "127.0.0.1", authority: Authority | None = None) -> Iterator[GitServer]:
    """Serve repositories below `folder`; bind to 0.0.0.0 for pods of a cluster on this machine, which reach it at 10.244.0.1."""
    trusted = authority or Authority()
    tls = folder / "tls"
    tls.mkdir(parents=True)
    certificate, key = trusted.write(tls)
    server = GitServer(folder / "git", Certificates(tls / "ca.crt", certificate, key), bind, trusted.pem)
    with server:
        yield server
