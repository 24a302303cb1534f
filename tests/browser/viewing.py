"""What tests of the output viewer share: runs with an output, and what the viewer shows of one."""

from typing import Any

from django.utils import timezone
from playwright.sync_api import Page

from events.models import Event
from logs.output import Recorder
from runners.models import Run
from tests.support import rows


def _run(status: str, label: str, **columns: Any) -> tuple[Event, Run]:
    event = rows.event(rows.repository(), status=status, **columns)
    return event, rows.run(event, status=label, started_at=timezone.now())


def running() -> tuple[Recorder, str]:
    """A run that goes on: who records its output, and its page."""
    event, run = _run("2", "running")
    return Recorder(run.pk, ("clone", "build"), []), f"/builds/{event.pk}/"


def ended(*pieces: bytes, outcome: str = "succeeded", clone: bytes = b"") -> str:
    """The page of a run that has printed this."""
    event, run = _run({"succeeded": "3", "failed": "4"}[outcome], outcome)
    recorder = Recorder(run.pk, ("clone", "build"), [])
    if clone:
        recorder.append("clone", clone, "1")
    for number, piece in enumerate(pieces):
        if piece:
            recorder.append("build", piece, str(number + 1))
    recorder.close(outcome)
    return f"/builds/{event.pk}/"


def shown(page: Page) -> list[str]:
    """The text of the lines that are in the page, in order."""
    return page.locator(".ov-row[data-line] .ov-text").all_inner_texts()


def first_in_view(page: Page) -> int:
    """The number of the first line that can be seen, once there is one: what is scrolled to may still be on its way."""
    found = page.wait_for_function(
        """() => {
                const top = document.querySelector('.ov-view').getBoundingClientRect().top;
                const rows = [...document.querySelectorAll('.ov-row[data-line]')];
                return rows.find((row) => row.getBoundingClientRect().bottom > top + 1)?.dataset.line;
            }"""
    )
    return int(found.json_value())


def expect_height(page: Page, line: int, condition: str) -> None:
    """Wait until the line is drawn with a height in px that meets the condition, like "== 24"."""
    page.wait_for_function(f"document.querySelector('[data-line=\"{line}\"]')?.getBoundingClientRect().height {condition}")


def at_end(page: Page) -> None:
    """Wait until the viewer shows the end."""
    page.wait_for_function(
        """() => {
            const view = document.querySelector('.ov-view');
            return view.scrollTop + view.clientHeight >= view.scrollHeight - 8;
        }"""
    )
