"""The page of a build, followed in a browser: what it says goes on by itself."""

import re
from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from events.models import Event
from runners.models import Notices, Run
from tests.browser.axe import faults
from tests.browser.everybody import for_everybody
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def notice(uid: str, reason: str, message: str, *, warning: bool = False, count: int = 1) -> dict[str, object]:
    now = iso(timezone.now())
    return {
        "uid": uid,
        "at": now,
        "since": now,
        "reason": reason,
        "message": message,
        "about": "pod",
        "count": count,
        "warning": warning,
    }


def launched(**columns: object) -> tuple[Event, Run]:
    event = rows.event(rows.repository(), status="1", created_by="alice")
    return event, rows.run(event, status="launching", launched_at=timezone.now(), **columns)


def part(page: Page, name: str):
    return page.locator(f'#timeline .part[data-name="{name}"]')


def test_a_build_is_followed_from_the_queue_to_the_digest_without_a_reload(page: Page):
    event, run = launched()
    page.goto(f"/builds/{event.pk}/")
    page.evaluate("window.same = true")
    expect(page).to_have_title(re.compile(f"^◌ exporter #{event.pk}"))
    expect(part(page, "scheduling")).to_have_class(re.compile("part-running"))
    now = timezone.now()
    run.running(now)
    run.progressed({"clone": {"started": iso(now)}}, now)
    Notices.keep(run, [notice("1", "Scheduled", "Successfully assigned builds/x to node-3")])
    expect(page).to_have_title(re.compile("^●"))
    expect(part(page, "clone")).to_have_class(re.compile("part-running"))
    expect(page.locator("#notices")).to_contain_text("Successfully assigned builds/x to node-3")
    later = now + timedelta(seconds=3)
    times = {"clone": {"started": iso(now), "finished": iso(later)}, "build": {"started": iso(later)}}
    run.progressed(times, now)
    expect(part(page, "clone")).to_have_class(re.compile("part-done"))
    expect(part(page, "build")).to_have_class(re.compile("part-running"))
    Notices.keep(run, [notice("1", "Scheduled", "Successfully assigned builds/x to node-3", count=2)])
    expect(page.locator("#notices")).to_contain_text("×2")
    run.finish(Run.SUCCEEDED, digest=rows.DIGEST, phases=times)
    expect(page).to_have_title(re.compile("^✓"))
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/ci_portal/favicon-succeeded.svg")
    expect(page.locator(".pull")).to_contain_text(f"docker pull registry.example.com/team/exporter@{rows.DIGEST}")
    expect(page.locator("#history")).to_contain_text(f"run {run.name} succeeded")
    expect(page.locator("#announcement")).to_contain_text("succeeded")
    assert page.evaluate("window.same")


def test_the_time_of_the_current_part_counts_on_and_its_bar_grows(page: Page):
    now = timezone.now()
    event = rows.event(rows.repository(), status="2")
    rows.run(event, launched_at=now, placed_at=now, started_at=now, phases={"clone": {"started": iso(now)}})
    page.goto(f"/builds/{event.pk}/")
    took, bar = part(page, "clone").locator(".part-took"), part(page, "clone").locator(".part-time")
    first = took.inner_text()
    expect(took).not_to_have_text(first)
    expect(bar).to_have_attribute("width", re.compile(r"^\d"))


def test_an_estimate_counts_down_and_then_says_that_it_takes_longer(page: Page):
    exporter, now = rows.repository(), timezone.now()
    earlier = rows.event(exporter, status="3", digest=rows.DIGEST)
    rows.run(earlier, started_at=now - timedelta(seconds=90), finished_at=now)
    event = rows.event(exporter, status="2")
    run = rows.run(event, started_at=now - timedelta(seconds=10))
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#standing .left")).to_contain_text("about 1 min")
    Run.objects.filter(pk=run.pk).update(started_at=now - timedelta(minutes=9))
    expect(page.locator("#standing .left")).to_contain_text("longer than usual (usually 1 min 30 s)")


def test_a_tab_in_the_background_goes_on_telling_in_title_and_icon(page: Page):
    event, run = launched()
    page.goto(f"/builds/{event.pk}/")
    hide = "() => { Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }); }"
    page.evaluate(hide)
    run.finish(Run.FAILED, reason="It went wrong.", cause="push_refused")
    expect(page).to_have_title(re.compile("^✗"), timeout=30_000)


def test_the_bell_asks_for_leave_only_when_it_is_clicked_and_tells_the_end_once(page: Page, live_server):
    script = """() => {
        window.told = []; window.asked = 0;
        window.Notification = class {
            constructor(title, options) { window.told.push([title, options.body]); }
            addEventListener() {}
        };
        window.Notification.requestPermission = async () => { window.asked += 1; return 'granted'; };
    }"""
    page.add_init_script(f"({script})()")
    event, run = launched()
    page.goto(f"/builds/{event.pk}/")
    bell = page.get_by_role("button", name="Notify me")
    expect(bell).to_be_visible()
    assert page.evaluate("window.asked") == 0
    bell.click()
    expect(bell).to_have_attribute("aria-pressed", "true")
    run.finish(Run.FAILED, reason="It went wrong.", cause="step_failed")
    page.wait_for_function("() => window.told.length === 1")
    title, body = page.evaluate("window.told[0]")
    assert title.startswith("✗ exporter")
    assert "A step of the Dockerfile failed" in body


def test_the_manifest_is_fetched_when_it_is_opened(page: Page):
    event = rows.event(rows.repository(), status="2")
    rows.run(event, backend="local", builder="buildah", repo_path="https://git.example.com/team/exporter.git")
    page.goto(f"/builds/{event.pk}/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "manifest" in request.url else None)
    page.locator("#manifest summary").click()
    expect(page.locator("#manifest pre")).to_contain_text("kind: LocalBuild")
    assert len(asked) == 1


def test_attempts_are_switched_by_address(page: Page):
    event = rows.event(rows.repository(), status="4", reason="The second failed.")
    rows.run(event, status="failed", reason="The node was lost.", cause="node_lost")
    rows.run(event, attempt=2, cause="step_failed")
    page.goto(f"/builds/{event.pk}/")
    page.get_by_role("link", name="Attempt 1").click()
    expect(page).to_have_url(re.compile(r"\?attempt=1$"))
    expect(page.locator('#attempts tr[aria-current="true"]')).to_contain_text("The node was lost.")
    page.get_by_role("link", name="Show the newest").click()
    expect(page.locator('#attempts tr[aria-current="true"]')).to_contain_text("Attempt 2")


def test_settings_that_were_opened_stay_open_while_the_page_goes_on(page: Page):
    event, run = launched()
    page.goto(f"/builds/{event.pk}/")
    page.locator("#used summary").click()
    run.running(timezone.now())
    expect(page).to_have_title(re.compile("^●"))
    expect(page.locator("#used")).to_have_attribute("open", "")


def test_a_portal_that_was_away_is_taken_up_again(page: Page, context_of_page: BrowserContext):
    event, run = launched()
    page.goto(f"/builds/{event.pk}/")
    context_of_page.set_offline(True)
    run.finish(Run.FAILED, reason="It went wrong.", cause="step_failed")
    page.wait_for_timeout(500)
    context_of_page.set_offline(False)
    expect(page).to_have_title(re.compile("^✗"))


@pytest.fixture
def context_of_page(page: Page) -> BrowserContext:
    return page.context


def scene(kind: str) -> Event:
    exporter, now = rows.repository(), timezone.now()
    before = now - timedelta(minutes=2)
    phases = {"clone": {"started": iso(before), "finished": iso(now)}, "build": {"started": iso(now)}}
    times = {"launched_at": before, "placed_at": before, "started_at": before}
    if kind == "waiting":
        event = rows.event(exporter, status="1", reason="At most 4 builds run at once.")
        rows.run(event, cause="turn")
    elif kind == "running":
        rows.run(rows.event(exporter, status="3", digest=rows.DIGEST), started_at=before, finished_at=now)
        event = rows.event(exporter, status="2", created_by="alice")
        run = rows.run(event, phases=phases, **times)
        Notices.keep(run, [notice("1", "BackOff", "Back-off pulling image " + "x" * 200, warning=True, count=3)])
    elif kind == "failed":
        event = rows.event(exporter, status="4", reason="The push was refused: " + "y" * 200)
        rows.run(event, status="failed", reason="The node was lost.", cause="node_lost")
        rows.run(event, attempt=2, automatic=True, cause="push_refused", phases=phases, **times)
    else:
        event = rows.event(exporter, status="3", digest=rows.DIGEST)
        rows.run(event, phases=phases, **times)
    return event


def test_what_was_cancelled_tried_again_and_only_recorded_is_for_everybody(page: Page):
    exporter, now = rows.repository(), timezone.now()
    cancelled = rows.event(exporter, status="5", reason="Cancelled by ada.", created_by="ada")
    rows.run(cancelled, cause="cancelled", cancelled_by="ada", cancel_requested_at=now, finished_at=now)
    several = rows.event(exporter, status="3", digest=rows.DIGEST, created_by="ada", created_token="nightly builds")
    rows.run(several, status="failed", cause="node_lost", reason="The node that ran the build was lost.", finished_at=now)
    rows.run(several, attempt=2, automatic=True, finished_at=now)
    recorded = rows.event(None, managed=False, status="9", repo="elsewhere")
    for name, event in {"cancelled": cancelled, "several attempts": several, "recorded": recorded}.items():
        page.goto(f"/builds/{event.pk}/")
        for_everybody(page, f"run {name}")


@pytest.mark.parametrize("kind", ["waiting", "running", "failed", "succeeded"])
def test_it_is_for_everybody(page: Page, kind: str):
    page.goto(f"/builds/{scene(kind).pk}/")
    page.locator("#manifest summary").click()
    page.locator("#used summary").click()
    for_everybody(page, f"run {kind}")


def test_a_build_that_retention_removed_says_so(page: Page):
    event = scene("succeeded")
    number = event.pk
    rows.event(event.repository)
    event.delete()
    page.goto(f"/builds/{number}/")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Build #{number} is not there any more")
    assert faults(page) == []
