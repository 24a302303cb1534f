"""A run does not wait for ever to be launched (build.wait_seconds)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from events.models import Event
from logs.models import Log
from runners.launch import give_up_waiting
from runners.models import Run
from runners.watcher import Watcher
from tests.runners.test_watcher_launches import Place
from tests.support import rows

pytestmark = pytest.mark.django_db

DAY = 86400


@pytest.fixture
def waiting():
    """A run that waits since so many seconds."""

    def make(seconds: float, **columns) -> Run:
        run = rows.run(rows.event(rows.repository()), **{"backend": "local", "status": Run.WAITING, **columns})
        Run.objects.filter(pk=run.pk).update(ctime=timezone.now() - timedelta(seconds=seconds))
        return run

    return make


def after_giving_up(run: Run) -> Run:
    give_up_waiting()
    return Run.objects.select_related("event").get(pk=run.pk)


def test_a_run_that_waits_for_a_day_fails_with_what_it_waited_for(waiting):
    found = after_giving_up(waiting(DAY + 1, reason="The cluster can't be reached: no route to host."))
    reason = "It could not be launched within 86400 s (build.wait_seconds). The cluster can't be reached: no route to host."
    assert (found.status, found.reason) == (Run.FAILED, reason)
    assert (found.event.status, found.event.reason) == (Event.FAILED, reason)
    assert Log.objects.get().msg == f"run {found.name} failed: {reason}"


def test_a_run_that_waits_for_less_goes_on_waiting(waiting):
    assert after_giving_up(waiting(DAY - 60)).status == Run.WAITING


def test_with_zero_it_waits_for_ever(waiting, settings):
    build = settings.PORTAL.build.model_copy(update={"wait_seconds": 0})
    settings.PORTAL = settings.PORTAL.model_copy(update={"build": build})
    assert after_giving_up(waiting(100 * DAY)).status == Run.WAITING


def test_what_was_launched_is_not_given_up(waiting):
    run = waiting(2 * DAY, status=Run.LAUNCHING, launched_at=timezone.now(), claimed_until=timezone.now() - timedelta(seconds=9))
    assert after_giving_up(run).status == Run.LAUNCHING


def test_a_launch_that_goes_wrong_every_minute_is_given_up_too(waiting):
    lapsed = waiting(2 * DAY, status=Run.LAUNCHING, claimed_until=timezone.now() - timedelta(seconds=9))
    assert after_giving_up(lapsed).status == Run.FAILED


def test_a_launch_that_was_begun_before_the_portal_went_away_is_gone_on_with_first(waiting):
    """Its Job may have run to a good end meanwhile; the next launch adopts it."""
    begun = waiting(3 * DAY, status=Run.LAUNCHING, claimed_until=timezone.now() - timedelta(days=2))
    assert after_giving_up(begun).status == Run.LAUNCHING


def test_a_backend_that_no_watcher_serves_holds_no_run_for_ever(waiting):
    assert after_giving_up(waiting(2 * DAY, backend="gone")).status == Run.FAILED


def test_what_was_to_be_cancelled_ends_as_cancelled(waiting):
    run = waiting(2 * DAY, reason="The cluster can't be reached.")
    run.request_cancel("eve")
    found = after_giving_up(run)
    assert (found.status, found.reason) == (Run.CANCELLED, "Cancelled by eve. The cluster can't be reached.")


def test_a_retry_waits_anew(client, waiting):
    run = after_giving_up(waiting(2 * DAY))
    Event.objects.update(fingerprint="f" * 64)
    assert client.post(f"/event/{run.event_id}/retry/").status_code == 202
    give_up_waiting()
    assert Run.objects.latest("id").status == Run.WAITING


def test_the_watcher_sees_to_it(waiting):
    run = waiting(2 * DAY, backend="gone")
    watcher = Watcher(Place())
    watcher.due = dict.fromkeys(("renew", "backends", "poll", "look", "archive", "prune", "reconcile"), float("inf"))
    watcher.watch_once(0)
    assert Run.objects.get(pk=run.pk).status == Run.FAILED
