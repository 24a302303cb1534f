"""`/account/…`: one's own API tokens and sessions."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import sessions
from accounts.forms import TokenForm
from accounts.models import ApiToken, AuditEntry, BrowserSession
from accounts.pages import account_page
from accounts.roles import level_of

#: What a User-Agent header names, most telling first: https://developer.mozilla.org/docs/Web/HTTP/Headers/User-Agent
BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"), ("curl", "curl"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def device(agent: str) -> str:
    """Browser and system of a User-Agent header, as far as they are known: `Firefox on Linux`."""
    browser = next((name for mark, name in BROWSERS if f"{mark}/" in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or _("unknown device")


def tokens_of(user: Any) -> list[ApiToken]:
    """A user's tokens, the newest first."""
    return list(ApiToken.objects.filter(user=user).select_related("user").order_by("-id"))


@account_page
def tokens(request: HttpRequest) -> HttpResponse:
    """GET lists the tokens; POST makes one and shows it, this once, or revokes one."""
    if request.method == "POST" and "revoke" in request.POST:
        return _revoke(request)
    level = level_of(request)
    form = TokenForm(request.POST if request.method == "POST" else None, user=request.user, level=level, auto_id="token_%s")
    key = _make(form) if request.method == "POST" and form.is_valid() else ""
    if key:
        form = TokenForm(user=request.user, level=level, auto_id="token_%s")
    context = {"section": "account", "part": "tokens", "form": form, "key": key, "tokens": tokens_of(request.user), "level": level}
    answer = render(request, "accounts/tokens.html", context, status=400 if form.errors else 200)
    answer["Cache-Control"] = "no-store"
    return answer


def _make(form: TokenForm) -> str:
    """Make the token; returns its text, "" where another request has just taken its name."""
    said = form.cleaned_data
    try:
        with transaction.atomic():
            token, key = ApiToken.objects.issue(form.user, said["name"], form.expires_at(), scope=said["scope"])
            until = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "for ever"
            AuditEntry.objects.record("token_created", token.title(), f"scope: {token.scope}, {until}")
    except IntegrityError:
        form.add_error("name", _("You have a token of this name already: choose another name."))
        return ""
    return key


def _revoke(request: HttpRequest) -> HttpResponse:
    number = request.POST["revoke"]
    token = ApiToken.objects.filter(user=request.user, pk=number).first() if number.isdigit() else None
    if token is not None:
        revoke(token)
        messages.success(request, _("%(name)s was revoked. It opens nothing any more.") % {"name": token.name})
    return redirect("account-tokens")


def revoke(token: ApiToken) -> None:
    """End a token; whoever sends it from now on gets a 401."""
    with transaction.atomic():
        title = token.title()
        if token.delete()[0]:
            AuditEntry.objects.record("token_revoked", title)


def sessions_of(user: Any) -> list[dict[str, Any]]:
    """A user's sessions that have not expired, the one used last first."""
    rows = BrowserSession.objects.filter(user=user, expire_date__gt=timezone.now()).defer("session_data").order_by("-seen_at")
    return [{"row": row, "device": device(row.agent)} for row in rows]


@account_page
def own_sessions(request: HttpRequest) -> HttpResponse:
    """GET lists the sessions; POST ends one, or all but this one."""
    key = request.session.session_key or ""
    if request.method == "POST":
        _end(request, key)
        return redirect("account-sessions")
    context = {"section": "account", "part": "sessions", "sessions": sessions_of(request.user), "current": key}
    return render(request, "accounts/sessions.html", context)


def _end(request: HttpRequest, key: str) -> None:
    """End the session that the form names, or, where it names none, all but this one."""
    handle = request.POST.get("end", "")
    if not handle:
        sessions.end(request.user, but=key)
        AuditEntry.objects.record("session_ended", request.user.get_username(), "all others")
        messages.success(request, _("All your other sessions have ended."))
    elif end_one(request.user, handle):
        messages.success(request, _("The session has ended."))


def end_one(user: Any, handle: str) -> bool:
    """End the session of this user that the handle names. Returns whether there was one."""
    found = next((row for row in BrowserSession.objects.filter(user=user) if row.handle == handle), None)
    if found is None:
        return False
    found.delete()
    AuditEntry.objects.record("session_ended", user.get_username(), f"{device(found.agent)}, {found.address}")
    return True
