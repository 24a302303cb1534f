"""A git server over https on this machine: what `manage.py dev` serves the sample repository with, and what the tests ask.

It speaks git's smart HTTP protocol, for reading only, by running `git http-backend` as CGI
(https://git-scm.com/docs/git-http-backend).
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from repos.sample_certificate import Certificates

_SERVICE = re.compile(r"/(?P<repository>[\w./+-]+?)/(?:info/refs|git-upload-pack)")
_CHUNK = 65536
#: How long a connection may stay silent, in seconds.
_IDLE = 30


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request; the password is not kept."""

    method: str
    path: str
    user: str
    status: int


@dataclass(slots=True)
class Rules:
    """What is served to whom."""

    #: Repository (its path below the root) → user → password; a repository that is not named is open to all.
    logins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: More configuration for git, like {"uploadpack.allowFilter": "true"}.
    config: Mapping[str, str] = field(default_factory=lambda: {"uploadpack.allowFilter": "true"})
    protocol_v2: bool = True


class GitHandler(BaseHTTPRequestHandler):
    """Answers git's requests; a connection serves several of them."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    disable_nagle_algorithm = True  # else small answers wait for the client's delayed acknowledgement, 40 ms each
    server: GitHttpsServer

    def do_GET(self) -> None:
        """Answer the advertisement of refs."""
        self.answer()

    def do_POST(self) -> None:
        """Answer a request for refs or objects."""
        self.answer()

    def answer(self) -> None:
        """Serve one request, or refuse it."""
        url = urlsplit(self.path)
        service = _SERVICE.fullmatch(url.path)
        repository = service["repository"] if service else ""
        if not service or ".." in repository or "git-receive-pack" in url.query or not self.server.holds(repository):
            self.refuse(404)
        elif not self.is_welcome(repository):
            self.refuse(401, {"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self.serve(url.path, url.query)

    def login(self) -> tuple[str, str]:
        """User and password of the request, both "" where there are none."""
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            return "", ""
        return user, password

    def is_welcome(self, repository: str) -> bool:
        """Whether the request's login may read the repository."""
        logins = self.server.rules.logins.get(repository)
        user, password = self.login()
        return logins is None or (user in logins and hmac.compare_digest(password.encode(), logins[user].encode()))

    def refuse(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer without content."""
        for _ in self.body():
            pass  # what is left unread would be taken for the next request
        self.note(status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve(self, path: str, query: str) -> None:
        """Run git for this request and hand its answer on."""
        command = ["git", "http-backend"]
        with subprocess.Popen(
            command, env=self.environment(path, query), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as backend:
            feeder = threading.Thread(target=self._feed, args=(cast(IO[bytes], backend.stdin),))
            feeder.start()
            try:
                self._relay(cast(IO[bytes], backend.stdout))
            finally:
                feeder.join()

    def environment(self, path: str, query: str) -> dict[str, str]:
        """The CGI variables of this request, and git's configuration."""
        rules = self.server.rules
        config = {"safe.directory": "*", "http.receivepack": "false", **rules.config}
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": str(len(config)),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": self.login()[0],
            "REMOTE_ADDR": self.client_address[0],
        }
        for number, (key, value) in enumerate(config.items()):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        if rules.protocol_v2:
            variables["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        return variables

    def body(self) -> Iterator[bytes]:
        """The request's content, piece by piece; git sends a long one in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0 and (piece := self.rfile.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece

    def _feed(self, stdin: IO[bytes]) -> None:
        for piece in self.body():
            try:
                stdin.write(piece)
            except BrokenPipeError:
                continue  # git has read enough; the rest is read off the connection all the same
        try:
            stdin.close()
        except BrokenPipeError:
            return

    def _relay(self, stdout: IO[bytes]) -> None:
        headers = []
        while (line := stdout.readline().rstrip(b"\r\n")) and b":" in line:
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        status = next((int(value.split()[0]) for name, value in headers if name.lower() == "status"), 200 if headers else 500)
        self.note(status)
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "status":
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := stdout.read1(_CHUNK):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def note(self, status: int) -> None:
        """Remember the request."""
        self.server.requests.append(Request(self.command, self.path, self.login()[0], status))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `requests` has it."""


class GitHttpsServer(ThreadingHTTPServer):
    """Serves the bare repositories below `root`; on loopback unless told otherwise.

    Use it as a context manager, or `start` and `stop` it. `port` 0 takes a free one.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        root: Path,
        certificates: Certificates,
        bind: str = "127.0.0.1",
        port: int = 0,
        rules: Rules | None = None,
        handler: type[GitHandler] = GitHandler,
    ) -> None:
        super().__init__((bind, port), handler)
        self.root = root
        self.rules = rules or Rules()
        self.requests: list[Request] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server, certificates.key)
        # The handshake is left to the thread of its connection, so that a silent client holds up nobody.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def url(self, repository: str, host: str = "localhost") -> str:
        """The address to clone `repository` from."""
        return f"https://{host}:{self.port}/{repository}"

    def holds(self, repository: str) -> bool:
        """Whether there is such a repository below the root."""
        return (self.root / repository / "HEAD").is_file()

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more and give the port back."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def __enter__(self) -> GitHttpsServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up or don't trust the certificate are everyday life."""
