"""The one door for what leaves the portal to a host that somebody named: git remotes, registries and where those log in.

Whoever registers a repository or names an image chooses the host, so without this the portal would carry requests into its own
network. A host is looked up once here, each of its addresses is judged, and the caller dials nothing but what comes back: a second
look-up, by git or a library, could answer otherwise (DNS rebinding).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings

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
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    )
)
#: All that has been handed out to be reached from everywhere: https://www.iana.org/assignments/ipv6-address-space
_GLOBAL_UNICAST = IPv6Network("2000::/3")
#: Where clouds hand credentials to whoever asks from inside a machine (AWS, Azure, Alibaba, Oracle): no git host is there, so
#: only a network listed by name opens them.
_METADATA = tuple(
    ip_network(text) for text in ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128")
)
#: An IPv4 address in the last 32 bits: NAT64 (RFC 6052) and the translated form of RFC 2765.
_LAST_BITS = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"))


class Refused(Exception):
    """The configuration lets the portal connect neither to this host nor to any address of it."""


class Unknown(Exception):
    """The name has no address, now at least."""


def pinned(host: str, port: int, *, among: Sequence[str] = (), setting: str = "") -> list[str]:
    """The addresses of `host` that may be dialled, in the system's order of preference; none other may be.

    `among`: the only hosts allowed, like git.example.com or *.example.com, where there are any; `setting` is the key that lists
    them. Raises Refused before DNS is asked where the host is not among them, Refused where every address is out of bounds, and
    Unknown where there is none.
    """
    if address := check_named(host, among=among, setting=setting):
        return [str(address)]
    addresses = list(dict.fromkeys(ip_address(text.partition("%")[0]) for text in _look_up(host, port)))
    refused = None
    allowed = []
    for address in addresses:
        try:
            allowed.append(str(_judged(address, host)))
        except Refused as error:
            refused = error
    if not allowed and refused:
        raise refused
    return allowed


def check_named(host: str, *, among: Sequence[str] = (), setting: str = "") -> Address | None:
    """Judge what can be judged without asking DNS; returns the address where `host` is one. Raises Refused."""
    name = host.lower()
    patterns = [pattern.lower() for pattern in among]
    if patterns and not any(name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in patterns):
        raise Refused(f"The host {host} is not among the ones that the portal may use ({setting}).")
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return _judged(address, host)


def check_git_host(host: str) -> None:
    """Refuse a git host that no check could reach, without asking DNS. Raises Refused."""
    check_named(host, among=settings.PORTAL.git.allowed_hosts, setting="git.allowed_hosts")


def check_registry(registry: str) -> None:
    """Refuse a registry (host[:port], as images name it) that the portal would not ask, without asking DNS. Raises Refused.

    The operator's own may be anywhere.
    """
    if registry and registry != settings.PORTAL.registry.address:
        host = registry if registry.endswith("]") else re.sub(":[0-9]+$", "", registry)
        check_named(host.strip("[]"), among=settings.PORTAL.registry.allowed_hosts, setting="registry.allowed_hosts")


def registry_addresses(host: str, port: int) -> list[str]:
    """The addresses of a registry that somebody else than the operator named, or of where it logs in. Raises as `pinned`."""
    return pinned(host, port, among=settings.PORTAL.registry.allowed_hosts, setting="registry.allowed_hosts")


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
    return allowed is True or _is_public(inner)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not _within(address, _PRIVATE)


def _within(address: Address, networks: tuple) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _judged(address: Address, host: str) -> Address:
    if not is_allowed(address):
        raise Refused(
            f"{host} has the address {address}, which the portal may not connect to:"
            " an administrator can list its network in git.allow_private_networks."
        )
    return address


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to (mapped, translated, 6to4), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if _within(address, _LAST_BITS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unknown(f"The host {host} has no address: check its name, or whether the portal's DNS knows it.") from None
    return [str(entry[4][0]) for entry in found]
