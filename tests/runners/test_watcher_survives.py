"""The watcher outlives a database that is away, and one thing that goes wrong holds up nothing else."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DataError, InterfaceError, OperationalError
from django.utils import timezone

from logs.models import Output, OutputChunk
from logs.output import Recorder
from runners import leases
from runners import tidy as tidying
from runners import watcher as watching
from runners.backends.local import LocalBackend
from runners.models import Installation, Run
from runners.watcher import Watcher
from tests.support import rows


@pytest.fixture
def watcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    monkeypatch.setattr(watching, "close_old_connections", lambda: None)
    return Watcher(LocalBackend(tmp_path / "builds", tmp_path / "ca"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError(2013, "Lost connection"), InterfaceError(0, "")])
def test_it_goes_on_when_the_database_was_away(watcher: Watcher, monkeypatch: pytest.MonkeyPatch, error: Exception):
    asked = []

    def take(me: str, *_: object) -> list[object]:
        asked.append(me)
        if len(asked) == 1:
            raise error
        watcher.stop()
        return []

    monkeypatch.setattr(leases, "take", take)
    watcher.watch_forever()
    assert len(asked) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError(2013, "Lost connection"), InterfaceError(0, "")])
def test_what_cannot_be_tidied_for_want_of_the_database_is_told_in_a_line(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, caplog, error: Exception
):
    def identity() -> str:
        raise error

    run = rows.run(rows.event(rows.repository("exporter")), status=Run.SUCCEEDED, backend="local", epoch=2)
    monkeypatch.setattr(Installation, "identity", identity)
    monkeypatch.setattr(tidying, "close_old_connections", lambda: None)
    assert not tidying.tidy(run, watcher.backends["local"])
    assert f"run {run.name}: tidying up: the database does not answer" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.django_db
def test_it_renews_its_leases_while_it_goes_through_many_runs(watcher: Watcher, monkeypatch: pytest.MonkeyPatch):
    """Looking after hundreds of them on a busy machine takes longer than a lease lasts."""
    done: list[str] = []

    class Slow:
        done = False

        def look(self) -> None:
            done.append("look")
            watcher.due["renew"] = 0.0  # as when it has taken RENEW_SECONDS

    monkeypatch.setattr(watcher, "_renew", lambda: done.append("renew"))
    watcher.follows = {str(number): Slow() for number in range(3)}
    watcher._each(Slow.look)
    assert done == ["renew", "look"] * 3


@pytest.mark.django_db
def test_an_output_that_cannot_be_archived_holds_up_no_other(watcher: Watcher, settings, tmp_path: Path, caplog):
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "output")}}
    settings.STORAGES = {**settings.STORAGES, "default": folder}
    for run in (1, 2):
        recorder = Recorder(run, ("build",), [])
        recorder.append("build", b"hello", "5")
        recorder.close("succeeded")
    OutputChunk.objects.filter(output__run_id=1).delete()
    with caplog.at_level(logging.WARNING):
        watcher._archive_closed()
    assert [output.archived_at is not None for output in Output.objects.order_by("run_id")] == [False, True]
    assert "the output of run 1 could not be archived" in caplog.text


@pytest.mark.django_db
def test_a_lease_that_another_watcher_holds_is_left_alone_without_asking(django_assert_num_queries):
    for number in range(3):
        rows.run(rows.event(image_tag=f"t{number}", status="2"), backend="local", status="running", launched_at="2026-11-23T00:00Z")
    mine = leases.take("host-a/1:1:1:x", ["local"])
    assert len(mine) == 3
    with django_assert_num_queries(2):
        assert leases.take("host-b/1:2:2:y", ["local"]) == []


@pytest.mark.django_db
def test_of_the_runs_that_it_follows_only_what_is_to_be_cancelled_is_read():
    runs = [
        rows.run(rows.event(image_tag=f"t{number}", status="2"), backend="local", status="running", launched_at="2026-11-23T00:00Z")
        for number in range(3)
    ]
    followed = {run.pk for run in leases.take("host-a/1:1:1:x", ["local"])}
    runs[1].request_cancel("eve")
    assert leases.take("host-a/1:1:1:x", ["local"], followed=followed) == [runs[1]]
    assert set(leases.take("host-a/1:1:1:x", ["local"], followed={runs[1].pk})) == set(runs)


@pytest.mark.django_db
def test_a_holder_of_this_place_that_died_loses_its_lease_at_once():
    rows.run(rows.event(status="2"), backend="local", status="running", launched_at="2026-11-23T00:00Z")
    place, _, rest = leases.my_name().partition(":")
    dead = f"{place}:{rest.split(':')[0]}:1:dead"  # this process's number, started at another time
    assert len(leases.take(dead, ["local"])) == 1
    assert len(leases.take(leases.my_name(), ["local"])) == 1


@pytest.mark.django_db
def test_a_holder_in_another_pid_namespace_of_this_host_may_live():
    rows.run(rows.event(status="2"), backend="local", status="running", launched_at="2026-11-23T00:00Z")
    place, _, rest = leases.my_name().partition(":")
    elsewhere = f"{place.partition('/')[0]}/1:{rest.split(':')[0]}:1:alive"
    assert len(leases.take(elsewhere, ["local"])) == 1
    assert leases.take(leases.my_name(), ["local"]) == []


@pytest.mark.django_db
def test_runs_of_a_backend_that_is_configured_no_more_are_followed_to_their_end(watcher: Watcher):
    watcher.backends = {}  # as if another were configured now
    run = rows.run(rows.event(status="2"), backend="local", status="running", launched_at="2026-11-23T00:00Z", uid="a" * 32)
    try:
        watcher._watch_others()
        assert list(watcher.backends) == ["local"]
        watcher._poll()
        assert [follow.run for follow in watcher.follows.values()] == [run]
    finally:
        watcher.stop()


@pytest.mark.django_db
def test_a_watcher_that_was_paused_lets_go_of_what_another_took(watcher: Watcher):
    row = rows.run(rows.event(status="2"), backend="local", status="running", launched_at=timezone.now(), uid="a" * 32)
    watcher._poll()
    assert watcher.follows
    Run.objects.filter(pk=row.pk).update(claimed_by="another", epoch=5, claimed_until=timezone.now() + timedelta(minutes=1))
    watcher.due.pop("renew", None)
    watcher.watch_once(0.0)
    assert (watcher.follows, Run.objects.get(pk=row.pk).status) == ({}, Run.RUNNING)


@pytest.mark.django_db
def test_a_run_that_the_database_will_not_hold_holds_up_no_other(watcher: Watcher, caplog):
    for number in (1, 2):
        event = rows.event(image_tag=f"t{number}", status="2")
        rows.run(event, backend="local", status="running", launched_at=timezone.now(), uid=str(number) * 32)
    watcher._poll()

    def refused() -> None:
        raise DataError(1264, "Out of range value for column 'expected_bytes'")

    watcher._guarded(watcher.follows["1" * 32], refused)
    assert (list(watcher.follows), "Out of range" in caplog.text) == (["2" * 32], True)


@pytest.mark.django_db
def test_a_watcher_that_stops_leaves_what_has_ended_as_it_is():
    ended = rows.run(rows.event(status="3"), claimed_by="me", claimed_until="2026-11-23T00:00Z")
    leases.release("me")
    assert Run.objects.get(pk=ended.pk).claimed_by == "me"
