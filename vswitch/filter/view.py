"""Rules as the fast path takes them: flat primitives, every name resolved, nothing left to decide.

`compile.py` makes these from the model; `CompiledRuleset` lays them out as arrays. Addresses are the 16 bytes of
_fastpath/core/ip.pxd (IPv4 mapped), ports and ids plain numbers. A match is (operation, flags, arguments), a target
(operation, arguments). The numbers of operations are those of _fastpath/filter/rule.pxd.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

INVERT, LENIENT = 1, 2  # a match's flags; see rule.pxd


class MatchOp(enum.IntEnum):
    """What a match asks; its arguments follow the name. A net is (address, mask), a range (first, last)."""

    SRC = 1  # net
    DST = 2  # net
    PROTO = 3  # number
    SPORT = 4  # range
    DPORT = 5  # range
    IN = 6  # Interfaces
    OUT = 7  # Interfaces
    SRC_RANGE = 8  # range of addresses
    DST_RANGE = 9  # range of addresses
    PHYSDEV = 10  # asked, inverted (PHYSDEV_* bits), Interfaces in, Interfaces out (or None)
    FRAGMENT = 11
    MULTIPORT = 12  # 0 source, 1 destination, 2 either; tuple of ranges
    TCP_FLAGS = 13  # mask, value
    TCP_OPTION = 14  # number
    ICMP = 15  # type (or None: any), first code, last code
    CTSTATE = 16  # CTSTATE_* bits
    CTPROTO = 17  # number
    CTORIGSRC = 18  # net
    CTORIGDST = 19
    CTREPLSRC = 20
    CTREPLDST = 21
    CTORIGSRCPORT = 22  # range
    CTORIGDSTPORT = 23
    CTREPLSRCPORT = 24
    CTREPLDSTPORT = 25
    CTSTATUS = 26  # IPS_* bits
    CTEXPIRE = 27  # range of seconds
    CTDIR = 28  # 0 original, 1 reply
    MARK = 29  # value, mask
    CONNMARK = 30  # value, mask
    MAC = 31  # six bytes
    LIMIT = 32  # nanoseconds between two packets, burst
    LENGTH = 33  # range
    TOS = 34  # value, mask
    TTL = 35  # range; hop limits too
    ADDRTYPE = 36  # ADDRTYPE_* bits, a bit for each type
    PKTTYPE = 37  # 0 unicast, 1 broadcast, 2 multicast
    NEVER = 38


class TargetOp(enum.IntEnum):
    """What a rule does; its arguments follow the name."""

    NONE = 0
    ACCEPT = 1
    DROP = 2
    RETURN = 3
    JUMP = 4  # index of the chain in its family
    GOTO = 5  # likewise
    QUEUE = 6  # first, last, bypass
    REJECT = 7  # ICMP type << 8 | code; 0: a TCP reset
    LOG = 8
    SNAT = 9  # first and last address, first, last and base port, NF_NAT_RANGE_* bits
    DNAT = 10  # likewise, and so the next three
    MASQUERADE = 11
    REDIRECT = 12
    NETMAP = 13
    MARK = 14  # value, mask: mark = (mark & ~mask) ^ value
    CONNMARK = 15  # 0 set, 1 save, 2 restore; value, ctmask, nfmask, shift (left; negative: right)
    CT = 16  # CT_* bits, zone of the original direction, of the reply
    TCPMSS = 17  # MSS, or None: clamp to the path's MTU
    TOS = 18  # value, mask: tos = (tos & ~mask) ^ value
    TTL = 19  # 0 set, 1 increase, 2 decrease; by how much; hop limits too
    CLASSIFY = 20  # major << 16 | minor


class Interfaces(NamedTuple):
    """What a name in a rule stands for: a bit for each port id, a bit for each device index. `any`: a lone `+`."""

    ports: int
    devices: int
    any: bool = False


class RuleView(NamedTuple):
    """One rule. `id` is the place of its counters (slots.py), which the rule keeps for life."""

    id: int
    matches: tuple[tuple[int, int, Any], ...]
    target: tuple[int, tuple[Any, ...]]


class ChainView(NamedTuple):
    """One chain; a built-in one has a hook, and a policy that counts by an id of its own."""

    table: int
    hook: int | None
    rules: list[RuleView]
    policy: int = TargetOp.ACCEPT
    policy_id: int = 0


class DeviceView(NamedTuple):
    """What rules ask of a device of layer 3."""

    mtu: int
    router: int
    uplink: bool


class AddressView(NamedTuple):
    """An address of the switch's own, or (`broadcast`) an IPv4 network's."""

    ip: bytes
    device: int
    router: int
    broadcast: bool = False
