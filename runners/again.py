"""Ending a build before its time, and trying one again."""

from __future__ import annotations

from django.db import IntegrityError

from ci_portal.api.problems import Problem
from ci_portal.api.retry import in_transaction
from events.models import Event
from logs.models import Log
from runners.backend import backend_named
from runners.backends.causes import Cause
from runners.launch import launch
from runners.models import Run
from runners.record import next_attempt


def _newest(event: Event) -> Run:
    run = event.runs.select_related("event__repository").order_by("-id").first()
    if not event.managed or run is None:
        raise Problem(409, "not_managed", "This event was recorded from elsewhere: the portal does not run it.")
    return run


def cancel(event: Event, actor: str) -> Run:
    """End the event's build: at once where no backend has heard of it, else as soon as its watcher has ended it. Safe to repeat.

    Raises Problem where the event has its outcome already (a cancelled one is no error).
    """
    run = _newest(event)
    while run.is_active and run.cancel_requested_at is None and not run.request_cancel(actor):
        run = _newest(event)  # it has just ended, or somebody else was faster
    if run.cancel_requested_at and run.epoch == 0:
        run.finish(Run.CANCELLED, reason=run.cancel_reason, cause=Cause.CANCELLED, since=(Run.WAITING,))
    if not run.is_active and run.status != Run.CANCELLED:
        event.refresh_from_db()
        raise Problem(409, "ended", f"This build has {event.status_label} already.")
    return run


def retry(event: Event, actor: str) -> Run:
    """Build a failed or cancelled event once more: a new run at the same commit, with the same settings.

    Raises Problem where the event has not ended, or succeeded, or the same build is active as another event.
    """

    def reopen() -> Run:
        run = _newest(event)
        if not event.reopen():
            event.refresh_from_db()
            raise Problem(409, "not_failed", f"Only a failed or cancelled build can be retried; this one is {event.status_label}.")
        again = next_attempt(run)
        Log.objects.record(f"event {event.name} is built again", repo_name=event.repo, event=event, run=again, actor=actor)
        return again

    try:
        run = in_transaction(reopen)
    except IntegrityError:
        active = Event.objects.active().filter(fingerprint=event.fingerprint).first()
        raise Problem(409, "active", "The same build is running already.", event=active.pk if active else None) from None
    if backend_named(run.backend).launches_in_request:
        run = launch(run, f"request of {actor or 'anonymous'}")
    return run
