"""Ending a build before its time, and trying one again, over the API."""

import datetime

import pytest
from django.utils import timezone

from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners import again
from runners import launch as launching
from runners.backends.base import Unreachable
from runners.launch import launch
from runners.models import Run
from runners.record import BuildSettings, Source, next_attempt, record

pytestmark = pytest.mark.django_db

SOURCE = Source("refs/heads/main", "c" * 40)


@pytest.fixture
def run():
    repository = Repository.objects.create(repo_name="app", repo="https://git.example/app.git")
    return record(repository, SOURCE, BuildSettings(), "ann")[1]


def started(run):
    run.claim_launch("watcher", timezone.now() + datetime.timedelta(seconds=60))
    run.launched()
    run.running(timezone.now())


def cancel(client, run):
    return client.post(f"/event/{run.event_id}/cancel/")


def retry(client, run):
    return client.post(f"/event/{run.event_id}/retry/")


def test_a_waiting_build_is_cancelled_at_once(client, run):
    answer = cancel(client, run)
    assert (answer.status_code, answer.json()["event"]["status"], answer.json()["job"]["status"]) == (200, "5", "cancelled")
    assert "Cancelled by" in Event.objects.get().reason


def test_a_running_build_is_ended_by_its_watcher(client, run):
    started(run)
    answer = cancel(client, run)
    assert (answer.status_code, answer.json()["event"]["status"]) == (202, "2")
    assert answer.json()["job"]["cancel_requested_at"]


def test_cancelling_twice_is_told_once(client, run):
    started(run)
    assert [cancel(client, run).status_code for _ in range(2)] == [202, 202]
    assert Log.objects.filter(msg__contains="to be cancelled").count() == 1


def test_a_cancelled_build_can_be_cancelled_again(client, run):
    assert [cancel(client, run).status_code for _ in range(2)] == [200, 200]


def test_the_history_tells_who_cancelled(client, run, django_user_model):
    client.force_login(django_user_model.objects.create_user("eve"))
    cancel(client, run)
    assert Event.objects.get().reason == "Cancelled by eve."
    assert Log.objects.filter(actor="eve").exists()


def test_a_second_user_who_cancels_changes_nothing(client, run, django_user_model):
    started(run)
    for name in ("eve", "bob"):
        client.force_login(django_user_model.objects.create_user(name))
        assert cancel(client, run).status_code == 202
    assert cancel(client, run).json()["job"]["cancelled_by"] == "eve"


class Cluster:
    """A backend that holds what an earlier launch has left, or is away."""

    name = "local"
    place = ""
    launches_in_request = False

    def __init__(self) -> None:
        self.away = False
        self.deleted: list[str] = []
        self.launched: list[str] = []

    def launch(self, spec, secrets) -> None:
        """Take it."""
        self.launched.append(spec.name)

    def delete(self, spec) -> None:
        """Remove it."""
        if self.away:
            raise Unreachable("The cluster can't be reached: no answer.")
        self.deleted.append(spec.name)


@pytest.fixture
def cluster(monkeypatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(launching, "backend_named", lambda name: cluster)
    return cluster


def tried_before(run) -> None:
    """Its launch was begun, and the backend went away: nobody knows what of it has arrived there."""
    run.claim_launch("a request", timezone.now() + datetime.timedelta(seconds=60))
    run.postponed("The cluster can't be reached: no answer.")


def test_a_waiting_build_that_may_have_reached_the_backend_is_ended_there_first(client, run, cluster):
    tried_before(run)
    answer = cancel(client, run)
    assert (answer.status_code, answer.json()["job"]["status"]) == (202, "waiting")
    assert launch(Run.objects.get(), "watcher").status == Run.CANCELLED
    found = Run.objects.get()
    assert (cluster.deleted, cluster.launched, found.reason) == ([run.name], [], "Cancelled by an anonymous user.")
    assert found.tidied_at


def test_it_waits_to_be_cancelled_while_the_backend_is_away(client, run, cluster):
    tried_before(run)
    cluster.away = True
    cancel(client, run)
    assert launch(Run.objects.get(), "watcher").status == Run.WAITING
    assert cancel(client, run).status_code == 202
    cluster.away = False
    assert launch(Run.objects.get(), "watcher").status == Run.CANCELLED


def test_a_cancel_that_comes_while_the_launch_is_being_claimed_is_seen(client, run, cluster):
    stale = Run.objects.get()
    tried_before(Run.objects.get())
    stale.refresh_from_db()
    cancel(client, run)
    assert launch(stale, "watcher").status == Run.CANCELLED
    assert cluster.launched == []


def test_a_cancel_means_the_newest_attempt(client, run, monkeypatch):
    """The cluster ended the first one and the portal made another while the request was under way."""
    started(run)
    found = [Run.objects.get()]
    monkeypatch.setattr(again, "_newest", lambda event, look=again._newest: found.pop() if found else look(event))
    run.give_way("evicted")
    newest = next_attempt(run, automatic=True)
    answer = cancel(client, run)
    assert (answer.status_code, answer.json()["job"]["id"], answer.json()["job"]["status"]) == (200, newest.pk, "cancelled")


def test_a_run_that_is_to_be_cancelled_gives_way_to_no_other(run):
    started(run)
    run.request_cancel("eve")
    assert not run.give_way("evicted")


def test_a_build_that_has_ended_can_not_be_cancelled(client, run):
    run.finish(Run.FAILED, reason="x")
    answer = cancel(client, run)
    assert (answer.status_code, answer.json()["code"]) == (409, "ended")


def test_a_recorded_event_can_not_be_cancelled(client):
    event = Event.objects.create(name="from elsewhere")
    assert client.post(f"/event/{event.pk}/cancel/").json()["code"] == "not_managed"


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_an_event_that_is_not_there_is_not_found(client, action):
    assert client.post(f"/event/7/{action}/").status_code == 404


def test_a_failed_build_is_retried_at_the_same_commit(client, run):
    run.finish(Run.FAILED, reason="x")
    answer = retry(client, run)
    assert (answer.status_code, answer.json()["event"]["status"], answer.json()["event"]["reason"]) == (202, "1", "")
    assert (answer.json()["job"]["attempt"], answer.json()["job"]["commit"]) == (2, "c" * 40)
    assert Run.objects.count() == 2


def test_a_cancelled_build_can_be_retried(client, run):
    cancel(client, run)
    assert retry(client, run).status_code == 202


def test_a_succeeded_build_is_not_retried(client, run):
    run.finish(Run.SUCCEEDED, digest="sha256:" + "d" * 64)
    answer = retry(client, run)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_failed")
    assert Run.objects.count() == 1


def test_an_active_build_is_not_retried(client, run):
    assert retry(client, run).json()["code"] == "not_failed"


def test_a_retry_gives_way_to_the_same_build_under_another_event(client, run):
    run.finish(Run.FAILED, reason="x")
    other, _, _ = record(run.event.repository, SOURCE, BuildSettings(), "bob")
    answer = retry(client, run)
    assert (answer.status_code, answer.json()["code"], answer.json()["event"]) == (409, "active", other.pk)
    assert Event.objects.get(pk=run.event_id).status == Event.FAILED
    assert Run.objects.count() == 2
