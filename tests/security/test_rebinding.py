"""A name that is harmless when it is judged and leads inside a moment later (DNS rebinding) is never connected to there.

The portal's look-up gets one answer and every later one another: this process's by its own `getaddrinfo`, git's by the machine's
resolver, which sends every name below localhost to 127.0.0.1 (RFC 6761). That address is out of bounds in these tests.
"""

import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ci_portal.outgoing import registry_addresses
from repos import git
from repos.credentials import GitLogin
from runners.registry import Registry, RegistryError
from tests.support.git_server import GitServer, git_server
from tests.support.pki import Authority

NAME = "rebind.localhost"
ALLOWED, INSIDE = "127.0.0.2", "127.0.0.1"


class Named(Authority):
    """Signs certificates for NAME."""

    def write(self, folder: Path, names: Iterable[str] = (NAME,)) -> tuple[Path, Path]:
        return super().write(folder, names)


class Trap:
    """Listens where nothing may connect to."""

    def __init__(self, port: int) -> None:
        self.caught = 0
        self._listener = socket.create_server((INSIDE, port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._listener.accept()[0].close()
                self.caught += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(autouse=True)
def _bounds(settings):
    allowed = settings.PORTAL.git.model_copy(update={"allow_private_networks": [f"{ALLOWED}/32"], "allowed_hosts": []})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": allowed})


@pytest.fixture
def answers(monkeypatch) -> list[str]:
    """What the look-ups of NAME in this process give, one after the other; the last is given again and again."""
    told: list[str] = []
    real = socket.getaddrinfo

    def look_up(host, port, *arguments, **options):
        if host != NAME:
            return real(host, port, *arguments, **options)
        address = told.pop(0) if len(told) > 1 else told[0]
        if not address:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path, bind=ALLOWED, authority=Named()) as running:
        running.repository("app.git").commit({"Dockerfile": "FROM scratch\n", "docker": "a"})
        yield running


@pytest.fixture
def trap(server: GitServer) -> Iterator[Trap]:
    listening = Trap(server.server_address[1])
    yield listening
    listening.close()


def remote(server: GitServer) -> git.Remote:
    return git.Remote(f"https://{NAME}:{server.server_address[1]}/app.git", GitLogin(), ca_pem=server.ca_pem)


def test_the_trap_catches_a_git_that_resolves_the_name_again(server: GitServer, trap: Trap):
    url = f"https://{NAME}:{trap.port}/app.git"
    plain = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    subprocess.run(["git", "ls-remote", url], capture_output=True, timeout=30, env=plain)
    assert trap.caught


def test_git_connects_to_the_address_that_was_judged(server: GitServer, trap: Trap, answers: list[str]):
    answers += [ALLOWED, INSIDE]
    resolved = git.resolve(remote(server), "main")
    assert len(resolved.commit) == 40
    assert [request.status for request in server.requests][:1] == [200]
    assert trap.caught == 0


def test_the_fetch_of_a_dry_run_does_too(server: GitServer, trap: Trap, answers: list[str]):
    answers += [ALLOWED, ALLOWED, INSIDE]
    resolved = git.resolve(remote(server), "main")
    assert git.look_inside(remote(server), resolved, [("dockerfile", "Dockerfile", "file")]) == []
    assert trap.caught == 0


def test_a_name_that_leads_inside_at_once_is_refused(server: GitServer, trap: Trap, answers: list[str]):
    answers += [INSIDE]
    with pytest.raises(git.AddressRefused):
        git.resolve(remote(server), "main")
    assert trap.caught == 0


@pytest.mark.parametrize("first", [ALLOWED, ""], ids=["allowed at first", "unknown at first"])
def test_a_registry_is_dialled_where_it_was_judged_or_not_at_all(trap: Trap, answers: list[str], first: str):
    answers += [first, INSIDE]
    with pytest.raises(RegistryError):
        Registry(f"{NAME}:{trap.port}", insecure=True, guard=registry_addresses).check_push("app")
    assert trap.caught == 0
    assert answers == [INSIDE], "it was looked up once, and no more"
