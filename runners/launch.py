"""Claim a waiting run and hand its build to the backend."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from repos.credentials import CredentialUnreadable, mark_used
from runners.backend import backend_named
from runners.backends.base import Refused, Unreachable
from runners.describe import build_spec, secrets_of
from runners.models import LaunchGate, Run, RunQuerySet

logger = logging.getLogger(__name__)

#: How long a launch may take before another process may take it over; launching twice is harmless, so this is short.
LAUNCH_SECONDS = 60


def _claim(run: Run, who: str, in_turn: bool) -> bool:
    """Claim the run if MAX_RUNNING leaves room for it and, unless the caller keeps the order (`in_turn`), it is its turn."""
    limit = settings.PORTAL.build.max_running
    until = timezone.now() + timedelta(seconds=LAUNCH_SECONDS)
    place = _place(run)
    if run.status == Run.LAUNCHING and run.place not in ("", place):
        return False  # begun on another machine, where it may even run
    if not limit or run.cancel_requested_at:
        return run.claim_launch(who, until, place)
    with transaction.atomic():
        LaunchGate.lock()
        same = Run.objects.filter(backend=run.backend)  # there is a limit for each backend
        free = max(0, limit - same.on_backend().exclude(pk=run.pk).count())
        if free and (in_turn or _is_next(run, same, free)):
            return run.claim_launch(who, until, place)
        run.wait_for(f"At most {limit} builds run at once (build.max_running): it starts when its turn comes.")
        return False


def _place(run: Run) -> str:
    try:
        return backend_named(run.backend).place
    except Exception:  # launching meets it again, and says so
        return ""


def _is_next(run: Run, same: RunQuerySet, free: int) -> bool:
    """Whether the run is among those whose turn it is."""
    if not same.launchable().exclude(pk=run.pk).exists():
        return True
    return run.pk in same.in_fair_order().values_list("pk", flat=True)[:free]


def launch(run: Run, who: str, *, in_turn: bool = False) -> Run:
    """Launch a waiting run if there is room for it; returns it in the state it is in now. `in_turn`: the caller keeps the order.

    One that is to be cancelled is not launched: it ends here, once the backend is rid of what an earlier try may have left there.
    Not launched for want of room or of a reachable backend, it waits with its reason. Refused by the backend, or with credentials
    that can't be decrypted, it and its event end as failed. Nothing is raised for any of these; what is unexpected is logged, noted
    as the reason, and tried again once the claim has lapsed.
    """
    if run.event is None:  # another tool deleted it
        run.end_without_event()
        return run
    if not _claim(run, who, in_turn):
        run.refresh_from_db()
        return run
    try:
        spec, backend = build_spec(run), backend_named(run.backend)
        if run.cancel_requested_at:
            backend.delete(spec)  # an earlier try that was broken off may have left something there
        else:
            backend.launch(spec, secrets_of(run, spec))
    except Unreachable as error:
        run.postponed(str(error))
    except (Refused, CredentialUnreadable) as error:
        if run.cancel_requested_at:
            run.finish(Run.CANCELLED, reason=f"{run.cancel_reason} {error}")
        else:
            run.finish(Run.FAILED, reason=str(error))
    except DatabaseError:
        raise
    except Exception:
        logger.exception("run %s: launching", run.name)
        run.wait_for("It could not be launched; the portal's log says more. It is tried again every minute.")
    else:
        _note(run)
    return run


def give_up_waiting() -> None:
    """End runs that could not be launched for build.wait_seconds, with what they waited for as the reason; the watcher calls it."""
    seconds = settings.PORTAL.build.wait_seconds
    if not seconds:
        return
    since = timezone.now() - timedelta(seconds=seconds)
    for run in Run.objects.launchable().filter(ctime__lt=since, event__isnull=False).select_related("event"):
        late = f"It could not be launched within {seconds} s (build.wait_seconds). {run.reason}".strip()
        cancelled = run.cancel_requested_at is not None
        status, reason = (Run.CANCELLED, f"{run.cancel_reason} {run.reason}") if cancelled else (Run.FAILED, late)
        run.finish(status, reason=reason, since=(Run.WAITING, Run.LAUNCHING))


def _note(run: Run) -> None:
    """The backend has the run, or has none of it any more where it is to be cancelled."""
    if run.cancel_requested_at:
        if run.finish(Run.CANCELLED, reason=run.cancel_reason):
            run.tidied()
        return
    run.launched()
    if run.event and run.event.repository:
        mark_used(run.event.repository)
