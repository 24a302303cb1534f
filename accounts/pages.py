"""What every page of the portal shares: who may see it, its CSRF cookie, and that nobody else's cache keeps it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

View = Callable[..., HttpResponse]


def page(view: View) -> Callable[..., HttpResponseBase]:
    """Make a page of a view that answers GET: with `auth.mode` required, whoever isn't logged in is sent to the login first."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if settings.PORTAL.auth.mode == "required" and not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return view(request, *args, **kwargs)

    return require_safe(cache_control(private=True, no_cache=True)(ensure_csrf_cookie(guarded)))
