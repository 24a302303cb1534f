"""`/audit/`: for admins, who did what, when, from where and by what."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.models import AuditEntry
from accounts.pages import admin_page

PAGE_SIZE = 50
#: What is recorded, in the reader's words.
ACTIONS = {
    "change": _("changed"),
    "login": _("logged in"),
    "login_failed": _("login failed"),
    "lockout": _("locked out"),
    "logout": _("logged out"),
    "token_created": _("token made"),
    "token_revoked": _("token revoked"),
    "token_refused": _("unknown token sent"),
    "session_ended": _("session ended"),
    "password_changed": _("password changed"),
    "user_created": _("user made"),
    "role_changed": _("role changed"),
    "user_disabled": _("user disabled"),
    "user_enabled": _("user enabled"),
    "link_made": _("password link made"),
    "unlocked": _("unlocked"),
    "identity_linked": _("login linked"),
}


class AuditFilter(forms.Form):
    """Which entries to list, from the page's query string."""

    who = forms.CharField(label=_("Who"), required=False, max_length=150)
    what = forms.ChoiceField(label=_("What"), required=False, choices=[("", _("anything")), *ACTIONS.items()])
    target = forms.CharField(label=_("Of what"), required=False, max_length=200)
    address = forms.GenericIPAddressField(label=_("Address"), required=False)
    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    #: Field → how its value is compared.
    COMPARED = {"who": "actor", "what": "action", "target": "target", "address": "address", "before": "id__lt"}

    def entries(self) -> QuerySet[AuditEntry]:
        """The entries that the filter names, newest first; none where the filter itself is wrong."""
        if not self.is_valid():
            return AuditEntry.objects.none()
        said: dict[str, Any] = {name: value for name, value in self.cleaned_data.items() if value}
        wanted: dict[str, Any] = {self.COMPARED[name]: value for name, value in said.items() if name in self.COMPARED}
        if "since" in said:
            wanted["at__gte"] = _start_of(said["since"])
        if "until" in said:
            wanted["at__lt"] = _start_of(said["until"] + timedelta(days=1))
        return AuditEntry.objects.filter(**wanted).order_by("-id")


def _start_of(day: date) -> datetime:
    """When a day begins in the portal's zone: MariaDB may know no zones."""
    return timezone.make_aware(datetime.combine(day, time.min))


@require_safe
@admin_page
def audit(request: HttpRequest) -> HttpResponse:
    """One page of entries; no count, so a million rows cost nothing."""
    form = AuditFilter(request.GET, auto_id="filter_%s")
    rows = list(form.entries()[: PAGE_SIZE + 1])
    context = {
        "section": "administration",
        "part": "audit",
        "form": form,
        "rows": [(row, ACTIONS.get(row.action, row.action)) for row in rows[:PAGE_SIZE]],
        "older": rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        "filtered": any(request.GET.get(name) for name in form.fields if name != "before"),
    }
    return render(request, "accounts/audit.html", context)
