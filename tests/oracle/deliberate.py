"""Where the switch is meant to differ from the kernel, or where the comparison looks away: all of it, with reasons.

Each entry says how it is kept out. "masked": `frames.py` or `compare.py` overlooks a field, and asks for the entry by
its name. "chosen": any choice within bounds will do, see `translation.py`. "not made": the generators do not make it. "set off":
both subjects have it switched off.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deliberate:
    """One difference."""

    name: str
    how: str
    reason: str


DIFFERENCES = (
    Deliberate("own-ident", "masked", "IPv4's identification of packets that the router itself makes is arbitrary"),
    Deliberate("own-quoted-checksum", "masked", "rejecting its own answer, the kernel quotes it with a stale sum"),
    Deliberate("fragment-ident", "masked", "IPv6 fragments sent on after reassembly get an identification at random"),
    Deliberate("fragment-geometry", "masked", "a datagram reassembled may be cut elsewhere when it is sent on"),
    Deliberate("twins", "masked", "which of two connections a packet is of that fits both: the order in a hash chain"),
    Deliberate("idle-table", "masked", "a table without a rule, all policies ACCEPT, is not walked: it counts nothing"),
    Deliberate("nat-port", "chosen", "a port of the rule's range, or of its class: hard to guess (RFC 6056)"),
    Deliberate("nat-address", "not made", "which address of a range a client gets hangs on a hash"),
    Deliberate("physdev", "not made", "-i of a bridged frame is a port here, the bridge in the kernel; all is routed"),
    Deliberate("limit", "not made", "a bucket that runs dry does so by the clock; limits here never bite"),
    Deliberate("udp-assured", "not made", "UDP is ASSURED two seconds after its first reply; scenarios are shorter"),
    Deliberate("queue", "not made", "QUEUE asks a process; without one both drop, but theirs is another interface"),
    Deliberate("redirects", "set off", "no ICMP redirects: on a bridge of virtual machines they only mislead"),
    Deliberate("error-rates", "set off", "ICMP errors are rate limited by the clock"),
    Deliberate("own-source", "not made", "what claims to come from the switch's own MAC or IPv6 address is dropped"),
    Deliberate("record-route", "not made", "no address is written into IPv4's options, nor are they echoed (RFC 7126)"),
    Deliberate("cut-header", "not made", "an IPv6 fragment that cuts the upper header is dropped (RFC 8200, 4.5)"),
    Deliberate("no-interface", "not made", "iptables-save leaves out `! -i +`, by mistake: here it is saved"),
    Deliberate("header-edits", "not made", "IPv6 for the router itself, edited, is dropped by the kernel: wrong sum"),
    Deliberate("path-mtu", "set off", "the switch itself sends nothing that it had to know a path's MTU for"),
    Deliberate("template", "not made", "in table raw, behind a CT rule, the kernel shows rules its empty template"),
    Deliberate("helpers", "not made", "RELATED by FTP and its like: no port of theirs is used"),
)  # fmt: skip
NAMES = frozenset(difference.name for difference in DIFFERENCES)


def is_deliberate(name: str) -> bool:
    """Whether a difference is on the list: a mask that nobody gave a reason for is an error."""
    if name not in NAMES:
        raise KeyError(f"{name} is no deliberate difference")
    return True
