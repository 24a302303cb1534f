"""Claim a waiting run and hand its build to the backend."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import Error, transaction
from django.db.models import Q
from django.utils import timezone

from ci_portal.api.retry import InTurn, in_transaction
from repos.credentials import CredentialUnreadable, mark_used
from runners.backend import backend_named
from runners.backends.base import Backend, BackendError, Refused, Unreachable
from runners.backends.causes import Cause
from runners.build import BuildSpec
from runners.describe import build_spec, secrets_of
from runners.leases import AWAY_SECONDS
from runners.models import LaunchGate, Run, RunQuerySet

logger = logging.getLogger(__name__)

#: How long a launch may take before another process may take it over; launching twice is harmless, so this is short.
LAUNCH_SECONDS = 60
#: Launches are counted one after the other.
_COUNTING = InTurn()
#: What is said of a run whose launch another machine began.
LOST = f"The machine that began to launch it has not been heard of for {AWAY_SECONDS // 60} minutes: see to the portal there."


def _claim(run: Run, who: str, in_turn: bool) -> bool:
    """Claim the run if MAX_RUNNING leaves room for it and, unless the caller keeps the order (`in_turn`), it is its turn."""
    limit = settings.PORTAL.build.max_running
    until = timezone.now() + timedelta(seconds=LAUNCH_SECONDS)
    place = _place(run)
    if _is_elsewhere(run, place):
        return False  # begun on another machine, where it may even run
    if not limit or run.cancel_requested_at or run.status == Run.LAUNCHING:  # one whose launch was begun has its place already
        return run.claim_launch(who, until, place)
    with _COUNTING, transaction.atomic():
        LaunchGate.lock()
        same = Run.objects.filter(backend=run.backend)  # there is a limit for each backend
        free = max(0, limit - same.on_backend().exclude(pk=run.pk).count())
        if free and (in_turn or _is_next(run, same, free)):
            return run.claim_launch(who, until, place)
        run.wait_for(f"At most {limit} builds run at once (build.max_running): it starts when its turn comes.", Cause.TURN)
        return False


def _is_elsewhere(run: Run, place: str) -> bool:
    return run.status == Run.LAUNCHING and run.place not in ("", place)


def _is_lost(run: Run) -> bool:
    """Whether its launch was begun on another machine that has not gone on with it for so long that it won't."""
    silent = timezone.now() - timedelta(seconds=AWAY_SECONDS)
    begun = run.launched_at is None and run.claimed_until is not None and run.claimed_until < silent
    return begun and _is_elsewhere(run, _place(run))


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
    if _is_lost(run):
        cancelled = run.cancel_requested_at is not None
        if cancelled:
            run.finish(Run.CANCELLED, reason=run.cancel_reason, cause=Cause.CANCELLED)
        else:
            run.finish(Run.FAILED, reason=LOST, cause=Cause.LAUNCH_LOST)
        return run
    known = run.cancel_requested_at
    if not _claim(run, who, in_turn):
        run.refresh_from_db()
        asked_now = run.cancel_requested_at != known
        return launch(run, who, in_turn=in_turn) if asked_now else run
    try:
        spec, backend = build_spec(run), backend_named(run.backend)
        if run.cancel_requested_at:
            backend.delete(spec)  # an earlier try that was broken off may have left something there
        else:
            backend.launch(spec, secrets_of(run, spec))
    except Unreachable as error:
        run.postponed(str(error), Cause.BACKEND_AWAY)
    except (Refused, CredentialUnreadable) as error:
        if run.cancel_requested_at:
            run.finish(Run.CANCELLED, reason=f"{run.cancel_reason} {error}", cause=Cause.CANCELLED)
        else:
            unreadable = isinstance(error, CredentialUnreadable)
            cause = Cause.CREDENTIALS_UNREADABLE if unreadable else Cause.LAUNCH_REFUSED
            run.finish(Run.FAILED, reason=str(error), cause=cause)
    except Error:  # of the database
        raise
    except Exception:
        logger.exception("run %s: launching", run.name)
        broken = "It could not be launched; the portal's log says more. It is tried again every minute."
        run.wait_for(broken, Cause.LAUNCH_BROKEN)
    else:
        _note(run, spec, backend)
    return run


def give_up_waiting() -> None:
    """End runs that could not be launched for build.wait_seconds, with what they waited for as the reason; the watcher calls it."""
    seconds = settings.PORTAL.build.wait_seconds
    if not seconds:
        return
    now = timezone.now()
    late = Run.objects.launchable().filter(ctime__lt=now - timedelta(seconds=seconds), event__isnull=False)
    # A launch that was begun and that nobody went on with: the portal was away, and the build may have ended well meanwhile.
    begun = Q(status=Run.LAUNCHING, claimed_until__lt=now - timedelta(seconds=AWAY_SECONDS + 2 * LAUNCH_SECONDS))
    for run in late.exclude(begun).select_related("event"):
        waited = f"It could not be launched within {seconds} s (build.wait_seconds). {run.reason}".strip()
        cancelled = run.cancel_requested_at is not None
        status, reason = (Run.CANCELLED, f"{run.cancel_reason} {run.reason}") if cancelled else (Run.FAILED, waited)
        cause = Cause.CANCELLED if cancelled else Cause.WAITED_TOO_LONG
        run.finish(status, reason=reason, cause=cause, since=(Run.WAITING, Run.LAUNCHING))


def _note(run: Run, spec: BuildSpec, backend: Backend) -> None:
    """The backend has the run, or has none of it any more where it is to be cancelled."""
    if run.cancel_requested_at:
        if run.finish(Run.CANCELLED, reason=run.cancel_reason, cause=Cause.CANCELLED):
            run.tidied()
        return
    if not in_transaction(lambda: _launched(run)):
        _take_back(run, spec, backend)


def _launched(run: Run) -> bool:
    if not run.launched():
        return False
    if run.event and run.event.repository:
        mark_used(run.event.repository)
    return True


def _take_back(run: Run, spec: BuildSpec, backend: Backend) -> None:
    """The launch took so long that the run is another's to launch by now; where it has even ended, its build must not go on.

    A build that has ended stays for whoever wants to look at it, as after any run, but not what was given to it once more.
    """
    if not Run.objects.filter(pk=run.pk, status__in=Run.FINAL).exists():
        return
    try:
        if all(held.finished for held in backend.inventory() if held.run_uid == spec.run_uid):
            backend.settled(spec)
        else:
            backend.delete(spec)
    except BackendError as error:  # `reconcile` will
        logger.warning("run %s: ending what was launched too late: %s", run.name, error)
