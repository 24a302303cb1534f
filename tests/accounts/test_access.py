"""Who may use the API: everyone with auth.mode open, who logged in or sent a token with required."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken
from repos.models import Repository


@pytest.fixture
def alice(member):
    return member("builder", "alice")


@pytest.fixture
def token(alice):
    return ApiToken.objects.issue(alice, "nightly")[1]


def add(client, **headers):
    return client.post("/repo/", {"repo_name": "app"}, content_type="application/json", headers=headers)


def test_open_lets_everyone_write(client, db):
    assert add(client).status_code == 201


@pytest.mark.usefixtures("required", "db")
@pytest.mark.parametrize("method", ["get", "post"])
def test_required_asks_for_a_login(client, method):
    answer = getattr(client, method)("/repo/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Token realm="ci-portal"'
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.usefixtures("required")
def test_a_token_lets_a_script_in(client, token):
    answer = add(client, authorization=f"Token {token}")
    assert (answer.status_code, answer.json()["user"]) == (201, "alice")


@pytest.mark.parametrize("header", ["Token wrong", "Token ", "Token", "token cip_", "Token \udcff"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(client, db, header):
    assert client.get("/repo/", HTTP_AUTHORIZATION=header).status_code == 401


@pytest.mark.usefixtures("required")
def test_an_expired_token_is_refused(client, alice):
    key = ApiToken.objects.issue(alice, "old", timezone.now() - timedelta(seconds=1))[1]
    assert add(client, authorization=f"Token {key}").status_code == 401


@pytest.mark.usefixtures("required")
def test_a_token_of_a_user_who_may_not_log_in_is_refused(client, alice, token):
    User.objects.update(is_active=False)
    assert add(client, authorization=f"Token {token}").status_code == 401


@pytest.mark.usefixtures("required")
def test_another_scheme_is_no_login(client, token):
    assert add(client, authorization=f"Bearer {token}").status_code == 401


def test_only_the_hash_of_a_token_is_stored(token):
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM api_token")
        assert token not in str(cursor.fetchall())


def test_the_use_of_a_token_is_noted_once_a_minute(client, token, django_assert_num_queries):
    client.get("/repo/", headers={"authorization": f"Token {token}"})
    used_at = ApiToken.objects.get().used_at
    assert used_at is not None
    client.get("/repo/", headers={"authorization": f"Token {token}"})
    assert ApiToken.objects.get().used_at == used_at


@pytest.mark.usefixtures("required")
def test_a_session_lets_a_browser_read(client, alice):
    client.force_login(alice)
    assert client.get("/repo/").status_code == 200


@pytest.mark.usefixtures("required")
def test_a_session_writes_with_its_csrf_token_alone(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert add(client).status_code == 403
    client.get("/login/")
    client.cookies["csrftoken"] = secret = "a" * 32
    assert add(client, **{"x-csrftoken": secret}).status_code == 201


def test_open_needs_no_csrf_token(db):
    assert add(Client(enforce_csrf_checks=True)).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
        {"origin": "https://evil.example.com"},
        {"origin": "http://testserver:8000"},
        {"origin": "null"},
    ],
)
def test_open_refuses_what_another_site_makes_a_browser_send(client, db, headers):
    answer = add(client, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert not Repository.objects.exists()


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://testserver"}, {}]
)
def test_open_takes_what_its_own_pages_and_scripts_send(client, db, headers):
    assert add(client, **headers).status_code == 201


def test_a_token_is_taken_from_any_site(client, token):
    assert add(client, authorization=f"Token {token}", origin="https://tools.example.com").status_code == 201


@pytest.mark.usefixtures("required", "db")
def test_the_description_of_the_api_is_public(client):
    assert client.get("/schema/").status_code == client.get("/docs/").status_code == 200


def test_logging_in_and_out(client, alice):
    assert client.post("/login/", {"username": "alice", "password": "correct horse battery"})["Location"] == "/"
    assert "_auth_user_id" in client.session
    client.post("/logout/")
    assert "_auth_user_id" not in client.session


def test_create_token_prints_a_token_that_works(client, alice, capsys):
    call_command("create_token", "alice", "nightly builds")
    key = capsys.readouterr().out.strip()
    assert key.startswith("cip_")
    assert client.get("/repo/", headers={"authorization": f"Token {key}"}).status_code == 200


def test_create_token_can_let_it_expire(alice, capsys):
    call_command("create_token", "alice", "nightly", "--days", "30")
    left = ApiToken.objects.get().expires_at - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bob", "x"], "no user 'bob'"),
        (["alice", ""], "1 to 100"),
        (["alice", "x", "--days", "0"], "--days"),
        (["alice", "taken"], "already"),
    ],
)
def test_create_token_says_what_is_wrong(alice, arguments, message):
    ApiToken.objects.issue(alice, "taken")
    with pytest.raises(CommandError, match=message):
        call_command("create_token", *arguments)
