"""Match extensions as operations: for each struct of matches.py the (operation, flags, arguments) that ask the same."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from . import matches as m
from .interfaces import InterfaceNames
from .values import Address, AddressRange, Net, Range
from .view import LENIENT, MatchOp

Asked = tuple[int, int, Any]
Compiler = Callable[[Any, InterfaceNames], list[Asked]]

V4_PREFIX, V4_MASK = bytes(10) + b"\xff\xff", b"\xff" * 12
ALL = (0, 65535)

OPS = {op.name: int(op) for op in MatchOp}  # an IntEnum's member is slow to use
STATES = {m.State.INVALID: 1, m.State.ESTABLISHED: 2, m.State.RELATED: 4, m.State.NEW: 8, m.State.SNAT: 64,
          m.State.DNAT: 128, m.State.UNTRACKED: 256}  # fmt: skip
#: The kernel's bits for every combination of the model's.
STATE_BITS = [sum(bit for state, bit in STATES.items() if combined & state) for combined in range(128)]
TTL_RANGES = {
    m.Compare.EQUAL: lambda value: (value, value),
    m.Compare.LESS: lambda value: (0, value - 1) if value else (1, 0),  # below 0 there is none
    m.Compare.GREATER: lambda value: (value + 1, 255),
}
PHYSDEV = {"in_port": 1, "out_port": 2, "is_bridged": 4, "is_in": 8, "is_out": 16}

NETS = (("original_source", OPS["CTORIGSRC"]), ("original_destination", OPS["CTORIGDST"]),
        ("reply_source", OPS["CTREPLSRC"]), ("reply_destination", OPS["CTREPLDST"]))  # fmt: skip
RANGES = (("original_source_port", OPS["CTORIGSRCPORT"]), ("original_destination_port", OPS["CTORIGDSTPORT"]),
          ("reply_source_port", OPS["CTREPLSRCPORT"]), ("reply_destination_port", OPS["CTREPLDSTPORT"]),
          ("expires", OPS["CTEXPIRE"]))  # fmt: skip


def mapped(address: Address) -> bytes:
    """An address as the fast path has it: 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    return V4_PREFIX + address.packed if isinstance(address, IPv4Address) else address.packed


def net(value: Net) -> tuple[bytes, bytes]:
    address, mask = value.address.packed, value.mask.packed
    return (V4_PREFIX + address, V4_MASK + mask) if len(address) == 4 else (address, mask)


def _span(value: Range) -> tuple[int, int]:
    return value.first, value.last


def _ports(match: m.Tcp | m.Udp) -> list[Asked]:
    found: list[Asked] = []
    if match.source is not None:
        found.append((OPS["SPORT"], "source" in match.inverted, _span(match.source)))
    if match.destination is not None:
        found.append((OPS["DPORT"], "destination" in match.inverted, _span(match.destination)))
    return found


def _tcp(match: m.Tcp, names: InterfaceNames) -> list[Asked]:
    """Asked nothing, the extension still wants a header."""
    found = _ports(match)
    if match.flags is not None:
        found.append((OPS["TCP_FLAGS"], "flags" in match.inverted, match.flags))
    if match.option is not None:
        found.append((OPS["TCP_OPTION"], "option" in match.inverted, (match.option,)))
    return found or [(OPS["SPORT"], 0, ALL)]


def _udp(match: m.Udp, names: InterfaceNames) -> list[Asked]:
    return _ports(match) or [(OPS["SPORT"], 0, ALL)]


def _icmp(match: m.Icmp | m.Icmp6, names: InterfaceNames) -> list[Asked]:
    return [(OPS["ICMP"], bool(match.inverted), (match.type, match.codes.first, match.codes.last))]


def _conntrack(match: m.Conntrack, names: InterfaceNames) -> list[Asked]:
    """With --ctstate, a packet without a connection is asked for nothing else."""
    inverted, lenient, found = match.inverted, 0, []
    if match.states is not None:
        found.append((OPS["CTSTATE"], int("states" in inverted), (STATE_BITS[match.states],)))
        lenient = LENIENT
    for name, op in NETS:
        if (value := getattr(match, name)) is not None:
            found.append((op, (name in inverted) | lenient, net(value)))
    for name, op in RANGES:
        if (value := getattr(match, name)) is not None:
            found.append((op, (name in inverted) | lenient, _span(value)))
    if match.protocol is not None:
        found.append((OPS["CTPROTO"], ("protocol" in inverted) | lenient, (match.protocol,)))
    if match.status is not None:
        found.append((OPS["CTSTATUS"], ("status" in inverted) | lenient, (int(match.status),)))
    if match.direction is not None:
        found.append((OPS["CTDIR"], ("direction" in inverted) | lenient, (match.direction.value,)))
    return found


def _multiport(match: m.Multiport, names: InterfaceNames) -> list[Asked]:
    return [(OPS["MULTIPORT"], bool(match.inverted), (match.side.value, tuple(map(_span, match.ports))))]


def _physdev(match: m.Physdev, names: InterfaceNames) -> list[Asked]:
    asked = sum(bit for name, bit in PHYSDEV.items() if getattr(match, name))
    inverted = sum(bit for name, bit in PHYSDEV.items() if name in match.inverted)
    ports = [names.ports(name) if name else None for name in (match.in_port, match.out_port)]
    return [(OPS["PHYSDEV"], 0, (asked, inverted, *ports))]


def _iprange(match: m.Iprange, names: InterfaceNames) -> list[Asked]:
    def ends(value: AddressRange) -> tuple[bytes, bytes]:
        return mapped(value.first), mapped(value.last)

    found: list[Asked] = []
    if match.source is not None:
        found.append((OPS["SRC_RANGE"], "source" in match.inverted, ends(match.source)))
    if match.destination is not None:
        found.append((OPS["DST_RANGE"], "destination" in match.inverted, ends(match.destination)))
    return found


def _addrtype(match: m.Addrtype, names: InterfaceNames) -> list[Asked]:
    limits = match.limit_in * 2 | match.limit_out * 4
    found: list[Asked] = []
    if match.source is not None:
        found.append((OPS["ADDRTYPE"], "source" in match.inverted, (limits | 1, int(match.source))))
    if match.destination is not None:
        found.append((OPS["ADDRTYPE"], "destination" in match.inverted, (limits, int(match.destination))))
    return found


def _ttl(match: m.Ttl | m.HopLimit, names: InterfaceNames) -> list[Asked]:
    return [(OPS["TTL"], bool(match.inverted), TTL_RANGES[match.compare](match.value))]


def _plain(op: str, arguments: Callable[[Any], tuple[Any, ...]]) -> Compiler:
    """A match of one question."""
    number = OPS[op]
    return lambda match, names: [(number, bool(match.inverted), arguments(match))]


def _nothing(match: m.Match, names: InterfaceNames) -> list[Asked]:
    return []


MATCHES: dict[type[m.Match], Compiler] = {
    m.Tcp: _tcp,
    m.Udp: _udp,
    m.Icmp: _icmp,
    m.Icmp6: _icmp,
    m.Conntrack: _conntrack,
    m.ConnState: _plain("CTSTATE", lambda match: (STATE_BITS[match.states],)),
    m.Multiport: _multiport,
    m.Mark: _plain("MARK", lambda match: (match.value, match.mask)),
    m.Connmark: _plain("CONNMARK", lambda match: (match.value, match.mask)),
    m.Mac: _plain("MAC", lambda match: (match.source,)),
    m.Physdev: _physdev,
    m.Comment: _nothing,
    m.Limit: _plain("LIMIT", lambda match: (match.period * 100_000, match.burst)),
    m.Iprange: _iprange,
    m.Length: _plain("LENGTH", lambda match: _span(match.length)),
    m.Tos: _plain("TOS", lambda match: (match.value, match.mask)),
    m.Dscp: _plain("TOS", lambda match: (match.value << 2, 0xFC)),
    m.Ttl: _ttl,
    m.HopLimit: _ttl,
    m.Frag: lambda match, names: [(OPS["NEVER"], 0, ())],  # what comes here is reassembled: it has no such header
    m.Addrtype: _addrtype,
    m.Pkttype: _plain("PKTTYPE", lambda match: (match.type.value,)),
}
