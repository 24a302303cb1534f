"""`/reconcile/`: for admins, what differs between runs and what the backends hold of builds, and a button that puts it right."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.pages import admin_page
from runners.backends.base import Backend, BackendError
from runners.reconcile import Finding, find, places, reconcile

logger = logging.getLogger(__name__)

#: Problems that are shown one by one; a cookie holds them for the next page.
PROBLEMS = 5


def _go_through(act: Callable[[Backend], list[Finding]]) -> tuple[list[Finding], list[BackendError]]:
    """Do this with every backend that has runs; returns what was found, and why some could not be asked."""
    found: list[Finding] = []
    away: list[BackendError] = []
    for backend in places():
        try:
            found += act(backend)
        except BackendError as error:
            logger.warning("reconciling backend %s: %s", backend.name, error)
            away.append(error)
    return found, away


def _reconcile_now(request: HttpRequest) -> None:
    """Put right what differs; what became of it is shown on the page that follows."""
    found, away = _go_through(lambda backend: reconcile(backend, request.user.get_username()))
    problems = [finding for finding in found if finding.problem]
    done, left = sum(finding.done for finding in found), sum(not finding.is_put_right for finding in found)
    if not away or found:
        numbers = {"done": done, "left": left, "undone": len(problems)}
        messages.success(request, _("Put right: %(done)s. Left to the watcher: %(left)s. Not done: %(undone)s.") % numbers)
    for finding in problems[:PROBLEMS]:
        messages.error(request, f"{finding.name}: {finding.problem}")


@admin_page
def reconciliation(request: HttpRequest) -> HttpResponse:
    """GET compares and shows; POST puts right, and leads back."""
    if request.method == "POST":
        _reconcile_now(request)
        return redirect("reconcile")
    found, away = _go_through(find)
    to_do = any(finding.is_put_right for finding in found)
    return render(request, "runners/reconcile.html", {"section": "reconcile", "found": found, "away": away, "to_do": to_do})
