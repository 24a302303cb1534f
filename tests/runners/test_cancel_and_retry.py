"""Ending a build before its time, and trying one again, over the API."""

import datetime

import pytest
from django.utils import timezone

from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners.models import Run
from runners.record import BuildSettings, Source, record

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
