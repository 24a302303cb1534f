"""How often a password may be guessed: by user and address, by address, and by user.

An attempt is counted before its password is looked at, by a guarded UPDATE, so that a thousand guesses at once are no more than a
thousand one after the other. A login that succeeds gives its attempt back.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Attempts
from accounts.sender import neighbourhood

#: More than the limit of one user from one address: names tried from one address, and addresses that try one name.
OF_ADDRESS, OF_USER = 6, 10
SWEPT = 200
#: Another process may make or change the row between two looks at it.
TRIES = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """One attempt to log in that has been counted."""

    keys: tuple[tuple[str, str], ...]  # (user name, address); "" stands for any


def attempt(username: str, address: str) -> tuple[Guess, int]:
    """Count an attempt; returns it and 0, or the minutes for which nothing may be tried. What is refused is not counted."""
    name = unicodedata.normalize("NFKC", username).casefold()[:150]
    near = neighbourhood(address)
    most = settings.PORTAL.auth.lockout_failures
    if not most:
        return Guess(()), 0
    limits = {(name, near): most, ("", near): most * OF_ADDRESS, (name, ""): most * OF_USER}
    window = timedelta(minutes=settings.PORTAL.auth.lockout_minutes)
    counted: list[tuple[str, str]] = []
    for key, limit in limits.items():
        since = _count(*key, limit, window)
        if since is not None:
            give_back(Guess(tuple(counted)))
            return Guess(()), max(1, math.ceil((since + window - timezone.now()).total_seconds() / 60))
        counted.append(key)
    return Guess(tuple(counted)), 0


def _count(username: str, address: str, limit: int, window: timedelta) -> datetime | None:
    """Count one attempt; returns None, or since when there have been too many."""
    now = timezone.now()
    row = Attempts.objects.filter(username=username, address=address)
    for _ in range(TRIES):
        if row.filter(since__gt=now - window, count__lt=limit).update(count=F("count") + 1):
            return None
        if row.filter(since__lte=now - window).update(count=1, since=now):
            return None
        found = row.values_list("count", "since").first()
        if found is None:
            _sweep(now - window)
            Attempts.objects.bulk_create([Attempts(username=username, address=address, count=0, since=now)], ignore_conflicts=True)
        elif found[0] >= limit:
            return found[1]
        # Else another process has just made the row, or given an attempt back.
    return now


def _sweep(before: datetime) -> None:
    stale = list(Attempts.objects.filter(since__lt=before).order_by("since").values_list("pk", flat=True)[:SWEPT])
    if stale:
        Attempts.objects.filter(pk__in=stale, since__lt=before).delete()


def give_back(guess: Guess) -> None:
    """Uncount an attempt that was none: the password was right, or nothing was tried."""
    for username, address in guess.keys:
        Attempts.objects.filter(username=username, address=address, count__gt=0).update(count=F("count") - 1)


def forgive(guess: Guess) -> None:
    """The password was right: this user's failures from this address are forgotten, the others keep theirs."""
    give_back(guess)
    for username, address in guess.keys:
        if username and address:
            Attempts.objects.filter(username=username, address=address).delete()


def is_now_locked(guess: Guess) -> bool:
    """Whether this failed attempt was the last that its user has from its address, for now."""
    own = Q(pk__in=[])
    for username, address in guess.keys:
        if username and address:
            own |= Q(username=username, address=address)
    return Attempts.objects.filter(own, count__gte=settings.PORTAL.auth.lockout_failures).exists()


def unlock(username: str = "", address: str = "") -> int:
    """Forget the failures of a user, of an address, or of both together; of all where neither is named. Returns how many rows."""
    rows = Attempts.objects.all()
    if username:
        rows = rows.filter(username=unicodedata.normalize("NFKC", username).casefold()[:150])
    if address:
        rows = rows.filter(address=neighbourhood(address))
    return rows.delete()[0]
