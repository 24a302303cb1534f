"""What every page of the portal shares: who may see it, its CSRF cookie, and that nobody else's cache keeps it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_safe

from accounts.permissions import is_admin

View = Callable[..., HttpResponse]


def page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page of a view that answers GET: with `auth.mode` required, whoever isn't logged in is sent to the login first."""
    return require_safe(_guarded(view))


def admin_page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page for admins of a view that answers GET and its own form's POST; whoever else is logged in gets a 403."""

    @wraps(view)
    def for_admins(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_admin(request.user):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return require_http_methods(["GET", "HEAD", "POST"])(_guarded(for_admins))


def _guarded(view: View) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if settings.PORTAL.auth.mode == "required" and not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    return cache_control(private=True, no_cache=True)(ensure_csrf_cookie(guarded))
