"""Readers and writers that many extensions share: numbers, ranges, ports, marks, addresses."""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from ..values import Address, AddressRange, Net, Range
from .base import Asked, Reader
from .complaint import Complaint
from .names import service_name, service_number

NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
LONGEST_NUMBER = 40  # digits; nothing is asked for that needs as many
WIDTH = {4: 32, 6: 128}


def octets(text: str) -> bytes:
    """What the kernel would count; words from outside may hold what no encoding has."""
    return text.encode(errors="replace")


def savable(text: str) -> bool:
    """Whether a name is one word in a save, which has no quotes around names."""
    return text.isprintable() and " " not in text and '"' not in text


def number(text: str) -> int | None:
    """As strtoul(, 0) reads it: decimal, 0x or octal; nothing else may stand there."""
    if len(text) > LONGEST_NUMBER or not NUMBER.fullmatch(text):
        return None
    if text[0] == "0" and len(text) > 1:
        return int(text, 16) if text[1] in "xX" else int(text, 8)
    return int(text)


def _decimal(text: str, top: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER and int(text) <= top


def within(high: int, low: int = 0) -> Reader:
    """A reader of one number from `low` to `high`."""

    def read(text: str, asked: Asked) -> int:
        value = number(text)
        if value is None or not low <= value <= high:
            raise asked.bad(high, low)
        return value

    return read


def ranged(high: int, separator: str = ":") -> Reader:
    """A reader of FIRST:LAST, where either may be left out, or of one number."""

    def read(text: str, asked: Asked) -> Range:
        first, colon, last = text.partition(separator)
        low = number(first) if first else 0
        top = (number(last) if last else high) if colon else low
        if low is None or top is None or low > high or top > high or not text:
            raise Complaint(
                f'{asked.extension}: bad value for option "{asked.option}" near "{text}", or out of range (0-{high}).\n'
            )
        return Range(low, top)

    return read


def write_range(value: Range, separator: str = ":") -> str:
    return str(value.first) if value.first == value.last else f"{value.first}{separator}{value.last}"


# Ports


@lru_cache(4096)
def port(text: str) -> int:
    """A number or the name of a service."""
    value = number(text)
    if value is None:
        value = service_number(text) if text and not text[0].isdigit() else None
    if value is None or value > 65535:
        raise Complaint(f"invalid port/service `{text}' specified")
    return value


@lru_cache(4096)
def _ports(text: str) -> Range:
    first, colon, last = text.partition(":")
    if not colon:
        return Range(port(text), port(text))
    ports = Range(port(first) if first else 0, port(last) if last else 65535)
    if ports.first > ports.last:
        raise Complaint("invalid portrange (min > max)")
    return ports


def port_range(text: str, asked: Asked) -> Range:
    return _ports(text)


def show_port(value: int, protocol: str, numeric: bool) -> str:
    return str(value) if numeric else service_name(value, protocol)


def show_ports(value: Range, protocol: str, numeric: bool) -> str:
    if value.first == value.last:
        return show_port(value.first, protocol, numeric)
    return f"{show_port(value.first, protocol, numeric)}:{show_port(value.last, protocol, numeric)}"


# Marks


def masked(top: int = 0xFFFFFFFF) -> Reader:
    """A reader of VALUE[/MASK]."""

    def read(text: str, asked: Asked) -> tuple[int, int]:
        first, slash, last = text.partition("/")
        value, mask = number(first), number(last) if slash else top
        if value is None or mask is None or value > top or mask > top:
            raise asked.bad()
        return value, mask

    return read


def write_masked(value: int, mask: int) -> str:
    return f"0x{value:x}" if mask == 0xFFFFFFFF else f"0x{value:x}/0x{mask:x}"


# Addresses


def address(text: str, family: int) -> Address | None:
    """A whole address in numbers."""
    try:
        if family == 4:
            return IPv4Address(socket.inet_pton(socket.AF_INET, text))
        return IPv6Address(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        return None


def _short(text: str) -> Address | None:
    """IPv4 of one to three numbers: the rest is zeros, so 10/8 is a network."""
    parts = text.split(".")
    if len(parts) < 4 and all(_decimal(p, 255) for p in parts):
        return IPv4Address(bytes([*map(int, parts), *[0] * (4 - len(parts))]))
    return None


@lru_cache(256)
def mask(text: str, family: int) -> Address:
    """A length of a prefix, or a mask in full."""
    kind: type[Address] = IPv4Address if family == 4 else IPv6Address
    if _decimal(text, WIDTH[family]):
        return kind(((1 << int(text)) - 1) << (WIDTH[family] - int(text)))
    whole = address(text, family)
    if whole is None:
        raise Complaint(f"invalid mask `{text}' specified")
    return whole


FULL = {4: IPv4Address("255.255.255.255"), 6: IPv6Address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}


def net(text: str, family: int) -> Net:
    """ADDRESS[/MASK]; names are not looked up."""
    first, slash, last = text.partition("/")
    under = mask(last, family) if slash else FULL[family]
    whole = address(first, family) or (_short(first) if family == 4 else None)
    if whole is None:
        raise Complaint(f"host/network `{first}' not found")
    if under is FULL[family]:
        return Net(whole, under)
    return Net(type(whole)(int(whole) & int(under)), under)


def write_net(value: Net, always: bool = True) -> str:
    """ADDRESS/LENGTH, or /MASK when it has holes; `always` says whether a single address has its length too."""
    length = value.prefix
    if length is None:
        return f"{value.address}/{value.mask}"
    if length == value.address.max_prefixlen and not always:
        return str(value.address)
    return f"{value.address}/{length}"


def write_addresses(value: AddressRange) -> str:
    return str(value.first) if value.first == value.last else f"{value.first}-{value.last}"
