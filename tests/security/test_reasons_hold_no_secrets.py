"""Why a build failed is told from what it printed and from its Dockerfile, and both may hold a secret."""

import json
import time
from pathlib import Path

import pytest
from django.utils import timezone

from events.models import Event
from logs.masking import masked
from logs.models import Log
from repos.credentials import store_git_login
from runners.backends.local import LocalBackend
from runners.models import Run
from runners.watcher import Watcher
from tests.support import rows

TOKEN = "s3cret-token/of the repository"


def leave_failed_build(folder: Path, why: str) -> None:
    """What a supervisor leaves of a build whose second step failed."""
    folder.mkdir(parents=True)
    now = timezone.now().isoformat()
    ended = {"started_at": now, "finished_at": now}
    reports = {"clone": (0, {"commit": rows.COMMIT}), "build": (1, {"error": "step_failed", "why": why})}
    for name, (code, report) in reports.items():
        (folder / f"{name}.log").write_bytes(b"")
        told = {**ended, "exit_code": code, "report": {**report, "bytes": 0, "cksum": 4294967295}}
        (folder / f"{name}.json").write_text(json.dumps(told))
    (folder / "lock").touch()
    (folder / "supervisor.json").write_text("{}")
    (folder / "result.json").write_text(json.dumps({"finished_at": now, "outcome": "ended", "detail": ""}))


@pytest.mark.django_db(transaction=True)
def test_a_reason_that_quotes_a_secret_is_masked_wherever_it_is_kept(tmp_path: Path):
    repository = rows.repository()
    store_git_login(repository, "ci-bot", TOKEN)
    event = rows.event(repository, status="2")
    run = rows.run(event, backend="local", launched_at=timezone.now(), repo_path=repository.repo)
    why = f"Line 2 of the Dockerfile failed: RUN curl -u ci-bot:{TOKEN} https://example.com (exit code 22)"
    leave_failed_build(tmp_path / "builds" / run.uid, why)
    watcher = Watcher(LocalBackend(tmp_path / "builds", tmp_path / "ca"))
    until = time.monotonic() + 20
    while run.status != Run.FAILED and time.monotonic() < until:
        watcher.watch_once()
        run.refresh_from_db()
    watcher.launches.shutdown()
    watcher.calls.shutdown()
    kept = [run.reason, Event.objects.get().reason, *Log.objects.values_list("msg", flat=True)]
    assert run.reason == "Line 2 of the Dockerfile failed: RUN curl -u ci-bot:*** https://example.com (exit code 22)"
    assert TOKEN not in "\n".join(kept)


def test_what_is_left_of_a_secret_that_was_cut_short_is_masked():
    assert masked(f"failed: RUN login {TOKEN[:12]}… (exit code 1)", [TOKEN]) == "failed: RUN login ***… (exit code 1)"


def test_a_text_without_secrets_stays_as_it_is():
    assert masked("Zeile 2 fällt durch… (exit code 1)", [TOKEN]) == "Zeile 2 fällt durch… (exit code 1)"
