"""The small grammars of the services' settings: addresses, ranges, routes, names of hosts, raw DHCP options.

Pure functions in the manner of `config/text.py`: what cannot be read raises ValueError with what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, ip_address

POOL_MAX = 65_536  # addresses a network hands out; the lease table is sized by them

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OPTION = re.compile(r"([0-9]{1,3}):((?:[0-9A-Fa-f]{2}){1,255})")

Range = tuple[IPv4Address, IPv4Address]


def ipv4(text: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError('an IPv4 address, like "10.0.0.1"') from None


def ipv6(text: str) -> IPv6Address:
    """An IPv6 address, without a zone."""
    try:
        if "%" not in text:
            return IPv6Address(text)
    except ValueError:
        pass
    raise ValueError('an IPv6 address, like "fd00::1"')


def either(text: str) -> IPv4Address | IPv6Address:
    """An address of either family, without a zone."""
    try:
        if "%" not in text:
            return ip_address(text)
    except ValueError:
        pass
    raise ValueError('an IP address, like "10.0.0.1" or "fd00::1"')


def ipv4_prefix(text: str) -> IPv4Network:
    """A prefix as a route has it, with no bit set behind its length."""
    try:
        return IPv4Network(text)
    except ValueError:
        raise ValueError('a prefix with nothing behind its length, like "192.168.0.0/16"') from None


def ranges(items: tuple[str | tuple[str, str], ...]) -> tuple[Range, ...]:
    """The ranges of `dhcp.range`: one pair, or a list of pairs."""
    pairs = (items,) if items and all(isinstance(item, str) for item in items) else items
    return tuple(_range(pair) for pair in pairs)


def _range(pair: object) -> Range:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError('a range is [FIRST, LAST], or a list of such, like ["10.0.0.100", "10.0.0.200"]')
    first, last = map(ipv4, pair)
    if first > last:
        raise ValueError("a range goes from the lower address to the higher")
    if int(last) - int(first) >= POOL_MAX:
        raise ValueError(f"a range has at most {POOL_MAX} addresses")
    return first, last


def addresses(pools: tuple[Range, ...], network: IPv4Interface) -> Iterator[IPv4Address]:
    """The addresses of the ranges that a client of the network can have, in order."""
    for first, last in pools:
        yield from (IPv4Address(number) for number in range(int(first), int(last) + 1)
                    if client_address(IPv4Address(number), network))


def client_address(address: IPv4Address, network: IPv4Interface) -> bool:
    """Whether a client of the network can have the address: not the gateway's, nor the network's first and last."""
    subnet = network.network
    ends = (subnet.network_address, subnet.broadcast_address) if subnet.prefixlen < 31 else ()
    return address in subnet and address != network.ip and address not in ends


def host_name(name: str) -> str:
    """The name of a host, one label, in lower case (RFC 1123)."""
    if not _LABEL.fullmatch(name.lower()):
        raise ValueError("a host's name is one label: 1 to 63 letters, digits and inner hyphens")
    return name.lower()


def domain_name(name: str) -> str:
    """A domain's name in lower case, without the final dot."""
    lowered = name.lower().removesuffix(".")
    if len(lowered) > 189 or not all(_LABEL.fullmatch(label) for label in lowered.split(".")):  # room for a host
        raise ValueError('a domain is labels joined by dots, like "lab.example"')
    return lowered


def raw_option(text: str) -> tuple[int, bytes]:
    """The code and value of a DHCP option written as CODE:HEX; the exchange's own options are not for sale."""
    match = _OPTION.fullmatch(text)
    if not match or not 1 <= int(match[1]) <= 254:
        raise ValueError('an option is "CODE:HEX", code 1 to 254, like "42:0a000001"')
    if int(match[1]) in (50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82):
        raise ValueError("options 50 to 59, 61 and 82 are the exchange's own")
    return int(match[1]), bytes.fromhex(match[2])
