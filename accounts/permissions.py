"""Who may do what (SPEC section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.roles import SCOPES, Level, level_of, role_name
from ci_portal.api.problems import Problem, field_error

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports the permissions that settings name


class PortalPermission(BasePermission):
    """Lets a request through whose sender has the level that its view asks for, and no request that another site made.

    A view says in `levels` which of its methods need what; reading needs READ, whatever it does not name ADMIN.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on; False where nobody has logged in. Raises a 403 problem."""
        if request.auth is None and request.method not in SAFE_METHODS and is_cross_site(request):
            raise Problem(403, "cross_site", "This request was sent by a page of another site; the portal refuses those.")
        levels: dict[str, Level] = getattr(view, "levels", {})
        needed = levels.get(request.method or "", Level.READ if request.method in SAFE_METHODS else Level.ADMIN)
        if level_of(request) >= needed:
            return True
        if not request.user.is_authenticated:
            return False
        raise forbidden(request, needed)


def forbidden(request: Request, needed: Level, *fields: str) -> Problem:
    """The 403 problem that says what is needed and what there is; `fields`: what of the body it is about."""
    level, role = level_of(request), role_name(needed)
    have = f"your role is {role_name(level)}" if level else "your account has no role yet"
    token: Any = request.auth
    if token is not None and SCOPES[token.scope] < needed:
        have = f"this token's scope is {token.scope}"
    detail = f"This needs the role {role}: {have}."
    return Problem(403, "forbidden", detail, errors=[field_error(name, detail, "forbidden") for name in fields])


def is_cross_site(request: Request | HttpRequest) -> bool:
    """Whether a browser says that a page of another origin sent this request. Scripts send neither header.

    https://www.w3.org/TR/fetch-metadata/: `same-site` too is another origin (another port of this machine is one).
    """
    site = request.headers.get("Sec-Fetch-Site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin", "")
    return bool(origin) and origin not in settings.CSRF_TRUSTED_ORIGINS and urlsplit(origin).netloc != request.get_host()
