"""The output viewer: what is stored and what is being printed, as a terminal would show it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.viewing import ended, running, shown

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def test_it_shows_what_is_stored_and_then_what_is_printed(page: Page):
    recorder, url = running()
    recorder.append("clone", "取得 main\n".encode(), "1")
    page.goto(url)
    expect(page.locator(".ov-rows")).to_contain_text("取得 main")
    recorder.append("build", b"step one\nstep t", "2")
    expect(page.locator("[data-line='3'] .ov-text")).to_have_text("step t")
    recorder.append("build", b"wo\n", "3")
    expect(page.locator("[data-line='3'] .ov-text")).to_have_text("step two")
    assert shown(page) == ["取得 main", "step one", "step two"]
    expect(page.locator(".ov-status")).to_have_text("Live")


def test_a_character_that_is_cut_between_two_pieces_is_shown_whole(page: Page):
    recorder, url = running()
    recorder.append("build", b"gr" + "ö".encode()[:1], "1")
    page.goto(url)
    expect(page.locator("[data-line='1'] .ov-text")).to_have_text("gr")
    recorder.append("build", "ö".encode()[1:] + "ße\n".encode(), "2")
    expect(page.locator("[data-line='1'] .ov-text")).to_have_text("größe")


def test_output_is_text_and_never_markup_or_control(page: Page):
    page.goto(
        ended(
            b"<img src=x onerror=alert(1)>\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]8;;http://e/\x1b\\link\x1b]8;;\x1b\\\x07"
            b"\x1bP1;2qdcs\x1b\\\x1b[5n\x1b[?1049h\x1b(B\x9b!\nnul \x00 \xe2\x80\xaeevil\xe2\x80\xac \xe2\x80\xa8end\n"
        )
    )
    expect(page.locator("[data-line='1'] .ov-text")).to_have_text("<img src=x onerror=alert(1)>redlink\ufffd!")
    expect(page.locator("[data-line='2'] .ov-text")).to_have_text("nul ⟨U+0000⟩ ⟨U+202E⟩evil⟨U+202C⟩ ⟨U+2028⟩end")
    assert page.locator(".ov-rows img, .ov-text a").count() == 0
    assert page.title() != "title"


def test_a_sequence_that_never_ends_hides_no_other_line(page: Page):
    page.goto(ended(b"\x1b]0;never ended\nvisible\n\x1bPnor this\nvisible too\n"))
    expect(page.locator("[data-line='4'] .ov-text")).to_have_text("visible too")
    assert shown(page) == ["", "visible", "", "visible too"]


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        ("plain", ["plain"]),
        (" 10%\r 50%\r100%\r\ndone\r\n", ["100%", "done"]),
        ("old text\rnew", ["new text"]),
        ("old text\r\x1b[Knew", ["new"]),
        ("old text\x1b[2K\rnew", ["new"]),
        ("spinner |\b/\b-\b\\", ["spinner \\"]),
        ("abc\x1b[1G\x1b[31mX", ["Xbc"]),
        ("abc\x1b[2DX", ["aXc"]),
        ("a\x1b[3Cb", ["a   b"]),
        ("abc\r\x1b[1P", ["bc"]),
        ("abc\x1b[1K", [""]),
        ("大文\rab", ["ab文"]),
        ("大文\ra", ["a 文"]),
        ("x\x1b[999999999Cy\r", ["x" + " " * 2000 + "y"]),
        ("a\tb\rX", ["X       b"]),
        ("cut \x1b[3", ["cut"]),
        ("e\u0301\rx", ["x"]),
    ],
)
def test_a_line_is_shown_as_a_terminal_draws_it(page: Page, printed: str, lines: list[str]):
    page.goto("/builds/")
    plain = page.evaluate(
        "async (text) => { const { plain } = await import('/static/logs/ansi.js'); return text.split('\\n').map(plain); }", printed
    )
    assert [line.rstrip() for line in plain if line or len(lines) == 1] == lines


def test_colours_and_styles_go_on_across_lines_and_into_a_window_in_the_middle(page: Page):
    page.goto(ended(b"\x1b[1;31mbegin\n" + b"red\n" * 5000 + b"\x1b[0mplain\n") + "#L4000")
    line = page.locator("[data-line='4000'] .ov-text span")
    expect(line).to_have_text("red")
    expect(line).to_have_class("ov-b")
    red, green, blue = (
        int(part) for part in line.evaluate("e => getComputedStyle(e).color").removeprefix("rgb(").removesuffix(")").split(",")
    )
    assert red > 2 * green
    assert red > 2 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read_on_every_background_of_a_row(page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)
    page.goto("/builds/")
    worst = page.evaluate(
        """async (scheme) => {
            const { colours, contrast } = await import('/static/logs/palette.js');
            const place = document.body.appendChild(document.createElement('span'));
            const rgb = (css) => {
                place.style.color = css;
                return getComputedStyle(place).color.match(/[0-9.]+/g).map(Number).slice(0, 3);
            };
            const grounds = { light: ['#fbfcfd', '#fff4cf', '#f0f3f7'], dark: ['#0b0e12', '#2a2410', '#171b21'] }[scheme].map(rgb);
            let worst = Infinity;
            for (let n = 0; n < 256 * 16; n++) {
                const [fg, inverse] = [n >> 4, Boolean(n & 8)];
                const found = colours({ fg, bg: [null, fg, 0, 1, 7, 15, 21, 226][n & 7], inverse });
                const front = rgb(found.color);
                const behind = found.background ? [rgb(found.background)] : grounds;
                for (const ground of behind) worst = Math.min(worst, contrast(front, ground));
            }
            return worst;
        }""",
        scheme,
    )
    assert worst >= 4.5


def test_an_empty_output_says_so(page: Page):
    page.goto(ended(b""))
    expect(page.locator(".ov-message")).to_have_text("Nothing was printed.")


def test_a_run_that_waits_for_its_first_line_says_so(page: Page):
    recorder, url = running()
    page.goto(url)
    expect(page.locator(".ov-message")).to_have_text("Nothing printed yet.")
    recorder.append("build", b"first\n", "1")
    expect(page.locator("[data-line='1'] .ov-text")).to_have_text("first")
    expect(page.locator(".ov-message")).to_be_hidden()


def test_without_scripts_there_is_a_link_to_the_text(chromium, live_server):
    url = ended(b"printed\n")
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("noscript p")).to_have_text("Without JavaScript the output is at the link Raw.")
    page.get_by_role("link", name="Raw", exact=True).click()
    expect(page.locator("body")).to_have_text("printed")
    context.close()
