"""Cancel, retry and build the latest from the page of a build."""

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Page, expect

from events.models import Event
from runners.models import Run
from tests.browser.axe import faults
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def ask_to_cancel(page: Page):
    page.get_by_role("button", name="Cancel", exact=True).click()
    return page.get_by_role("dialog")


def test_a_waiting_build_is_cancelled_and_retried_without_a_reload(page: Page):
    event = rows.event(rows.repository(), status="1", fingerprint="f" * 64)
    rows.run(event, backend="local")
    page.goto(f"/builds/{event.pk}/")
    page.evaluate("window.same = true")
    ask_to_cancel(page).get_by_role("button", name="Cancel the build").click()
    expect(page.locator("#standing")).to_contain_text("Cancelled by an anonymous user.")
    expect(page.locator("#toasts")).to_contain_text(f"exporter #{event.pk} was cancelled.")
    page.get_by_role("button", name="Retry this commit").click()
    expect(page.locator("#attempts tbody tr")).to_have_count(2)
    expect(page.locator("#toasts")).to_contain_text("is built once more, at the same commit")
    expect(page.locator("#output")).to_have_attribute("data-run", str(Run.objects.get(attempt=2).pk))
    assert list(Run.objects.order_by("id").values_list("attempt", "status")) == [(1, "cancelled"), (2, "waiting")]
    assert Event.objects.get().status == Event.WAITING
    assert page.evaluate("window.same")


def test_a_cancel_that_is_not_confirmed_changes_nothing(page: Page):
    event = rows.event(rows.repository(), status="1")
    rows.run(event, backend="local")
    page.goto(f"/builds/{event.pk}/")
    dialog = ask_to_cancel(page)
    expect(dialog).to_contain_text("its output stays")
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert Run.objects.get().cancel_requested_at is None


def test_a_running_build_says_that_it_is_being_cancelled_until_it_is(page: Page):
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, status="running")
    page.goto(f"/builds/{event.pk}/")
    ask_to_cancel(page).get_by_role("button", name="Cancel the build").click()
    expect(page.locator("#standing")).to_contain_text("Being cancelled")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)
    run.refresh_from_db()
    run.finish(Run.CANCELLED, reason=run.cancel_reason, cause="cancelled")
    expect(page.locator("#standing")).to_contain_text("an anonymous user")
    expect(page.get_by_role("button", name="Retry this commit")).to_be_visible()


def test_whoever_looks_on_sees_who_cancels(page: Page):
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, status="running")
    page.goto(f"/builds/{event.pk}/")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    run.request_cancel("eve")
    expect(page.locator("#standing")).to_contain_text("Being cancelled, as eve asked…")


def test_a_retry_that_is_refused_says_why(page: Page):
    event = rows.event(rows.repository(), status="4")
    rows.run(event, status="failed")
    page.goto(f"/builds/{event.pk}/")
    Event.objects.filter(pk=event.pk).update(status="3")
    page.get_by_role("button", name="Retry this commit").click()
    expect(page.locator("#toasts")).to_contain_text("Only a failed or cancelled build can be retried")


def test_building_the_latest_asks_for_the_branch_of_this_build(page: Page):
    event = rows.event(rows.repository(), status="4", ref="refs/heads/feature/x")
    rows.run(event)
    page.goto(f"/builds/{event.pk}/")
    with page.expect_request("**/check/") as asked:
        page.get_by_role("button", name="Build the latest").click()
    assert asked.value.post_data_json == {"repo": "exporter", "branch": "feature/x"}
    expect(page.locator("#toasts")).to_contain_text("exporter")


def test_a_viewer_is_offered_nothing_that_would_be_refused(page: Page, settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": settings.PORTAL.auth.model_copy(update={"mode": "required"})})
    viewer = User.objects.create_user("vera", password="correct horse battery")
    viewer.user_permissions.add(Permission.objects.get(content_type__app_label="accounts", codename="read"))
    event = rows.event(rows.repository(), status="2")
    rows.run(event)
    page.goto(f"/builds/{event.pk}/")
    page.get_by_label("Username").fill("vera")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#actions")).to_contain_text("takes the role builder")
    expect(page.locator("#actions button")).to_have_count(0)
    assert faults(page) == []
