"""Pushing to real registries: with TLS of a private authority and a login, and over plain http."""

from collections.abc import Iterator

import pytest

from runners.build import BuildSecrets
from tests.local.conftest import TOKEN, USER, Project
from tests.support.pki import Authority
from tests.support.registry_server import PASSWORD, USERNAME, RegistryServer, run_registry

pytestmark = [pytest.mark.needs_buildah, pytest.mark.needs_registry]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with run_registry(authority=Authority(), login=(USERNAME, PASSWORD)) as server:
        yield server


def trust_both(project: Project, registry: RegistryServer) -> None:
    """Make the build's one certificate file hold the authorities of both servers."""
    with (project.backend.certificates / "git.crt").open("a") as file:
        file.write("\n" + registry.ca_pem)


def login(password: str = PASSWORD) -> BuildSecrets:
    return BuildSecrets(USER, TOKEN, registry_username=USERNAME, registry_password=password)


def test_the_pushed_image_has_the_reported_digest_in_the_registry(project: Project, registry: RegistryServer):
    trust_both(project, registry)
    spec = project.spec(project.shell('RUN ["busybox", "touch", "/made"]'), registry=registry.address, registry_user=USERNAME)
    state = project.build(spec, login())
    assert [(step.name, step.exit_code) for step in state.containers] == [("clone", 0), ("build", 0), ("push", 0)], state.problem
    digest = state.containers[2].report["digest"]
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    answer = registry.request("HEAD", "/v2/team/app/manifests/v1", headers=accept)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)


def test_a_refused_login_is_named_and_leaves_no_digest(project: Project, registry: RegistryServer):
    trust_both(project, registry)
    spec = project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), registry=registry.address)
    state = project.build(spec, login("wrong"))
    assert (state.containers[2].report["error"], "digest" in state.containers[2].report) == ("push_refused", False)
    assert "The push was refused" in state.problem


def test_an_untrusted_registry_is_named(project: Project, registry: RegistryServer):
    spec = project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), registry=registry.address)
    state = project.build(spec, login())
    assert state.containers[2].report["error"] == "registry_untrusted"


def test_an_insecure_registry_is_pushed_to_over_http(project: Project):
    commit = project.commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    with run_registry() as registry:
        state = project.build(project.spec(commit, registry=registry.address, insecure_registry=True))
        assert state.problem == ""


def test_a_base_image_is_pulled_from_the_insecure_registry(project: Project):
    with run_registry() as registry:
        first = project.spec(project.shell(), registry=registry.address, insecure_registry=True, image_name="base")
        assert project.build(first).problem == ""
        commit = project.commit({"Dockerfile": f'FROM {registry.address}/team/base:v1\nRUN ["busybox", "true"]\n'})
        assert project.build(project.spec(commit, registry=registry.address, insecure_registry=True)).problem == ""
