"""Which addresses the portal may connect to for git: resolved once, judged, and pinned for git to dial.

Whoever registers a repository chooses the host, so without this the portal would carry requests into its own network. git
resolves a name again after it was judged here; the caller therefore hands the judged addresses to it.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings

from repos.errors import AddressRefused, HostUnreachable

Address = IPv4Address | IPv6Address

#: Not reachable from outside a network although they may look so: https://www.iana.org/assignments/iana-ipv4-special-registry,
#: https://www.iana.org/assignments/iana-ipv6-special-registry. Listed here because what `is_global` knows depends on the Python.
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
#: Where clouds hand credentials to whoever asks from inside a machine (AWS, Azure, Alibaba, Oracle): no git host is there, so
#: only a network listed by name opens them.
_METADATA = tuple(
    ip_network(text) for text in ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128")
)
_NAT64 = IPv6Network("64:ff9b::/96")


def allowed_addresses(host: str, port: int) -> list[str]:
    """The addresses of `host` that git may dial, in the system's order of preference.

    Raises AddressRefused where git.allowed_hosts leaves the host out or every address is out of bounds, and HostUnreachable
    where the name has no address.
    """
    _check_allowed(host)
    try:
        return [str(_judged(ip_address(host), host))]
    except ValueError:
        pass
    addresses = list(dict.fromkeys(ip_address(text.partition("%")[0]) for text in _look_up(host, port)))
    refused = None
    allowed = []
    for address in addresses:
        try:
            allowed.append(str(_judged(address, host)))
        except AddressRefused as error:
            refused = error
    if not allowed and refused:
        raise refused
    return allowed


def is_allowed(address: Address) -> bool:
    """Whether the configuration lets the portal connect to this address."""
    inner = _embedded(address)
    allowed = settings.PORTAL.git.allow_private_networks
    if isinstance(allowed, list):
        networks = [ip_network(text, strict=False) for text in allowed]
        if any(inner in network for network in networks if network.version == inner.version):
            return True
    if _within(inner, _METADATA):
        return False
    return allowed is True or (inner.is_global and not _within(inner, _PRIVATE))


def _within(address: Address, networks: tuple) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _judged(address: Address, host: str) -> Address:
    if not is_allowed(address):
        raise AddressRefused(
            f"{host} has the address {address}, which the portal may not connect to:"
            " an administrator can list its network in git.allow_private_networks."
        )
    return address


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to (mapped, NAT64, 6to4), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _check_allowed(host: str) -> None:
    patterns = [pattern.lower() for pattern in settings.PORTAL.git.allowed_hosts]
    if patterns and not any(host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in patterns):
        raise AddressRefused(f"The host {host} is not among the ones that the portal may use (git.allowed_hosts).")


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise HostUnreachable(f"The host {host} has no address: check its name, or whether the portal's DNS knows it.") from None
    return [str(entry[4][0]) for entry in found]
