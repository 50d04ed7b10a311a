"""What the settings of the services must satisfy, in the words of `config/check.py`.

Each generator takes a table, the path where it stands and what it is judged against: `network.address`, read. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

from ..config.errors import Problem
from ..config.judge import between, readable
from ..config.text import normal_mac, unicast_mac
from . import text
from .settings import Dhcp, Dns, Ra, Reservation

_DAY_S = 86_400
_YEAR_S = 365 * _DAY_S


def dhcp_problems(dhcp: Dhcp, network: IPv4Interface | None, path: str) -> Iterator[Problem]:
    """Faults of `dhcp` on a network of that address; None: it has no IPv4 address."""
    if network is None:
        yield Problem(path, "DHCP needs an IPv4 address on the network")
        return
    yield from _ranges(dhcp, network, f"{path}.range")
    yield from _reservations(dhcp, network, f"{path}.reservations")
    yield from between(f"{path}.lease_s", dhcp.lease_s, 120, _YEAR_S, "seconds")
    yield from between(f"{path}.mtu", dhcp.mtu, 68, 65_521)
    yield from between(f"{path}.per_port", dhcp.per_port, 1, text.POOL_MAX)
    if dhcp.router:
        yield from _on_network(dhcp.router, network, f"{path}.router")
    for index, server in enumerate(dhcp.dns or ()):
        yield from readable(f"{path}.dns[{index}]", server, text.ipv4)
    if dhcp.domain:
        yield from readable(f"{path}.domain", dhcp.domain, text.domain_name)
    for index, option in enumerate(dhcp.options):
        yield from readable(f"{path}.options[{index}]", option, text.raw_option)
    for index, route in enumerate(dhcp.routes):
        yield from readable(f"{path}.routes[{index}].to", route.to, text.ipv4_prefix)
        yield from _on_network(route.via, network, f"{path}.routes[{index}].via")


def _ranges(dhcp: Dhcp, network: IPv4Interface, path: str) -> Iterator[Problem]:
    faults = list(readable(path, dhcp.range, text.ranges))
    yield from faults
    pools = () if faults else sorted(text.ranges(dhcp.range))
    for first, last in pools:
        if first not in network.network or last not in network.network:
            yield Problem(path, f"within {network.network}, the network's own", [str(first), str(last)])
    for (_, before), (first, last) in zip(pools, pools[1:], strict=False):
        if first <= before:
            yield Problem(path, "ranges do not overlap", [str(first), str(last)])
    if sum(int(last) - int(first) + 1 for first, last in pools) > text.POOL_MAX:
        yield Problem(path, f"a network hands out at most {text.POOL_MAX} addresses")


def _reservations(dhcp: Dhcp, network: IPv4Interface, path: str) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(dhcp.reservations):
        place = f"{path}[{index}]"
        yield from readable(f"{place}.mac", entry.mac, unicast_mac)
        yield from _reserved_address(entry, network, f"{place}.address")
        if entry.name:
            yield from readable(f"{place}.name", entry.name, text.host_name)
        for key, spelling in _spellings(entry):
            if (key, spelling) in seen:
                yield Problem(f"{place}.{key}", "reserved once", getattr(entry, key))
            seen.add((key, spelling))


def _spellings(entry: Reservation) -> Iterator[tuple[str, str]]:
    """What no two reservations share, each in its one spelling."""
    yield "address", entry.address
    if entry.name:
        yield "name", entry.name.lower()
    try:
        yield "mac", normal_mac(entry.mac)
    except ValueError:
        yield "mac", entry.mac  # refused elsewhere


def _reserved_address(entry: Reservation, network: IPv4Interface, path: str) -> Iterator[Problem]:
    faults = list(_on_network(entry.address, network, path))
    yield from faults
    if not faults and not text.client_address(text.ipv4(entry.address), network):
        right = "an address that a client can have: not the gateway's, nor the network's first or last"
        yield Problem(path, right, entry.address)


def _on_network(address: str, network: IPv4Interface, path: str) -> Iterator[Problem]:
    faults = list(readable(path, address, text.ipv4))
    yield from faults
    if not faults and text.ipv4(address) not in network.network:
        yield Problem(path, f"within {network.network}, the network's own", address)


def dns_problems(dns: Dns, path: str) -> Iterator[Problem]:
    """Faults of `dns`."""
    for index, server in enumerate(dns.servers):
        yield from readable(f"{path}.servers[{index}]", server, text.either)
    if dns.domain:
        yield from readable(f"{path}.domain", dns.domain, text.domain_name)
    for index, host in enumerate(dns.hosts):
        yield from readable(f"{path}.hosts[{index}].name", host.name, text.host_name)
        yield from readable(f"{path}.hosts[{index}].address", host.address, text.either)
    yield from between(f"{path}.port", dns.port, 1, 65_535)
    yield from between(f"{path}.ttl_s", dns.ttl_s, 0, _DAY_S, "seconds")
    yield from between(f"{path}.per_client", dns.per_client, 1, 1024)


def ra_problems(ra: Ra, path: str) -> Iterator[Problem]:
    """Faults of `ra`; the bounds are those of RFC 4861, 6.2.1."""
    yield from between(f"{path}.interval_s", ra.interval_s, 4, 1800, "seconds")
    if ra.lifetime_s and not ra.interval_s <= ra.lifetime_s <= 9000:
        yield Problem(f"{path}.lifetime_s", "0, or interval_s to 9000 seconds", ra.lifetime_s)
    yield from between(f"{path}.valid_s", ra.valid_s, 0, 0xFFFFFFFF, "seconds")
    if not 0 <= ra.preferred_s <= ra.valid_s:
        yield Problem(f"{path}.preferred_s", "at most valid_s", ra.preferred_s)
    for index, server in enumerate(ra.dns or ()):
        yield from readable(f"{path}.dns[{index}]", server, text.ipv6)
    if ra.domain:
        yield from readable(f"{path}.domain", ra.domain, text.domain_name)
    yield from between(f"{path}.mtu", ra.mtu, 1280, 65_521)
