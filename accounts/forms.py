"""Forms of the accounts' pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiToken
from accounts.roles import ROLES, SCOPES, Level

#: Role → what it means.
ROLE_NAMES: dict[str, str | Promise] = {
    "viewer": _("viewer: sees everything but secrets"),
    "builder": _("builder: also registers, builds, cancels and retries"),
    "admin": _("admin: also changes credentials, deletes, and administers users"),
}
SCOPE_NAMES: dict[str, str | Promise] = {
    "read": _("read: see everything but secrets"),
    "build": _("build: also register, check, cancel and retry"),
    "admin": _("admin: everything that you may do"),
}
#: Days that a token may be good for, as offered, and which of them is chosen at first.
DAYS, USUAL_DAYS = (7, 30, 90, 365), 90


class TokenForm(forms.Form):
    """A new token of one's own."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("What it is for, like nightly builds."))
    scope = forms.ChoiceField(label=_("Scope"), help_text=_("What it may do at most. It never may more than you."))
    days = forms.TypedChoiceField(label=_("Expires"), coerce=int)

    def __init__(self, *args: Any, user: Any, level: Level, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        allowed = [(scope, SCOPE_NAMES[scope]) for scope, needed in SCOPES.items() if needed <= level]
        most = settings.PORTAL.auth.token_max_days
        days = sorted({*(days for days in DAYS if not most or days <= most), *([most] if most else [])})
        self.fields["scope"].choices = allowed  # type: ignore[attr-defined]
        self.fields["scope"].initial = min("build", allowed[-1][0] if allowed else "", key=lambda scope: SCOPES.get(scope, 0))
        in_words = [(str(number), _in_days(number)) for number in days]
        self.fields["days"].choices = [*in_words, *([] if most else [("0", _("never"))])]  # type: ignore[attr-defined]
        self.fields["days"].initial = USUAL_DAYS if USUAL_DAYS in days else days[-1]

    def clean_name(self) -> str:
        """Refuse a name that another of the user's tokens has."""
        name = str(self.cleaned_data["name"])
        if ApiToken.objects.filter(user=self.user, name=name).exists():
            raise ValidationError(_("You have a token of this name already: choose another name."), "taken")
        return name

    def expires_at(self) -> datetime | None:
        """When the token ends; None: never."""
        days: int = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=days) if days else None


def _in_days(days: int) -> str | Promise:
    return _("in a day") if days == 1 else _("in %(days)s days") % {"days": days}


class RoleForm(forms.Form):
    """A user's role."""

    role = forms.ChoiceField(label=_("Role"), choices=[(role, ROLE_NAMES[role]) for role in ROLES])


class UserForm(RoleForm):
    """A new user."""

    name = forms.CharField(label=_("User name"), max_length=150, help_text=_("How the user logs in."))
    field_order = ("name", "role")

    def clean_name(self) -> str:
        """Refuse what is no user name, or another's. Names that differ in nothing but case are one name."""
        model = get_user_model()
        name = str(model.normalize_username(self.cleaned_data["name"]))
        model._meta.get_field("username").run_validators(name)
        if model._default_manager.filter(username__iexact=name).exists():
            raise ValidationError(_("There is a user of this name already."), "taken")
        return name
