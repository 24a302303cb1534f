import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from events.models import Event
from logs.models import Log
from logs.output import Recorder
from runners.models import Run
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def running() -> tuple[Event, Run, Recorder]:
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, status="running", started_at=timezone.now())
    return event, run, Recorder(run.pk, ("clone", "build"), [])


def test_state_title_icon_and_history_change_when_it_ends(page: Page):
    event, run, recorder = running()
    page.goto(f"/builds/{event.pk}/")
    expect(page).to_have_title(re.compile("^●"))
    recorder.append("build", b"done\n", "1")
    recorder.end("build", 5, None)
    recorder.close("succeeded")
    run.finish(Run.SUCCEEDED, digest=rows.DIGEST)
    expect(page).to_have_title(re.compile("^✓"))
    expect(page.locator(".verdict")).to_contain_text("succeeded")
    expect(page.locator("#announcement")).to_contain_text("succeeded")
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/ci_portal/favicon-succeeded.svg")
    expect(page.locator(".pull")).to_contain_text(f"docker pull registry.example.com/team/exporter@{rows.DIGEST}")
    expect(page.locator("#history")).to_contain_text(f"run {run.name} succeeded")
    expect(page.locator(".ov-status")).to_have_text("1 lines, 5 B")


def test_a_waiting_build_that_fails_says_why_without_a_reload(page: Page):
    event = rows.event(rows.repository(), status="1", reason="4 builds run at once.")
    run = rows.run(event, status="waiting")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator(".verdict")).to_contain_text("4 builds run at once.")
    run.finish(Run.FAILED, reason="The cluster refuses <this> Job.")
    expect(page.locator(".verdict")).to_contain_text("The cluster refuses <this> Job.")
    expect(page.locator("#output")).to_contain_text("Nothing was printed.")


def test_a_retry_is_followed(page: Page):
    event, run, recorder = running()
    recorder.append("build", b"first attempt\n", "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("first attempt")
    Run.objects.filter(pk=run.pk).update(status="failed")
    again = rows.run(event, status="running", attempt=2)
    Event.objects.filter(pk=event.pk).update(job=again.name)
    Recorder(again.pk, ("clone", "build"), []).append("build", b"second attempt\n", "1")
    expect(page.locator("#output")).to_contain_text("second attempt", timeout=20_000)
    expect(page.locator("#output")).not_to_contain_text("first attempt")


def test_a_build_fits_a_small_phone(page: Page):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    run = rows.run(event)
    Log.objects.record("x" * 300, repo_name="exporter", event=event)
    Recorder(run.pk, ("build",), []).append("build", b"y" * 3000 + b"\n", "1")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("yyy")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
