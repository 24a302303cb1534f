"""`/users/…` and `/tokens/`: for admins, everybody's accounts, sessions and tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from accounts import sessions, users
from accounts.account_pages import end_one, revoke, sessions_of, tokens_of
from accounts.forms import RoleForm, UserForm
from accounts.models import ApiToken, AuditEntry
from accounts.pages import admin_page

PAGE_SIZE = 50


@admin_page
def user_list(request: HttpRequest) -> HttpResponse:
    """GET lists the users; POST makes one and leads to their page, where the link is made with which they choose a password."""
    form = UserForm(request.POST if request.method == "POST" else None, auto_id="user_%s", initial={"role": "builder"})
    if request.method == "POST" and form.is_valid():
        try:
            made = users.create(form.cleaned_data["name"], form.cleaned_data["role"])
        except IntegrityError:
            form.add_error("name", _("There is a user of this name already."))
        else:
            messages.success(request, _("%(name)s was made. Make a link with which they choose their password.") % {"name": made})
            return redirect("user", made.pk)
    query = request.GET.get("q", "").strip()[:150]
    found = get_user_model()._default_manager.filter(username__icontains=query).prefetch_related("groups").order_by("username")
    number = Paginator(found.annotate(tokens=Count("api_tokens")), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "section": "administration",
        "part": "users",
        "form": form,
        "query": query,
        "number": number,
        "rows": [(user, users.role_of(user)) for user in number.object_list],
    }
    return render(request, "accounts/users.html", context, status=400 if form.errors else 200)


@admin_page
def user_page(request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows a user; POST changes what its form names."""
    model: Any = get_user_model()
    user = get_object_or_404(model._default_manager.prefetch_related("groups"), pk=pk)
    link = ""
    if request.method == "POST":
        link = _change(request, user)
        if not link:
            return redirect("user", pk)
    context = {
        "section": "administration",
        "part": "users",
        "account": user,
        "role": users.role_of(user),
        "form": RoleForm(initial={"role": users.role_of(user)}),
        "link": request.build_absolute_uri(link) if link else "",
        "tokens": tokens_of(user),
        "sessions": sessions_of(user),
        "current": request.session.session_key,
        "seen_at": user.browser_sessions.aggregate(seen=Max("seen_at"))["seen"],
    }
    answer = render(request, "accounts/user.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


def _change(request: HttpRequest, user: Any) -> str:
    """Do what the form asks for; returns the path of a new password link, "" for all else."""
    act = request.POST.get("act", "")
    try:
        if act == "link" and user.is_active:
            return users.password_link(user)
        done = _done(act, request.POST, user)
    except users.LastAdmin:
        messages.error(request, _("Not changed: nobody else could administer the portal then. Make another admin first."))
    else:
        if done:
            messages.success(request, done)
    return ""


def _done(act: str, said: Any, user: Any) -> str:
    """Do it; returns what was done, in words. Raises LastAdmin."""
    name = {"name": user.get_username()}
    form = RoleForm(said)
    if act == "role" and form.is_valid():
        changed = users.set_role(user, form.cleaned_data["role"])
        return _("The role of %(name)s was changed; their sessions have ended.") % name if changed else ""
    if act == "disable":
        users.disable(user)
        return _("%(name)s may not log in any more; their sessions have ended.") % name
    if act == "enable":
        users.enable(user)
        return _("%(name)s may log in again.") % name
    if act == "end":
        return _("The session has ended.") if end_one(user, said.get("session", "")) else ""
    if act == "end_all":
        sessions.end(user)
        AuditEntry.objects.record("session_ended", user.get_username(), "all")
        return _("All sessions of %(name)s have ended.") % name
    if act == "revoke" and said.get("revoke", "").isdigit():
        token = ApiToken.objects.filter(user=user, pk=said["revoke"]).first()
        if token is not None:
            revoke(token)
            return _("%(name)s was revoked. It opens nothing any more.") % {"name": token.name}
    return ""


@admin_page
def all_tokens(request: HttpRequest) -> HttpResponse:
    """GET lists everybody's tokens, those used last first; POST revokes one."""
    if request.method == "POST":
        number = request.POST.get("revoke", "")
        token = ApiToken.objects.select_related("user").filter(pk=number).first() if number.isdigit() else None
        if token is not None:
            revoke(token)
            messages.success(request, _("%(name)s was revoked. It opens nothing any more.") % {"name": token.title()})
        return redirect("all-tokens")
    query = request.GET.get("q", "").strip()[:150]
    found = ApiToken.objects.filter(user__username__icontains=query).select_related("user").order_by("-used_at", "-id")
    shown = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"section": "administration", "part": "tokens", "number": shown, "tokens": shown.object_list, "query": query}
    return render(request, "accounts/all_tokens.html", context)
