"""Frames for the tests of NAT, and what they should look like behind it: scapy computes every checksum anew.

A test says what a client sends and what the server must see; `Nat` takes the frame through the two hooks as the
switch does.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.gso_model import SuperFrame, ones_sum

if TYPE_CHECKING:
    from vswitch._fastpath._probe_nat import Passage, Rule

probe = pytest.importorskip("vswitch._fastpath._probe_nat", reason="built without test doors (VSWITCH_PROBE=1)")
conntrack = pytest.importorskip("vswitch._fastpath.filter.conntrack")

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
SRC, DST = probe.SRC, probe.DST
CLIENT, SERVER, PUBLIC, OTHER = "10.0.0.2", "192.0.2.1", "198.51.100.7", "198.51.100.8"
CLIENT6, SERVER6, PUBLIC6 = "fd00::2", "2001:db8::1", "2001:db8:ffff::7"
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def rule(manip: int, addresses: str = "", ports: tuple[int, int] | None = None, *flags: str, base: int = 0) -> Rule:
    """The range of a rule's target."""
    return probe.Rule(manip, addresses, ports, *flags, base=base)


class Nat:
    """A table of connections and one worker's NAT, with the rules that new connections meet (None: no rule matches)."""

    def __init__(self, dnat: Rule | None = None, snat: Rule | None = None, capacity: int = 4096) -> None:
        self.table = conntrack.ConnectionTable(capacity, budget=0)
        self.binder = probe.Binder()
        self.dnat, self.snat = dnat, snat
        self.now = 1000

    def arrive(self, frame: Packet | bytes, **how: Any) -> Passage:
        """A frame that connection tracking has looked at, and no hook yet."""
        return probe.Passage(self.table, self.binder, bytes(frame), now=self.now, **how)

    def bind(self, passage: Passage, manip: int) -> int:
        """What the nat table of a hook does to a new connection; 0 or a reason to drop its packet."""
        chosen = self.dnat if manip == DST else self.snat
        if passage.info & 0x7F != 1 or passage.done(manip):
            return 0
        if chosen is None:
            passage.null(manip)
            return 0
        return passage.setup(chosen)

    def cross(self, passage: Passage) -> int:
        """From PREROUTING to POSTROUTING; 0 or a reason to drop."""
        for manip, hook in ((DST, PREROUTING), (SRC, POSTROUTING)):
            reason = self.bind(passage, manip) or passage.rewrite(hook)
            if reason:
                passage.abandon()
                return reason
        return passage.confirm()

    def through(self, frame: Packet | bytes, **how: Any) -> bytes:
        """The frame behind both hooks."""
        passage = self.arrive(frame, **how)
        assert passage.reason == 0
        assert self.cross(passage) == 0
        return passage.frame


def connection(nat: Nat, frame: Packet) -> tuple[str, int, str, int]:
    """Cross with a new connection's packet: source and destination as the server sees them."""
    passage = nat.arrive(frame)
    assert nat.cross(passage) == 0
    return passage.header[:4]


def udp(src: str = CLIENT, sport: int = 40000, dst: str = SERVER, dport: int = 53) -> Packet:
    """A datagram."""
    ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
    return ETHER / ip / UDP(sport=sport, dport=dport) / Raw(b"payload")


def checksums_hold(frame: bytes) -> bool:
    """Of IPv4's header and of TCP, UDP and both ICMPs, by RFC 1071 written plainly; a UDP checksum of 0 holds."""
    ip = frame[14:]
    if ip[0] >> 4 == 4:
        header, proto, addresses = (ip[0] & 15) * 4, ip[9], ip[12:20]
        if ones_sum(ip[:header]) != 0xFFFF:
            return False
    else:
        header, proto, addresses = 40, ip[6], ip[8:40]
    l4 = ip[header:]
    if proto == socket.IPPROTO_UDP and l4[6:8] == b"\0\0":
        return True
    pseudo = b"" if proto == socket.IPPROTO_ICMP else addresses + len(l4).to_bytes(4, "big") + proto.to_bytes(4, "big")
    return ones_sum(pseudo + l4) == 0xFFFF


def partial_holds(whole: SuperFrame, frame: bytes) -> bool:
    """Whether the rewritten super-frame's checksum field is the sum of its pseudo-header."""
    l4 = frame[whole.l4_off :]
    ip = frame[whole.l3_off :]
    addresses, proto = (ip[12:20], ip[9]) if ip[0] >> 4 == 4 else (ip[8:40], ip[6])
    field = frame[whole.csum_at : whole.csum_at + 2]
    want = ones_sum(addresses + len(l4).to_bytes(4, "big") + proto.to_bytes(4, "big"))
    return int.from_bytes(field, "big") % 0xFFFF == want % 0xFFFF

