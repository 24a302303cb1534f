"""Lists that go on by themselves, and what is done from their rows."""

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from events.models import Event
from runners.models import Run
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def row(page: Page, event: Event):
    return page.locator(f'table.builds tr[data-key="{event.pk}"]')


def test_a_row_moves_from_waiting_to_running_to_succeeded_while_one_looks(page: Page):
    event = rows.event(rows.repository("exporter"), status="1")
    run = rows.run(event, status="waiting")
    page.goto("/builds/")
    page.evaluate("window.mark = 'still here'")
    expect(row(page, event).locator(".state")).to_have_text("waiting")
    Run.objects.update(status="launching")
    run.refresh_from_db()
    run.running(timezone.now())
    expect(row(page, event).locator(".state")).to_have_text("running")
    run.finish(Run.SUCCEEDED, digest=rows.DIGEST)
    expect(row(page, event).locator(".state")).to_have_text("succeeded")
    expect(page.locator("#announcement")).to_have_text(f"exporter #{event.pk}: succeeded")
    assert page.evaluate("window.mark") == "still here"


def test_new_builds_appear_and_the_rows_that_were_there_stay_the_same(page: Page):
    exporter = rows.repository("exporter")
    old = rows.event(exporter, status="2")
    page.goto("/builds/")
    page.evaluate("document.querySelector('table.builds tbody tr').mark = true")
    new = rows.event(exporter, status="1")
    expect(row(page, new)).to_be_visible()
    assert page.evaluate("[...document.querySelectorAll('table.builds tbody tr')].map(r => r.mark === true)") == [False, True]
    assert row(page, old).count() == 1


def test_a_repository_shows_its_builds_live(page: Page):
    exporter = rows.repository("exporter")
    event = rows.event(exporter, status="2")
    rows.run(event, status="running", started_at=timezone.now())
    page.goto("/")
    state = page.locator("table.repositories .state")
    expect(state).to_have_text("running")
    Event.objects.update(status="4", finished_at=timezone.now())
    expect(state).to_have_text("failed")
    page.goto("/repos/exporter/")
    Event.objects.update(status="2", finished_at=None)
    page.goto("/repos/exporter/")
    Event.objects.update(status="3", finished_at=timezone.now())
    expect(page.locator("#overview")).to_contain_text("100 %")


def test_the_focus_stays_where_it_is_when_a_row_changes(page: Page):
    event = rows.event(rows.repository("exporter"), status="1")
    rows.run(event)
    page.goto("/builds/")
    row(page, event).get_by_role("link", name=f"#{event.pk}").focus()
    Event.objects.update(status="2")
    expect(row(page, event).locator(".state")).to_have_text("running")
    expect(row(page, event).get_by_role("link", name=f"#{event.pk}")).to_be_focused()


def test_a_running_build_is_cancelled_from_its_row_after_a_question(page: Page):
    event = rows.event(rows.repository("exporter"), status="2")
    rows.run(event, status="running", started_at=timezone.now())
    page.goto("/builds/")
    row(page, event).get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Cancel exporter #{event.pk}?")
    dialog.get_by_role("button", name="No, leave it").click()
    assert Run.objects.get().cancel_requested_at is None
    row(page, event).get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the build").click()
    expect(page.locator(".toast")).to_contain_text("is being cancelled")
    expect(row(page, event)).to_contain_text("Being cancelled…")


def test_a_waiting_build_is_cancelled_and_built_once_more_from_its_row(page: Page):
    event = rows.event(rows.repository("exporter"), status="1", fingerprint="f" * 64)
    rows.run(event, backend="local")
    page.goto("/builds/")
    row(page, event).get_by_role("button", name="Cancel").click()
    expect(row(page, event).locator(".state")).to_have_text("cancelled")
    row(page, event).get_by_role("button", name="Retry").click()
    expect(page.locator(".toast").last).to_contain_text("is built once more")
    expect(row(page, event).locator(".state")).to_have_text("waiting")
    assert Run.objects.count() == 2


def test_what_is_refused_says_why(page: Page):
    event = rows.event(rows.repository("exporter"), status="4")
    rows.run(event)
    page.goto("/builds/")
    Event.objects.update(status="3")
    row(page, event).get_by_role("button", name="Retry").click()
    expect(page.locator(".toast")).to_contain_text("Only a failed or cancelled build can be retried")


def test_a_portal_that_is_away_is_told_until_it_is_back(page: Page):
    rows.event(rows.repository("exporter"), status="2")
    page.add_init_script(
        "window.setTimeout = ((real) => (work, wait, ...more) => real(work, wait > 1000 ? 50 : wait, ...more))(setTimeout)"
    )
    page.goto("/builds/")
    page.route("**/builds/", lambda route: route.abort())
    expect(page.locator(".toast")).to_contain_text("may be old")
    page.unroute("**/builds/")
    expect(page.locator(".toast", has_text="may be old")).to_have_count(0)


def test_filters_are_in_the_address_and_can_be_taken_away(page: Page):
    exporter = rows.repository("exporter")
    rows.event(exporter, status="4", created_by="ada")
    rows.event(exporter, status="3", created_by="grace")
    page.goto("/builds/")
    page.get_by_label("Started by").fill("ada")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/builds/?who=ada")
    expect(page.locator("table.builds tbody tr")).to_have_count(1)
    page.get_by_role("navigation", name="State").get_by_role("link", name="succeeded").click()
    expect(page.get_by_text("No build matches this filter.")).to_be_visible()
    page.get_by_role("link", name="Started by ada remove this filter").click()
    page.wait_for_url("**/builds/?state=succeeded")
    expect(page.locator("table.builds tbody tr")).to_have_count(1)
