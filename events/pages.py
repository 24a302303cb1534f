"""`/builds/`: all events in the browser, newest first."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from accounts.pages import page
from events.models import Event

PAGE_SIZE = 50
STATES = {label: status for status, label in Event.LABELS.items()}


class BuildFilter(forms.Form):
    """Which events to list, from the page's query string."""

    repo = forms.CharField(label=_("Repository"), required=False, max_length=150)
    state = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=[
            ("", _("any")),
            ("waiting", _("waiting")),
            ("running", _("running")),
            ("succeeded", _("succeeded")),
            ("failed", _("failed")),
            ("cancelled", _("cancelled")),
        ],
    )
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    after = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)

    def events(self) -> QuerySet[Event]:
        """The events that the filter names; none where the filter itself is wrong."""
        if not self.is_valid():
            return Event.objects.none()
        wanted: dict[str, Any] = {}
        if self.cleaned_data["repo"]:
            wanted["repo"] = self.cleaned_data["repo"]
        if self.cleaned_data["state"]:
            wanted["status"] = STATES[self.cleaned_data["state"]]
        return Event.objects.filter(**wanted)

    def page(self) -> tuple[list[Event], int | None, int | None]:
        """One page of events, and the ids to go on from to newer and to older ones; no count, so a million rows cost nothing."""
        found = self.events()
        before, after = (self.cleaned_data.get(name) for name in ("before", "after")) if self.is_valid() else (None, None)
        if after is not None:
            rows = list(found.filter(pk__gt=after).order_by("pk")[: PAGE_SIZE + 1])
            more_newer, more_older = len(rows) > PAGE_SIZE, True
            rows = rows[:PAGE_SIZE][::-1]
        else:
            rows = list((found.filter(pk__lt=before) if before else found).order_by("-pk")[: PAGE_SIZE + 1])
            more_newer, more_older = bool(before), len(rows) > PAGE_SIZE
            rows = rows[:PAGE_SIZE]
        if not rows:
            return [], None, None
        return rows, rows[0].pk if more_newer else None, rows[-1].pk if more_older else None


@page
def builds(request: HttpRequest) -> HttpResponse:
    """All events, filtered by repository and state."""
    form = BuildFilter(request.GET, auto_id="filter_%s")
    rows, newer, older = form.page()
    filtered = bool(request.GET.get("repo") or request.GET.get("state"))
    context = {"section": "builds", "form": form, "rows": rows, "newer": newer, "older": older, "filtered": filtered}
    return render(request, "events/builds.html", context)
