"""The router that every subject plays, and who lives around it.

    guests 10.1.0.2..20, fd01::2..14  --[a]  router  [b]--  hosts 203.0.113.2..20, 2001:db8:b::2..14

Port a is the inside, port b the outside. The router has the first address of each network, in both families. The link
address of every other one is known beforehand, whether somebody lives there or not, so that neither ARP nor neighbour
discovery ever speaks: what comes out of a port is an answer to the frame that went in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

ROUTER = 1
STATIONS = range(2, 21)
KNOWN = range(2, 255)  # neighbours that the router can reach, so also what NAT may choose

PORTS = ("a", "b")
FAMILIES = (4, 6)
PREFIX_LENGTH = {4: 24, 6: 64}
_NETWORK = {("a", 4): "10.1.0.0", ("b", 4): "203.0.113.0", ("a", 6): "fd01::", ("b", 6): "2001:db8:b::"}
_BASE = {place: int(ipaddress.ip_address(text)) for place, text in _NETWORK.items()}
_BYTES = {4: 4, 6: 16}


@dataclass(frozen=True)
class Device:
    """A port of the router as it has to be set up."""

    name: str
    mac: str
    addresses: tuple[str, ...]  # with their prefix lengths


def text(port: str, family: int, number: int) -> str:
    """The address of station `number` behind a port, as rules spell it."""
    return str(ipaddress.ip_address(_NETWORK[port, family]) + number)


def packed(port: str, family: int, number: int) -> bytes:
    """The same as headers carry it."""
    return (_BASE[port, family] + number).to_bytes(_BYTES[family], "big")


def spelled(address: bytes) -> str:
    """A header's address in words."""
    return str(ipaddress.ip_address(address))


def mac(port: str, number: int) -> bytes:
    """The link address of station `number` behind a port; the router's own is number 1."""
    return bytes((2, 0, 0, 0, 0xA + PORTS.index(port), number))


def home(address: bytes) -> str:
    """The port behind which an address lives."""
    inside = packed("a", 4 if len(address) == 4 else 6, 0)
    return "a" if address[:-1] == inside[:-1] else "b"


def devices() -> list[Device]:
    """Both ports."""
    return [
        Device(port, mac(port, ROUTER).hex(":"), tuple(f"{text(port, f, ROUTER)}/{PREFIX_LENGTH[f]}" for f in FAMILIES))
        for port in PORTS
    ]


def neighbours() -> Iterator[tuple[str, str, str]]:
    """(port, address, link address) of all that the router shall know."""
    for port in PORTS:
        for family in FAMILIES:
            for number in KNOWN:
                yield port, text(port, family, number), mac(port, number).hex(":")
