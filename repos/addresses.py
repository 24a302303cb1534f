"""Which addresses git may dial: what the portal's one door (`ci_portal.outgoing`) lets through; refusals are errors of git."""

from __future__ import annotations

from django.conf import settings

from ci_portal import outgoing
from repos.errors import AddressRefused, HostUnreachable


def allowed_addresses(host: str, port: int) -> list[str]:
    """The addresses of a git host to pin. Raises AddressRefused and HostUnreachable."""
    try:
        return outgoing.pinned(host, port, among=settings.PORTAL.git.allowed_hosts, setting="git.allowed_hosts")
    except outgoing.Refused as error:
        raise AddressRefused(str(error)) from None
    except outgoing.Unknown as error:
        raise HostUnreachable(str(error)) from None


def check_host(host: str) -> None:
    """Judge a git host as far as that goes without asking DNS. Raises AddressRefused."""
    try:
        outgoing.check_git_host(host)
    except outgoing.Refused as error:
        raise AddressRefused(str(error)) from None
