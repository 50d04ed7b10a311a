"""The kernel's connection table as text: /proc/net/nf_conntrack.

    ipv4 2 tcp 6 119 SYN_SENT src=10.1.0.2 dst=203.0.113.5 sport=1024 dport=80 [UNREPLIED]
        src=203.0.113.5 dst=203.0.113.1 sport=80 dport=1024 mark=0 zone=3 use=2      (in one line)

A zone of one direction alone is told as zone-orig and zone-reply, beside that direction's tuple.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from tests.oracle.subject import Connection, Tuple

ICMP_PROTOCOLS = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


def connections(text: str) -> list[Connection]:
    """All entries."""
    return [_connection(line.split()) for line in text.splitlines()]


def _connection(words: list[str]) -> Connection:
    protocol = int(words[3])
    halves: list[dict[str, str]] = [{}, {}]
    other: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "src":
            half = halves[1] if halves[0] else halves[0]
        if name in ("src", "dst", "sport", "dport", "type", "code", "id"):
            half[name] = value
        elif equals:
            other[name] = value
    original, reply = halves
    is_icmp = protocol in ICMP_PROTOCOLS
    return Connection(
        original=_tuple(protocol, original),
        reply=_tuple(protocol, reply),
        state=words[5] if protocol == socket.IPPROTO_TCP else "",
        flags=_flags(words),
        mark=int(other.get("mark", 0)),
        zones=(_zone(other, "zone-orig"), _zone(other, "zone-reply")),
        icmp=(int(original["type"]), int(original["code"])) if is_icmp else None,
    )


def _tuple(protocol: int, half: dict[str, str]) -> Tuple:
    echo = half.get("id", "0")
    src, dst = (ip_address(half[name]).packed for name in ("src", "dst"))
    return Tuple(protocol, src, int(half.get("sport", echo)), dst, int(half.get("dport", echo)))


def _flags(words: list[str]) -> frozenset[str]:
    flags = {"SEEN_REPLY"} - ({"SEEN_REPLY"} if "[UNREPLIED]" in words else set())
    return frozenset(flags | ({"ASSURED"} if "[ASSURED]" in words else set()))


def _zone(other: dict[str, str], direction: str) -> int:
    return int(other.get(direction, other.get("zone", 0)))
