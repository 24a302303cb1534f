"""Reading an output: following its end, links to lines, folding, search, keys, preferences."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.viewing import at_end, ended, expect_height, first_in_view, running, shown
from tests.logs.test_sections import BUILDKIT

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, last + 1))


def failed(lines: int = 50) -> str:
    """A build of which step #2 is long and good, and step #3 failed."""
    good = "".join(f"#2 0.{n:03} layer {n}\n" for n in range(lines)) + "#2 DONE 2.5s\n"
    return ended(BUILDKIT.replace("#2 CACHED\n", good).encode(), outcome="failed", clone=b"Cloning\n")


# Following


def test_it_follows_the_end_until_the_reader_scrolls_up(page: Page):
    recorder, url = running()
    recorder.append("build", numbered(1, 500), "1")
    page.goto(url)
    expect(page.locator("[data-line='500']")).to_be_visible()
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.locator(".ov-view").hover()
    page.mouse.wheel(0, -2000)
    expect(follow).to_have_attribute("aria-pressed", "false")
    top = first_in_view(page)
    recorder.append("build", numbered(501, 550), "2")
    pill = page.locator(".ov-pill")
    expect(pill).to_have_text("50 new lines")
    assert first_in_view(page) == top
    recorder.append("build", numbered(551, 551), "3")
    expect(pill).to_have_text("51 new lines")
    pill.click()
    expect(page.locator("[data-line='551']")).to_be_in_viewport()
    expect(pill).to_be_hidden()
    expect(follow).to_have_attribute("aria-pressed", "true")
    recorder.append("build", numbered(552, 700), "4")
    expect(page.locator("[data-line='700']")).to_be_in_viewport()


def test_scrolling_back_to_the_end_follows_again(page: Page):
    recorder, url = running()
    recorder.append("build", numbered(1, 500), "1")
    page.goto(url)
    expect(page.locator("[data-line='500']")).to_be_visible()
    page.locator(".ov-view").hover()
    page.mouse.wheel(0, -500)
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")
    page.mouse.wheel(0, 5000)
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "true")


def test_steps_are_told_while_they_run(page: Page):
    recorder, url = running()
    recorder.append("build", b"#1 [1/1] RUN make\n#1 0.1 x\n", "1")
    page.goto(url)
    expect(page.locator("[data-line='1'] .ov-state")).to_have_text("running")
    recorder.append("build", b"#1 DONE 3.5s\n", "2")
    expect(page.locator("[data-line='1'] .ov-badge")).to_contain_text("done3.5 s")


def test_what_came_while_one_looked_is_there_when_it_ended(page: Page):
    recorder, url = running()
    recorder.append("build", numbered(1, 3), "1")
    page.goto(url)
    expect(page.locator("[data-line='3']")).to_be_visible()
    recorder.append("build", numbered(4, 5), "2")
    recorder.end("build", 1, 1)
    recorder.close("succeeded")
    expect(page.locator(".ov-note-gap")).to_contain_text("Bytes are missing")
    assert shown(page) == [f"line {number}" for number in range(1, 6)]
    expect(page.get_by_role("button", name="Follow")).to_be_hidden()


def test_a_line_that_never_ends_is_cut_where_the_portal_cuts_it(page: Page):
    recorder, url = running()
    recorder.append("build", b"first\n", "1")
    page.goto(url)
    expect(page.locator("[data-line='1']")).to_be_visible()
    for number in range(4):
        recorder.append("build", b"x" * 10_000, f"x{number}")
        page.wait_for_timeout(100)
    recorder.append("build", b"\nend\n", "2")
    expect(page.locator("[data-line='5'] .ov-text")).to_have_text("end")
    lengths = page.evaluate("[...document.querySelectorAll('.ov-row[data-line] .ov-text')].map((e) => e.textContent.length)")
    assert lengths == [5, 16384, 16384, 40_000 - 2 * 16384, 3]


# Links


def test_a_link_to_lines_shows_them_in_a_long_output(page: Page):
    page.goto(ended(numbered(1, 50_000)) + "#L40120-L40140")
    expect(page.locator("[data-line='40120']")).to_be_in_viewport()
    expect(page.locator("[data-line='40120'] .ov-text")).to_have_text("line 40120")
    assert page.locator(".ov-selected").count() == 21


def test_a_number_that_is_clicked_is_in_the_address_and_on_the_clipboard(page: Page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(ended(numbered(1, 100)))
    page.locator("[data-line='10'] .ov-number").click()
    assert page.url.endswith("#L10")
    page.locator("[data-line='7'] .ov-number").click(modifiers=["Shift"])
    assert page.url.endswith("#L7-L10")
    assert page.locator(".ov-selected").count() == 4
    expect(page.locator(".ov-status")).to_have_text("The link was copied.")
    run = page.locator("output-viewer").get_attribute("data-run")
    assert page.evaluate("navigator.clipboard.readText()") == page.url.replace("#", f"?run={run}#")
    page.reload()
    expect(page.locator(".ov-selected")).to_have_count(4)
    page.keyboard.press("Escape")
    expect(page.locator(".ov-selected")).to_have_count(0)
    assert "#" not in page.url


def test_a_link_into_what_is_folded_unfolds_it(page: Page):
    page.goto(failed() + "#L20")
    expect(page.locator("[data-line='20'] .ov-text")).to_have_text("#2 0.013 layer 13")


def test_a_link_beyond_the_end_shows_the_end(page: Page):
    page.goto(ended(numbered(1, 100)) + "#L1000")
    expect(page.locator("[data-line='100']")).to_be_in_viewport()


# Folding


def test_long_steps_that_went_well_are_folded_and_the_first_error_is_shown(page: Page):
    page.goto(failed())
    expect(page.locator(".ov-row", has_text="expected ';'").first).to_be_visible()
    expect(page.locator(".ov-heading.ov-failed").first).to_contain_text("failed")
    good = page.locator(".ov-heading", has_text="#2 [1/3] FROM")
    expect(good.locator(".ov-badge")).to_have_text("✓done2.5 s51 lines")
    assert "#2 0.010 layer 10" not in shown(page)
    good.get_by_role("button", name="Unfold [1/3] FROM").click()
    expect(good.get_by_role("button", name="Fold [1/3] FROM")).to_be_focused()
    assert "#2 0.010 layer 10" in shown(page)


def test_all_is_folded_and_unfolded_at_once(page: Page):
    page.goto(failed())
    page.get_by_role("button", name="Unfold all").click()
    expect(page.get_by_text("#2 0.010 layer 10")).to_be_visible()
    page.get_by_role("button", name="Fold all").click()
    expect(page.get_by_role("button", name="Unfold all")).to_be_visible()
    page.wait_for_function("document.querySelectorAll('.ov-row[data-line]').length < 30")


def test_containers_have_their_verdicts_and_the_gap_is_where_it_is(page: Page):
    recorder, url = running()
    recorder.append("clone", b"Cloning\n", "1")
    recorder.end("clone", 8, 1)
    recorder.append("build", b"before\n", "1")
    recorder.append("build", b"after\n", "2", missing=1234)
    recorder.close("failed")
    page.goto(url)
    expect(page.locator("[data-line='3']")).to_be_visible()
    rows = page.locator(".ov-row").all_inner_texts()
    assert re.sub(r"\s+", " ", " | ".join(rows[:6])).startswith("▾ clone")
    assert "1,234 bytes are missing here" in rows[4]
    expect(page.locator(".ov-row").last).to_contain_text("Bytes are missing")


# Search


def test_results_come_as_one_types(page: Page):
    page.goto(ended(numbered(1, 30_000)))
    page.get_by_role("searchbox").fill("LINE 2999")
    expect(page.locator(".ov-hits")).to_have_text("1 of 11")
    expect(page.locator("[data-line='2999']")).to_be_in_viewport()
    expect(page.locator("[data-line='2999'] mark")).to_have_text("line 2999")
    page.keyboard.press("Enter")
    expect(page.locator(".ov-hits")).to_have_text("2 of 11")
    expect(page.locator("[data-line='29990']")).to_be_in_viewport()
    page.keyboard.press("Shift+Enter")
    expect(page.locator("[data-line='2999']")).to_be_in_viewport()
    page.get_by_role("button", name="Match case").click()
    expect(page.locator(".ov-hits")).to_have_text("Nothing found")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator("mark")).to_have_count(0)


def test_a_regular_expression_finds_and_a_wrong_one_is_told(page: Page):
    page.goto(ended(numbered(1, 300)))
    page.get_by_role("button", name="Regular expression").click()
    page.get_by_role("searchbox").fill("^line 29[0-4]$")
    expect(page.locator(".ov-hits")).to_have_text("1 of 5")
    page.get_by_role("searchbox").fill("line (")
    expect(page.locator(".ov-hits")).to_contain_text("missing )")


def test_words_are_found_alone(page: Page):
    page.goto(ended(b"error\nerrors\nan error.\n"))
    page.get_by_role("button", name="Whole words").click()
    page.get_by_role("searchbox").fill("error")
    expect(page.locator(".ov-hits")).to_have_text("1 of 2")


def test_colours_within_a_match_do_not_hide_it(page: Page):
    page.goto(ended(b"fat\x1b[31mal err\x1b[0mor\n"))
    page.get_by_role("searchbox").fill("fatal error")
    expect(page.locator(".ov-hits")).to_have_text("1 of 1")
    assert "".join(page.locator("mark").all_inner_texts()) == "fatal error"


def test_what_is_printed_meanwhile_is_found_too(page: Page):
    recorder, url = running()
    recorder.append("build", b"needle\nhay\n", "1")
    page.goto(url)
    page.get_by_role("searchbox").fill("needle")
    expect(page.locator(".ov-hits")).to_have_text("1 of 1")
    recorder.append("build", b"another needle\n", "2")
    expect(page.locator(".ov-hits")).to_have_text("1 of 2")


# Keys and preferences


def test_keys_move_through_it(page: Page):
    page.goto(ended(numbered(1, 5000)))
    expect(page.locator("[data-line='1']")).to_be_in_viewport()
    page.locator(".ov-view").focus()
    page.keyboard.press("End")
    expect(page.locator("[data-line='5000']")).to_be_in_viewport()
    page.keyboard.press("PageUp")
    expect(page.locator("[data-line='5000']")).not_to_be_in_viewport()
    page.keyboard.press("Home")
    expect(page.locator("[data-line='1']")).to_be_in_viewport()
    page.keyboard.press("G")
    expect(page.locator("[data-line='5000']")).to_be_in_viewport()


def test_a_colon_asks_for_a_line_and_goes_there(page: Page):
    page.goto(ended(numbered(1, 5000)))
    page.locator(".ov-view").focus()
    page.keyboard.press(":")
    dialog = page.get_by_role("dialog", name="Go to a line")
    expect(dialog.get_by_label("Go to a line")).to_be_focused()
    expect(dialog).to_contain_text("1 to 5,000")
    page.keyboard.type("2500")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("[data-line='2500']")).to_be_in_viewport()
    assert page.url.endswith("#L2500")
    expect(page.locator(".ov-view")).to_be_focused()


@pytest.mark.parametrize(
    ("typed", "told"), [("5001", "There is no line 5,001: the last one is 5,000."), ("x", "Type the number of a line.")]
)
def test_a_line_that_is_not_there_is_told_beside_the_field(page: Page, typed: str, told: str):
    page.goto(ended(numbered(1, 5000)))
    page.get_by_role("button", name="Line…").click()
    field = page.get_by_role("dialog").get_by_label("Go to a line")
    field.fill(typed)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(told)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[data-line='1']")).to_be_in_viewport()
    field.fill("4999")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_hidden()


def test_escape_leaves_the_question_for_a_line_and_gives_the_focus_back(page: Page):
    page.goto(ended(numbered(1, 5000)))
    page.get_by_role("button", name="Line…").press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Line…")).to_be_focused()
    assert "#" not in page.url


def test_keys_jump_to_steps_and_to_the_first_error(page: Page):
    page.goto(failed())
    page.keyboard.press("g")
    page.keyboard.press("]")
    expect(page.locator(".ov-heading", has_text="#1 [internal]")).to_be_in_viewport()
    page.keyboard.press("e")
    expect(page.locator(".ov-selected")).to_contain_text("expected ';'")


def test_the_help_names_the_keys_and_can_switch_them_off(page: Page):
    page.goto(ended(numbered(1, 10)))
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_contain_text("Search the whole output")
    dialog.get_by_label("Single keys are shortcuts").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("w")
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")


def test_wrapping_and_times_are_kept(page: Page):
    page.goto(ended(b"x" * 3000 + b"\nshort\n"))
    expect(page.locator("[data-line='1'] time")).to_be_hidden()
    expect(page.locator("[data-line='1']")).to_be_visible()
    expect(page.locator("[data-line='1']")).to_be_visible()
    expect_height(page, 1, "== 24")
    page.keyboard.press("w")
    page.keyboard.press("t")
    page.reload()
    expect(page.locator("[data-line='1'] time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect_height(page, 1, "> 48")
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "true")


def test_wrapped_lines_of_any_height_are_scrolled_through_without_a_jump(page: Page):
    lines = b"".join(b"%d " % number + b"word " * (number * 37 % 400) + b"\n" for number in range(1, 3001))
    page.goto(ended(lines))
    page.keyboard.press("w")
    page.locator(".ov-view").hover()
    seen = [first_in_view(page)]
    for _ in range(40):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(30)
        seen.append(first_in_view(page))
    assert seen == sorted(seen)
    assert seen[-1] > 5
    for _ in range(60):
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(30)
        seen.append(first_in_view(page))
    assert seen[41:] == sorted(seen[41:], reverse=True)
    assert seen[-1] == 1
    page.locator(".ov-view").focus()
    page.keyboard.press("End")
    expect(page.locator("[data-line='3000']")).to_be_in_viewport()
    at_end(page)


def test_raw_and_download_are_the_text(page: Page):
    page.goto(ended(b"\x1b[31mred\x1b[0m\n"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    assert download.value.path().read_bytes() == b"\x1b[31mred\x1b[0m\n"
    page.get_by_role("link", name="Raw", exact=True).click()
    assert page.evaluate("document.contentType") == "text/plain"


def test_it_fills_the_screen(page: Page):
    page.goto(ended(numbered(1, 500)))
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => document.fullscreenElement?.localName === 'output-viewer'")
    assert page.locator(".ov-view").bounding_box()["height"] > 700
