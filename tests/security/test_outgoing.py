import socket

import pytest

from repos.addresses import allowed_addresses
from repos.errors import AddressRefused, HostUnreachable

INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "::ffff:0:7f00:1",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "100::1",
    "1::1",
    "4000::1",
    "3fff::1",
    "5f00::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
OUTSIDE = ["1.1.1.1", "140.82.121.4", "2606:50c0:8000::153", "64:ff9b::808:808", "::ffff:8.8.8.8"]
METADATA = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "::ffff:169.254.169.254"]


@pytest.fixture
def git_settings(settings):
    def change(**values):
        settings.PORTAL = settings.PORTAL.model_copy(update={"git": settings.PORTAL.git.model_copy(update=values)})

    change(allow_private_networks=False)
    return change


@pytest.fixture
def names(monkeypatch):
    """Names and their addresses, instead of what DNS says."""
    known = {}

    def look_up(host, port, *arguments, **options):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public_are_refused(git_settings, address):
    with pytest.raises(AddressRefused):
        allowed_addresses(address, 443)


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_does_not_open_them(git_settings, names, address):
    names["git.example"] = [address]
    with pytest.raises(AddressRefused):
        allowed_addresses("git.example", 443)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_fine(git_settings, address):
    assert len(allowed_addresses(address, 443)) == 1


def test_of_several_addresses_only_the_allowed_ones_are_dialled(git_settings, names):
    names["git.example"] = ["10.0.0.1", "140.82.121.4", "169.254.169.254", "2606:50c0:8000::153", "140.82.121.4"]
    assert allowed_addresses("git.example", 443) == ["140.82.121.4", "2606:50c0:8000::153"]


def test_a_listed_network_is_open_and_nothing_beside_it(git_settings):
    git_settings(allow_private_networks=["10.1.0.0/16"])
    assert allowed_addresses("10.1.2.3", 443) == ["10.1.2.3"]
    with pytest.raises(AddressRefused):
        allowed_addresses("10.2.0.1", 443)


def test_a_listed_network_counts_for_addresses_embedded_in_ipv6(git_settings):
    git_settings(allow_private_networks=["10.1.0.0/16"])
    assert allowed_addresses("::ffff:10.1.2.3", 443) == ["::ffff:a01:203"]


def test_private_networks_can_be_opened_altogether(git_settings):
    git_settings(allow_private_networks=True)
    assert allowed_addresses("192.168.1.1", 443) == ["192.168.1.1"]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_addresses_open_only_where_their_network_is_listed(git_settings, address):
    git_settings(allow_private_networks=True)
    with pytest.raises(AddressRefused):
        allowed_addresses(address, 443)
    git_settings(allow_private_networks=["169.254.169.254/32", "168.63.129.16/32", "100.64.0.0/10", "192.0.0.0/24", "fd00::/8"])
    assert allowed_addresses(address, 443)


@pytest.mark.parametrize("host", ["git.example", "code.corp.example", "a.b.corp.example"])
def test_listed_hosts_are_allowed(git_settings, names, host):
    names[host] = ["140.82.121.4"]
    git_settings(allowed_hosts=["Git.Example", "*.corp.example"])
    assert allowed_addresses(host, 443) == ["140.82.121.4"]


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "corp.example", "evilcorp.example", "git.example.evil.example", "140.82.121.4"]
)
def test_hosts_that_are_not_listed_are_refused_without_asking_dns(git_settings, names, host):
    git_settings(allowed_hosts=["git.example", "*.corp.example"])
    with pytest.raises(AddressRefused, match=r"git\.allowed_hosts"):
        allowed_addresses(host, 443)


def test_a_name_without_an_address_is_unreachable(git_settings):
    with pytest.raises(HostUnreachable, match=r"nowhere\.invalid"):
        allowed_addresses("nowhere.invalid", 443)
