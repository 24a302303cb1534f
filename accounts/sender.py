"""Who sends the request that is being answered, from where, and by what: for the audit, sessions and rate limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from ci_portal.api.request_id import request_id

#: One value for each thread and each greenlet.
_current: ContextVar[HttpRequest | None] = ContextVar("request", default=None)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Sender:
    """Who did something: `actor` a user name, `means` how they were let in, `address` an IP address; "" where there is none."""

    actor: str = ""
    means: str = ""
    address: str = ""
    request_id: str = ""

    @property
    def token(self) -> str:
        """The name of the API token that let them in; "" where it was none."""
        return self.means.removeprefix("token ") if self.means.startswith("token ") else ""


class SenderMiddleware:
    """Keeps the request at hand for what is far from it, and puts the sender's address on it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Handle one request."""
        token = _current.set(request)
        try:
            return self.get_response(request)
        finally:
            _current.reset(token)


def current_request() -> HttpRequest | None:
    """The request that this thread or greenlet answers; None in the watcher and in commands."""
    return _current.get()


def sender() -> Sender:
    """The sender of the current request; nobody outside of one."""
    request = current_request()
    return Sender() if request is None else sender_of(request)


def sender_of(request: HttpRequest) -> Sender:
    """The sender of this request. With a token it is the token's user."""
    token: Any = getattr(request, "api_token", None)
    user: Any = token.user if token is not None else getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    means = f"token {token.name}" if token is not None else "session" if known else "anonymous"
    return Sender(user.get_username() if known else "", means, address_of(request), request_id(request))


def address_of(request: Any) -> str:
    """The sender's IP address: the last in `X-Forwarded-For` that is none of `portal.trusted_proxies`.

    Who is no trusted proxy is taken for the sender, whatever the header says: anybody can write one. "" where the server has none
    (a Unix socket).
    """
    nearest = _parsed(request.META.get("REMOTE_ADDR", ""))
    hops = [_parsed(part.strip()) for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    while nearest is not None and _is_proxy(nearest) and hops and hops[-1] is not None:
        nearest = hops.pop()
    return "" if nearest is None else str(nearest)


def neighbourhood(address: str) -> str:
    """What one host can choose addresses from: the /64 of an IPv6 address (RFC 4291, section 2.5.4), else the address itself."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address


@lru_cache(maxsize=4)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _is_proxy(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _networks(tuple(settings.PORTAL.portal.trusted_proxies)))
