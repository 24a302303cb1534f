"""A newer check of a branch ends what of it still waits, where the repository says so."""

import datetime
import threading

import pytest
from django.db import connections, transaction
from django.utils import timezone

from ci_portal.api.retry import in_transaction
from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners.models import Run
from runners.record import BuildSettings, Source, record

pytestmark = pytest.mark.django_db

MAIN = "refs/heads/main"


@pytest.fixture
def repository():
    return Repository.objects.create(repo_name="app", repo="https://git.example/app.git", supersede=True)


def check(repository: Repository, commit: str, ref: str = MAIN, force: bool = False, **chosen) -> Run:
    with transaction.atomic():
        return record(repository, Source(ref, commit * 40), BuildSettings(**chosen), "ann", force=force)[1]


def status(run: Run) -> str:
    return Run.objects.get(pk=run.pk).status


def soon() -> datetime.datetime:
    return timezone.now() + datetime.timedelta(seconds=60)


def test_a_newer_check_cancels_the_waiting_run_of_the_older_one(repository):
    older, newer = check(repository, "a"), check(repository, "b")
    older.refresh_from_db()
    reason = f"Superseded by event {newer.event.name}."
    assert (older.status, older.reason) == (Run.CANCELLED, reason)
    assert (older.event.status, older.event.reason, older.event.active_key) == (Event.CANCELLED, reason, None)
    assert status(newer) == Run.WAITING


def test_the_history_tells_what_superseded_it(repository):
    older, newer = check(repository, "a"), check(repository, "b")
    told = Log.objects.filter(event=older.event_id).latest("id")
    assert told.msg == f"run {older.name} cancelled: Superseded by event {newer.event.name}."
    assert (told.run_id, told.repository_id) == (older.pk, "app")


def test_all_that_wait_are_superseded(repository):
    runs = [check(repository, commit) for commit in "abcd"]
    assert [status(run) for run in runs] == [Run.CANCELLED] * 3 + [Run.WAITING]


def test_a_repository_that_does_not_say_so_builds_them_all(repository):
    Repository.objects.update(supersede=False)
    repository.refresh_from_db()
    older = check(repository, "a")
    check(repository, "b")
    assert status(older) == Run.WAITING


def test_another_branch_is_left_alone(repository):
    older = check(repository, "a", "refs/heads/next")
    check(repository, "b")
    assert status(older) == Run.WAITING


def test_another_repository_is_left_alone(repository):
    other = Repository.objects.create(repo_name="other", repo="https://git.example/o.git", supersede=True)
    older = check(other, "a")
    check(repository, "b")
    assert status(older) == Run.WAITING


def test_another_image_of_the_same_branch_is_left_alone(repository):
    older = check(repository, "a", image="team/worker")
    check(repository, "b", image="team/web")
    assert status(older) == Run.WAITING


def test_a_tag_is_not_superseded(repository):
    older = check(repository, "a", "refs/tags/v1", tag="v1")
    check(repository, "b", "refs/tags/v1", tag="v1")
    assert status(older) == Run.WAITING


def test_what_is_launching_or_running_goes_on(repository):
    launching, running = check(repository, "a"), check(repository, "b", force=True)
    Run.objects.filter(pk=launching.pk).update(status=Run.LAUNCHING)
    Run.objects.filter(pk=running.pk).update(status=Run.RUNNING)
    check(repository, "c")
    assert (status(launching), status(running)) == (Run.LAUNCHING, Run.RUNNING)


def test_the_same_commit_is_no_newer_check(repository):
    older = check(repository, "a")
    assert check(repository, "a") == older
    assert status(older) == Run.WAITING


def test_a_forced_check_of_the_same_commit_is_a_newer_one(repository):
    older = check(repository, "a")
    check(repository, "a", force=True)
    assert status(older) == Run.CANCELLED


def test_what_somebody_cancelled_keeps_that_name(repository):
    older = check(repository, "a")
    older.request_cancel("eve")
    check(repository, "b")
    assert status(older) == Run.WAITING  # its watcher ends it, as eve asked
    assert Run.objects.get(pk=older.pk).cancelled_by == "eve"


def test_a_slow_check_of_an_older_commit_does_not_supersede_a_faster_one(repository):
    slow = Source(MAIN, "a" * 40)
    fast = check(repository, "b")
    record(repository, slow, BuildSettings(), "ann")
    assert status(fast) == Run.WAITING


def test_a_superseded_build_can_be_retried(client, repository):
    older = check(repository, "a")
    check(repository, "b")
    answer = client.post(f"/event/{older.event_id}/retry/")
    assert (answer.status_code, answer.json()["job"]["attempt"], answer.json()["job"]["commit"]) == (202, 2, "a" * 40)


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_came_first_keeps_its_run(repository):
    older = check(repository, "a")
    other = Run.objects.get(pk=older.pk)
    assert other.claim_launch("watcher", soon())
    check(repository, "b")
    assert other.launched()
    assert status(older) == Run.LAUNCHING


def in_thread(work) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_comes_while_it_is_superseded_finds_nothing_to_claim(repository):
    older = check(repository, "a")
    claimed: list[bool] = []
    begun = threading.Event()

    def claim() -> None:
        run = Run.objects.get(pk=older.pk)
        begun.set()
        claimed.append(run.claim_launch("watcher", soon()))

    with transaction.atomic():
        check(repository, "b")
        thread = in_thread(claim)
        assert begun.wait(10)
    thread.join(20)
    assert claimed == [False]
    assert status(older) == Run.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_checks_and_claims_at_once_leave_no_run_between_two_states(repository):
    """Ten checks of one branch race with a watcher that launches whatever waits."""
    over = threading.Event()

    def record_one(commit: str) -> None:
        def work() -> None:
            held = Repository.objects.select_for_update().get(pk=repository.pk)
            check(held, commit)

        in_transaction(work)

    def launch_all() -> None:
        while not over.is_set():
            for run in Run.objects.waiting():
                if run.claim_launch("watcher", soon()):
                    assert run.launched()

    watcher = in_thread(launch_all)
    checks = [in_thread(lambda commit=commit: record_one(commit)) for commit in "0123456789"]
    for thread in checks:
        thread.join(60)
    over.set()
    watcher.join(60)
    runs = list(Run.objects.select_related("event"))
    assert len(runs) == 10
    for run in runs:
        expected = (Event.CANCELLED, False) if run.status == Run.CANCELLED else (Event.WAITING, True)
        assert (run.event.status, bool(run.event.active_key)) == expected
        assert run.launched_at is None or run.status == Run.LAUNCHING


def test_it_is_switched_on_and_off_over_the_api(client, repository):
    row = f"/repo/{repository.repo_name}/"
    assert client.get(row).json()["supersede"] is True
    changed = client.patch(row, {"supersede": False}, content_type="application/json")
    assert (changed.status_code, changed.json()["supersede"]) == (200, False)
    assert Log.objects.get().msg == "repository app changed: supersede: True → False"
    assert client.get("/repo/?supersede=false").json()["count"] == 1


def test_a_form_switches_it_on_as_browsers_send_a_ticked_box(client):
    sent = {"repo_name": "new", "repo": "https://git.example/new.git", "supersede": "on"}
    assert client.post("/repo/", sent).json()["supersede"] is True


def test_a_form_without_it_leaves_it_as_it_is(client, repository):
    client.patch("/repo/app/", "desc=x", content_type="application/x-www-form-urlencoded")
    assert client.get("/repo/app/").json()["supersede"] is True
