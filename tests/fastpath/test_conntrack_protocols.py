"""udp.pxd, icmp.pxd, track.pxd: what is no TCP, ICMP errors good and rubbish, zones, and packets that are not tracked.
"""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_Redirect, ICMPv6NDOptRedirectedHdr,
    ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw

pytest.importorskip("vswitch._fastpath._probe_conntrack", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.conntrack_wire import BACKWARD, CLIENT, FORWARD, SERVER, Wire, segment

SHORT, BAD_CHECKSUM = 4, 8
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8::2"
FORWARD6, BACKWARD6 = {"src": CLIENT6, "dst": SERVER6}, {"src": SERVER6, "dst": CLIENT6}
ROUTER, ROUTER6 = "192.0.2.1", "2001:db8:f::1"

QUESTION = IP(**FORWARD) / UDP(sport=5000, dport=53)
ANSWER = IP(**BACKWARD) / UDP(sport=53, dport=5000)
QUESTION6 = IPv6(**FORWARD6) / UDP(sport=5000, dport=53)


def icmp(to: str, quoted: Packet | bytes, type: int = 3, code: int = 1) -> Packet:
    return IP(src=ROUTER, dst=to) / ICMP(type=type, code=code) / Raw(bytes(quoted))


def test_udp_becomes_a_stream_after_two_seconds() -> None:
    wire = Wire()
    assert [wire.send(QUESTION), wire.send(QUESTION), wire.send(ANSWER), wire.send(QUESTION)] == [
        "NEW", "NEW", "ESTABLISHED<", "ESTABLISHED"]
    assert (wire.rows()[0].timeout_s, wire.rows()[0].status & 4) == (30, 0)
    wire.now += 1.9
    wire.send(ANSWER)
    assert wire.rows()[0].timeout_s == 30
    wire.now += 0.2
    wire.send(QUESTION)
    assert (wire.rows()[0].timeout_s, wire.rows()[0].status & 4) == (120, 4)


PROTOCOLS = [
    ("echo", IP(**FORWARD) / ICMP(type=8, id=7), IP(**BACKWARD) / ICMP(type=0, id=7), 30),
    ("timestamp", IP(**FORWARD) / ICMP(type=13, id=7), IP(**BACKWARD) / ICMP(type=14, id=7), 30),
    ("information", IP(**FORWARD) / ICMP(type=15, id=7), IP(**BACKWARD) / ICMP(type=16, id=7), 30),
    ("address mask", IP(**FORWARD) / ICMP(type=17, id=7), IP(**BACKWARD) / ICMP(type=18, id=7), 30),
    ("ICMPv6 echo", IPv6(**FORWARD6) / ICMPv6EchoRequest(id=7), IPv6(**BACKWARD6) / ICMPv6EchoReply(id=7), 30),
    ("GRE", IP(**FORWARD, proto=47) / Raw(b"\0" * 8), IP(**BACKWARD, proto=47) / Raw(b"\0" * 8), 30),
    ("SCTP", IP(**FORWARD, proto=132) / Raw(b"\x13\x88\0\x35" + b"\0" * 8),
     IP(**BACKWARD, proto=132) / Raw(b"\0\x35\x13\x88" + b"\0" * 8), 600),
    ("UDP-Lite", IP(**FORWARD, proto=136) / UDP(sport=1, dport=2), IP(**BACKWARD, proto=136) / UDP(sport=2, dport=1),
     30),
    ("ESP", IP(**FORWARD, proto=50) / Raw(b"\0" * 8), IP(**BACKWARD, proto=50) / Raw(b"\0" * 8), 600),
]


@pytest.mark.parametrize(("there", "back", "timeout"), [case[1:] for case in PROTOCOLS],
                         ids=[case[0] for case in PROTOCOLS])
def test_protocols(there: Packet, back: Packet, timeout: int) -> None:
    wire = Wire()
    assert wire.send(there) == "NEW"
    assert wire.rows()[0].timeout_s == timeout
    assert wire.send(back) == "ESTABLISHED<"
    assert wire.send(there) == "ESTABLISHED"
    assert len(wire.rows()) == 1


@pytest.mark.parametrize(("packet", "info"), [
    (IP(**FORWARD) / ICMP(type=0, id=7), "INVALID"), (IP(**FORWARD) / ICMP(type=14), "INVALID"),
    (IP(**FORWARD) / ICMP(type=9), "INVALID"), (IP(**FORWARD) / ICMP(type=42), "INVALID"),
    (IPv6(**FORWARD6) / ICMPv6EchoReply(id=7), "INVALID"), (IPv6(**FORWARD6) / ICMPv6ND_NS(), "UNTRACKED"),
    (IPv6(**FORWARD6, nh=58) / Raw(b"\x8f" + b"\0" * 15), "UNTRACKED"),
    (IPv6(**FORWARD6, nh=58) / Raw(b"\xc8" + b"\0" * 15), "INVALID"),
    (IPv6(**FORWARD6, nh=1) / Raw(b"\x08" + b"\0" * 7), "INVALID"),
    (IP(**FORWARD, proto=58) / Raw(b"\x80" + b"\0" * 7), "INVALID"),
], ids=["echo reply", "timestamp reply", "router advertisement", "unknown", "ICMPv6 echo reply",
        "neighbour solicitation", "MLDv2 report", "ICMPv6 unknown", "ICMP over IPv6", "ICMPv6 over IPv4"])
def test_begins_no_connection(packet: Packet, info: str) -> None:
    wire = Wire()
    assert wire.send(packet) == info
    assert wire.rows() == []


@pytest.mark.parametrize("flags", [SHORT, BAD_CHECKSUM])
def test_what_dissection_found_wrong(flags: int) -> None:
    wire = Wire()
    assert wire.send(QUESTION, flags=flags) == "INVALID"
    wire.send(QUESTION)
    assert wire.send(ANSWER, flags=flags) == "INVALID"


def test_untracked() -> None:
    wire = Wire()
    assert wire.send(QUESTION, untracked=True) == "UNTRACKED"
    assert wire.rows() == []


def test_abandoned() -> None:
    """What a rule drops was never there."""
    wire = Wire()
    wire.track(QUESTION).abandon()
    assert wire.rows() == [] and wire.table.counters().used == 0
    assert wire.send(ANSWER) == "NEW"


ECHO = IP(**FORWARD) / ICMP(type=8, id=7)
GOOD_ERRORS = {
    "unreachable, about a question": ([QUESTION], icmp(CLIENT, QUESTION), "RELATED<"),
    "unreachable, about an answer": ([QUESTION, ANSWER], icmp(SERVER, ANSWER), "RELATED"),
    "time exceeded": ([QUESTION], icmp(CLIENT, QUESTION, 11, 0), "RELATED<"),
    "source quench": ([QUESTION], icmp(CLIENT, QUESTION, 4, 0), "RELATED<"),
    "redirect": ([QUESTION], icmp(CLIENT, QUESTION, 5, 0), "RELATED<"),
    "parameter problem": ([QUESTION], icmp(CLIENT, QUESTION, 12, 0), "RELATED<"),
    "about an echo": ([ECHO], icmp(CLIENT, ECHO), "RELATED<"),
    "about TCP": ([segment("> S 100")], icmp(CLIENT, segment("> S 100")[:28]), "RELATED<"),
    "IPv6 unreachable": ([QUESTION6], IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6DestUnreach() / QUESTION6, "RELATED<"),
    "IPv6 too big": ([QUESTION6], IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6PacketTooBig() / QUESTION6, "RELATED<"),
    "IPv6 behind extension headers": ([QUESTION6], IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6TimeExceeded()
                                      / IPv6(**FORWARD6) / IPv6ExtHdrDestOpt() / UDP(sport=5000, dport=53), "RELATED<"),
    "IPv6 redirect": ([QUESTION6], IPv6(src="fe80::1", dst=CLIENT6, hlim=255)
                      / ICMPv6ND_Redirect(tgt=ROUTER6, dst=SERVER6)
                      / ICMPv6NDOptRedirectedHdr(len=7, pkt=bytes(QUESTION6)), "RELATED<"),
}


@pytest.mark.parametrize(("before", "error", "info"), GOOD_ERRORS.values(), ids=GOOD_ERRORS)
def test_errors(before: list, error: Packet, info: str) -> None:
    wire = Wire()
    for packet in before:
        wire.send(packet)
    tracked = wire.track(error)
    assert tracked.info + ("<" if tracked.reply else "") == info
    assert tracked.index == wire.rows()[0].index
    assert tracked.confirm(int(wire.now)) == 0
    assert len(wire.rows()) == 1


FRAGMENT = IP(**FORWARD, frag=10) / Raw(bytes(UDP(sport=5000, dport=53)))
RUBBISH = {
    "of another connection": icmp(CLIENT, IP(**FORWARD) / UDP(sport=5001, dport=53)),
    "to somebody else": icmp("10.0.0.3", QUESTION),
    "nothing": icmp(CLIENT, b""),
    "half a header": icmp(CLIENT, bytes(QUESTION)[:19]),
    "no ports": icmp(CLIENT, bytes(QUESTION)[:23]),
    "no version": icmp(CLIENT, b"\x05" + bytes(QUESTION)[1:]),
    "a header too short": icmp(CLIENT, b"\x44" + bytes(QUESTION)[1:]),
    "a header beyond the end": icmp(CLIENT, b"\x4f" + bytes(QUESTION)[1:]),
    "a later fragment": icmp(CLIENT, FRAGMENT),
    "an ICMP error": icmp(CLIENT, icmp(SERVER, QUESTION)),
    "IPv6 in IPv4": icmp(CLIENT, QUESTION6),
    "IPv6 without next header": IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6DestUnreach() / IPv6(**FORWARD6, nh=59),
    "IPv6, a later fragment": IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6DestUnreach() / IPv6(**FORWARD6)
    / IPv6ExtHdrFragment(offset=9) / UDP(sport=5000, dport=53),
    "IPv6, an extension header that lies": IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6DestUnreach()
    / IPv6(**FORWARD6, nh=60) / Raw(b"\x11\xff" + b"\0" * 14),
    "a redirect from afar": IPv6(src="fe80::1", dst=CLIENT6, hlim=64) / ICMPv6ND_Redirect(tgt=ROUTER6, dst=SERVER6)
    / ICMPv6NDOptRedirectedHdr(len=7, pkt=bytes(QUESTION6)),
}


@pytest.mark.parametrize("error", RUBBISH.values(), ids=RUBBISH)
def test_errors_that_quote_rubbish(error: Packet) -> None:
    wire = Wire()
    wire.send(QUESTION)
    wire.send(QUESTION6)
    assert wire.send(error) == "INVALID"
    assert len(wire.rows()) == 2


def test_zones_are_apart() -> None:
    """The same addresses in two zones are two connections."""
    wire = Wire()
    assert [wire.send(QUESTION, zone=1), wire.send(QUESTION, zone=2)] == ["NEW", "NEW"]
    assert wire.send(ANSWER, zone=1) == "ESTABLISHED<"
    assert wire.send(ANSWER) == "NEW"
    assert wire.send(icmp(CLIENT, QUESTION), zone=2) == "RELATED<"
    assert wire.send(icmp(CLIENT, QUESTION), zone=3) == "INVALID"
    assert wire.table.zone_entries() == {0: 1, 1: 1, 2: 1}


def test_two_zones_in_one_connection() -> None:
    """A tenant's zone one way, the uplink's the other (--zone-orig)."""
    wire = Wire()
    for tenant, port in ((5, 7001), (6, 7002)):
        tracked = wire.track(QUESTION, zone=tenant)
        tracked.translate("zone", 0)
        tracked.translate("dport", port)
        assert tracked.confirm(int(wire.now)) == 0
    for port in (7001, 7002):
        assert wire.send(IP(**BACKWARD) / UDP(sport=53, dport=port)) == "ESTABLISHED<"
    assert wire.send(QUESTION, zone=5) == wire.send(QUESTION, zone=6) == "ESTABLISHED"


def test_accounting() -> None:
    wire = Wire()
    wire.send(QUESTION)
    wire.table.set_timeouts({"nf_conntrack_acct": 1})
    wire.send(ANSWER / Raw(b"x" * 10))
    wire.send(QUESTION)
    (row,) = wire.rows()
    assert (row.original.packets, row.original.bytes, row.reply.packets, row.reply.bytes) == (1, 28, 1, 38)
