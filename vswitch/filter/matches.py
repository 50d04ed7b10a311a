"""What a rule may ask of a packet: one frozen struct for each match extension of iptables.

A struct knows values, never text: the words are in `words/`. A field that is None (or an empty flag) asks nothing.
`inverted` names the fields whose answer is turned round, as `!` does: `Tcp(source=Range(1, 1), inverted={"source"})`.
All fields of one match must hold together. Two structs are equal when they ask the same, which is how `-D` and `-C`
find a rule.
"""

from __future__ import annotations

from enum import Enum, IntFlag

import msgspec

from .values import NONE, AddressRange, Net, Range


class State(IntFlag):
    """A packet's relation to its connection; SNAT and DNAT are of the connection itself."""

    INVALID = 1
    NEW = 2
    RELATED = 4
    ESTABLISHED = 8
    UNTRACKED = 16
    SNAT = 32
    DNAT = 64


class Status(IntFlag):
    """What a connection has come to. NONE, no bit of these, is asked for by an empty flag."""

    EXPECTED = 1
    SEEN_REPLY = 2
    ASSURED = 4
    CONFIRMED = 8


class Direction(Enum):
    ORIGINAL = 0
    REPLY = 1


class AddressType(IntFlag):
    """How the routing table sees an address: bit N is the kernel's RTN_ number N."""

    UNSPEC = 1 << 0
    UNICAST = 1 << 1
    LOCAL = 1 << 2
    BROADCAST = 1 << 3
    ANYCAST = 1 << 4
    MULTICAST = 1 << 5
    BLACKHOLE = 1 << 6
    UNREACHABLE = 1 << 7
    PROHIBIT = 1 << 8
    THROW = 1 << 9
    NAT = 1 << 10
    XRESOLVE = 1 << 11


class PacketType(Enum):
    """Whom the frame was for: the kernel's PACKET_ numbers."""

    UNICAST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3


class Side(Enum):
    """Which port `multiport` looks at."""

    SOURCE = 0
    DESTINATION = 1
    EITHER = 2


class Compare(Enum):
    """How a TTL or hop limit is compared."""

    EQUAL = 0
    LESS = 2
    GREATER = 3


class Match(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What all matches have."""

    inverted: frozenset[str] = NONE


class Tcp(Match, frozen=True, kw_only=True, gc=False):
    """`flags` is (mask, value): the flags under the mask equal the value. `option` is a TCP option's number."""

    source: Range | None = None
    destination: Range | None = None
    flags: tuple[int, int] | None = None
    option: int | None = None


class Udp(Match, frozen=True, kw_only=True, gc=False):
    source: Range | None = None
    destination: Range | None = None


class Icmp(Match, frozen=True, kw_only=True, gc=False):
    """`type` None is any type. Inversion, of `type`, turns type and code round together."""

    type: int | None = None
    codes: Range = Range(0, 255)


class Icmp6(Match, frozen=True, kw_only=True, gc=False):
    """The same for ICMPv6."""

    type: int
    codes: Range = Range(0, 255)


class Conntrack(Match, frozen=True, kw_only=True, gc=False):
    """The packet's connection; the four addresses and ports are those of its two tuples."""

    states: State | None = None
    protocol: int | None = None
    original_source: Net | None = None
    original_destination: Net | None = None
    reply_source: Net | None = None
    reply_destination: Net | None = None
    original_source_port: Range | None = None
    original_destination_port: Range | None = None
    reply_source_port: Range | None = None
    reply_destination_port: Range | None = None
    status: Status | None = None
    expires: Range | None = None  # seconds
    direction: Direction | None = None


class ConnState(Match, frozen=True, kw_only=True, gc=False):
    """The old `-m state`."""

    states: State


class Multiport(Match, frozen=True, kw_only=True, gc=False):
    """Any of the ranges; inversion is of `ports`."""

    side: Side
    ports: tuple[Range, ...]


class Mark(Match, frozen=True, kw_only=True, gc=False):
    """mark & mask == value"""

    value: int
    mask: int = 0xFFFFFFFF


class Connmark(Match, frozen=True, kw_only=True, gc=False):
    """The connection's mark & mask == value"""

    value: int
    mask: int = 0xFFFFFFFF


class Mac(Match, frozen=True, kw_only=True, gc=False):
    source: bytes  # six of them


class Physdev(Match, frozen=True, kw_only=True, gc=False):
    """The ports of the bridge that the packet came in and goes out by; a name may end in `+`."""

    in_port: str | None = None
    out_port: str | None = None
    is_in: bool = False
    is_out: bool = False
    is_bridged: bool = False


class Comment(Match, frozen=True, kw_only=True, gc=False):
    """Always true."""

    text: str


class Limit(Match, frozen=True, kw_only=True, gc=False):
    """A token every `period` ten-thousandths of a second, `burst` at most. Its state is kept by the rule's id."""

    period: int = 12_000_000
    burst: int = 5


class Iprange(Match, frozen=True, kw_only=True, gc=False):
    source: AddressRange | None = None
    destination: AddressRange | None = None


class Length(Match, frozen=True, kw_only=True, gc=False):
    """The IP packet's length (IPv6: with its header)."""

    length: Range


class Tos(Match, frozen=True, kw_only=True, gc=False):
    """tos & mask == value"""

    value: int
    mask: int = 0xFF


class Dscp(Match, frozen=True, kw_only=True, gc=False):
    value: int


class Ttl(Match, frozen=True, kw_only=True, gc=False):
    """Inversion is of `value`, with EQUAL only."""

    compare: Compare
    value: int


class HopLimit(Match, frozen=True, kw_only=True, gc=False):
    """The same for IPv6."""

    compare: Compare
    value: int


class Frag(Match, frozen=True, kw_only=True, gc=False):
    """IPv6's fragment header: identification, header length, reserved bits zero, first, more to come, last."""

    ids: Range | None = None
    length: int | None = None
    reserved: bool = False
    first: bool = False
    more: bool = False
    last: bool = False


class Addrtype(Match, frozen=True, kw_only=True, gc=False):
    source: AddressType | None = None
    destination: AddressType | None = None
    limit_in: bool = False
    limit_out: bool = False


class Pkttype(Match, frozen=True, kw_only=True, gc=False):
    type: PacketType
