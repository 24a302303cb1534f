"""Logging in through OpenID Connect, against a provider that runs here."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from joserfc.jwk import RSAKey
from pydantic import SecretStr, ValidationError

from accounts.models import AuditEntry, Identity
from accounts.users import role_of
from ci_portal.config import Auth
from repos.sample_certificate import ensure_certificates
from tests.support.oidc import CLIENT, SECRET, Provider, serve

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048)


@pytest.fixture
def configure(portal_settings) -> Callable[..., None]:
    def change(issuer: str, **keys: Any) -> None:
        said = {"oidc_issuer": issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SecretStr(SECRET)}
        portal_settings("auth", **{"oidc_default_role": "viewer", **said, **keys})

    return change


@pytest.fixture
def provider(key, configure) -> Iterator[Provider]:
    with serve(key) as running:
        configure(running.issuer)
        yield running


def start(client: Client, query: str = "") -> str:
    """Press the button; returns where the browser is sent."""
    return str(client.get(f"/login/oidc/{query}")["Location"])


def through(client: Client, query: str = "") -> Any:
    """Go through the provider and back; returns the answer to coming back."""
    sent = requests.get(start(client, query), allow_redirects=False, timeout=5)
    back = urlsplit(sent.headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def told(client: Client) -> str:
    return client.get("/login/").content.decode()


def test_whoever_the_provider_knows_is_logged_in(provider):
    client = Client()
    assert through(client)["Location"] == "/"
    user = User.objects.get()
    assert (user.username, role_of(user), user.has_usable_password()) == ("ada", "viewer", False)
    assert client.get("/builds/").status_code == 200


def test_the_login_page_offers_it_with_its_label_and_where_to_go_then(provider, configure):
    configure(provider.issuer, oidc_label="Acme account")
    page = Client().get("/login/?next=/builds/").content.decode()
    assert "Acme account" in page
    assert 'href="/login/oidc/?next=/builds/"' in page.replace("%2F", "/")


def test_the_provider_is_asked_for_a_code_with_pkce_state_and_nonce(provider):
    asked = parse_qs(urlsplit(start(Client())).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["http://testserver/login/oidc/callback/"]
    assert all(len(asked[name][0]) >= 20 for name in ("code_challenge", "state", "nonce"))


@pytest.mark.parametrize(("target", "lands"), [("/builds/", "/builds/"), ("https://evil.example/", "/"), ("//evil.example", "/")])
def test_it_leads_on_within_the_portal_alone(provider, target, lands):
    assert through(Client(), f"?next={target}")["Location"] == lands


def test_the_second_time_it_is_the_same_user_whatever_their_name_is_now(provider):
    through(Client())
    provider.claims["preferred_username"] = "countess"
    through(Client())
    assert list(User.objects.values_list("username", flat=True)) == ["ada"]


def test_nothing_is_asked_of_the_provider_before_the_button_is_pressed(provider):
    Client().get("/login/")
    Client().get("/builds/")
    assert provider.asked == []


def test_without_a_provider_there_is_no_button_and_no_way(client):
    assert "/login/oidc/" not in told(client)
    assert client.get("/login/oidc/").status_code == client.get("/login/oidc/callback/").status_code == 404


def test_a_session_of_it_is_listed_and_audited_like_any_other(provider):
    client = Client(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux) Firefox/140.0")
    through(client)
    assert "Firefox on Linux" in client.get("/account/sessions/").content.decode()
    assert AuditEntry.objects.get(action="login").detail == "OpenID Connect"


# What must not work


def refused(client: Client) -> str:
    """Go through; returns what the login page then says. Nobody is logged in."""
    answer = through(client)
    assert answer["Location"] == "/login/"
    assert not client.session.get("_auth_user_id")
    return told(client)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://another.example"},
        {"aud": "another-client"},
        {"exp": 1_600_000_000},
        {"nonce": "replayed"},
        {"nonce": None},
        {"sub": None},
        {"aud": [CLIENT, "another"], "azp": "another"},
    ],
)
def test_an_id_token_that_is_not_for_this_login_is_refused(provider, change):
    def tamper(claims: dict[str, Any]) -> None:
        for name, value in change.items():
            claims.pop(name, None)
            if value is not None:
                claims[name] = value

    provider.tamper = tamper
    assert "did not work" in refused(Client())
    assert not User.objects.exists()


def test_an_id_token_of_another_key_is_refused(provider):
    provider.key = RSAKey.generate_key(2048)
    assert "did not work" in refused(Client())


def test_an_id_token_signed_with_the_clients_secret_is_refused(provider):
    provider.signing = "HS256"
    assert "did not work" in refused(Client())


def test_a_discovery_document_of_another_issuer_is_refused(provider):
    provider.discovery = {"issuer": "https://another.example"}
    client = Client()
    assert start(client) == "/login/"
    assert "did not work" in told(client)


def test_an_answer_that_nobody_asked_for_is_refused(provider):
    asked_by, other = Client(), Client()
    sent = requests.get(start(asked_by), allow_redirects=False, timeout=5)
    back = urlsplit(sent.headers["Location"])
    assert other.get(f"{back.path}?{back.query}")["Location"] == "/login/"
    assert not other.session.get("_auth_user_id")


def test_an_answer_works_once(provider):
    client = Client()
    sent = requests.get(start(client), allow_redirects=False, timeout=5)
    back = urlsplit(sent.headers["Location"])
    assert client.get(f"{back.path}?{back.query}")["Location"] == "/"
    client.post("/logout/")
    assert client.get(f"{back.path}?{back.query}")["Location"] == "/login/"


def test_what_the_provider_refuses_is_told(provider):
    client = Client()
    start(client)
    assert client.get("/login/oidc/callback/?error=access_denied&error_description=no&state=x")["Location"] == "/login/"
    assert "did not work" in told(client)


def test_a_provider_that_is_away_is_told_without_an_error(configure):
    configure("http://localhost:9")
    client = Client()
    assert start(client) == "/login/"
    assert "did not work" in told(client)


def test_no_secret_reaches_log_or_audit(provider, caplog):
    provider.tamper = lambda claims: claims.update(aud="another")
    through(Client())
    assert SECRET not in caplog.text + str(AuditEntry.objects.values_list())


# Who may, and as what


def test_a_claim_gives_the_role_at_each_login(provider, configure):
    roles = {"ci-admins": "admin", "developers": "builder"}
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles=roles, oidc_default_role="")
    provider.claims["groups"] = ["developers", "everyone"]
    through(Client())
    assert role_of(User.objects.get()) == "builder"
    provider.claims["groups"] = ["developers", "ci-admins"]
    through(Client())
    assert role_of(User.objects.get()) == "admin"
    assert AuditEntry.objects.get(action="role_changed").detail == "role: builder → admin"


def test_a_claim_that_is_only_in_the_userinfo_counts_too(provider, configure):
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles={"developers": "builder"}, oidc_default_role="")
    provider.only_in_userinfo = {"groups": "developers"}
    through(Client())
    assert role_of(User.objects.get()) == "builder"


def test_userinfo_of_somebody_else_does_not_count(provider, configure):
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles={"developers": "builder"}, oidc_default_role="")
    provider.only_in_userinfo = {"groups": "developers", "sub": "another"}
    assert "gives you no role" in refused(Client())


def test_who_is_in_none_of_the_groups_may_not_log_in(provider, configure):
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles={"developers": "builder"}, oidc_default_role="")
    assert "gives you no role" in refused(Client())
    assert not User.objects.exists()


def test_who_left_the_groups_may_not_log_in_any_more(provider, configure):
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles={"developers": "builder"}, oidc_default_role="")
    provider.claims["groups"] = ["developers"]
    through(Client())
    provider.claims["groups"] = []
    assert "gives you no role" in refused(Client())


def test_the_last_admin_stays_one_whatever_the_claim_says(provider, configure):
    configure(provider.issuer, oidc_role_claim="groups", oidc_roles={"a": "admin", "b": "viewer"})
    provider.claims["groups"] = "a"
    through(Client())
    provider.claims["groups"] = "b"
    through(Client())
    assert role_of(User.objects.get()) == "admin"


def test_without_a_claim_for_roles_an_admin_gives_them_here(provider, member):
    through(Client())
    from accounts.users import set_role

    set_role(User.objects.get(username="ada"), "builder")
    through(Client())
    assert role_of(User.objects.get(username="ada")) == "builder"


@pytest.mark.parametrize(
    ("claims", "may"),
    [
        ({"email": "ada@example.com", "email_verified": True}, True),
        ({"email": "ada@EXAMPLE.com", "email_verified": True}, True),
        ({"email": "ada@example.com", "email_verified": False}, False),
        ({"email": "ada@example.com.evil.example", "email_verified": True}, False),
        ({"email": "", "email_verified": True}, False),
    ],
)
def test_only_verified_addresses_of_the_allowed_domains_may_log_in(provider, configure, claims, may):
    configure(provider.issuer, oidc_allowed_domains=["example.com"])
    provider.claims |= claims
    client = Client()
    assert (through(client)["Location"] == "/") is may


def test_a_name_that_somebody_here_has_is_not_taken_over(provider, member):
    member("admin", "Ada")
    assert "taken here by another account" in refused(Client())
    assert "248289761001" in AuditEntry.objects.get(action="login_failed").detail


def test_an_operator_ties_the_two_together(provider, member, capsys):
    ada = member("admin", "ada")
    call_command("link_identity", "ada", "248289761001")
    client = Client()
    through(client)
    assert client.session["_auth_user_id"] == str(ada.pk)


def test_a_disabled_user_stays_out(provider):
    through(Client())
    User.objects.update(is_active=False)
    assert "is disabled" in refused(Client())


def test_the_same_subject_of_another_issuer_is_somebody_else(provider, member):
    bob = member("viewer", "bob")
    Identity.objects.create(user=bob, issuer="https://another.example", subject="248289761001")
    through(Client())
    assert Identity.objects.get(issuer=provider.issuer).user.username == "ada"


# Whom to trust


def test_a_provider_with_a_certificate_of_the_configured_authority_is_trusted_and_no_other(key, configure, tmp_path):
    certificates = ensure_certificates(tmp_path, ["localhost", "127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key)
    with serve(key, context) as provider:
        configure(provider.issuer)
        assert start(Client()) == "/login/"
        configure(provider.issuer, oidc_ca_bundle=str(certificates.authority))
        assert start(Client()).startswith(f"{provider.issuer}/authorize?")


def test_redirects_of_the_provider_are_not_followed(provider):
    provider.discovery = {"jwks_uri": f"{provider.issuer}/moved"}
    assert "did not work" in refused(Client())
    assert provider.asked[-1] == "/moved"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"oidc_issuer": "http://id.example.com"}, "https"),
        ({"oidc_issuer": "https://id.example.com"}, "oidc_client_id"),
        ({"oidc_issuer": "https://id.example.com", "oidc_client_id": "x", "oidc_client_secret": "y"}, "oidc_default_role"),
        (
            {
                "oidc_issuer": "https://id.example.com",
                "oidc_client_id": "x",
                "oidc_client_secret": "y",
                "oidc_default_role": "viewer",
                "oidc_scopes": ["email"],
            },
            "openid",
        ),
        ({"oidc_ca_bundle": "/nowhere.pem"}, "no such file"),
    ],
)
def test_a_configuration_that_can_not_work_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Auth(**keys)
