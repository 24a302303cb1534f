"""What the portal makes of answers that a well-behaved registry does not give, and of names that are none."""

import hashlib
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from urllib3.connection import HTTPConnection

from ci_portal import outgoing, outgoing_connections
from runners import registry as registry_client
from runners.registry import Registry, RegistryError, RegistryRefused, RegistryUnreachable, RegistryUntrusted
from tests.support.pki import Authority
from tests.support.ports import free_port

BODY = b'{"schemaVersion":2}'
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
OTHER = "sha256:" + "1" * 64
SECRET = "s3cret-of-the-registry"


class Server(http.server.ThreadingHTTPServer):
    """Answers each request by `answers[method]`: (status, headers, body); keeps what was asked."""

    def __init__(self, answers: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = answers, []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        status, headers, body = self.server.answers[self.command]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = answer

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(**answers: tuple[int, dict[str, str], bytes]) -> Iterator[Server]:
    server = Server(answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def registry(server: Server, **more: object) -> Registry:
    return Registry(server.address, insecure=True, **more)


def test_it_compares_the_bytes_when_no_digest_header_comes():
    with serving(HEAD=(200, {}, b""), GET=(200, {}, BODY)) as server:
        assert registry(server).confirm("app", DIGEST) is True


def test_it_does_not_confirm_bytes_of_another_digest():
    with serving(HEAD=(200, {}, b""), GET=(200, {}, BODY)) as server:
        assert registry(server).confirm("app", OTHER) is False


def test_it_does_not_confirm_when_the_header_names_another_digest():
    with serving(HEAD=(200, {"Docker-Content-Digest": OTHER}, b"")) as server:
        assert registry(server).confirm("app", DIGEST) is False


def test_it_asks_by_get_where_head_is_not_allowed():
    with serving(HEAD=(405, {}, b""), GET=(200, {}, BODY)) as server:
        assert registry(server).confirm("app", DIGEST) is True


def test_it_accepts_every_kind_of_manifest():
    with serving(HEAD=(404, {}, b"")) as server:
        registry(server).confirm("app", DIGEST)
        accept = server.asked[0][2]["Accept"]
    assert "application/vnd.oci.image.index.v1+json" in accept
    assert "application/vnd.oci.image.manifest.v1+json" in accept
    assert "application/vnd.docker.distribution.manifest.list.v2+json" in accept
    assert "application/vnd.docker.distribution.manifest.v2+json" in accept


@pytest.mark.parametrize("status", [429, 500, 503])
def test_it_says_try_again_when_the_registry_is_out_of_order(status):
    with serving(HEAD=(status, {}, b"")) as server, pytest.raises(RegistryUnreachable):
        registry(server).confirm("app", DIGEST)


def test_it_says_try_again_when_nobody_listens():
    with pytest.raises(RegistryUnreachable) as refused:
        Registry(f"127.0.0.1:{free_port()}", insecure=True).confirm("app", DIGEST)
    assert refused.value.code == "registry_unreachable"


def test_it_says_when_a_host_name_is_not_known():
    with pytest.raises(RegistryUnreachable, match="its name is not known"):
        Registry("no-such-registry.invalid").confirm("app", DIGEST)


def test_it_follows_no_redirect():
    with serving(HEAD=(200, {"Docker-Content-Digest": DIGEST}, b"")) as elsewhere:
        to = f"http://{elsewhere.address}/v2/app/manifests/{DIGEST}"
        with serving(HEAD=(307, {"Location": to}, b"")) as server, pytest.raises(RegistryError) as refused:
            registry(server).confirm("app", DIGEST)
        assert elsewhere.asked == []
    assert refused.value.code == "not_a_registry"


def test_it_says_when_something_else_answers():
    with serving(POST=(200, {"Content-Type": "text/html"}, b"<html>")) as server, pytest.raises(RegistryError) as refused:
        registry(server).check_push("app")
    assert refused.value.code == "not_a_registry"


def test_it_says_when_a_push_is_forbidden():
    with serving(POST=(403, {}, b"")) as server, pytest.raises(RegistryRefused) as refused:
        registry(server).check_push("app")
    assert refused.value.code == "registry_push_forbidden"


def test_it_does_not_take_its_login_to_another_host_to_end_an_upload():
    with serving(DELETE=(204, {}, b"")) as elsewhere:
        basic = {"WWW-Authenticate": 'Basic realm="x"'}
        place = {"Location": f"http://{elsewhere.address}/v2/app/blobs/uploads/1"}
        with serving(POST=(202, {**place, **basic}, b"")) as server:
            registry(server, username="u", password=SECRET).check_push("app")
        assert elsewhere.asked == []


def test_it_reads_no_more_than_a_manifest_may_hold():
    with serving(HEAD=(200, {}, b""), GET=(200, {}, b"x" * (5 * 1024 * 1024))) as server, pytest.raises(RegistryError):
        registry(server).confirm("app", DIGEST)


def test_it_sends_a_login_only_when_asked_for_one():
    with serving(HEAD=(404, {}, b"")) as server:
        registry(server, username="u", password=SECRET).confirm("app", DIGEST)
        assert "Authorization" not in server.asked[0][2]


def test_it_refuses_a_token_realm_that_is_no_url():
    challenge = {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}
    with serving(POST=(401, challenge, b"")) as server, pytest.raises(RegistryRefused) as refused:
        registry(server, username="u", password=SECRET).check_push("app")
    assert refused.value.code == "registry_realm_refused"


def test_it_refuses_a_token_that_would_break_the_header():
    with serving(GET=(200, {}, b'{"token": "a\\r\\nX-Evil: 1"}')) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/token",service="s"'}
        with serving(POST=(401, challenge, b"")) as server, pytest.raises(RegistryUnreachable):
            registry(server, username="u", password=SECRET).check_push("app")


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"token": 5}', b"[" * 60000])
def test_it_survives_a_token_server_that_answers_nonsense(body):
    with serving(GET=(200, {}, body)) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/token",service="s"'}
        with serving(POST=(401, challenge, b"")) as server, pytest.raises(RegistryUnreachable):
            registry(server).check_push("app")


def test_it_keeps_the_realms_own_query():
    with serving(GET=(200, {}, b'{"access_token": "abc"}')) as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tokens.address}/token?account=a",service="s"'}
        with serving(POST=(401, challenge, b"")) as server, pytest.raises(RegistryRefused):
            registry(server).check_push("app")
        assert tokens.asked[0][1] == "/token?account=a&service=s&scope=repository%3Aapp%3Apull%2Cpush"


def test_certificates_that_are_none_are_named_as_the_fault():
    with pytest.raises(RegistryUntrusted) as refused:
        Registry("127.0.0.1:1", ca_pem="-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----").confirm("app", DIGEST)
    assert refused.value.code == "registry_ca_invalid"


@pytest.mark.parametrize(
    "address", ["", "user:pw@host", "host/path", "https://host", "host:port", "ho st", "host\r\nX: 1", "-host"]
)
def test_it_refuses_an_address_that_is_none(address):
    with pytest.raises(RegistryError) as refused:
        Registry(address)
    assert refused.value.code == "registry_address_invalid"


@pytest.mark.parametrize("name", ["", "Team/App", "../secret", "team//app", "app?x=1", "app#", "a/../b", "app\n", "x" * 256])
def test_it_refuses_an_image_name_that_is_none(name):
    with pytest.raises(RegistryError) as refused:
        Registry("127.0.0.1:1").check_push(name)
    assert refused.value.code == "image_name_invalid"


@pytest.mark.parametrize("digest", ["", "latest", "sha256:abc", "sha256:" + "A" * 64, f"{DIGEST}/../..", f"{DIGEST}\n"])
def test_a_digest_that_is_none_is_never_confirmed_nor_asked_for(digest):
    with serving() as server:
        assert registry(server).confirm("app", digest) is False
        assert server.asked == []


def refuse(host: str, port: int) -> list[str]:
    raise outgoing.Refused(f"{host} is out of bounds")


def only_loopback(host: str, port: int) -> list[str]:
    """A guard for which every name but tokens.example means this machine."""
    return refuse(host, port) if host == "tokens.example" else ["127.0.0.1"]


def test_a_guarded_client_dials_no_address_that_is_out_of_bounds():
    with serving(HEAD=(404, {}, b"")) as server:
        with pytest.raises(RegistryRefused) as refused:
            registry(server, guard=refuse).confirm("app", DIGEST)
        assert server.asked == []
    assert refused.value.code == "registry_address_refused"


def test_a_guarded_client_dials_the_address_that_was_judged():
    with serving(HEAD=(200, {"Docker-Content-Digest": DIGEST}, b"")) as server:
        named = f"registry.example:{server.server_address[1]}"
        assert Registry(named, insecure=True, guard=only_loopback).confirm("app", DIGEST)
        assert server.asked[0][2]["Host"] == named


def test_a_guarded_client_sends_no_login_to_a_token_server_out_of_bounds():
    with serving(GET=(200, {}, b'{"token": "abc"}')) as tokens:
        elsewhere = f"http://tokens.example:{tokens.server_address[1]}/token"
        challenge = {"WWW-Authenticate": f'Bearer realm="{elsewhere}",service="s"'}
        with serving(POST=(401, challenge, b"")) as server, pytest.raises(RegistryRefused) as refused:
            registry(server, username="u", password=SECRET, guard=only_loopback).check_push("app")
        assert tokens.asked == []
    assert refused.value.code == "registry_address_refused"


def test_a_guarded_client_says_when_a_name_is_not_known():
    with pytest.raises(RegistryUnreachable, match="its name is not known"):
        Registry("no-such-registry.invalid", guard=outgoing.registry_addresses).confirm("app", DIGEST)


@contextmanager
def dripping(wrap=lambda accepted: accepted, begin: bytes = b"HTTP/1.1 200 OK\r\nX-Endless: ") -> Iterator[str]:
    """The address of a server that sends a line without end, a byte at a time, in a header or where `begin` says."""
    over = threading.Event()

    def drip(accepted: socket.socket) -> None:
        with suppress(OSError):
            connection = wrap(accepted)
            connection.recv(4096)
            connection.sendall(begin)
            while not over.wait(0.05):
                connection.sendall(b"a")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        over.set()


@pytest.mark.parametrize("guard", [None, only_loopback])
def test_an_answer_that_never_ends_is_given_up(monkeypatch, guard):
    """Else four such registries would keep a watcher from settling anything."""
    monkeypatch.setattr(outgoing_connections, "ANSWER_SECONDS", 0.5)
    with dripping() as address, pytest.raises(RegistryUnreachable, match="no answer in time"):
        Registry(address, insecure=True, guard=guard).confirm("app", DIGEST)


def test_an_answer_that_never_ends_is_given_up_also_where_the_other_side_breaks_the_connection_then(monkeypatch):
    monkeypatch.setattr(outgoing_connections, "ANSWER_SECONDS", 0.5)

    def broken(self: HTTPConnection) -> None:
        time.sleep(0.7)
        raise ConnectionResetError

    monkeypatch.setattr(HTTPConnection, "getresponse", broken)
    with dripping() as address, pytest.raises(RegistryUnreachable, match="no answer in time"):
        Registry(address, insecure=True).confirm("app", DIGEST)


def test_an_answer_over_tls_that_never_ends_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(outgoing_connections, "ANSWER_SECONDS", 0.5)
    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.write(tmp_path))
    server = dripping(lambda accepted: context.wrap_socket(accepted, server_side=True))
    with server as address, pytest.raises(RegistryUnreachable, match="no answer in time"):
        Registry(address, ca_pem=authority.pem).confirm("app", DIGEST)


def test_a_body_that_never_ends_is_given_up(monkeypatch):
    """The head of a chunk, which is read in one go."""
    monkeypatch.setattr(registry_client, "BODY_SECONDS", 0.5)
    begin = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    with dripping(begin=begin) as address, pytest.raises(RegistryError, match="no connection|more than a registry would"):
        Registry(address, insecure=True).check_push("app")
