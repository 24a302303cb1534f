"""Run and event move together, only along the permitted transitions, each leaving a line of history."""

import datetime

import pytest
from django.utils import timezone

from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners.models import Run
from runners.record import BuildSettings, Source, next_attempt, record

pytestmark = pytest.mark.django_db

SOURCE = Source("refs/heads/main", "c" * 40)
DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def run():
    repository = Repository.objects.create(repo_name="app", repo="https://git.example/app.git")
    return record(repository, SOURCE, BuildSettings(), "ann")[1]


def soon():
    return timezone.now() + datetime.timedelta(seconds=60)


def test_a_recorded_run_waits_with_its_event(run):
    assert (run.status, run.event.status) == (Run.WAITING, Event.WAITING)
    assert Log.objects.get().msg.startswith("event event-app-buildv")


def test_only_one_of_two_gets_the_claim(run):
    other = Run.objects.get(pk=run.pk)
    assert run.claim_launch("first", soon())
    assert not other.claim_launch("second", soon())


def test_a_launch_that_nobody_finished_can_be_claimed_again(run):
    run.claim_launch("first", timezone.now() - datetime.timedelta(seconds=1))
    assert Run.objects.get(pk=run.pk).claim_launch("second", soon())


def test_a_launched_run_can_not_be_claimed_again(run):
    run.claim_launch("first", timezone.now() - datetime.timedelta(seconds=1))
    run.launched()
    assert not Run.objects.get(pk=run.pk).claim_launch("second", soon())


def test_a_launched_run_is_free_for_a_watcher_at_once(run):
    run.claim_launch("first", soon())
    run.launched()
    assert (run.claimed_by, run.claimed_until) == ("", None)


def test_a_postponed_run_waits_with_its_reason_on_both(run):
    run.claim_launch("first", soon())
    assert run.postponed("the cluster does not answer")
    event = Event.objects.get()
    assert (run.status, run.reason, event.reason) == (Run.WAITING, "the cluster does not answer", "the cluster does not answer")


def test_the_same_reason_is_said_once_in_the_history(run):
    for _ in range(3):
        run.claim_launch("first", soon())
        run.postponed("the cluster does not answer")
    assert Log.objects.filter(msg__contains="waits").count() == 1


def test_a_started_run_moves_its_event_to_running(run):
    run.claim_launch("first", soon())
    run.launched()
    assert run.event.status == Event.WAITING
    run.running(timezone.now())
    assert (run.status, run.event.status, run.event.reason) == (Run.RUNNING, Event.RUNNING, "")


def test_a_success_carries_commit_and_digest_to_event_run_and_log(run):
    run.finish(Run.SUCCEEDED, digest=DIGEST)
    event = Event.objects.get()
    assert (event.status, event.digest, event.commit, run.digest) == (Event.SUCCEEDED, DIGEST, "c" * 40, DIGEST)
    newest = Log.objects.first()
    assert DIGEST in newest.msg
    assert "c" * 40 in newest.msg
    assert (newest.repository_id, newest.event_id, newest.run_id) == ("app", event.pk, run.pk)


def test_there_is_no_success_without_a_digest(run):
    with pytest.raises(ValueError, match="digest"):
        run.finish(Run.SUCCEEDED)
    assert Run.objects.get().status == Run.WAITING


def test_a_finished_run_stays_as_it_is(run):
    stale = Run.objects.get(pk=run.pk)
    run.finish(Run.FAILED, reason="The Dockerfile's step failed.")
    assert not stale.finish(Run.SUCCEEDED, digest=DIGEST)
    assert Event.objects.get().status == Event.FAILED


def test_a_run_recorded_from_elsewhere_is_never_moved(run):
    Run.objects.update(managed=False)
    assert not run.finish(Run.FAILED, reason="x")
    assert not run.claim_launch("first", soon())


def test_a_run_that_gives_way_is_followed_by_another_attempt_of_its_event(run):
    assert run.give_way("The pod was evicted.")
    again = next_attempt(run)
    event = Event.objects.get()
    assert (run.status, event.status, event.job) == (Run.FAILED, Event.WAITING, again.name)
    assert (again.attempt, again.status, again.commit, again.repo_path) == (2, Run.WAITING, run.commit, run.repo_path)
    assert again.name != run.name


def test_an_event_stays_one_build_through_its_attempts(run):
    run.give_way("The pod was evicted.")
    again = next_attempt(run)
    assert record(run.event.repository, SOURCE, BuildSettings(), "bob") == (run.event, again, False)


def test_the_end_of_an_event_frees_its_build_for_another(run):
    again = record(run.event.repository, SOURCE, BuildSettings(), "bob")
    assert again[0] == run.event
    assert not again[2]
    run.finish(Run.FAILED, reason="x")
    event, _, created = record(run.event.repository, SOURCE, BuildSettings(), "bob")
    assert created
    assert event != run.event


def test_a_reason_longer_than_its_column_is_cut(run):
    run.finish(Run.FAILED, reason="x" * 600)
    assert len(Event.objects.get().reason) == 500


def test_the_repr_of_rows_is_short(run):
    assert str(run) == run.name


@pytest.mark.parametrize(
    "late",
    [
        lambda run: run.running(timezone.now()),
        lambda run: run.finish(Run.FAILED, reason="It vanished."),
        lambda run: run.finish(Run.SUCCEEDED, digest=DIGEST),
        lambda run: run.give_way("the node was lost"),
        lambda run: run.postponed("the cluster does not answer"),
        lambda run: run.wait_for("no node has room"),
    ],
)
def test_who_lost_the_claim_to_another_changes_nothing(run, late):
    run.claim_launch("first", timezone.now() - datetime.timedelta(seconds=1))
    assert Run.objects.get(pk=run.pk).claim_launch("second", soon())
    before = list(Run.objects.values()), list(Event.objects.values()), Log.objects.count()
    late(run)
    assert (list(Run.objects.values()), list(Event.objects.values()), Log.objects.count()) == before
    late(run)  # nor with what it learnt from the first refusal
    assert (list(Run.objects.values()), list(Event.objects.values()), Log.objects.count()) == before
