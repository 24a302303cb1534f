"""Debian's docker-registry, started for tests: plain, with TLS, with a login (Basic), or with a token server (Bearer)."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.support.pki import SERVER_NAMES, Authority
from tests.support.ports import free_port

USERNAME, PASSWORD = "builder", "push only 密码 &%:/"


@dataclass(frozen=True)
class RegistryServer:
    """A running registry; `address` is host:port as an image's name spells it, the rest what a client needs."""

    address: str
    username: str = ""
    password: str = ""
    ca_pem: str = ""
    folder: Path = Path()

    @property
    def insecure(self) -> bool:
        """Whether it speaks plain HTTP."""
        return not self.ca_pem

    @property
    def port(self) -> int:
        """The port, the same on every address that it listens on."""
        return int(self.address.rpartition(":")[2])

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """Ask the registry, logged in with Basic; `path` may be an absolute URL."""
        context = ssl.create_default_context(cadata=self.ca_pem) if self.ca_pem else None
        url = urllib.parse.urljoin(f"{'https' if self.ca_pem else 'http'}://{self.address}", path)
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        sent = {**({"Authorization": f"Basic {login}"} if self.username else {}), **(headers or {})}
        with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
            return pool.request(method, url, body=body or None, headers=sent, redirect=False)

    def push(self, repository: str, tag: str = "latest", layer: bytes = b"", authorization: str = "") -> str:
        """Push a tiny OCI image of one layer and return its digest. `authorization` replaces the Basic login."""
        login = {"Authorization": authorization} if authorization else {}
        layer = layer or os.urandom(64)
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}})
        blobs = {"application/vnd.oci.image.config.v1+json": config.encode(), "application/vnd.oci.image.layer.v1.tar": layer}
        for blob in blobs.values():
            started = self.request("POST", f"/v2/{repository}/blobs/uploads/", headers=login)
            assert started.status == 202, (started.status, started.data)
            place = started.headers["Location"]
            end = f"{place}{'&' if '?' in place else '?'}digest={_digest(blob)}"
            stored = self.request("PUT", end, blob, {"Content-Type": "application/octet-stream", **login})
            assert stored.status == 201, (stored.status, stored.data)
        described = [{"mediaType": kind, "size": len(blob), "digest": _digest(blob)} for kind, blob in blobs.items()]
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}).encode()
        put = self.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": kind, **login})
        assert put.status == 201, (put.status, put.data)
        return _digest(manifest)

    def uploads(self, repository: str) -> list[str]:
        """Upload sessions that are open, as the registry keeps them on disk."""
        folder = self.folder / "data/docker/registry/v2/repositories" / repository / "_uploads"
        return sorted(path.parent.name for path in folder.glob("*/startedat"))


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextmanager
def run_registry(
    host: str = "127.0.0.1",
    port: int = 0,
    authority: Authority | None = None,
    login: tuple[str, str] | None = None,
    auth: dict[str, object] | None = None,
    names: tuple[str, ...] = SERVER_NAMES,
) -> Iterator[RegistryServer]:
    """Run a registry on host:port (0: a free one) until the block ends.

    With `authority` it speaks TLS with a certificate for `names`, with `login` it asks for it by Basic; `auth` is another
    `auth` section of its configuration. `host` "0.0.0.0" is reached as 127.0.0.1, and by pods at 10.244.0.1.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is not installed (apt-get install docker-registry)")
    port = port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="ci-portal-registry-"))
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
    }
    listen: dict[str, object] = {"addr": f"{host}:{port}", "secret": secrets.token_hex(16)}
    if authority:
        certificate, key = authority.write(folder, names)
        listen["tls"] = {"certificate": str(certificate), "key": str(key)}
    if login:
        hashed = bcrypt.hashpw(login[1].encode(), bcrypt.gensalt(rounds=4)).decode()
        (folder / "htpasswd").write_text(f"{login[0]}:{hashed}\n")
        auth = {"htpasswd": {"realm": "CI Portal tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps({**config, "http": listen, **({"auth": auth} if auth else {})}))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        reached = "127.0.0.1" if host == "0.0.0.0" else host
        _wait_for(reached, port, process, folder / "registry.log")
        user, password = login or ("", "")
        yield RegistryServer(f"{reached}:{port}", user, password, authority.pem if authority else "", folder)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(host: str, port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"docker-registry ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("docker-registry does not listen")


class TokenServer:
    """A token service as the distribution specification describes it, over TLS, for one user and all repositories.

    `allowed` is what the user may do; `asked` keeps the scopes and whether a login came with them.
    """

    service, issuer = "tests.registry", "tests.issuer"

    def __init__(self, authority: Authority, login: tuple[str, str], allowed: tuple[str, ...] = ("pull", "push", "delete")) -> None:
        self.authority, self.login, self.allowed = authority, login, allowed
        self.asked: list[tuple[str, bool]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="ci-portal-tokens-"))
        certificate, key = authority.write(self.folder)
        self.signer = serialization.load_pem_private_key(key.read_bytes(), None)
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        self.chain = [base64.b64encode(der).decode()]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def auth(self) -> dict[str, object]:
        """The registry's `auth` section."""
        realm = f"https://127.0.0.1:{self.server.server_address[1]}/token"
        bundle = str(self.folder / "ca.crt")
        return {"token": {"realm": realm, "service": self.service, "issuer": self.issuer, "rootcertbundle": bundle}}

    def token(self, scope: str) -> str:
        """A signed token for `repository:<name>:<actions>`, of which it grants what is allowed."""
        now, access = int(time.time()), []
        if scope:
            kind, name, actions = scope.split(":")
            access = [{"type": kind, "name": name, "actions": [a for a in actions.split(",") if a in self.allowed]}]
        times = {"iat": now, "nbf": now - 10, "exp": now + 300}
        claims = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": self.login[0],
            "jti": secrets.token_hex(8),
            "access": access,
            **times,
        }
        signed = ".".join(
            _base64url(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT", "x5c": self.chain}, claims)
        )
        assert isinstance(self.signer, ec.EllipticCurvePrivateKey)
        r, s = utils.decode_dss_signature(self.signer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        tokens = self
        expected = "Basic " + base64.b64encode(":".join(self.login).encode()).decode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scope = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("scope", [""])[0]
                given = self.headers.get("Authorization", "")
                tokens.asked.append((scope, bool(given)))
                right = given == expected
                body = json.dumps({"token": tokens.token(scope)} if right else {"details": "wrong login"}).encode()
                self.send_response(200 if right else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def run_token_registry(
    authority: Authority, allowed: tuple[str, ...] = ("pull", "push", "delete")
) -> Iterator[tuple[RegistryServer, TokenServer]]:
    """Run a TLS registry that asks for Bearer tokens, and the token server that gives them for USERNAME and PASSWORD."""
    tokens = TokenServer(authority, (USERNAME, PASSWORD), allowed)
    try:
        with run_registry(authority=authority, auth=tokens.auth) as server:
            yield RegistryServer(server.address, USERNAME, PASSWORD, server.ca_pem, server.folder), tokens
    finally:
        tokens.close()


# Fixtures; a test module (or its conftest.py) imports those that it uses.


@pytest.fixture(scope="session")
def registry_authority() -> Authority:
    """The authority that signed the registries' certificates."""
    return Authority("CI Portal registry tests")


@pytest.fixture(scope="session")
def plain_registry() -> Iterator[RegistryServer]:
    """A registry on plain HTTP without a login."""
    with run_registry() as server:
        yield server


@pytest.fixture(scope="session")
def tls_registry(registry_authority: Authority) -> Iterator[RegistryServer]:
    """A registry with TLS of the tests' own authority, and a login (USERNAME, PASSWORD)."""
    with run_registry(authority=registry_authority, login=(USERNAME, PASSWORD)) as server:
        yield server


@pytest.fixture(scope="session")
def token_registry(registry_authority: Authority) -> Iterator[tuple[RegistryServer, TokenServer]]:
    """A registry with TLS that wants Bearer tokens, with its token server."""
    with run_token_registry(registry_authority) as both:
        yield both
