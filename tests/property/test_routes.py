"""Longest prefix match, against a plain one that asks every route, for tables of both families at once."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

probe = pytest.importorskip("vswitch._fastpath._probe_router", reason="built without test doors (VSWITCH_PROBE=1)")
from vswitch._fastpath.l3.route import Routes  # noqa: E402

Network = IPv4Network | IPv6Network
Table = list[tuple[Network, int]]  # and the device that it leads to
MAPPED = bytes(10) + b"\xff\xff"
NOWHERE = bytes(16)

# Few bits vary, so that prefixes nest, repeat and end side by side, at both ends of the address space too.
v4_addresses = st.builds(lambda a, b: bytes([a, 0, 0, b]), st.sampled_from([0, 10, 127, 255]), st.integers(0, 255))
v6_addresses = st.builds(
    lambda a, b: bytes([a]) + bytes(14) + bytes([b]), st.sampled_from([0, 0x20, 0xFF]), st.integers(0, 255)
)
networks = st.one_of(
    st.builds(lambda a, n: ip_network((a, n), strict=False), v4_addresses, st.integers(0, 32)),
    st.builds(lambda a, n: ip_network((a, n), strict=False), v6_addresses, st.integers(0, 128)),
)
tables = st.lists(st.tuples(networks, st.integers(0, 50)), max_size=20)


def uniform(packed: bytes) -> bytes:
    """An address in the form of core/ip.pxd."""
    return packed if len(packed) == 16 else MAPPED + packed


def make(table: Table) -> Routes:
    """The table for the fast path."""
    return Routes(
        (uniform(net.network_address.packed), net.prefixlen + (96 if net.version == 4 else 0), NOWHERE, device)
        for net, device in table
    )


def expected(table: Table, address: str) -> int | None:
    """The device by the longest prefix; of equal ones the first."""
    ip = ip_address(address)
    inside = [(net, device) for net, device in table if ip.version == net.version and ip in net]
    return max(inside, key=lambda row: row[0].prefixlen)[1] if inside else None


def found(routes: Routes, address: str) -> int | None:
    """The device that the fast path finds."""
    route = probe.find(routes, address)
    return None if route is None else route[3]


def edges(table: Table) -> list[str]:
    """The addresses where answers may change: each network's first and last, and their neighbours."""
    places = {"0.0.0.0", "255.255.255.255", "::", "::1", "ffff::ffff"}
    for net, _ in table:
        first, last = int(net.network_address), int(net.broadcast_address)
        kind = type(net.network_address)
        places |= {str(kind(n)) for n in (first - 1, first, last, last + 1) if 0 <= n < 1 << net.max_prefixlen}
    return sorted(place for place in places if not place.startswith("::ffff:"))


@settings(max_examples=200, deadline=None)
@given(table=tables)
def test_the_longest_prefix_wins(table: Table) -> None:
    routes = make(table)
    for address in edges(table):
        assert found(routes, address) == expected(table, address), address


def test_an_ipv6_default_route_is_none_for_ipv4() -> None:
    routes = make([(ip_network("::/0"), 1)])
    assert (found(routes, "10.0.0.1"), found(routes, "2001:db8::1")) == (None, 1)
    assert found(make([(ip_network("0.0.0.0/0"), 1)]), "2001:db8::1") is None


def test_the_route_tells_its_gateway_and_network_without_host_bits() -> None:
    gateway = uniform(bytes([10, 0, 0, 254]))
    routes = Routes([(uniform(bytes([10, 0, 0, 1])), 120, gateway, 3)])
    assert probe.find(routes, "10.0.0.77") == (uniform(bytes([10, 0, 0, 0])), 120, gateway, 3)
    assert len(routes) == 1


@pytest.mark.parametrize(
    ("route", "word"),
    [
        ((bytes(4), 0, NOWHERE, 1), "16 bytes"),
        ((bytes(16), 129, NOWHERE, 1), "/129"),
        ((MAPPED + bytes(4), 95, NOWHERE, 1), "/95"),
    ],
)
def test_what_is_no_route_is_refused(route: tuple, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Routes([route])


def test_thousands_of_routes() -> None:
    table = [(ip_network(f"10.{n >> 8}.{n & 255}.0/24"), n) for n in range(5000)] + [(ip_network("0.0.0.0/0"), 9999)]
    routes = make(table)
    assert [found(routes, f"10.{n >> 8}.{n & 255}.9") for n in range(0, 5000, 37)] == list(range(0, 5000, 37))
    assert found(routes, "10.200.0.1") == 9999
