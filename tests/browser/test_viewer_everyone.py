"""The viewer for everyone: both languages, both schemes, any width, assistive technology, motion."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.test_viewer_reading import failed, numbered
from tests.browser.viewing import at_end, ended, running

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]
COLOURS = "".join(f"\x1b[{code}mcolour {code}\x1b[0m " for code in (2, 31, 33, 36, 37, 41, 93, 97, 107))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)
    page.goto(failed())
    expect(page.locator(".ov-heading").first).to_be_visible()
    page.keyboard.press("t")
    page.get_by_role("searchbox").fill("error")
    expect(page.locator("mark").first).to_be_visible()
    page.locator(".ov-number").last.click()
    assert axe.faults(page) == []
    page.keyboard.press("?")
    assert axe.faults(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press(":")
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Go to a line").get_by_role("alert")).to_be_visible()
    assert axe.faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_live_output(page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)
    recorder, url = running()
    recorder.append("build", numbered(1, 100) + COLOURS.encode() + b"\n#1 [1/1] RUN x\n#1 0.1 y\n", "1")
    page.goto(url)
    expect(page.locator(".ov-status")).to_have_text("Live")
    at_end(page)
    page.locator(".ov-view").hover()
    page.mouse.wheel(0, -300)
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")
    recorder.append("build", b"#1 0.2 z\n", "2")
    expect(page.locator(".ov-pill")).to_have_text("1 new line")
    assert axe.faults(page) == []


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_it_fits_every_width(page: Page, width: int):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(failed())
    expect(page.locator(".ov-heading").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for tool in page.locator(".ov-bar button:visible, .ov-bar a:visible, .ov-bar input").all():
        box = tool.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 24


def test_it_speaks_chinese(page: Page):
    page.goto(failed())
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator(".ov-heading .ov-state", has_text="失败").first).to_be_visible()
    expect(page.get_by_role("button", name="第一个错误")).to_be_visible()
    page.get_by_role("searchbox", name="搜索全部输出").fill("no such text")
    expect(page.locator(".ov-hits")).to_have_text("没有找到")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="键盘快捷键")).to_contain_text("到开头")
    page.keyboard.press("Escape")
    page.keyboard.press(":")
    page.keyboard.type("1000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="转到某一行").get_by_role("alert")).to_contain_text("没有第 1,000,000 行")


def test_every_tool_is_reached_with_the_keyboard(page: Page):
    page.goto(failed())
    expect(page.locator(".ov-heading").first).to_be_visible()
    page.get_by_role("searchbox").focus()
    reached = []
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.getAttribute('aria-label')"))
    assert {"First error", "Unfold all", "Line…", "Times", "Wrap", "Raw", "Download", "Full screen"} <= {
        name.strip() for name in reached
    }
    assert page.locator(".ov-view").get_attribute("tabindex") == "0"


def test_lines_are_not_read_out_one_by_one(page: Page):
    page.goto(ended(b"x\n"))
    expect(page.get_by_role("log", name="Output")).to_have_attribute("aria-live", "off")
    expect(page.locator(".ov-status")).to_have_attribute("aria-live", "polite")


def test_nothing_moves_for_those_who_want_no_motion(page: Page):
    page.emulate_media(reduced_motion="reduce")
    recorder, url = running()
    recorder.append("build", b"#1 [1/1] RUN x\n#1 0.1 y\n", "1")
    page.goto(url)
    expect(page.locator(".ov-sign").first).to_have_css("animation-name", "none")
