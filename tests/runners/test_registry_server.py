"""What the portal asks of a real registry: plain, with TLS and a login, and with a token server."""

from dataclasses import replace

import pytest

from runners.registry import Registry, RegistryError, RegistryRefused, RegistryUntrusted
from tests.support.pki import Authority
from tests.support.registry_server import (  # noqa: F401 (fixtures)
    PASSWORD,
    USERNAME,
    RegistryServer,
    TokenServer,
    plain_registry,
    registry_authority,
    run_registry,
    run_token_registry,
    tls_registry,
    token_registry,
)

pytestmark = pytest.mark.needs_registry

ABSENT = "sha256:" + "0" * 64


def client(server: RegistryServer, **changes: object) -> Registry:
    given = {
        "address": server.address,
        "username": server.username,
        "password": server.password,
        "ca_pem": server.ca_pem,
        "insecure": server.insecure,
    }
    return Registry(**{**given, **changes})


def test_it_confirms_an_image_that_is_there(plain_registry):  # noqa: F811
    digest = plain_registry.push("team/there")
    assert client(plain_registry).confirm("team/there", digest) is True


def test_it_does_not_confirm_an_image_that_was_never_pushed(plain_registry):  # noqa: F811
    plain_registry.push("team/app")
    assert client(plain_registry).confirm("team/app", ABSENT) is False


def test_it_does_not_confirm_an_image_of_another_repository(plain_registry):  # noqa: F811
    digest = plain_registry.push("team/mine")
    assert client(plain_registry).confirm("team/yours", digest) is False


def test_it_does_not_confirm_a_tag_in_place_of_a_digest(plain_registry):  # noqa: F811
    plain_registry.push("team/tagged", tag="latest")
    assert client(plain_registry).confirm("team/tagged", "latest") is False


def test_it_confirms_over_tls_with_a_basic_login(tls_registry):  # noqa: F811
    digest = tls_registry.push("team/app")
    assert client(tls_registry).confirm("team/app", digest) is True


def test_a_guarded_client_dials_an_address_and_checks_the_certificate_for_the_name():
    with run_registry(authority=Authority(), names=("localhost",)) as server:
        named = replace(server, address=f"localhost:{server.port}")
        digest = named.push("team/app")
        assert client(named, guard=lambda host, port: ["127.0.0.1"]).confirm("team/app", digest) is True


def test_it_confirms_with_a_token_for_pulling(token_registry):  # noqa: F811
    server, tokens = token_registry
    digest = server.push("team/app", authorization=f"Bearer {tokens.token('repository:team/app:pull,push')}")
    tokens.asked.clear()
    assert client(server).confirm("team/app", digest) is True
    assert tokens.asked == [("repository:team/app:pull", True)]


def test_it_asks_for_a_token_once_for_several_questions(token_registry):  # noqa: F811
    server, tokens = token_registry
    tokens.asked.clear()
    registry = client(server)
    registry.confirm("team/app", ABSENT)
    registry.confirm("team/app", ABSENT)
    assert len(tokens.asked) == 1


@pytest.mark.parametrize("kind", ["plain_registry", "tls_registry"])
def test_it_finds_that_a_push_is_allowed_and_leaves_no_upload_behind(kind, request):
    server = request.getfixturevalue(kind)
    client(server).check_push("team/pushable")
    assert server.uploads("team/pushable") == []


def test_it_finds_that_a_push_is_allowed_by_token(token_registry):  # noqa: F811
    server, tokens = token_registry
    tokens.asked.clear()
    client(server).check_push("team/pushable")
    assert tokens.asked[0] == ("repository:team/pushable:pull,push", True)
    assert server.uploads("team/pushable") == []


def test_a_login_that_may_push_but_not_delete_is_enough(registry_authority):  # noqa: F811
    with run_token_registry(registry_authority, allowed=("pull", "push")) as (server, _):
        client(server).check_push("team/pushable")
        assert len(server.uploads("team/pushable")) == 1


def test_it_says_when_the_login_may_pull_but_not_push(registry_authority):  # noqa: F811
    with run_token_registry(registry_authority, allowed=("pull",)) as (server, _), pytest.raises(RegistryRefused) as refused:
        client(server).check_push("team/app")
    assert refused.value.code == "registry_push_forbidden"
    assert "push to team/app" in refused.value.message


@pytest.mark.parametrize("kind", ["tls_registry", "token_registry"])
def test_it_says_when_the_login_is_wrong_without_repeating_it(kind, request):
    server = request.getfixturevalue(kind)
    server = server[0] if isinstance(server, tuple) else server
    with pytest.raises(RegistryRefused) as refused:
        client(server, password="wrong-password-1").check_push("team/app")
    assert refused.value.code == "registry_credentials_refused"
    assert "wrong-password-1" not in str(refused.value)


@pytest.mark.parametrize("kind", ["tls_registry", "token_registry"])
def test_it_says_when_a_login_is_needed(kind, request):
    server = request.getfixturevalue(kind)
    server = server[0] if isinstance(server, tuple) else server
    with pytest.raises(RegistryRefused) as refused:
        client(server, username="", password="").check_push("team/app")
    assert refused.value.code == "registry_login_needed"


def test_it_refuses_a_certificate_of_an_unknown_authority(tls_registry):  # noqa: F811
    with pytest.raises(RegistryUntrusted) as refused:
        client(tls_registry, ca_pem="").confirm("team/app", ABSENT)
    assert refused.value.code == "registry_certificate_unknown"
    assert "ca_secret" in refused.value.message


def test_it_refuses_a_certificate_of_another_host():
    authority = Authority()
    with run_registry(authority=authority, names=("registry.example",)) as server, pytest.raises(RegistryUntrusted) as refused:
        client(server).confirm("team/app", ABSENT)
    assert refused.value.code == "registry_certificate_unknown"


def test_it_says_when_the_registry_speaks_no_tls(plain_registry):  # noqa: F811
    with pytest.raises(RegistryUntrusted) as refused:
        client(plain_registry, insecure=False).confirm("team/app", ABSENT)
    assert refused.value.code == "registry_without_tls"


def test_it_says_when_an_insecure_registry_speaks_tls_after_all(tls_registry):  # noqa: F811
    with pytest.raises(RegistryError) as refused:
        client(tls_registry, insecure=True).confirm("team/app", ABSENT)
    assert refused.value.code == "registry_wants_tls"


def test_its_login_shows_in_no_traceback(tls_registry):  # noqa: F811
    registry = client(tls_registry, ca_pem="")
    with pytest.raises(RegistryUntrusted) as refused:
        registry.check_push("team/app")
    assert PASSWORD not in repr(registry)
    assert USERNAME not in repr(registry)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_token_server_signs_what_the_registry_accepts(token_registry):  # noqa: F811
    server, tokens = token_registry
    assert isinstance(tokens, TokenServer)
    assert server.request("GET", "/v2/", headers={"Authorization": f"Bearer {tokens.token('')}"}).status == 200
