"""Finished output is removed by age and by count, never that of a run that goes on; its row tells what was there."""

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from logs.archive import archive
from logs.models import Output, OutputChunk
from logs.output import Recorder
from logs.retention import expired, prune
from tests.support import rows

pytestmark = pytest.mark.django_db


def printed(repo="app", days_ago=0, closed=True):
    """A run's output, closed so many days ago."""
    run = rows.run(rows.event(repo=repo, status="3"))
    recorder = Recorder(run.pk, ("build",), [])
    recorder.append("build", b"hello\n", "1")
    if closed:
        recorder.close("succeeded")
        Output.objects.filter(run=run).update(closed_at=timezone.now() - timedelta(days=days_ago))
    return Output.objects.get(run=run)


def configure(settings, **keys):
    settings.PORTAL = settings.PORTAL.model_copy(update={"output": settings.PORTAL.output.model_copy(update=keys)})


def gone(days, newest):
    return sorted(output.pk for output in expired(days, newest, timezone.now()))


def test_output_older_than_the_limit_is_expired():
    old, _ = printed(days_ago=8), printed(days_ago=6)
    assert gone(7, 0) == [old.pk]


def test_what_still_runs_is_never_expired():
    printed(closed=False)
    assert gone(1, 1) == []


def test_the_newest_of_each_repository_are_kept():
    first, second, *_ = [printed("app") for _ in range(4)]
    printed("other")
    assert gone(0, 2) == [first.pk, second.pk]


def test_no_limit_keeps_everything():
    printed(days_ago=1000)
    assert gone(0, 0) == []


def test_pruning_removes_the_bytes_and_keeps_what_is_known_of_them(client):
    output = printed(days_ago=8)
    assert prune(7, 0, timezone.now()) == (1, 6)
    assert not OutputChunk.objects.exists()
    status = client.get(f"/job/{output.run_id}/output/status/").json()
    assert (status["size"], status["verdict"], bool(status["removed_at"])) == (6, "unproven", True)


def test_pruning_removes_the_archives_file():
    output = printed(days_ago=8)
    archive(output)
    prune(7, 0, timezone.now())
    assert not default_storage.exists(output.archive)
    assert Output.objects.get().archive == ""


def test_pruning_twice_removes_nothing_more():
    printed(days_ago=8)
    prune(7, 0, timezone.now())
    assert prune(7, 0, timezone.now()) == (0, 0)


def test_a_file_that_a_crash_left_behind_is_removed_by_the_next_pruning():
    output = printed(days_ago=8)
    archive(output)
    Output.objects.update(removed_at=timezone.now())
    prune(7, 0, timezone.now())
    assert not default_storage.exists(output.archive)


def test_more_than_a_batch_is_pruned(monkeypatch):
    monkeypatch.setattr("logs.retention.BATCH", 2)
    for _ in range(5):
        printed(days_ago=8)
    assert prune(7, 0, timezone.now())[0] == 5


def test_pruning_stops_when_it_is_told_to():
    printed(days_ago=8)
    assert prune(7, 0, timezone.now(), go_on=lambda: False) == (0, 0)


def test_removed_output_is_not_archived():
    output = printed(days_ago=8)
    prune(7, 0, timezone.now())
    assert not Output.objects.to_archive().exists()
    assert not archive(output)


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_removed_output_is_told_as_gone(client, accept):
    output = printed(days_ago=8)
    prune(7, 0, timezone.now())
    answer = client.get(f"/job/{output.run_id}/output/", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (410, "output_removed")


def test_the_page_says_that_the_output_was_removed(client):
    output = printed(days_ago=8)
    prune(7, 0, timezone.now())
    page = client.get(f"/builds/{output.run.event_id}/").content.decode()
    assert "was removed, as its retention is configured" in page
    assert 'id="output"' not in page


def test_the_command_tells_what_it_would_remove(settings, capsys):
    configure(settings, retention_days=7)
    output = printed(days_ago=8)
    call_command("prune", "--dry-run")
    assert f"run {output.run_id}: 6 bytes" in capsys.readouterr().out
    assert OutputChunk.objects.exists()


def test_the_command_removes(settings, capsys):
    configure(settings, retention_count=1)
    printed(), printed()
    call_command("prune")
    assert "1 outputs removed, 6 bytes." in capsys.readouterr().out


def test_the_command_says_when_nothing_is_configured(capsys):
    call_command("prune")
    assert "kept for ever" in capsys.readouterr().out
