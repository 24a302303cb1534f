"""Rate limits: how often somebody may do what is costly, counted in the database and so right across processes.

The generic cell rate algorithm (ITU-T I.371, annex A): one number for each key, the time at which its allowance is whole again. One
guarded UPDATE takes from it, so that two processes never give the same share away twice.
"""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import Rate
from accounts.sender import address_of, neighbourhood
from ci_portal.api.problems import Problem

#: Rows of an hour ago are worth nothing: so many of them go when a new key comes.
SWEPT = 200
#: Another process may make the row between two looks at it.
TRIES = 5


def spend(key: str, count: int, seconds: int = 60) -> float:
    """Take one of `count` shares that grow anew within `seconds`; returns 0, or the seconds until there is one again."""
    now = int(timezone.now().timestamp() * 1000)
    interval = seconds * 1000 // count
    latest = now + seconds * 1000 - interval
    allowed = Rate.objects.filter(key=key[:150], due__lte=latest)
    for _ in range(TRIES):
        if allowed.update(due=Greatest(F("due"), Value(now)) + interval):
            return 0
        due = Rate.objects.filter(key=key[:150]).values_list("due", flat=True).first()
        if due is None:
            _sweep(now - 3600_000)
            Rate.objects.bulk_create([Rate(key=key[:150], due=now)], ignore_conflicts=True)
        elif due > latest:
            return (due - latest) / 1000
        # Else another process has just made the row.
    return 1


def _sweep(before: int) -> None:
    stale = list(Rate.objects.filter(due__lt=before).order_by("due").values_list("pk", flat=True)[:SWEPT])
    if stale:
        Rate.objects.filter(pk__in=stale, due__lt=before).delete()


def key_of(request: HttpRequest | Request, what: str) -> str:
    """Whose allowance it is: the user's, or of whoever has not logged in, the address's."""
    user: Any = request.user
    who = f"user {user.pk}" if user is not None and user.is_authenticated else neighbourhood(address_of(request))
    return f"{what} {who}"


def wait_for(request: HttpRequest | Request, what: str) -> int:
    """Take a share of `limits.<what>`; returns 0, or after how many whole seconds to come again."""
    count: int = getattr(settings.PORTAL.limits, what)
    return math.ceil(spend(key_of(request, what), count)) if count else 0


def take(request: HttpRequest | Request, what: str) -> None:
    """Take a share of `limits.<what>`. Raises the 429 problem where none is left."""
    wait = wait_for(request, what)
    if wait:
        raise too_many(wait, getattr(settings.PORTAL.limits, what))


def too_many(wait: int, count: int) -> Problem:
    """The 429 problem."""
    detail = f"Too many requests of this kind: {count} a minute are allowed. Try again in {wait} s."
    return Problem(429, "too_many_requests", detail, headers={"Retry-After": str(wait)})


class Throttle(BaseThrottle):
    """REST framework's hook: a view says in `costs` which of its methods take from which limit; searches of lists do too."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Let it through. Raises the 429 problem."""
        what = getattr(view, "costs", {}).get(request.method)
        if what is None and request.method == "GET" and request.query_params.get("search"):
            what = "search"
        if what is not None:
            take(request, what)
        return True
