"""Who sends a request: a browser's session, or a script's `Authorization: Token …`."""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from rest_framework import authentication
from rest_framework.request import Request

from accounts.limits import spend, too_many
from accounts.models import ApiToken, AuditEntry
from accounts.sender import address_of, neighbourhood
from ci_portal.api.problems import Problem

CHALLENGE = 'Token realm="ci-portal"'


class SessionAuthentication(authentication.SessionAuthentication):
    """A logged-in browser; REST framework checks the CSRF token of each of its writes."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401: a browser without a session has to log in, a script to send a token."""
        return CHALLENGE


class TokenAuthentication(authentication.BaseAuthentication):
    """A script with a token of `/account/tokens/` or `manage.py create_token`. Only the token's SHA-256 is stored."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return CHALLENGE

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        """The token's user, None without a token. Raises a 401 problem that says what is wrong; 429 after many wrong ones."""
        scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "token":
            return None
        token = ApiToken.objects.with_key(key.strip())
        if token is None:
            raise _unknown(request)
        if token.has_expired:
            assert token.expires_at is not None
            raise _refused(
                "token_expired",
                f"The API token {token.name!r} ({token.start}…) expired at {token.expires_at:%Y-%m-%d %H:%M} UTC: make a new one.",
            )
        if not token.user.is_active:
            raise _refused("account_disabled", "The account of this API token is disabled.")
        token.mark_used(address_of(request))
        request._request.api_token = token  # type: ignore[attr-defined]  # for accounts.sender
        return token.user, token


def _refused(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": CHALLENGE})


def _unknown(request: Request) -> Problem:
    """The 401 for a token that nobody has, counted against its sender: a 429 once there were too many."""
    address, most = neighbourhood(address_of(request)), settings.PORTAL.limits.wrong_tokens
    wait = math.ceil(spend(f"token {address}", most)) if most else 0
    if spend(f"token told {address}", 1, 600) == 0:  # one line in ten minutes: a script with an old token asks all day
        AuditEntry.objects.record("token_refused")
    return too_many(wait, most) if wait else _refused("token_unknown", "The API token is unknown: it was revoked or mistyped.")
