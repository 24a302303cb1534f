"""Nothing of a page moves while it is loaded: scripts fill places that are kept for them."""

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.test_viewer_reading import failed
from tests.browser.viewing import ended, running
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

#: Adds up what the browser counts as shifts of layout that the reader did not cause (https://web.dev/articles/cls).
COUNT = """
    window.moved = [];
    new PerformanceObserver((list) => list.getEntries().filter((entry) => !entry.hadRecentInput).forEach((entry) => moved.push({
        score: entry.value, what: entry.sources.map(({ node }) => node?.className || node?.nodeName),
    }))).observe({ type: "layout-shift", buffered: true });
"""
#: A hundredth is a line of text that gets a word longer; a row of buttons that appears counts ten times as much.
MOST = 0.01


def lists() -> None:
    exporter = rows.repository()
    for status in ("3", "4", "5", "3"):
        rows.run(rows.event(exporter, status=status, created_by="ada"), started_at=timezone.now())
    rows.run(rows.event(exporter, status="2"), status="running", started_at=timezone.now())


def home() -> str:
    lists()
    return "/"


def builds() -> str:
    lists()
    return "/builds/"


def repository() -> str:
    lists()
    return "/repos/exporter/"


def succeeded() -> str:
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    rows.run(event)
    return f"/builds/{event.pk}/"


def under_way() -> str:
    recorder, url = running()
    recorder.append("build", b"line\n" * 300, "1")
    return url


def long() -> str:
    return ended(b"line\n" * 3000)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scene", [home, builds, repository, succeeded, failed, under_way, long])
def test_nothing_moves_while_it_is_loaded(page: Page, scene, width: int):
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(COUNT)
    url = scene()
    page.goto(url)
    if "/builds/" in url and url != "/builds/":
        expect(page.locator(".ov-view")).to_have_attribute("aria-busy", "false")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 200))))")
    moved = page.evaluate("moved")
    assert sum(each["score"] for each in moved) < MOST, moved
