"""Who may do what (SPEC section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from ci_portal.api.problems import Problem

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports the permissions that settings name


class PortalPermission(BasePermission):
    """`auth.mode` required: whoever logged in or sent a token. `open`: everyone, but no other web site through a browser."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on. Raises a 403 problem for one that another site made a browser send."""
        if request.auth is None and request.method not in SAFE_METHODS and is_cross_site(request):
            raise Problem(403, "cross_site", "This request was sent by a page of another site; the portal refuses those.")
        return settings.PORTAL.auth.mode == "open" or bool(request.user and request.user.is_authenticated)


def is_admin(user: Any) -> bool:
    """Whether this user may look after the portal itself: staff where `auth.mode` is required, everyone where it is open."""
    return settings.PORTAL.auth.mode == "open" or bool(user and user.is_active and user.is_staff)


def is_cross_site(request: Request | HttpRequest) -> bool:
    """Whether a browser says that a page of another origin sent this request. Scripts send neither header.

    https://www.w3.org/TR/fetch-metadata/: `same-site` too is another origin (another port of this machine is one).
    """
    site = request.headers.get("Sec-Fetch-Site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin", "")
    return bool(origin) and origin not in settings.CSRF_TRUSTED_ORIGINS and urlsplit(origin).netloc != request.get_host()
