"""The page for admins in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from runners.backends.local import LocalBackend
from runners.backends.local_build import write_json
from runners.models import Installation, new_uid

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def test_what_is_left_over_is_seen_and_removed(page: Page, live_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backend = LocalBackend(tmp_path / "builds", tmp_path / "ca")
    monkeypatch.setattr("runners.reconcile_page.places", lambda: [backend])
    folder = backend.work / new_uid()
    folder.mkdir(parents=True)
    write_json(folder / "plan.json", {"labels": {"installation": Installation.identity(), "repository": "app", "run": "app-77"}})
    (folder / "lock").touch()
    page.goto(live_server.url)
    page.get_by_role("link", name="Reconciliation").click()
    expect(page.locator("table.rows tbody tr")).to_contain_text("app-77")
    page.get_by_role("button", name="Reconcile now").click()
    expect(page.get_by_role("status")).to_contain_text("Put right: 1.")
    expect(page.locator(".empty")).to_contain_text("Everything matches.")
    assert not folder.exists()
