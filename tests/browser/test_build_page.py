import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

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


def shown(page: Page) -> str:
    return page.locator("#output").inner_text()


def test_it_shows_what_is_stored_and_then_what_is_printed(page: Page):
    event, _, recorder = running()
    recorder.append("clone", "取得 main\n".encode(), "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("取得 main")
    recorder.append("build", b"step one\nstep t", "2")
    expect(page.locator("#output")).to_contain_text("step one\nstep t")
    recorder.append("build", b"wo\n", "3")
    expect(page.locator("#output")).to_contain_text("step one\nstep two\n")
    assert shown(page).count("step one") == 1
    expect(page.locator("#output_state")).to_have_text("Live")


def test_state_title_icon_and_history_change_when_it_ends(page: Page):
    event, run, recorder = running()
    page.goto(f"/builds/{event.pk}/")
    expect(page).to_have_title(re.compile("^running"))
    recorder.append("build", b"done\n", "1")
    recorder.end("build", 5, None)
    recorder.close("succeeded")
    run.finish(Run.SUCCEEDED, digest=rows.DIGEST)
    expect(page).to_have_title(re.compile("^succeeded"))
    expect(page.locator(".verdict")).to_contain_text("succeeded")
    expect(page.locator("#announcement")).to_have_text("succeeded")
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", "/static/ci_portal/favicon-succeeded.svg")
    expect(page.locator("#facts")).to_contain_text(f"docker pull registry.example.com/team/exporter@{rows.DIGEST}")
    expect(page.locator("#history")).to_contain_text(f"run {run.name} succeeded")
    expect(page.locator("#output_state")).to_have_text("Complete")


def test_a_waiting_build_that_fails_says_why_without_a_reload(page: Page):
    event = rows.event(rows.repository(), status="1", reason="4 builds run at once.")
    run = rows.run(event, status="waiting")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator(".verdict")).to_contain_text("4 builds run at once.")
    run.finish(Run.FAILED, reason="The cluster refuses <this> Job.")
    expect(page.locator(".verdict")).to_contain_text("The cluster refuses <this> Job.")
    expect(page.locator("#output_state")).to_have_text("Nothing was printed.")


def test_a_retry_is_followed(page: Page):
    event, run, recorder = running()
    recorder.append("build", b"first attempt\n", "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("first attempt")
    Run.objects.filter(pk=run.pk).update(status="failed")
    again = rows.run(event, status="running", attempt=2)
    Event.objects.filter(pk=event.pk).update(job=again.name)
    Recorder(again.pk, ("clone", "build"), []).append("build", b"second attempt\n", "1")
    expect(page.locator("#output")).to_contain_text("second attempt")
    expect(page.locator("#output")).not_to_contain_text("first attempt")


def test_output_is_text_and_never_markup_or_control(page: Page):
    event, _, recorder = running()
    terminal = b"\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]8;;http://e/\x1b\\link\x1b]8;;\x1b\\\x07"
    recorder.append("build", b"<img src=x onerror=alert(1)>" + terminal + b"!\n", "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_have_text("<img src=x onerror=alert(1)>redlink!\n")
    assert page.locator("#output img").count() == 0


def test_a_progress_bar_shows_its_last_state(page: Page):
    event, _, recorder = running()
    recorder.append("build", b" 10%\r 50%\r", "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_have_text(" 50%", use_inner_text=True)
    recorder.append("build", b"100%\r\ndone\r\n", "2")
    expect(page.locator("#output")).to_have_text("100%\ndone", use_inner_text=True)


def test_only_the_last_lines_are_kept_and_the_page_says_so(page: Page):
    event, _, recorder = running()
    recorder.append("build", b"".join(b"line %d\n" % number for number in range(40_000)), "1")
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("line 39999")
    kept = shown(page).split("\n")
    assert 5000 <= len(kept) <= 5300
    assert kept[-2:] == ["line 39999", ""] or kept[-1] == "line 39999"
    expect(page.locator("#output_note")).to_contain_text("Raw has all of it")


def test_it_begins_a_large_output_near_its_end(page: Page):
    event, _, recorder = running()
    line = b"x" * 1023 + b"\n"
    for number in range(6):
        recorder.append("build", line * 1024, str(number))
    recorder.append("build", b"the end\n", "end")
    read: list[str] = []
    page.on("request", lambda request: read.append(request.url) if "/output/" in request.url else None)
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("the end")
    assert read == [page.url.split("/builds/")[0] + f"/job/{event.runs.get().pk}/output/?from={6 * 2**20 + 8 - 2**20}"]
    assert {len(each) for each in shown(page).strip().split("\n")} == {1023, len("the end")}


def test_it_follows_the_end_until_the_reader_scrolls_up(page: Page):
    event, _, recorder = running()
    recorder.append("build", b"".join(b"line %d\n" % number for number in range(500)), "1")
    page.goto(f"/builds/{event.pk}/")
    at_end = "() => { const o = document.getElementById('output'); return o.scrollTop + o.clientHeight >= o.scrollHeight - 8; }"
    expect(page.locator("#output")).to_contain_text("line 499")
    page.wait_for_function(at_end)
    page.locator("#output").hover()
    page.mouse.wheel(0, -2000)
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "false")
    top = page.evaluate("document.getElementById('output').scrollTop")
    recorder.append("build", b"more\n" * 50, "2")
    expect(page.locator("#output")).to_contain_text("more")
    assert page.evaluate("document.getElementById('output').scrollTop") == top
    page.locator("#follow").click()
    page.wait_for_function(at_end)
    recorder.append("build", b"the end\n" * 50, "3")
    expect(page.locator("#output")).to_contain_text("the end")
    page.wait_for_function(at_end)


def test_a_lost_connection_is_taken_up_where_it_was(page: Page):
    event, run, recorder = running()
    recorder.append("build", b"before\nmeanwhile\n", "1")
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url.split("?")[1])
        if len(asked) == 1:  # ends in the middle, as a proxy that restarts does
            route.fulfill(content_type="text/event-stream", body='retry: 100\nid: 7\nevent: output\ndata: "before\\n"\n\n')
        elif len(asked) == 2:  # an error ends what the browser does by itself
            route.fulfill(status=503)
        else:
            route.continue_()

    page.route(f"**/job/{run.pk}/output/?from=*", answer)
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output_state")).to_have_text("Connection lost, trying again…")
    expect(page.locator("#output")).to_have_text("before\nmeanwhile\n")
    expect(page.locator("#output_state")).to_have_text("Live")
    assert asked == ["from=0", "from=0", "from=7"]


def test_a_build_fits_a_small_phone(page: Page):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    run = rows.run(event)
    Log.objects.record("x" * 300, repo_name="exporter", event=event)
    Recorder(run.pk, ("build",), []).append("build", b"y" * 3000 + b"\n", "1")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/builds/{event.pk}/")
    expect(page.locator("#output")).to_contain_text("yyy")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;38;5;196mbold\x1b[m", "bold"),
        ("\x1b]0;a title\x1b\\text", "text"),
        ("\x1bPq#0;2;0\x1b\\after", "after"),
        ("\x1b(Bcharset", "charset"),
        ("cut \x1b[3", "cut "),
        ("old\rnew", "new"),
        ("line\r", "line"),
        ("tab\there\x00\x08\x9b", "tab\there"),
    ],
)
def test_a_line_is_shown_without_what_only_terminals_understand(page: Page, printed, shown):
    page.goto("/builds/")
    assert page.evaluate("async (line) => (await import('/static/runners/lines.js')).plain(line)", printed) == shown


def test_a_line_that_never_ends_is_shown_in_pieces(page: Page):
    page.goto("/builds/")
    script = """async () => {
        const { Lines } = await import('/static/runners/lines.js');
        const lines = new Lines();
        const found = [];
        for (let n = 0; n < 100; n++) found.push(...lines.take('x'.repeat(5000)));
        const longest = Math.max(...found.map((line) => line.length));
        return { total: found.join('').length + lines.rest.length, longest, rest: lines.rest.length };
    }"""
    pieces = page.evaluate(script)
    assert pieces["longest"] <= 8192
    assert pieces["rest"] <= 8192
    assert pieces["total"] > 450_000
