"""Watchers on machines that share the database and no disk: each sees to its own local builds."""

import datetime
from pathlib import Path

import pytest
from django.utils import timezone

from runners import leases
from runners.backends.local import LocalBackend
from runners.follow import ELSEWHERE
from runners.launch import LOST, launch
from runners.models import Run
from runners.reconcile import find
from runners.tidy import tidy
from runners.watcher import Watcher
from tests.support.rows import event, repository
from tests.support.rows import run as run_of

pytestmark = pytest.mark.django_db

A, B = "a" * 32, "b" * 32


def waiting() -> Run:
    return run_of(event(repository(f"app{Run.objects.count()}"), status="1"), status=Run.WAITING, backend="local", registory_add="")


def launched(place: str, seconds_ago: int = 0) -> Run:
    run = waiting()
    run.claim_launch("watcher", timezone.now() + datetime.timedelta(seconds=60), place)
    run.launched()
    then = timezone.now() - datetime.timedelta(seconds=seconds_ago)
    Run.objects.filter(pk=run.pk).update(launched_at=then)
    return run


def test_a_folder_of_builds_keeps_its_name_and_another_has_another(tmp_path: Path):
    first = LocalBackend(tmp_path / "a", tmp_path / "ca")
    assert first.place == LocalBackend(tmp_path / "a", tmp_path / "ca").place
    assert len(first.place) == 32
    assert LocalBackend(tmp_path / "b", tmp_path / "ca").place != first.place
    assert first.inventory() == []


def test_a_run_is_taken_by_watchers_of_its_place_alone():
    run = launched(A)
    assert leases.take("b", ["local"], {B}) == []
    assert [taken.pk for taken in leases.take("a", ["local"], {A})] == [run.pk]


def test_a_few_runs_are_taken_at_a_time():
    """The first ones' leases must not lapse while hundreds of others are taken and taken up."""
    runs = [launched("") for _ in range(leases.TAKEN_AT_ONCE + 3)]
    assert len(leases.take("a", ["local"])) == leases.TAKEN_AT_ONCE
    assert len(leases.take("b", ["local"])) == 3
    assert len(leases.take("a", ["local"])) == leases.TAKEN_AT_ONCE
    assert Run.objects.exclude(claimed_by="").count() == len(runs)


def test_a_run_of_a_cluster_is_taken_from_everywhere():
    run = launched("")
    assert [taken.pk for taken in leases.take("b", ["local"], {B})] == [run.pk]


def test_a_run_whose_machine_was_silent_for_long_is_anyones_to_settle():
    launched(A, leases.AWAY_SECONDS - 20)
    lost = launched(A, leases.AWAY_SECONDS + 20)
    assert [taken.pk for taken in leases.take("b", ["local"], {B})] == [lost.pk]


@pytest.mark.django_db(transaction=True)
def test_a_run_whose_machine_is_away_fails_with_that_reason_and_is_not_built_again(tmp_path: Path):
    run = launched(A, leases.AWAY_SECONDS + 20)
    watcher = Watcher(LocalBackend(tmp_path / "builds", tmp_path / "ca"))
    for _ in range(50):
        watcher.watch_once(0.01)
        run.refresh_from_db()
        if not run.is_active:
            break
    assert (run.status, run.reason.startswith(ELSEWHERE)) == (Run.FAILED, True)
    assert Run.objects.count() == 1


def test_a_launch_that_was_begun_elsewhere_is_not_begun_here():
    run = waiting()
    run.claim_launch("watcher", timezone.now() - datetime.timedelta(seconds=1), A)
    found = launch(Run.objects.get(pk=run.pk), "b")
    assert (found.status, found.place, found.epoch) == (Run.LAUNCHING, A, run.epoch)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_launch_whose_machine_was_silent_for_long_ends_here(cancelled: bool):
    run = waiting()
    run.claim_launch("watcher", timezone.now() - datetime.timedelta(seconds=leases.AWAY_SECONDS + 1), A)
    if cancelled:
        run.request_cancel("ann")
    found = launch(Run.objects.get(pk=run.pk), "b")
    assert found.status == (Run.CANCELLED if cancelled else Run.FAILED)
    assert found.reason == ("Cancelled by ann." if cancelled else LOST)


def test_what_is_elsewhere_is_neither_missed_nor_tidied_here(tmp_path: Path):
    backend = LocalBackend(tmp_path / "builds", tmp_path / "ca")
    launched(A, 100)
    assert find(backend) == []
    run = launched(A)
    run.finish(Run.FAILED, reason="x")
    assert not tidy(run, backend)
    run.refresh_from_db()
    assert run.tidied_at is None
