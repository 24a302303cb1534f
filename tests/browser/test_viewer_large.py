"""An output of a million lines: opened, scrolled, searched, linked and downloaded; and the loss of the stream, for real."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import steady
from tests.browser.viewing import first_in_view, shown
from tests.support.portal import portal

pytestmark = pytest.mark.needs_browser
LINES = 1_000_000
BACK = 60_000  # ms: the longer a portal was away, the rarer it is asked for, and a busy machine takes its time to start one

RECORD = """
from django.utils import timezone
from logs.output import Recorder
from runners.models import Run
from tests.support import rows
event = rows.event(rows.repository(), status={status!r})
run = rows.run(event, status={label!r}, started_at=timezone.now())
recorder = Recorder(run.pk, ("build",), [])
"""
MILLION = """
from logs.line_index import complete
line = b"%07d compiling the file number %d of many\\x1b[32m ok\\x1b[0m\\n"
for start in range(1, 1_000_001, 20_000):
    recorder.append("build", b"".join(line % (n, n) for n in range(start, start + 20_000)), str(start))
complete(recorder.output)  # as the watcher does meanwhile
recorder.close("succeeded")
"""
#: More of a running build: what it printed is `{data}`, as the piece `{cursor}`.
MORE = """
from logs.output import Recorder
Recorder(1, ("build",), []).append("build", {data!r}, {cursor!r})
"""

#: A row near that line is in view, and no line is still to come.
NEAR = """(line) => {
    const { top } = document.querySelector('.ov-view').getBoundingClientRect();
    const row = [...document.querySelectorAll('.ov-row[data-line]')].find((row) => row.getBoundingClientRect().bottom > top + 1);
    return row && Math.abs(row.dataset.line - line) < 2000 && !document.querySelector('.ov-missing');
}"""


def run_code(site, code: str) -> None:
    assert site.manage("shell", "--verbosity", "0", "-c", code, log="shell.log").wait(120) == 0, site.logs()


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A portal that has stored a million lines."""
    with portal(tmp_path_factory.mktemp("large") / "portal", auth={"mode": "open"}) as site:
        run_code(site, RECORD.format(status="3", label="succeeded") + MILLION)
        yield site


@pytest.fixture
def reader(chromium):
    """A page of Chromium for any server; any script error fails the test."""
    context = chromium.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    page = context.new_page()
    steady(page)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def opened(reader: Page, large) -> Page:
    reader.goto(f"{large.url}/builds/1/")
    expect(reader.locator("[data-line='1'] .ov-text")).to_contain_text("0000001 compiling")
    return reader


def test_it_is_opened_with_a_few_rows_and_requests(reader: Page, large):
    asked: list[str] = []
    reader.on("request", lambda request: asked.append(request.url.split("/output/")[1]) if "/output/" in request.url else None)
    reader.goto(f"{large.url}/builds/1/")
    expect(reader.locator("[data-line='1'] .ov-text")).to_contain_text("0000001 compiling")
    expect(reader.locator(".ov-status")).to_have_text("1,000,000 lines, 61 MB")
    assert asked == ["index/", "lines/?first=1&count=500"]
    assert reader.locator(".ov-row").count() < 200


def test_it_is_scrolled_from_end_to_end(opened: Page):
    for part in (0.25, 0.5, 0.99):
        opened.evaluate("(part) => { const v = document.querySelector('.ov-view'); v.scrollTop = part * v.scrollHeight; }", part)
        opened.wait_for_function(NEAR, arg=int(part * LINES))
        assert opened.locator(".ov-row").count() < 200
    opened.wait_for_timeout(500)  # once it rests, the scroll bar is put where it belongs
    here = first_in_view(opened)
    opened.locator(".ov-view").hover()
    opened.mouse.wheel(0, 240)
    opened.wait_for_timeout(500)
    assert first_in_view(opened) == here + 10
    opened.evaluate("document.querySelector('.ov-view').scrollTop = 1e9")
    expect(opened.locator("[data-line='1000000']")).to_be_in_viewport()
    opened.evaluate("document.querySelector('.ov-view').scrollTop = 0")
    expect(opened.locator("[data-line='1']")).to_be_in_viewport()


def test_any_line_is_linked(reader: Page, large):
    reader.goto(f"{large.url}/builds/1/#L700120-L700140")
    expect(reader.locator("[data-line='700120'] .ov-text")).to_contain_text("0700120 compiling the file number 700120")
    expect(reader.locator("[data-line='700120']")).to_be_in_viewport()
    assert reader.locator(".ov-selected").count() == 21


def test_the_whole_is_searched(opened: Page):
    opened.get_by_role("searchbox").fill("number 99999")
    expect(opened.locator(".ov-hits")).to_have_text("1 of 11", timeout=60_000)
    opened.keyboard.press("Shift+Enter")
    expect(opened.locator("[data-line='999999']")).to_be_in_viewport()
    opened.get_by_role("searchbox").fill("compiling")
    expect(opened.locator(".ov-hits")).to_contain_text("of 1,000,000", timeout=60_000)


def test_it_is_downloaded_whole(opened: Page, tmp_path: Path):
    with opened.expect_download() as download:
        opened.get_by_role("link", name="Download", exact=True).click()
    data = download.value.path().read_bytes()
    assert data.count(b"\n") == LINES
    assert data.endswith(b"\x1b[0m\n")


# The loss of the stream


def test_it_goes_on_where_it_was_when_the_portal_was_killed_and_restarted(reader: Page, tmp_path: Path):
    with portal(tmp_path / "portal", auth={"mode": "open"}) as site:
        run_code(site, RECORD.format(status="2", label="running") + "recorder.append('build', b'one\\ntwo hal', 'a')")
        reader.goto(f"{site.url}/builds/1/")
        expect(reader.locator("[data-line='2'] .ov-text")).to_have_text("two hal")
        expect(reader.locator(".ov-status")).to_have_text("Live")
        assert site.web
        site.web.kill()
        site.web.wait()
        expect(reader.locator(".ov-status")).to_contain_text("Connection lost; trying again in")
        run_code(site, MORE.format(data=b"f\nthree\nfour", cursor="b"))
        site.restart()
        expect(reader.locator("[data-line='4'] .ov-text")).to_have_text("four", timeout=BACK)
        expect(reader.locator(".ov-status")).to_have_text("Live", timeout=BACK)
        run_code(site, MORE.format(data=b"\nfive\n", cursor="c"))
        expect(reader.locator("[data-line='5'] .ov-text")).to_have_text("five")
        assert shown(reader) == ["one", "two half", "three", "four", "five"]


def test_the_network_comes_back_and_nothing_is_lost_or_doubled(reader: Page, tmp_path: Path):
    with portal(tmp_path / "portal", auth={"mode": "open"}) as site:
        run_code(site, RECORD.format(status="2", label="running") + "recorder.append('build', b'one\\n', 'a')")
        reader.goto(f"{site.url}/builds/1/")
        expect(reader.locator(".ov-status")).to_have_text("Live")
        reader.context.set_offline(True)
        site.restart()  # what is open stays open in Chromium though it is offline
        expect(reader.locator(".ov-status")).to_contain_text("Connection lost; trying again in")
        many = "b''.join(b'line %d\\n' % n for n in range(2, 200_001))"  # more than is read through to catch up
        run_code(site, MORE.replace("{data!r}", many).format(cursor="b"))
        reader.context.set_offline(False)
        expect(reader.locator("[data-line='200000'] .ov-text")).to_have_text("line 200000", timeout=BACK)
        expect(reader.locator(".ov-status")).to_have_text("Live", timeout=BACK)
        run_code(site, MORE.format(data=b"the end\n", cursor="c"))
        expect(reader.locator("[data-line='200001'] .ov-text")).to_have_text("the end")
        lines = shown(reader)
        assert lines == [f"line {number}" for number in range(200_002 - len(lines), 200_001)] + ["the end"]
