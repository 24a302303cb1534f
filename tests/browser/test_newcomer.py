"""What a newcomer does after `make run`: add a repository, build it, watch it, and have an image. Nothing is made up here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import steady
from tests.support.dev import development

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_buildah]
BUILD_MILLISECONDS = 120_000


@pytest.fixture
def newcomer(chromium: Browser, tmp_path: Path) -> Iterator[tuple[Page, str]]:
    """A page of a portal without repositories, and the URL of one that can be built without internet."""
    with development(tmp_path) as dev:
        _, asked = dev.run()
        (sample,) = asked.get("/repo/").json["results"]
        assert asked.request("DELETE", f"/repo/{sample['repo_name']}/").status == 204
        context = chromium.new_context(base_url=asked.url, locale="en-GB", viewport={"width": 1280, "height": 900})
        page = context.new_page()
        steady(page)
        yield page, sample["repo"]
        context.close()


def test_a_newcomer_adds_a_repository_builds_it_and_sees_the_digest_of_its_image(newcomer: tuple[Page, str]):
    page, url = newcomer
    page.goto("/")
    page.get_by_label("Git URL").fill(url)
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#test_result")).to_contain_text("All checks passed", timeout=30_000)
    page.get_by_role("button", name="Add repository").click()
    page.locator(".toast").get_by_role("button", name="Build now").click()

    expect(page).to_have_url(re.compile("/builds/[0-9]+/$"))
    page.evaluate("window.mark = 'never loaded again'")
    expect(page.locator(".ov-row[data-line]").first).to_be_visible(timeout=BUILD_MILLISECONDS)
    expect(page).to_have_title(re.compile("^✓"), timeout=BUILD_MILLISECONDS)
    expect(page.locator("main")).to_contain_text(re.compile("sha256:[0-9a-f]{12}"))
    assert page.evaluate("window.mark") == "never loaded again"
    expect(page.get_by_text("Complete and verified").first).to_be_visible()
