"""Targets as operations: for each struct of targets.py the (operation, arguments) that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import targets as t
from .compile_matches import mapped
from .values import AddressRange, Range
from .view import TargetOp

Done = tuple[int, tuple[Any, ...]]

OPS = {op.name: int(op) for op in TargetOp}
# The kernel's NF_NAT_RANGE_*
MAP_IPS, SPECIFIED, RANDOM, PERSISTENT, RANDOM_FULLY, OFFSET, NETMAP = (1 << bit for bit in range(7))
NO_ADDRESS = bytes(16)
NOTHING: Done = (OPS["NONE"], ())
VERDICTS: dict[t.Verdict, Done] = {
    t.Verdict.ACCEPT: (OPS["ACCEPT"], ()),
    t.Verdict.DROP: (OPS["DROP"], ()),
    t.Verdict.RETURN: (OPS["RETURN"], ()),
    t.Verdict.QUEUE: (OPS["QUEUE"], (0, 0, 0)),
}
NOTRACK, ZONE_ORIGINAL, ZONE_REPLY, ZONE_FROM_MARK = 1, 2, 4, 8
SCOPES = {
    t.ZoneScope.BOTH: ZONE_ORIGINAL | ZONE_REPLY,
    t.ZoneScope.ORIGINAL: ZONE_ORIGINAL,
    t.ZoneScope.REPLY: ZONE_REPLY,
}


def target(value: t.Target | None, family: int, chains: dict[str, int]) -> Done:
    """`chains` are the numbers of the table's chains. Raises ValueError for one that does not exist."""
    if value is None:
        return NOTHING
    if isinstance(value, t.Verdict):
        return VERDICTS[value]
    if isinstance(value, t.Jump | t.Goto):
        if value.chain not in chains:
            raise ValueError(f"no chain {value.chain}")
        return OPS["JUMP" if isinstance(value, t.Jump) else "GOTO"], (chains[value.chain],)
    return TARGETS[type(value)](value)


def _nat(op: str, addresses: AddressRange | None, ports: Range | None, base: int | None, flags: int) -> Done:
    """The kernel's struct nf_nat_range2."""
    first, last = (mapped(addresses.first), mapped(addresses.last)) if addresses else (NO_ADDRESS, NO_ADDRESS)
    low, high = (ports.first, ports.last) if ports else (0, 0)
    flags |= MAP_IPS * (addresses is not None) | SPECIFIED * (ports is not None) | OFFSET * (base is not None)
    return OPS[op], (first, last, low, high, base or 0, flags)


def _snat(value: t.Snat) -> Done:
    flags = RANDOM * value.random | RANDOM_FULLY * value.random_fully | PERSISTENT * value.persistent
    return _nat("SNAT", value.addresses, value.ports, None, flags)


def _dnat(value: t.Dnat) -> Done:
    flags = RANDOM * value.random | PERSISTENT * value.persistent
    return _nat("DNAT", value.addresses, value.ports, value.base, flags)


def _masquerade(value: t.Masquerade) -> Done:
    return _nat("MASQUERADE", None, value.ports, None, RANDOM * value.random | RANDOM_FULLY * value.random_fully)


def _redirect(value: t.Redirect) -> Done:
    return _nat("REDIRECT", None, value.ports, None, RANDOM * value.random)


def _netmap(value: t.Netmap) -> Done:
    """From the network's first address to its last."""
    address, mask = value.net.address, value.net.mask
    last = type(address)(int(address) | (~int(mask) & ((1 << mask.max_prefixlen) - 1)))
    return _nat("NETMAP", AddressRange(address, last), None, None, NETMAP)


def _ct(value: t.Ct) -> Done:
    if value.notrack:
        return OPS["CT"], (NOTRACK, 0, 0)
    return OPS["CT"], (SCOPES[value.scope] | ZONE_FROM_MARK * value.zone_from_mark, value.zone, value.zone)


TARGETS: dict[type, Callable[[Any], Done]] = {
    t.Reject: lambda value: (OPS["REJECT"], (value.reason.value[1] << 8 | value.reason.value[2],)),
    t.Log: lambda value: (OPS["LOG"], ()),
    t.Snat: _snat,
    t.Dnat: _dnat,
    t.Masquerade: _masquerade,
    t.Redirect: _redirect,
    t.Netmap: _netmap,
    t.SetMark: lambda value: (OPS["MARK"], (value.value, value.mask)),
    t.SetConnmark: lambda value: (OPS["CONNMARK"], (0, value.value, value.mask, 0, value.shift)),
    t.SaveMark: lambda value: (OPS["CONNMARK"], (1, 0, value.ctmask, value.nfmask, value.shift)),
    t.RestoreMark: lambda value: (OPS["CONNMARK"], (2, 0, value.ctmask, value.nfmask, value.shift)),
    t.Ct: _ct,
    t.Notrack: lambda value: (OPS["CT"], (NOTRACK, 0, 0)),
    t.Tcpmss: lambda value: (OPS["TCPMSS"], (value.mss,)),
    t.SetTos: lambda value: (OPS["TOS"], (value.value, value.mask)),
    t.SetDscp: lambda value: (OPS["TOS"], (value.value << 2, 0xFC)),
    t.SetTtl: lambda value: (OPS["TTL"], (value.change.value, value.value)),
    t.SetHopLimit: lambda value: (OPS["TTL"], (value.change.value, value.value)),
    t.Classify: lambda value: (OPS["CLASSIFY"], (value.major << 16 | value.minor,)),
    t.Nfqueue: lambda value: (OPS["QUEUE"], (value.queues.first, value.queues.last, value.bypass)),
}
