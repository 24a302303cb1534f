"""Accounts in the browser: log in, make and copy a token, end sessions, make a user, look at the audit; axe on every page."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import ApiToken, AuditEntry, BrowserSession
from accounts.users import password_link
from repos.credentials import store_git_login
from tests.browser.axe import faults
from tests.browser.everybody import for_everybody
from tests.support import rows
from tests.support.roles import group_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_browser]

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def required(settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": settings.PORTAL.auth.model_copy(update={"mode": "required"})})


@pytest.fixture
def root() -> User:
    user = User.objects.create_user("root", password=PASSWORD)
    user.groups.set(group_of("admin"))
    return user


def log_in(page: Page, path: str = "/login/") -> None:
    page.goto(path)
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login/" not in url)


def test_logging_in_leads_to_where_one_wanted(page: Page, root):
    log_in(page, "/audit/")
    expect(page.get_by_role("heading", name="Audit")).to_be_visible()


def test_logging_out_is_told(page: Page, root):
    log_in(page)
    page.locator("#account summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_have_text("You are logged out.")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_a_wrong_password_is_told_and_the_name_stays(page: Page, root):
    page.goto("/login/")
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Username")).to_have_value("root")
    assert faults(page) == []


def test_a_token_is_made_copied_shown_once_and_revoked_after_a_question(page: Page, root):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    log_in(page, "/account/tokens/")
    page.get_by_label("Name").fill("nightly builds")
    page.get_by_role("button", name="Make a token").click()
    made = page.locator("#new_token").inner_text()
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == made
    assert faults(page) == []
    page.goto("/account/tokens/")
    expect(page.get_by_text(made)).to_have_count(0)
    page.locator("summary", has_text="Revoke").click()
    page.get_by_role("button", name="Revoke this token").click()
    expect(page.get_by_role("status")).to_contain_text("nightly builds was revoked")
    assert not ApiToken.objects.exists()


def test_a_date_is_told_as_the_reader_writes_it(page: Page, root, live_server):
    ApiToken.objects.issue(root, "nightly", datetime(2040, 1, 2, 12, tzinfo=UTC))
    log_in(page, "/account/tokens/")
    expect(page.locator("time[data-day]")).to_have_text("2 Jan 2040")
    page.context.add_cookies([{"name": "django_language", "value": "zh-hans", "url": live_server.url}])
    page.reload()
    expect(page.locator("time[data-day]")).to_have_text("2040年1月2日")


def test_a_question_is_answered_with_the_keyboard_and_closed_with_escape(page: Page, root):
    ApiToken.objects.issue(root, "nightly")
    log_in(page, "/account/tokens/")
    page.locator("summary", has_text="Revoke").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Revoke this token")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Revoke this token")).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("You have no tokens.")).to_be_visible()


def test_another_session_is_ended(page: Page, root):
    from django.test import Client

    other = Client(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux) Firefox/140.0")
    other.force_login(root)
    log_in(page, "/account/sessions/")
    expect(page.get_by_text("this one", exact=True)).to_have_count(1)
    page.locator("summary", has_text="End all others").click()
    page.get_by_role("button", name="End all other sessions").click()
    expect(page.get_by_role("status")).to_contain_text("All your other sessions have ended.")
    assert BrowserSession.objects.count() == 1


def test_an_admin_makes_a_user_whose_link_leads_to_a_password(page: Page, root):
    log_in(page, "/users/")
    page.locator("summary", has_text="Make a user").click()
    page.get_by_label("User name").fill("grace")
    page.get_by_role("button", name="Make a user").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#new_link").inner_text()
    page.context.clear_cookies()
    page.goto(link)
    page.get_by_label("New password", exact=True).fill("a password for grace")
    page.get_by_label(re.compile("confirmation")).fill("a password for grace")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("status")).to_contain_text("Your password is set.")
    assert User.objects.get(username="grace").check_password("a password for grace")


PATHS = {
    "tokens": "/account/tokens/",
    "sessions": "/account/sessions/",
    "password": "/account/password/",
    "users": "/users/",
    "user": "/users/{pk}/",
    "all tokens": "/tokens/",
    "audit": "/audit/",
    "credentials": "/credentials/",
    "reconciliation": "/reconcile/",
}


@pytest.mark.parametrize("name", PATHS)
def test_every_page_is_for_everybody(page: Page, root, name):
    ApiToken.objects.issue(root, "nightly")
    ApiToken.objects.issue(root, "old", timezone.now())
    AuditEntry.objects.record("role_changed", "root", "role: viewer → admin", actor="root")
    store_git_login(rows.repository(ca_secret="corp-ca"), "ada", "s3cret-token")
    log_in(page, PATHS[name].format(pk=root.pk))
    for_everybody(page, name)


def test_the_login_is_for_everybody(page: Page):
    page.goto("/login/")
    for_everybody(page, "login")


def test_the_page_of_a_password_link_is_for_everybody(page: Page, root):
    page.goto(password_link(root))
    for_everybody(page, "choose a password")


def test_what_one_may_not_do_is_told_to_everybody(page: Page):
    User.objects.create_user("root", password=PASSWORD).groups.set(group_of("viewer"))
    log_in(page, "/audit/")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    for_everybody(page, "forbidden")
    page.goto("/")
    for_everybody(page, "home of a viewer")


@pytest.mark.parametrize("path", ["", "auth/user/", "auth/group/add/", "repos/repository/", "accounts/apitoken/"])
def test_djangos_admin_works_under_the_strict_policy(page: Page, root, path):
    log_in(page, f"/admin/{path}")
    expect(page.locator("#content")).to_be_visible()
