"""What every page of the portal shares: who may see it, its CSRF cookie, and that nobody else's cache keeps it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from accounts.limits import wait_for
from accounts.roles import Level, level_of

View = Callable[..., HttpResponseBase]


def page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page of a view that answers GET, for viewers and more; who isn't logged in is sent to the login first."""
    return require_safe(guarded(view, Level.READ))


def builder_page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page of a view that answers GET, for builders and admins; whoever else is logged in gets a 403."""
    return require_safe(guarded(view, Level.BUILD))


def admin_page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page for admins of a view that answers GET and its own form's POST; whoever else is logged in gets a 403."""
    return require_http_methods(["GET", "HEAD", "POST"])(guarded(view, Level.ADMIN))


def account_page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page of a view that shows somebody's own account, whatever their role, and answers GET and its own forms' POST."""
    return require_http_methods(["GET", "HEAD", "POST"])(guarded(view, Level.NONE))


def guarded(view: View, level: Level) -> Callable[..., HttpResponseBase]:
    """Let through who has this level; others are sent to the login, or get a 403 page. No search beyond its limit either."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if level_of(request) >= level and (level > Level.NONE or request.user.is_authenticated):
            if request.GET.get("q") and (wait := wait_for(request, "search")):
                return too_many_requests(request, wait)
            return view(request, *args, **kwargs)
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return render(request, "403.html", status=403)

    return cache_control(private=True, no_cache=True)(ensure_csrf_cookie(inner))


def too_many_requests(request: HttpRequest, wait: int) -> HttpResponse:
    """The page of a 429: after how many seconds to come again."""
    answer = render(request, "429.html", {"wait": wait}, status=429)
    answer["Retry-After"] = str(wait)
    return answer


def access(request: HttpRequest) -> dict[str, bool]:
    """For templates: what whoever looks at the page may do, so that it offers nothing that would be refused."""
    level = level_of(request) if hasattr(request, "user") else Level.NONE
    return {"may_build": level >= Level.BUILD, "may_administer": level >= Level.ADMIN}
