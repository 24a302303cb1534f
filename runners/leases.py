"""Watchers share runs by leases: who holds one follows the run; a lease that is not renewed falls to the next."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from django.db.models import Q
from django.utils import timezone

from runners.models import Run

LEASE_SECONDS = 12
RENEW_SECONDS = 3
#: A run in a place whose watchers have not renewed its lease for so long is lost, and anyone's to settle.
AWAY_SECONDS = 300
#: So many runs are taken at a time. Each costs a commit and then work: the first ones' leases must not lapse meanwhile.
TAKEN_AT_ONCE = 16


def my_name() -> str:
    """This process among all watchers: place, pid, the pid's start time (where /proc tells it) and a random part."""
    return f"{_place()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"


def _place() -> str:
    """Where a pid means one process: the host, and the pid namespace on it, since containers may share the host's name."""
    try:
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()[:40]}/{namespace}"


def _started(pid: int) -> str:
    """The process's start time in clock ticks since boot (proc(5), field 22 of stat); "" where it is not running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _has_died(holder: str) -> bool:
    """Whether the holder was a process of this very place and is no more, so that nobody need wait for its lease to end."""
    place, _, rest = holder.partition(":")
    pid, _, rest = rest.partition(":")
    started = rest.partition(":")[0]
    if place != _place() or not pid.isdigit() or not started:
        return False
    return _started(int(pid)) != started


def take(me: str, backends: Iterable[str], places: Collection[str] = (), followed: Collection[int] = ()) -> list[Run]:
    """Take launched runs of these backends that nobody holds (any more), TAKEN_AT_ONCE of them, and return all that I hold.

    Of runs in other places than these only what their own watchers have left alone for AWAY_SECONDS. Of those `followed` (ids)
    only what is to be cancelled is returned: a watcher looks several times a second, and whole rows of all would cost it most.
    """
    now = timezone.now()
    silent = now - timedelta(seconds=AWAY_SECONDS)
    lost = Q(claimed_until__lt=silent) | Q(claimed_until=None, launched_at__lt=silent)
    launched = Run.objects.on_backend().filter(backend__in=list(backends), launched_at__isnull=False)
    held = launched.filter(claimed_by=me).order_by().values_list("pk", "cancel_requested_at")
    mine = {pk for pk, cancelled in held if cancelled or pk not in followed}
    others = launched.exclude(claimed_by=me).filter(Q(place__in={"", *places}) | lost)
    taken = 0
    for pk, holder, until, epoch in others.values_list("pk", "claimed_by", "claimed_until", "epoch"):
        if taken == TAKEN_AT_ONCE:
            break
        dead = _has_died(holder)
        if holder and until is not None and until >= now and not dead:
            continue  # without a query for each: with two watchers that is half of all runs
        if _claim(me, pk, epoch, holder if dead else "", now):
            taken += 1
            mine.add(pk)
    rows = Run.objects.filter(pk__in=mine, claimed_by=me).select_related("event__repository") if mine else []
    return list(rows)


def _claim(me: str, pk: int, epoch: int, dead: str, now: datetime) -> bool:
    """Take one run, unless somebody did since it was read; from the watcher `dead`, if one is named, at once."""
    lapsed = Q(claimed_by="") | Q(claimed_until=None) | Q(claimed_until__lt=now)
    unclaimed = Run.objects.on_backend().filter(lapsed | Q(claimed_by=dead), pk=pk, epoch=epoch)
    return bool(unclaimed.update(claimed_by=me, claimed_until=now + timedelta(seconds=LEASE_SECONDS), epoch=epoch + 1))


def renew(me: str, run_ids: list[int]) -> set[int]:
    """Hold these runs for another LEASE_SECONDS; returns those that are mine no more."""
    held = Run.objects.filter(pk__in=run_ids, claimed_by=me)
    held.update(claimed_until=timezone.now() + timedelta(seconds=LEASE_SECONDS))
    return set(run_ids) - set(held.values_list("pk", flat=True))


def release(me: str) -> None:
    """Give up all leases, so that another watcher goes on at once, also with a launch that was begun."""
    Run.objects.active().filter(claimed_by=me).update(claimed_by="", claimed_until=timezone.now())
