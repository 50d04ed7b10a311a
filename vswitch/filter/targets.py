"""What a rule may do with a packet: a verdict, a jump, or one frozen struct for each target extension of iptables.

Like the matches these are values without words.
"""

from __future__ import annotations

from enum import Enum, IntFlag

import msgspec

from .values import AddressRange, Net, Range


class Verdict(Enum):
    """The standard targets. QUEUE is queue 0."""

    DROP = 0
    ACCEPT = 1
    QUEUE = 3
    RETURN = 5


class Jump(msgspec.Struct, frozen=True, gc=False):
    """Into a chain of the user's, and back at its end."""

    chain: str


class Goto(msgspec.Struct, frozen=True, gc=False):
    """Into a chain of the user's; its end is the end of this chain too."""

    chain: str


class RejectWith(Enum):
    """The answer to what is refused, under iptables' names: family, ICMP type, code; zeros for a TCP reset."""

    ICMP_NET_UNREACHABLE = (4, 3, 0)
    ICMP_HOST_UNREACHABLE = (4, 3, 1)
    ICMP_PROTO_UNREACHABLE = (4, 3, 2)
    ICMP_PORT_UNREACHABLE = (4, 3, 3)
    ICMP_NET_PROHIBITED = (4, 3, 9)
    ICMP_HOST_PROHIBITED = (4, 3, 10)
    ICMP_ADMIN_PROHIBITED = (4, 3, 13)
    ICMP6_NO_ROUTE = (6, 1, 0)
    ICMP6_ADM_PROHIBITED = (6, 1, 1)
    ICMP6_ADDR_UNREACHABLE = (6, 1, 3)
    ICMP6_PORT_UNREACHABLE = (6, 1, 4)
    ICMP6_POLICY_FAIL = (6, 1, 5)
    ICMP6_REJECT_ROUTE = (6, 1, 6)
    TCP_RESET = (0, 0, 0)


class Reject(msgspec.Struct, frozen=True, gc=False):
    reason: RejectWith


class LogFlag(IntFlag):
    TCP_SEQUENCE = 1
    TCP_OPTIONS = 2
    IP_OPTIONS = 4
    UID = 8
    MACDECODE = 32


class Log(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    level: int = 4
    prefix: str = ""
    flags: LogFlag = LogFlag(0)


class Snat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A new source. None leaves addresses, or ports, to be kept if possible."""

    addresses: AddressRange | None = None
    ports: Range | None = None
    random: bool = False
    random_fully: bool = False
    persistent: bool = False


class Dnat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A new destination. With `base` a port P becomes first + (P - base), as `--to 1.1.1.1:10-20/10` has it."""

    addresses: AddressRange | None = None
    ports: Range | None = None
    base: int | None = None
    random: bool = False
    persistent: bool = False


class Masquerade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ports: Range | None = None
    random: bool = False
    random_fully: bool = False


class Redirect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ports: Range | None = None
    random: bool = False


class Netmap(msgspec.Struct, frozen=True, gc=False):
    """The network's bits are replaced, the host's stay."""

    net: Net


class SetMark(msgspec.Struct, frozen=True, gc=False):
    """mark = (mark & ~mask) ^ value"""

    value: int
    mask: int


class SetConnmark(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """ctmark = (ctmark & ~mask) ^ value, then shifted: left when `shift` is positive, right when negative."""

    value: int
    mask: int
    shift: int = 0


class SaveMark(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """ctmark = (ctmark & ~ctmask) ^ ((mark & nfmask) shifted)"""

    nfmask: int = 0xFFFFFFFF
    ctmask: int = 0xFFFFFFFF
    shift: int = 0


class RestoreMark(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """mark = (mark & ~nfmask) ^ ((ctmark & ctmask) shifted)"""

    nfmask: int = 0xFFFFFFFF
    ctmask: int = 0xFFFFFFFF
    shift: int = 0


class ZoneScope(Enum):
    """Which direction's tuple lies in the zone."""

    BOTH = 0
    ORIGINAL = 1
    REPLY = 2


class Ct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How to track: not at all, or in a zone. `zone_from_mark` takes the packet's mark for the zone."""

    notrack: bool = False
    zone: int = 0
    scope: ZoneScope = ZoneScope.BOTH
    zone_from_mark: bool = False
    events: int = 0
    expect_events: int = 0


class Notrack(msgspec.Struct, frozen=True, gc=False):
    """As Ct(notrack=True), but printed as NOTRACK."""


class Tcpmss(msgspec.Struct, frozen=True, gc=False):
    """The MSS option of SYNs; None clamps it to the path's MTU."""

    mss: int | None


class SetTos(msgspec.Struct, frozen=True, gc=False):
    """tos = (tos & ~mask) ^ value"""

    value: int
    mask: int


class SetDscp(msgspec.Struct, frozen=True, gc=False):
    value: int


class Change(Enum):
    """How a TTL or hop limit is changed."""

    SET = 0
    INCREASE = 1
    DECREASE = 2


class SetTtl(msgspec.Struct, frozen=True, gc=False):
    change: Change
    value: int


class SetHopLimit(msgspec.Struct, frozen=True, gc=False):
    change: Change
    value: int


class Classify(msgspec.Struct, frozen=True, gc=False):
    """The class of a queueing discipline: MAJOR:MINOR."""

    major: int
    minor: int


class Nfqueue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of a range of queues, by a hash of the connection or (`cpu_fanout`) by the worker."""

    queues: Range = Range(0, 0)
    bypass: bool = False
    cpu_fanout: bool = False


Target = (
    Verdict | Jump | Goto | Reject | Log | Snat | Dnat | Masquerade | Redirect | Netmap | SetMark | SetConnmark
    | SaveMark | RestoreMark | Ct | Notrack | Tcpmss | SetTos | SetDscp | SetTtl | SetHopLimit | Classify | Nfqueue
)  # fmt: skip
