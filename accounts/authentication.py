"""Who sends a request: a browser's session, or a script's `Authorization: Token …`."""

from __future__ import annotations

from typing import Any

from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts.models import ApiToken

CHALLENGE = 'Token realm="ci-portal"'


class SessionAuthentication(authentication.SessionAuthentication):
    """A logged-in browser; REST framework checks the CSRF token of each of its writes."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401: a browser without a session has to log in, a script to send a token."""
        return CHALLENGE


class TokenAuthentication(authentication.BaseAuthentication):
    """A script with a token that `manage.py create_token` printed. Only the token's SHA-256 is stored."""

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return CHALLENGE

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        """The token's user. Raises AuthenticationFailed for a token that is unknown, expired or malformed; None without one."""
        scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "token":
            return None
        token = ApiToken.objects.usable(key.strip())
        if token is None:
            raise exceptions.AuthenticationFailed("The API token is unknown, has expired or was revoked.")
        token.mark_used()
        return token.user, token
