"""What NAT writes into packets: description, rules, packet in, packet out; scapy computes what checksums must be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from tests.gso_model import SuperFrame, payload, super_frame, vnet
from tests.nat_model import (
    CLIENT, CLIENT6, DST, ETHER, POSTROUTING, PUBLIC, PUBLIC6, SERVER, SERVER6, SRC, Nat, checksums_hold,
    partial_holds, rule, udp,
)  # fmt: skip

SNAT, SNAT6 = rule(SRC, PUBLIC, (5000, 5000)), rule(SRC, PUBLIC6, (5000, 5000))
DNAT, DNAT6 = rule(DST, CLIENT, (8080, 8080)), rule(DST, CLIENT6, (8080, 8080))
OUT, OUT6 = IP(src=CLIENT, dst=SERVER, id=7, ttl=63), IPv6(src=CLIENT6, dst=SERVER6)
DATA = Raw(payload(33))


def tcp(sport: int, dport: int, flags: str = "S") -> TCP:
    """A segment."""
    return TCP(sport=sport, dport=dport, flags=flags, seq=5, options=[("MSS", 1460)])


CASES = [
    ("TCP, source", SNAT, None, OUT / tcp(1234, 80), IP(src=PUBLIC, dst=SERVER, id=7, ttl=63) / tcp(5000, 80)),
    ("UDP, source", SNAT, None,
     OUT / UDP(sport=9, dport=53),
     IP(src=PUBLIC, dst=SERVER, id=7, ttl=63) / UDP(sport=5000, dport=53)),
    ("TCP over IPv6, source", SNAT6, None, OUT6 / tcp(1234, 80), IPv6(src=PUBLIC6, dst=SERVER6) / tcp(5000, 80)),
    ("UDP over IPv6, source", SNAT6, None,
     OUT6 / UDP(sport=9, dport=53),
     IPv6(src=PUBLIC6, dst=SERVER6) / UDP(sport=5000, dport=53)),
    ("TCP, destination", None, DNAT,
     IP(src=SERVER, dst=PUBLIC) / tcp(99, 80),
     IP(src=SERVER, dst=CLIENT) / tcp(99, 8080)),
    ("TCP over IPv6, destination", None, DNAT6,
     IPv6(src=SERVER6, dst=PUBLIC6) / tcp(99, 80),
     IPv6(src=SERVER6, dst=CLIENT6) / tcp(99, 8080)),
    ("hairpin: both ends", SNAT, DNAT,
     IP(src="10.0.0.3", dst="203.0.113.1") / tcp(99, 80),
     IP(src=PUBLIC, dst=CLIENT) / tcp(5000, 8080)),
    ("echo", SNAT, None, OUT / ICMP(id=77, seq=3), IP(src=PUBLIC, dst=SERVER, id=7, ttl=63) / ICMP(id=5000, seq=3)),
    ("echo over IPv6", SNAT6, None,
     OUT6 / ICMPv6EchoRequest(id=77, seq=3),
     IPv6(src=PUBLIC6, dst=SERVER6) / ICMPv6EchoRequest(id=5000, seq=3)),
    ("a protocol without ports", SNAT, None,
     IP(src=CLIENT, dst=SERVER, proto=47),
     IP(src=PUBLIC, dst=SERVER, proto=47)),
    ("options in the IP header", SNAT, None,
     IP(src=CLIENT, dst=SERVER, options=b"\x01\x01\x01\x00") / tcp(9, 80),
     IP(src=PUBLIC, dst=SERVER, options=b"\x01\x01\x01\x00") / tcp(5000, 80)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("snat", "dnat", "sent", "seen"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_packet_becomes_what_scapy_builds(snat: object, dnat: object, sent: Packet, seen: Packet) -> None:
    assert Nat(dnat, snat).through(ETHER / sent / DATA) == bytes(ETHER / seen / DATA)


ANSWERS = [
    ("TCP", SNAT, None,
     OUT / tcp(1234, 80),
     IP(src=SERVER, dst=PUBLIC) / tcp(80, 5000, "SA"),
     IP(src=SERVER, dst=CLIENT) / tcp(80, 1234, "SA")),
    ("DNAT", None, DNAT,
     IP(src=SERVER, dst=PUBLIC) / tcp(99, 80),
     IP(src=CLIENT, dst=SERVER) / tcp(8080, 99, "SA"),
     IP(src=PUBLIC, dst=SERVER) / tcp(80, 99, "SA")),
    ("hairpin", SNAT, DNAT,
     IP(src="10.0.0.3", dst="203.0.113.1") / tcp(99, 80),
     IP(src=CLIENT, dst=PUBLIC) / tcp(8080, 5000, "SA"),
     IP(src="203.0.113.1", dst="10.0.0.3") / tcp(80, 99, "SA")),
    ("echo", SNAT, None,
     OUT / ICMP(id=77),
     IP(src=SERVER, dst=PUBLIC) / ICMP(type=0, id=5000),
     IP(src=SERVER, dst=CLIENT) / ICMP(type=0, id=77)),
    ("echo over IPv6", SNAT6, None,
     OUT6 / ICMPv6EchoRequest(id=77),
     IPv6(src=SERVER6, dst=PUBLIC6) / ICMPv6EchoReply(id=5000),
     IPv6(src=SERVER6, dst=CLIENT6) / ICMPv6EchoReply(id=77)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("snat", "dnat", "sent", "answer", "seen"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_answers_find_their_way_back(snat: object, dnat: object, sent: Packet, answer: Packet, seen: Packet) -> None:
    nat = Nat(dnat, snat)
    nat.through(ETHER / sent / DATA)
    assert nat.through(ETHER / answer / DATA) == bytes(ETHER / seen / DATA)


def test_later_stages_see_what_is_in_the_header() -> None:
    nat = Nat(DNAT, SNAT)
    passage = nat.arrive(udp())
    assert passage.header == (CLIENT, 40000, SERVER, 53, False)
    assert nat.cross(passage) == 0
    assert passage.header == (PUBLIC, 5000, CLIENT, 8080, True)


def test_a_udp_checksum_of_zero_stays_zero() -> None:
    sent = ETHER / OUT / UDP(sport=9, dport=53, chksum=0) / DATA
    seen = ETHER / IP(src=PUBLIC, dst=SERVER, id=7, ttl=63) / UDP(sport=5000, dport=53, chksum=0) / DATA
    assert Nat(snat=SNAT).through(sent) == bytes(seen)


def test_a_computed_udp_checksum_of_zero_is_sent_as_ones() -> None:
    seen = ETHER / IP(src=PUBLIC, dst=SERVER, id=7, ttl=63) / UDP(sport=5000, dport=53) / Raw(b"\0\0")
    cancelling = Raw(bytes(seen)[-4:-2])  # what the checksum was, as payload, makes it zero
    frame = Nat(snat=SNAT).through(ETHER / OUT / UDP(sport=9, dport=53) / cancelling)
    assert frame[-4:-2] == b"\xff\xff"
    assert checksums_hold(frame)


def test_a_wrong_checksum_is_not_made_right() -> None:
    sent = bytearray(bytes(ETHER / OUT / tcp(9, 80) / DATA))
    sent[-1] ^= 1
    seen = bytearray(Nat(snat=SNAT).through(bytes(sent)))
    assert not checksums_hold(bytes(seen))
    seen[-1] ^= 1
    assert checksums_hold(bytes(seen))


SUPER = [
    super_frame(payload(5000), 1448, ip=OUT, l4=tcp(1234, 80)),
    super_frame(payload(5000), 1448, ip=OUT6, l4=tcp(1234, 80)),
    super_frame(payload(3000), 1000, ip=OUT, l4=UDP(sport=9, dport=53)),
    super_frame(payload(3000), 1000, ip=OUT6, l4=UDP(sport=9, dport=53)),
]


@pytest.mark.parametrize("whole", SUPER, ids=["TSO4", "TSO6", "USO4", "USO6"])
def test_of_a_partial_checksum_only_the_pseudo_header_changes(whole: SuperFrame) -> None:
    passage = (nat := Nat(snat=SNAT if whole.frame[14] >> 4 == 4 else SNAT6)).arrive(whole.frame, vnet=whole.vnet)
    assert nat.cross(passage) == 0
    assert passage.vnet == whole.vnet
    assert partial_holds(whole, passage.frame)
    assert passage.frame[whole.l4_off : whole.l4_off + 2] == (5000).to_bytes(2, "big")
    at = whole.csum_at
    assert passage.frame[whole.l4_off + 2 : at] == whole.frame[whole.l4_off + 2 : at]
    assert passage.frame[at + 2 :] == whole.frame[at + 2 :]


def test_a_partial_checksum_further_in_leaves_the_outer_one_full() -> None:
    sent = bytes(ETHER / OUT / UDP(sport=9, dport=4789) / Raw(payload(80)))
    passage = (nat := Nat(snat=SNAT)).arrive(sent, vnet=vnet(1, csum_start=14 + 28 + 40, csum_offset=16))
    assert nat.cross(passage) == 0
    assert checksums_hold(passage.frame)


def test_an_entry_that_has_become_another_connection_is_not_used() -> None:
    nat = Nat(snat=SNAT)
    nat.through(udp())
    late, other = nat.arrive(udp()), nat.arrive(udp(sport=2))
    late.become(other)
    before = late.frame
    assert late.rewrite(POSTROUTING) != 0
    assert late.frame == before


ports = st.integers(1, 65535)
hosts4 = st.integers(1, 250).map("10.1.0.{}".format)
hosts6 = st.integers(1, 0xFFFF).map("fd01::{:x}".format)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans(), st.booleans(), ports, ports, ports, st.binary(max_size=40))
def test_checksums_hold_and_the_way_back_restores(data: st.DataObject, v6: bool, is_tcp: bool, sport: int, dport: int,
                                                  new: int, content: bytes) -> None:  # fmt: skip
    hosts = hosts6 if v6 else hosts4
    src, dst, public, inside = (data.draw(hosts) for _ in range(4))
    dst, public, inside = dst.replace("1", "2", 1), public.replace("1", "3", 1), inside.replace("1", "4", 1)
    nat = Nat(rule(DST, inside, (dport ^ 1 or 5,) * 2), rule(SRC, public, (new, new)))
    ip = IPv6 if v6 else IP

    def packet(a: str, b: str, s: int, d: int, flags: str) -> bytes:
        l4 = TCP(sport=s, dport=d, flags=flags) if is_tcp else UDP(sport=s, dport=d)
        return bytes(ETHER / ip(src=a, dst=b) / l4 / Raw(content))

    seen = nat.through(packet(src, dst, sport, dport, "S"))
    assert checksums_hold(seen)
    back = nat.through(packet(inside, public, dport ^ 1 or 5, new, "SA"))
    assert back == packet(dst, src, dport, sport, "SA")
