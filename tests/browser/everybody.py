"""What every page has to be: without a fault for axe in both schemes and both languages, and no wider than the screen."""

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.axe import faults

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / ".ci" / "artifacts" / "screenshots"))
WIDTHS = (360, 1280, 2560)


def photograph(page: Page, name: str) -> None:
    """Keep what can be seen now, under that name."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name.replace(' ', '-')}.png")


def for_everybody(page: Page, name: str) -> None:
    """Check and photograph the open page at three widths, in both schemes, and in Chinese; it is in English again after."""
    size = page.viewport_size
    found: dict[str, list[str]] = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found[scheme] = faults(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            photograph(page, f"{name}-{width}-{scheme}-en")
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                found[scheme].append(f"{wide} px wide on a screen of {width} px")
    page.set_viewport_size(size)
    url, host = page.url, page.evaluate("location.origin")
    page.context.add_cookies([{"name": "django_language", "value": "zh-hans", "url": host}])
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    photograph(page, f"{name}-{size['width']}-dark-zh")
    found["in Chinese"] = faults(page)
    page.context.add_cookies([{"name": "django_language", "value": "en", "url": host}])
    page.goto(url)
    assert found == {"light": [], "dark": [], "in Chinese": []}
