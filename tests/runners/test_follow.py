"""One run while a watcher holds it: when it is given up, and what is masked."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from queue import SimpleQueue

import pytest
from django.utils import timezone

from logs.line_index import SEGMENT
from logs.models import Output, OutputSegment
from logs.output import StaleWriter
from repos.models import Credential, Repository
from runners import follow
from runners.backends.base import ContainerState, Piece, RunState, Unreachable
from runners.describe import build_spec
from runners.follow import Follow
from runners.models import Run
from runners.outcome import Outcome
from runners.record import BuildSettings, Source, record
from runners.tidy import tidy

pytestmark = pytest.mark.django_db


class Cluster:
    """Says of every run what the test says."""

    name = "kubernetes"
    place = ""

    def __init__(self) -> None:
        self.told = RunState("", waiting="queued by Kueue in builds", queued=True)
        self.over = threading.Event()

    def containers(self, spec):
        return ("clone", "build")

    def state(self, spec) -> RunState:
        return self.told

    def stream(self, spec, container, cursor) -> Iterator[Piece]:
        """Quiet until the test is over, like that of a lost node."""
        self.over.wait(20)
        yield from ()

    def delete(self, spec) -> None:
        """Nothing is there."""

    settled = delete


class Later:
    """Takes work for other threads and leaves it undone."""

    def submit(self, *_: object) -> None:
        """Forget it."""


@pytest.fixture
def pool() -> Later:
    return Later()


@pytest.fixture
def run() -> Run:
    """Launched three hours ago; the time limit is one."""
    repository = Repository.objects.create(repo_name="app", repo="https://git.example/app.git")
    run = record(repository, Source("refs/heads/main", "c" * 40), BuildSettings(), "ann")[1]
    Run.objects.filter(pk=run.pk).update(status=Run.LAUNCHING, launched_at=timezone.now() - timedelta(hours=3))
    run.refresh_from_db()
    return run


def looked_at(run: Run, cluster: Cluster, pool: Later) -> Run:
    Follow(run, cluster, SimpleQueue(), pool).look()
    run.refresh_from_db()
    return run


def test_a_run_that_waits_in_a_queue_of_the_cluster_is_not_given_up(run, pool):
    found = looked_at(run, Cluster(), pool)
    assert (found.status, found.reason) == (Run.LAUNCHING, "queued by Kueue in builds")


def test_its_time_begins_when_the_queue_lets_it_go(run, pool):
    cluster = Cluster()
    cluster.told = RunState("", waiting="waiting for the cluster to make its pod", began=timezone.now() - timedelta(minutes=1))
    assert looked_at(run, cluster, pool).status == Run.LAUNCHING


def overdue_cluster() -> Cluster:
    cluster = Cluster()
    cluster.told = RunState("", waiting="no node has room", began=timezone.now() - timedelta(hours=2))
    return cluster


def test_it_is_given_up_when_its_time_is_long_over(run, pool, monkeypatch):
    monkeypatch.setattr(follow, "OVERDUE_SECONDS", 0)
    held = Follow(run, overdue_cluster(), SimpleQueue(), pool)
    held.look()
    held.look()
    run.refresh_from_db()
    assert (run.status, run.reason) == (
        Run.FAILED,
        "It had not ended 120 s after its time limit of 3600 s, so the portal gave it up.",
    )


def test_a_cluster_that_was_away_may_say_first_how_it_ended(run, pool):
    """The first look after an outage may still see what was known before it."""
    assert looked_at(run, overdue_cluster(), pool).status == Run.LAUNCHING


def test_a_run_is_not_given_up_while_its_cluster_is_away(run, pool, monkeypatch):
    """What was known before may be hours old: the build may have ended well meanwhile."""
    monkeypatch.setattr(follow, "OVERDUE_SECONDS", 0)
    cluster = overdue_cluster()
    cluster.told = replace(cluster.told, stale=True)
    held = Follow(run, cluster, SimpleQueue(), pool)
    held.look()
    held.look()
    assert Run.objects.get(pk=run.pk).status == Run.LAUNCHING


def test_a_stream_is_not_given_up_while_its_cluster_is_away(run, pool):
    cluster = Cluster()
    ended = [
        ContainerState(name, timezone.now(), timezone.now(), 0, report={"bytes": 5, "cksum": 1}) for name in ("clone", "build")
    ]
    cluster.told = RunState("", finished=True, stale=True, containers=tuple(ended))
    held = Follow(run, cluster, SimpleQueue(), pool)
    held.tries = follow.LAST_TRIES
    held.look()
    assert not held.recorder.ended("clone")
    assert Run.objects.get(pk=run.pk).status in Run.ACTIVE


def test_a_stream_that_never_ends_does_not_hold_an_overdue_run(run, pool, monkeypatch):
    for constant in ("OVERDUE_SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(follow, constant, 0.1)
    cluster = overdue_cluster()
    started = ContainerState("clone", started_at=timezone.now())
    cluster.told = replace(cluster.told, containers=(started,))
    held = Follow(run, cluster, SimpleQueue(), pool)
    until = time.monotonic() + 10
    while not held.done and time.monotonic() < until:
        held.look()
        time.sleep(0.05)
    cluster.over.set()
    assert Run.objects.get(pk=run.pk).status == Run.FAILED


def test_a_run_that_ended_while_the_portal_was_away_is_read_for_as_long_as_something_comes(run, pool, monkeypatch):
    for constant in ("OVERDUE_SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(follow, constant, 1.5)
    cluster = overdue_cluster()
    ended = ContainerState("clone", timezone.now(), timezone.now(), 0, report={"bytes": 99, "cksum": 1})
    cluster.told = replace(cluster.told, finished=True, containers=(ended, replace(ended, name="build")))
    held = Follow(run, cluster, SimpleQueue(), pool)
    for number in range(1, 11):
        held.look()
        held._receive(held.stream_number, Piece(b"x", str(number)))
        held.flush()
        time.sleep(0.3)  # ten times: longer than that, each time shorter
    cluster.over.set()
    assert (held.reading, held.recorder.cursor("clone")) == ("clone", "10")


def test_a_watcher_whose_run_went_to_another_settles_nothing(run, pool):
    """Paused for a minute, say: what it knew when it stopped is not the truth any more."""
    held = Follow(run, Cluster(), SimpleQueue(), pool)
    Run.objects.filter(pk=run.pk).update(epoch=run.epoch + 1)
    with pytest.raises(StaleWriter):
        held._settle(Outcome(reason="It vanished."), {})
    found = Run.objects.get(pk=run.pk)
    assert (found.status, found.reason, Output.objects.get(run=run).closed_at) == (Run.LAUNCHING, "", None)


def test_what_the_backend_holds_is_tidied_after_the_outcome_and_noted(run, pool):
    Run.objects.filter(pk=run.pk).update(epoch=1)
    run.refresh_from_db()
    held = Follow(run, Cluster(), SimpleQueue(), pool)
    held._settle(Outcome(reason="It vanished."), {})
    assert Run.objects.to_tidy().get() == run
    tidy(run, Cluster())
    assert not Run.objects.to_tidy().exists()


def test_the_login_of_the_registry_is_masked_though_that_of_git_cannot_be_read(run, pool, settings):
    registry = settings.PORTAL.registry
    login = {"address": "registry.example.com", "username": "pusher", "password": type(registry.password)("registry-s3cret")}
    settings.PORTAL = settings.PORTAL.model_copy(update={"registry": registry.model_copy(update=login)})
    Run.objects.filter(pk=run.pk).update(registory_add="registry.example.com")
    Credential.objects.create(repository=run.event.repository, kind=Credential.GIT, ciphertext="not-ours")
    run = Run.objects.select_related("event__repository").get(pk=run.pk)
    assert "registry-s3cret" in Follow(run, Cluster(), SimpleQueue(), pool).secrets


def disrupted() -> RunState:
    return RunState("", finished=True, disrupted=True, problem="The pod was evicted: its node ran out of memory.")


def test_what_the_cluster_ended_is_built_once_more(run, pool):
    cluster = Cluster()
    cluster.told = disrupted()
    assert looked_at(run, cluster, pool).status == Run.FAILED
    again = Run.objects.latest("id")
    assert (again.attempt, again.status, again.automatic) == (2, Run.WAITING, True)
    assert build_spec(again).broken_uid == run.uid


def test_what_the_cluster_ended_again_is_not(run, pool):
    Run.objects.filter(pk=run.pk).update(automatic=True)
    run.refresh_from_db()
    cluster = Cluster()
    cluster.told = disrupted()
    assert looked_at(run, cluster, pool).status == Run.FAILED
    assert Run.objects.count() == 1


def test_a_retry_that_somebody_asked_for_has_its_own_automatic_one(run, pool):
    Run.objects.filter(pk=run.pk).update(attempt=2)
    run.refresh_from_db()
    cluster = Cluster()
    cluster.told = disrupted()
    looked_at(run, cluster, pool)
    assert Run.objects.latest("id").attempt == 3
    assert build_spec(run).broken_uid == ""


def test_a_cancel_that_was_asked_for_just_before_the_cluster_ended_it_counts(run, pool):
    """The watcher has not read of it yet; a second attempt would be a build that somebody ended."""
    held, cluster = Follow(run, Cluster(), SimpleQueue(), pool), Cluster()
    Run.objects.get(pk=run.pk).request_cancel("eve")
    cluster.told = disrupted()
    held.backend = cluster
    held.look()
    found = Run.objects.get()
    assert (found.status, found.reason) == (Run.CANCELLED, "Cancelled by eve.")


def test_a_watcher_that_takes_over_a_deleted_run_says_who_cancelled_it(run, pool):
    """The one before it was killed between the deletion and the outcome."""
    run.request_cancel("eve")
    cluster = Cluster()
    cluster.told = RunState("", exists=False, finished=True, fatal=True, problem="The cluster has no trace of the build.")
    found = looked_at(run, cluster, pool)
    assert (found.status, found.reason) == (Run.CANCELLED, "Cancelled by eve.")


class AtOnce:
    """Does work for other threads right away."""

    def submit(self, work, *arguments: object) -> None:
        """Do it."""
        work(*arguments)


@pytest.mark.parametrize(("finished", "deleted"), [(False, 1), (True, 0)], ids=["still running", "ended already"])
def test_a_cancel_deletes_nothing_of_a_build_that_has_ended(run, finished: bool, deleted: int):
    """Its pod is where its output is yet to be read from."""
    cluster, calls = Cluster(), []
    cluster.told = RunState("", finished=finished)
    cluster.delete = calls.append
    run.request_cancel("eve")
    Follow(run, cluster, SimpleQueue(), AtOnce()).cancel(run)
    assert len(calls) == deleted


def test_a_cancelled_run_waits_for_a_cluster_that_is_away(run, monkeypatch):
    """Its pod may be running, and may push: nothing is known before the cluster is back."""
    monkeypatch.setattr(follow, "LAST_SECONDS", 0)
    cluster = Cluster()
    cluster.told = RunState("", containers=(ContainerState("clone", started_at=timezone.now()),))
    held = Follow(run, cluster, SimpleQueue(), AtOnce())
    run.request_cancel("eve")
    monkeypatch.setattr(cluster, "delete", raises(Unreachable("The cluster can't be reached.")))
    for _ in range(3):
        held.delete_again = 0.0
        held.cancel(run)
        held.look()
    assert Run.objects.get().status == Run.RUNNING
    monkeypatch.undo()
    monkeypatch.setattr(follow, "LAST_SECONDS", 0)
    held.delete_again = 0.0
    held.cancel(run)
    time.sleep(0.01)
    held.look()
    cluster.over.set()
    assert Run.objects.get().reason == "Cancelled by eve. Its end was not confirmed within 0 s."


def raises(error: Exception):
    def call(spec) -> None:
        raise error

    return call


@pytest.mark.django_db(transaction=True)
def test_the_lines_of_a_large_output_are_indexed_while_it_is_stored(run):
    with ThreadPoolExecutor(1) as pool:
        held = Follow(run, Cluster(), SimpleQueue(), pool)
        held.reading = "build"
        for number in range(30):
            held.received.append(Piece(b"a line\n" * 20_000, str(number)))
            held.flush()
            assert held.indexing is None or held.indexing.result(20) is None
    assert OutputSegment.objects.latest("start").end > Output.objects.get(run=run).size - 2 * SEGMENT
