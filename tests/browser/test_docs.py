"""The browsable description works under the portal's own content security policy; the page fixture fails on any breach of it."""

import pytest

pytestmark = pytest.mark.needs_browser


def test_the_docs_show_every_table(page):
    page.goto("/docs/")
    page.get_by_text("CI Portal").first.wait_for()
    for operation in ("/repo/", "/event/", "/job/", "/log/"):
        page.locator(f'[data-path="{operation}"]').first.wait_for()


def test_a_request_can_be_tried_from_the_docs(page):
    page.goto("/docs/")
    page.locator("#operations-event-event_create .opblock-summary").click()
    page.get_by_role("button", name="Try it out").click()
    page.locator("#operations-event-event_create textarea").fill('{"name": "from the docs"}')
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").get_by_text("201").first.wait_for()
