"""What tests of git remotes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from repos.credentials import GitLogin
from repos.git import Remote
from tests.support.git_server import BareRepository, GitServer, git_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path) as running:
        yield running


@pytest.fixture
def app(server: GitServer) -> BareRepository:
    return server.repository("app.git")


@pytest.fixture
def remote(server: GitServer):
    """Make a Remote for a repository on the server, whose certificate it trusts."""

    def make(name: str = "app.git", username: str = "", password: str = "") -> Remote:
        return Remote(server.url(name), GitLogin(username, password), ca_pem=server.ca_pem)

    return make


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which scratch folders are made, empty."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder
