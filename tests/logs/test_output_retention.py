"""Finished output is removed by age and by count, never that of a run that goes on; its row tells what was there."""

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from logs.archive import archive, clear
from logs.models import Log, Output, OutputChunk
from logs.output import Recorder
from logs.retention import Told, expired_output, remove_output
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


def gone(days, newest):
    return sorted(item.key for batch in expired_output(days, newest, timezone.now()) for item in batch)


def prune(days, newest, *, go_on=lambda: True):
    """Remove what is expired, as the prune does; returns how many outputs and bytes."""
    told = Told()
    found = [item for batch in expired_output(days, newest, timezone.now()) for item in remove_output(batch, told, go_on)]
    return len(found), sum(item.size for item in found)


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
    assert prune(7, 0) == (1, 6)
    assert not OutputChunk.objects.exists()
    status = client.get(f"/job/{output.run_id}/output/status/").json()
    assert (status["size"], status["verdict"], bool(status["removed_at"])) == (6, "unproven", True)


def test_pruning_removes_the_archives_file():
    output = printed(days_ago=8)
    archive(output)
    prune(7, 0)
    assert not default_storage.exists(output.archive)
    assert Output.objects.get().archive == ""


def test_pruning_twice_removes_nothing_more():
    printed(days_ago=8)
    prune(7, 0)
    assert prune(7, 0) == (0, 0)


def test_a_storage_that_is_away_keeps_the_row_for_the_next_pruning(monkeypatch):
    output = printed(days_ago=8)
    archive(output)
    with monkeypatch.context() as away:
        away.setattr(default_storage, "delete", lambda name: 1 / 0)
        assert prune(7, 0) == (0, 0)
    assert Output.objects.get().archive
    assert prune(7, 0) == (1, 0)
    assert not default_storage.exists(output.archive)


def test_a_file_that_a_crash_left_behind_is_removed_by_the_next_pruning():
    output = printed(days_ago=8)
    archive(output)
    Output.objects.update(removed_at=timezone.now())
    prune(7, 0)
    assert not default_storage.exists(output.archive)


def test_an_output_whose_row_another_process_has_deleted_is_gone():
    output = printed(days_ago=8)
    Output.objects.filter(pk=output.pk).delete()
    assert clear(output)
    assert not archive(output)


def test_more_than_a_batch_is_pruned(monkeypatch):
    monkeypatch.setattr("logs.retention.BATCH", 2)
    for _ in range(5):
        printed(days_ago=8)
    assert prune(7, 0)[0] == 5


def test_it_stops_between_two_batches_of_rows_and_goes_on_there_next_time(monkeypatch):
    monkeypatch.setattr("logs.archive.CHUNKS", 1)
    output = printed(days_ago=8)
    OutputChunk.objects.create(output=output, start=6, data=b"more")
    answers = iter([True, False])
    assert prune(7, 0, go_on=lambda: next(answers)) == (0, 0)
    assert OutputChunk.objects.count() == 1
    assert prune(7, 0) == (1, 0)
    assert not OutputChunk.objects.exists()


def test_what_is_being_removed_is_not_shown_any_more(client, monkeypatch):
    output = printed(days_ago=8)
    prune(7, 0, go_on=lambda: False)
    assert OutputChunk.objects.exists()
    assert client.get(f"/job/{output.run_id}/output/").status_code == 410


def test_the_bytes_are_not_read_to_be_removed():
    output = printed(days_ago=8)
    with CaptureQueriesContext(connection) as queries:
        prune(7, 0)
    assert not Output.objects.get(pk=output.pk).archive
    assert not [
        query["sql"] for query in queries if query["sql"].startswith("SELECT") and "`data`" in query["sql"].replace('"', "`")
    ]


def test_history_has_a_line_for_each_repository_and_reason(monkeypatch):
    monkeypatch.setattr("logs.retention.BATCH", 2)
    for _ in range(5):
        printed("app", days_ago=8)
    printed("other", days_ago=8)
    Log.objects.all().delete()
    prune(7, 0)
    assert sorted(Log.objects.values_list("repository_id", "msg")) == [
        ("app", "5 outputs older than 7 days removed"),
        ("other", "1 output older than 7 days removed"),
    ]


def test_removed_output_is_not_archived():
    output = printed(days_ago=8)
    prune(7, 0)
    assert not Output.objects.to_archive().exists()
    assert not archive(output)


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_removed_output_is_told_as_gone(client, accept):
    output = printed(days_ago=8)
    prune(7, 0)
    answer = client.get(f"/job/{output.run_id}/output/", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (410, "output_removed")


def test_the_page_says_that_the_output_was_removed(client):
    output = printed(days_ago=8)
    prune(7, 0)
    page = client.get(f"/builds/{output.run.event_id}/").content.decode()
    assert "was removed, as its retention is configured" in page
    assert 'id="output"' not in page
