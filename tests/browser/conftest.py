"""Chromium against a live server of this process; any script error or breach of the page's policy fails the test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Browser, Error, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_finish(session):
    """The server's threads need connections of their own, which SQLite in memory has not: its test database becomes a file."""
    here = Path(__file__).parent
    if connection.vendor == "sqlite" and any(here in item.path.parents for item in session.items):
        name = Path(tempfile.gettempdir()) / f"ci-portal-browser-{os.getpid()}.sqlite3"
        connection.settings_dict["TEST"]["NAME"] = str(name)


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """The system's Chromium, closed with the block."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "Chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def chromium():
    # Playwright's loop runs in this thread, and Django would refuse the ORM beside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with started_chromium() as browser:
        yield browser
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(chromium, live_server):
    context = chromium.new_context(base_url=live_server.url, locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    steady(page)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # An answer of 4xx is told in the console too; the page itself shows it.
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and "Failed to load resource" not in m.text else None)
    page.on(
        "request", lambda request: wrong.append(request.url) if not request.url.startswith((live_server.url, "data:")) else None
    )
    yield page
    context.close()
    assert wrong == []


def steady(page: Page) -> None:
    """Load a page again: Chromium drops requests whenever a network interface of the machine comes or goes, as those of pods do."""
    lost: list[str] = []
    kinds = ("script", "stylesheet")
    page.on("requestfailed", lambda request: lost.append(request.url) if request.resource_type in kinds else None)
    goto = page.goto

    def again(url: str, **options: Any) -> Any:
        for _ in range(5):
            lost.clear()
            try:
                answer = goto(url, **options)
            except Error as error:
                if "ERR_NETWORK_CHANGED" not in str(error):
                    raise
            else:
                if not lost:
                    break
        return answer

    page.goto = again
