"""Rows against what the local backend really holds: each difference is found, and put right where nobody else would."""

import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from events.models import Event
from logs.models import Log, Output
from runners import reconcile as reconciling
from runners import watcher as watching
from runners.backends.base import Refused, Unreachable
from runners.backends.local import LocalBackend
from runners.backends.local_build import write_json
from runners.backends.local_process import hold, place, started_ticks
from runners.describe import build_spec
from runners.follow import Follow
from runners.launch import launch
from runners.models import Installation, Run, new_uid
from runners.reconcile import Finding, Kind, find, reconcile
from runners.watcher import Watcher
from tests.support import rows

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """The only one that the portal has."""
    backend = LocalBackend(tmp_path / "builds", tmp_path / "ca")
    monkeypatch.setattr(reconciling, "configured_backend", lambda: backend)
    monkeypatch.setattr(reconciling, "backend_named", lambda name: backend)
    return backend


@pytest.fixture
def build(backend: LocalBackend) -> Iterator[Callable[..., Path]]:
    """The folder of a build as its supervisor leaves it; `active`: a process holds its lock."""
    processes = []

    def make(uid: str, *, active: bool = False, installation: str | None = None, name: str = "app-1", ended_at: str = "") -> Path:
        folder = backend.work / uid
        folder.mkdir(parents=True)
        mine = Installation.identity() if installation is None else installation
        write_json(folder / "plan.json", {"labels": {"installation": mine, "repository": "exporter", "run": name}})
        lock = hold(folder / "lock")
        process = subprocess.Popen(["sleep", "60"], pass_fds=(lock,)) if active else None
        subprocess.os.close(lock)
        pid = process.pid if process else 1 << 22
        write_json(folder / "supervisor.json", {"pid": pid, "ticks": started_ticks(pid), "place": place()})
        if process:
            processes.append(process)
        else:
            write_json(folder / "result.json", {"finished_at": ended_at or LONG_AGO.isoformat(), "outcome": "ended"})
        return folder

    yield make
    for process in processes:
        process.kill()
        process.wait()


def run(status: str, **columns) -> Run:
    defaults = {"backend": "local", "status": status, "epoch": 1}
    if status in (Run.LAUNCHING, Run.RUNNING):
        defaults["launched_at"] = LONG_AGO
    if status in Run.FINAL:
        defaults |= {"launched_at": LONG_AGO, "finished_at": LONG_AGO}
    event = rows.event(rows.repository(f"exporter-{Run.objects.count()}"), status=Run.EVENT_STATUS.get(status, "2"))
    return rows.run(event, **(defaults | columns))


def kinds(found: list[Finding]) -> list[Kind]:
    return [finding.kind for finding in found]


def history() -> list[str]:
    return list(Log.objects.order_by("id").values_list("msg", flat=True))


def test_where_all_matches_nothing_is_found(backend, build):
    active = run(Run.RUNNING)
    build(active.uid, active=True)
    run(Run.WAITING)
    done = run(Run.SUCCEEDED, tidied_at=LONG_AGO)
    build(done.uid)
    assert find(backend) == []


def test_a_build_without_a_run_is_removed_with_its_repositorys_name_in_the_history(backend, build):
    folder = build(new_uid(), active=True, name="app-77")
    found = reconcile(backend, "ann")
    assert kinds(found) == [Kind.WITHOUT_RUN]
    assert not folder.exists()
    line = Log.objects.get()
    assert line.msg == "build app-77 was removed from the local backend: there is no run for it"
    assert (line.repository_id, line.actor) == ("exporter", "ann")


@pytest.mark.parametrize("installation", ["", "of-another-portal"])
def test_a_build_that_is_not_this_portals_stays(backend, build, installation):
    folder = build(new_uid(), installation=installation)
    assert reconcile(backend) == []
    assert folder.exists()


def test_a_folder_that_no_build_made_stays(backend):
    (backend.work / "notes").mkdir(parents=True)
    (backend.work / "abc").mkdir()
    assert reconcile(backend) == []
    assert (backend.work / "abc").exists()


def test_a_build_that_goes_on_after_its_run_has_ended_is_ended(backend, build):
    over = run(Run.CANCELLED)
    folder = build(over.uid, active=True)
    assert kinds(reconcile(backend)) == [Kind.STILL_ACTIVE]
    assert not folder.exists()
    over.refresh_from_db()
    assert over.tidied_at is not None
    assert history() == [f"run {over.name} has ended; its build, which had not, was removed"]


def test_a_run_that_has_just_ended_is_left_to_its_watcher(backend, build):
    over = run(Run.CANCELLED, finished_at=timezone.now())
    build(over.uid, active=True)
    assert find(backend) == []


def test_what_is_left_of_a_run_that_has_ended_is_removed(backend, build):
    over = run(Run.FAILED)
    folder = build(over.uid)
    assert kinds(reconcile(backend)) == [Kind.UNTIDIED]
    assert not folder.exists()
    assert history() == [f"what was left of run {over.name} on the local backend was removed"]
    assert find(backend) == []


@pytest.mark.parametrize(("epoch", "expected"), [(2, []), (3, [Kind.UNTIDIED])], ids=["one launch", "a launch that was taken over"])
def test_what_a_launch_that_came_late_has_left_is_removed(backend, build, epoch: int, expected: list[Kind]):
    over = run(Run.SUCCEEDED, tidied_at=LONG_AGO, epoch=epoch)
    build(over.uid)
    assert kinds(reconcile(backend)) == expected
    assert history() == [f"what was left of run {over.name} on the local backend was removed"] * len(expected)
    assert (kinds(find(backend)), len(history())) == ([], len(expected))


def test_a_run_that_was_never_claimed_has_left_nothing(backend):
    run(Run.CANCELLED, epoch=0, launched_at=None)
    assert find(backend) == []


def test_a_run_whose_build_is_gone_is_told_and_left_to_the_watcher(backend):
    lost = run(Run.RUNNING)
    found = reconcile(backend)
    assert kinds(found) == [Kind.VANISHED]
    assert found[0].since == lost.launched_at
    lost.refresh_from_db()
    assert (lost.status, history()) == (Run.RUNNING, [])


def test_the_watcher_ends_a_run_whose_build_is_gone(backend):
    lost = run(Run.RUNNING)
    Follow(lost, backend, SimpleQueue(), ThreadPoolExecutor(1)).look()
    lost.refresh_from_db()
    assert lost.status == Run.FAILED
    assert "folder on this machine was removed" in lost.reason
    assert lost.event.status == Event.FAILED
    assert history() == [f"run {lost.name} failed: {lost.reason}"]


def test_a_run_that_is_launched_while_the_backend_is_asked_is_not_missed(backend, monkeypatch):
    late = run(Run.LAUNCHING, launched_at=None, claimed_until=timezone.now() + timedelta(seconds=60))

    def inventory():
        Run.objects.filter(pk=late.pk).update(launched_at=timezone.now())
        return []

    monkeypatch.setattr(backend, "inventory", inventory)
    assert find(backend) == []


def test_a_run_that_is_recorded_while_the_backend_is_asked_keeps_its_build(backend, build, monkeypatch):
    asked = backend.inventory

    def inventory():
        new = run(Run.RUNNING)
        build(new.uid, active=True)
        return asked()

    monkeypatch.setattr(backend, "inventory", inventory)
    assert find(backend) == []


def test_a_build_that_ended_unseen_is_told(backend, build):
    missed = run(Run.RUNNING)
    build(missed.uid)
    assert kinds(find(backend)) == [Kind.ENDED_UNSEEN]


def test_a_build_that_has_just_ended_is_no_finding(backend, build):
    build(run(Run.RUNNING).uid, ended_at=timezone.now().isoformat())
    assert find(backend) == []


@pytest.mark.parametrize(("seconds", "expected"), [(-1, [Kind.HALF_LAUNCHED]), (60, [])])
def test_a_launch_that_was_begun_is_told_once_its_claim_has_lapsed(backend, build, seconds, expected):
    begun = run(Run.LAUNCHING, launched_at=None, claimed_until=timezone.now() + timedelta(seconds=seconds))
    build(begun.uid, active=True)
    assert kinds(find(backend)) == expected


def test_a_run_whose_event_was_deleted_ends_with_its_build_and_its_output(backend, build):
    orphan = run(Run.RUNNING)
    folder = build(orphan.uid, active=True)
    Event.objects.filter(pk=orphan.event_id)._raw_delete("default")
    found = reconcile(backend, "ann")
    assert kinds(found) == [Kind.WITHOUT_EVENT]
    assert not folder.exists()
    orphan = Run.objects.get(pk=orphan.pk)
    assert (orphan.status, orphan.reason) == (Run.FAILED, "Its event was deleted from the database, so the portal ended it.")
    assert orphan.tidied_at is not None
    assert Output.objects.get(run=orphan).outcome == Run.FAILED
    assert history() == [f"run {orphan.name} failed: {orphan.reason}"]


def test_a_waiting_run_whose_event_was_deleted_is_not_launched():
    orphan = run(Run.WAITING)
    Event.objects.filter(pk=orphan.event_id)._raw_delete("default")
    orphan = Run.objects.select_related("event").get(pk=orphan.pk)
    assert launch(orphan, "a watcher", in_turn=True).status == Run.FAILED


def test_the_watcher_asks_for_a_pass_instead_of_following_a_run_without_event(backend, monkeypatch, caplog):
    monkeypatch.setattr(watching, "close_old_connections", lambda: None)
    orphan = run(Run.RUNNING)
    Event.objects.filter(pk=orphan.event_id)._raw_delete("default")
    watcher = Watcher(backend)
    watcher.due["reconcile"] = watcher.reconciled + watching.RECONCILE_SECONDS
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watcher._poll()
    assert watcher.due["reconcile"] == watcher.reconciled + watching.RECONCILE_REST_SECONDS
    assert (watcher.follows, caplog.text) == ({}, "")


@pytest.mark.parametrize(
    ("minutes", "asks"), [(0.5, False), (2, True), (60, False)], ids=["being settled", "left behind", "not to be tidied"]
)
def test_the_watcher_asks_for_a_pass_when_another_left_a_run_untidied(backend, minutes: float, asks: bool):
    run(Run.SUCCEEDED, finished_at=timezone.now() - timedelta(minutes=minutes))
    watcher = Watcher(backend)
    watcher.due["reconcile"] = watcher.reconciled + watching.RECONCILE_SECONDS
    watcher._look_for_untidied()
    assert (watcher.due["reconcile"] == watcher.reconciled + watching.RECONCILE_REST_SECONDS) == asks


def test_the_watcher_asks_for_a_pass_when_the_backend_is_back(backend):
    watcher = Watcher(backend)
    watcher.due["reconcile"] = watcher.reconciled + watching.RECONCILE_SECONDS
    watcher._changed({"abc"})
    assert watcher.due["reconcile"] == watcher.reconciled + watching.RECONCILE_SECONDS
    watcher._changed(None)
    assert watcher.due["reconcile"] == watcher.reconciled + watching.RECONCILE_REST_SECONDS


@pytest.mark.django_db(transaction=True)
def test_the_watcher_makes_a_pass_when_it_starts(backend, build):
    folder = build(new_uid())
    watcher = Watcher(backend)
    watcher.watch_once()
    assert watcher.reconciling is not None
    watcher.reconciling.result(30)
    assert not folder.exists()


@pytest.mark.django_db(transaction=True)
def test_a_pass_that_cannot_ask_the_backend_stops_nothing(backend, monkeypatch, caplog):
    def inventory():
        raise Unreachable("The cluster can't be reached.")

    monkeypatch.setattr(backend, "inventory", inventory)
    watcher = Watcher(backend)
    with caplog.at_level(logging.WARNING):
        watcher.watch_once()
        watcher.reconciling.result(30)
    assert "reconciling backend local: The cluster can't be reached." in caplog.text


def test_two_passes_at_once_leave_one_line_of_history_each(backend, build, monkeypatch):
    over, folder = run(Run.FAILED), build(new_uid())
    build(over.uid)
    found = find(backend)
    monkeypatch.setattr(reconciling, "find", lambda backend: list(found))
    first, second = reconcile(backend), reconcile(backend)
    assert all(finding.done for finding in first + second)
    assert not folder.exists()
    assert len(history()) == 2


def test_what_the_backend_refuses_is_told_and_holds_up_nothing_else(backend, build, monkeypatch):
    build(new_uid())
    over = run(Run.FAILED)

    def remove(held):
        raise Refused("It may not be deleted.")

    monkeypatch.setattr(backend, "remove", remove)
    refused, tidied = reconcile(backend)
    assert (refused.done, refused.problem) == (False, "It may not be deleted.")
    assert tidied.done
    assert history() == [f"what was left of run {over.name} on the local backend was removed"]


def test_a_backend_that_does_not_answer_is_not_asked_for_ever(backend, build, monkeypatch):
    for _ in range(5):
        build(new_uid())
    asked = []

    def remove(held):
        asked.append(held)
        raise Unreachable("The cluster can't be reached.")

    monkeypatch.setattr(backend, "remove", remove)
    assert [finding.problem for finding in reconcile(backend)] == ["The cluster can't be reached."] * 3 + [""] * 2
    assert len(asked) == 3


def test_a_stopped_pass_acts_no_more(backend, build):
    folder = build(new_uid())
    assert not reconcile(backend, go_on=lambda: False)[0].done
    assert folder.exists()


def test_backends_that_still_have_runs_are_looked_at_too(monkeypatch):
    monkeypatch.undo()
    run(Run.RUNNING, backend="kubernetes")
    assert [backend.name for backend in reconciling.places()] == ["kubernetes", "local"]


def test_the_identity_of_a_portal_stays():
    assert Installation.identity() == Installation.identity()
    assert len(Installation.identity()) == 32


@pytest.mark.django_db(transaction=True)
def test_processes_that_ask_for_it_at_once_get_the_same():
    together = threading.Barrier(6)

    def ask(_: int) -> str:
        try:
            together.wait(10)
            return Installation.identity()
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1


def test_a_build_carries_the_identity_of_its_portal():
    assert build_spec(run(Run.WAITING)).installation == Installation.identity()


# manage.py reconcile


def test_the_command_tells_what_it_did(backend, build, capsys):
    folder = build(new_uid(), name="app-77")
    call_command("reconcile")
    assert capsys.readouterr().out == (
        "local app-77: A build for which there is no run. The build is removed.\n"
        "1 found: 1 put right, 0 could not be, 0 left to the watcher.\n"
    )
    assert not folder.exists()
    assert Log.objects.get().actor == "manage.py reconcile"


def test_a_dry_run_changes_nothing(backend, build, capsys):
    folder, over = build(new_uid()), run(Run.FAILED)
    call_command("reconcile", "--dry-run")
    assert capsys.readouterr().out.endswith("2 found: 2 would be put right, 0 left to the watcher.\n")
    over.refresh_from_db()
    assert (folder.exists(), over.tidied_at, history()) == (True, None, [])


def test_the_command_says_so_where_all_matches(backend, capsys):
    call_command("reconcile")
    assert capsys.readouterr().out == "Everything matches.\n"


def test_the_command_fails_with_one_clear_line_where_a_backend_is_away(backend, monkeypatch, capsys):
    def inventory():
        raise Unreachable("The cluster can't be reached: Connection refused.")

    monkeypatch.setattr(backend, "inventory", inventory)
    with pytest.raises(CommandError, match=r"^backend local: The cluster can't be reached: Connection refused\.$"):
        call_command("reconcile")
    assert capsys.readouterr().out == ""


def test_the_command_fails_where_something_could_not_be_put_right(backend, build, monkeypatch, capsys):
    build(new_uid(), name="app-77")

    def remove(held):
        raise Refused("It may not be deleted.")

    monkeypatch.setattr(backend, "remove", remove)
    with pytest.raises(CommandError):
        call_command("reconcile")
    assert "local app-77: A build for which there is no run. It may not be deleted.\n" in capsys.readouterr().out
