"""What tests of `/check/` share: a git server over https with a login, and a portal that trusts it."""

from collections.abc import Iterator

import pytest
from django.test import Client

from tests.support.git_server import BareRepository, GitServer, git_server

USER, TOKEN = "ci-bot", "s3cret-token-für-git"


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with git_server(tmp_path_factory.mktemp("git")) as running:
        yield running


@pytest.fixture(scope="session")
def session_app(session_server: GitServer) -> BareRepository:
    app = session_server.repository("team/app.git")
    commit = app.commit({"Dockerfile": "FROM scratch\nCOPY hello /\n", "hello": "hello\n", "docker/Dockerfile": "FROM scratch\n"})
    app.tag("v1.0", commit, annotated=True)
    app.commit({"Dockerfile": "FROM scratch\n"}, branch="next")
    session_server.require_login("team/app.git", USER, TOKEN)
    session_server.repository("empty.git")
    return app


@pytest.fixture
def server(session_server: GitServer, session_app: BareRepository, settings, tmp_path) -> GitServer:
    """The server, trusted by the portal through git.ca_bundle."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(session_server.ca_pem)
    git = settings.PORTAL.git.model_copy(update={"ca_bundle": str(bundle)})
    build = settings.PORTAL.build.model_copy(update={"folder": str(tmp_path / "work")})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git, "build": build})
    return session_server


@pytest.fixture
def app(session_app: BareRepository) -> BareRepository:
    return session_app


@pytest.fixture
def check(server: GitServer, client: Client):
    """POST /check/ for the login-protected repository, with what the test says instead."""

    def post(headers: dict[str, str] | None = None, **body):
        body = {"repo": server.url("team/app.git"), "user": USER, "token": TOKEN, **body}
        body = {name: value for name, value in body.items() if value is not None}
        return client.post("/check/", body, content_type="application/json", headers=headers)

    return post
