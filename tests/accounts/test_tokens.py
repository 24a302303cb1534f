"""API tokens in the browser: made, shown once, listed, revoked; and what a script is told of one that is no good."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]


@pytest.fixture
def ada(member) -> User:
    return member("builder", "ada")


@pytest.fixture
def page(ada) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def make(page: Client, **said: str) -> str:
    """Make a token; returns its text as the page shows it, "" where it shows none."""
    answer = page.post("/account/tokens/", {"name": "nightly", "scope": "build", "days": "90", **said})
    return str(answer.context["key"])


def sent(key: str, path: str = "/repo/") -> object:
    return Client().get(path, headers={"authorization": f"Token {key}"})


def test_a_token_is_made_and_works(page):
    key = make(page)
    assert key.startswith("cip_")
    assert sent(key).status_code == 200


def test_it_is_shown_this_once_and_kept_by_no_cache(page):
    answer = page.post("/account/tokens/", {"name": "nightly", "scope": "build", "days": "90"})
    key = answer.context["key"]
    assert key in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert key not in page.get("/account/tokens/").content.decode()


def test_it_is_recognised_by_its_first_characters_alone(page):
    key = make(page)
    listed = page.get("/account/tokens/").content.decode()
    assert f"{key[:8]}…" in listed
    assert key[:12] not in listed


def test_it_expires_in_ninety_days_unless_another_time_is_chosen(page):
    assert page.get("/account/tokens/").context["form"]["days"].value() == 90
    make(page, days="7")
    left = ApiToken.objects.get().expires_at - timezone.now()
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_it_may_last_for_ever_unless_that_is_configured_away(page, portal_settings):
    make(page, days="0")
    assert ApiToken.objects.get().expires_at is None
    portal_settings("auth", mode="required", token_max_days=30)
    assert make(page, name="other", days="0") == ""
    assert [value for value, _ in page.get("/account/tokens/").context["form"].fields["days"].choices] == ["7", "30"]


@pytest.mark.parametrize(
    ("role", "scopes"), [("viewer", ["read"]), ("builder", ["read", "build"]), ("admin", ["read", "build", "admin"])]
)
def test_scopes_are_offered_up_to_ones_own_role(client, member, role, scopes):
    client.force_login(member(role))
    assert [value for value, _ in client.get("/account/tokens/").context["form"].fields["scope"].choices] == scopes


def test_a_scope_above_ones_role_is_refused(page):
    assert make(page, scope="admin") == ""
    assert not ApiToken.objects.exists()


def test_who_has_no_role_is_told_that_a_token_would_be_of_no_use(client, member):
    client.force_login(member(""))
    assert "Ask whoever runs this portal for a role" in client.get("/account/tokens/").content.decode()
    client.post("/account/tokens/", {"name": "x", "scope": "read", "days": "7"})
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(("said", "field"), [({"name": ""}, "name"), ({"name": "x" * 101}, "name"), ({"days": "5"}, "days")])
def test_what_is_wrong_is_told_beside_its_field(page, said, field):
    answer = page.post("/account/tokens/", {"name": "nightly", "scope": "build", "days": "90", **said})
    assert answer.status_code == 400
    assert field in answer.context["form"].errors


def test_two_tokens_of_one_user_have_two_names(page):
    make(page)
    assert make(page) == ""


def test_the_last_use_is_listed_with_its_address(page):
    key = make(page)
    Client(REMOTE_ADDR="198.51.100.9").get("/repo/", headers={"authorization": f"Token {key}"})
    listed = page.get("/account/tokens/").content.decode()
    assert "198.51.100.9" in listed


def test_a_revoked_token_opens_nothing(page):
    key = make(page)
    page.post("/account/tokens/", {"revoke": ApiToken.objects.get().pk})
    answer = sent(key)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_unknown")
    assert "revoked" in answer.json()["detail"]


def test_nobody_revokes_the_token_of_another(page, member):
    token = ApiToken.objects.issue(member("viewer", "bob"), "theirs")[0]
    page.post("/account/tokens/", {"revoke": token.pk})
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_an_expired_token_is_told_to_have_expired_and_which_it_was(page):
    key = make(page)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = sent(key)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")
    assert "'nightly'" in answer.json()["detail"]
    assert key not in answer.content.decode()
    assert answer["WWW-Authenticate"] == 'Token realm="ci-portal"'


def test_a_token_of_a_disabled_account_is_told_so(page, ada):
    key = make(page)
    User.objects.update(is_active=False)
    answer = sent(key)
    assert (answer.status_code, answer.json()["code"]) == (401, "account_disabled")


def test_an_admin_sees_and_revokes_everybodys(page, member):
    key = make(page)
    admin = Client()
    admin.force_login(member("admin"))
    assert "nightly" in admin.get("/tokens/").content.decode()
    admin.post("/tokens/", {"revoke": ApiToken.objects.get().pk})
    assert sent(key).status_code == 401
    entry = AuditEntry.objects.get(action="token_revoked")
    assert (entry.actor, entry.target) == ("admin", "ada: nightly")


def test_the_audit_tells_of_a_new_token_and_not_its_text(page):
    key = make(page)
    entry = AuditEntry.objects.get(action="token_created")
    assert (entry.actor, entry.target, entry.detail.split(",")[0]) == ("ada", "ada: nightly", "scope: build")
    assert key not in str(AuditEntry.objects.values_list())


def test_the_lists_cost_the_same_for_one_and_for_many(member, django_assert_max_num_queries):
    client = Client()
    client.force_login(member("admin"))
    for number in range(20):
        ApiToken.objects.issue(member("viewer", f"user{number}"), "token")
    with django_assert_max_num_queries(8):
        client.get("/tokens/")
    with django_assert_max_num_queries(9):
        client.get("/users/")


def test_a_token_is_revoked_at_the_terminal(page, capsys):
    key = make(page)
    call_command("revoke_token", "ada", "nightly")
    assert sent(key).status_code == 401
