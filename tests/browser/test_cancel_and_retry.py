"""Cancel and retry from the page of a build."""

import pytest
from playwright.sync_api import Page, expect

from events.models import Event
from runners.models import Run
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def test_a_waiting_build_is_cancelled_and_retried(page: Page, live_server):
    event = rows.event(rows.repository(), status="1", fingerprint="f" * 64)
    rows.run(event, backend="local")
    page.goto(f"{live_server.url}/builds/{event.pk}/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".verdict")).to_contain_text("Cancelled by an anonymous user.")
    page.get_by_role("button", name="Retry this commit").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(2)
    assert list(Run.objects.order_by("id").values_list("attempt", "status")) == [(1, "cancelled"), (2, "waiting")]
    assert Event.objects.get().status == Event.WAITING


def test_a_cancel_that_is_not_confirmed_changes_nothing(page: Page, live_server):
    event = rows.event(rows.repository(), status="1")
    rows.run(event, backend="local")
    page.goto(f"{live_server.url}/builds/{event.pk}/")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    assert Run.objects.get().status == Run.WAITING


def test_a_running_build_says_that_it_is_being_cancelled(page: Page, live_server):
    event = rows.event(rows.repository(), status="2")
    rows.run(event, status="running")
    page.goto(f"{live_server.url}/builds/{event.pk}/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".verdict")).to_contain_text("Being cancelled")


def test_whoever_looks_on_sees_that_somebody_cancels(page: Page, live_server):
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, status="running")
    page.goto(f"{live_server.url}/builds/{event.pk}/")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    run.request_cancel("eve")
    expect(page.locator(".verdict")).to_contain_text("Being cancelled, as eve asked…")


def test_building_the_latest_asks_for_the_branch_of_this_build(page: Page, live_server):
    event = rows.event(rows.repository(), status="4", ref="refs/heads/feature/x")
    rows.run(event)
    page.goto(f"{live_server.url}/builds/{event.pk}/")
    with page.expect_request("**/check/") as asked:
        page.get_by_role("button", name="Build the latest").click()
    assert asked.value.post_data_json == {"repo": "exporter", "branch": "feature/x"}
    expect(page.locator("#notice")).to_contain_text("exporter")
