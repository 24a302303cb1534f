"""`/builds/`: all events in the browser, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.pages import page
from accounts.roles import level_of
from ci_portal.api.live import render_live
from events.models import Event, EventQuerySet
from events.recent import Build, builds_of, with_newest_run
from repos.models import Repository

PAGE_SIZE = 50
#: Names that the field for the repository suggests.
SUGGESTED = 500
STATES = {label: (status,) for status, label in Event.LABELS.items()} | {"active": Event.ACTIVE}
CHOICES = [
    ("", _("any")),
    ("active", _("not ended")),
    ("waiting", _("waiting")),
    ("running", _("running")),
    ("succeeded", _("succeeded")),
    ("failed", _("failed")),
    ("cancelled", _("cancelled")),
]
SHOWN = ("repo", "state", "who", "since", "until", "q")


def _date(label: Any) -> forms.DateField:
    return forms.DateField(label=label, required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))


class BuildFilter(forms.Form):
    """Which events to list, from the page's query string."""

    q = forms.CharField(label=_("Search builds"), required=False, max_length=200)
    repo = forms.CharField(label=_("Repository"), required=False, max_length=150)
    state = forms.ChoiceField(
        label=_("State"),
        required=False,
        choices=CHOICES,
    )
    who = forms.CharField(label=_("Started by"), required=False, max_length=150)
    since = _date(_("From"))
    until = _date(_("To"))
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    after = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, zone: ZoneInfo | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zone = zone or timezone.get_default_timezone()  # whose days `since` and `until` are

    def events(self) -> EventQuerySet:
        """The events that the filter names; none where the filter itself is wrong."""
        if not self.is_valid():
            return Event.objects.none()
        said = self.cleaned_data
        found = Event.objects.all()
        if said["repo"]:
            found = found.filter(repo=said["repo"])
        if said["state"]:
            found = found.filter(status__in=STATES[said["state"]])
        if said["who"]:
            found = found.filter(created_by=said["who"])
        if said["since"]:
            found = found.filter(ctime__gte=self._midnight(said["since"]))
        if said["until"]:
            found = found.filter(ctime__lt=self._midnight(said["until"] + timedelta(days=1)))
        for word in dict.fromkeys(said["q"].split()):
            found = found.filter(_holds(word))
        return found

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone)

    def page(self) -> tuple[list[Build], int | None, int | None]:
        """One page of builds, and the ids to go on from to newer and to older ones; no count, so a million rows cost nothing."""
        found = with_newest_run(self.events())
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
        return builds_of(rows), rows[0].pk if more_newer else None, rows[-1].pk if more_older else None

    def active(self) -> Iterator[tuple[str, Any, Any]]:
        """What the list is narrowed by: name, label and value, for people."""
        if not self.is_valid():
            return
        for name in SHOWN:
            if value := self.cleaned_data[name]:
                yield name, self.fields[name].label, dict(CHOICES)[value] if name == "state" else value


def _holds(word: str) -> Q:
    """Whether an event's number, name, tag, commit, ref, reason or description has the word."""
    found = Q(name__icontains=word) | Q(image_tag__icontains=word) | Q(commit__istartswith=word) | Q(ref__icontains=word)
    found |= Q(reason__icontains=word) | Q(desc__icontains=word)
    number = word.removeprefix("#")
    return found | Q(pk=int(number)) if number.isascii() and number.isdigit() and len(number) <= 9 else found


def reader_zone(request: HttpRequest) -> ZoneInfo | None:
    """The time zone that the reader's browser told in a cookie, if it is one."""
    try:
        return ZoneInfo(unquote(request.COOKIES.get("zone", "")))
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return None


@page
def builds(request: HttpRequest) -> HttpResponse:
    """All events, narrowed by what the address says."""
    form = BuildFilter(request.GET, auto_id="filter_%s", zone=reader_zone(request))
    rows, newer, older = form.page()
    context = {
        "section": "builds",
        "form": form,
        "states": CHOICES,
        "rows": rows,
        "newer": newer,
        "older": older,
        "active_filters": list(form.active()),
        "repositories": Repository.objects.order_by("repo_name").values_list("repo_name", flat=True)[:SUGGESTED],
    }
    state = (level_of(request), [build.version for build in rows], newer, older)
    return render_live(request, "events/builds.html", "events/_builds.html", context, state)
