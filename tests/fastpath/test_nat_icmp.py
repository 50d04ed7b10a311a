"""ICMP errors about translated connections: what they quote is put back, and all checksums hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from tests.gso_model import payload
from tests.nat_model import (
    CLIENT, CLIENT6, DST, ETHER, PUBLIC, PUBLIC6, SERVER, SERVER6, SRC, Nat, checksums_hold, rule,
)  # fmt: skip

ROUTER, ROUTER6 = "203.0.113.254", "2001:db8:5::fe"
INSIDE, INSIDE6 = "10.0.0.1", "fd00::1"
SNAT, SNAT6 = rule(SRC, PUBLIC, (5000, 5000)), rule(SRC, PUBLIC6, (5000, 5000))
DNAT, DNAT6 = rule(DST, CLIENT, (8080, 8080)), rule(DST, CLIENT6, (8080, 8080))
DATA = Raw(payload(31))
ERRORS = [ICMP(type=3, code=4, nexthopmtu=1280), ICMP(type=4), ICMP(type=11), ICMP(type=12)]
ERRORS6 = [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded()]
LAYERS = [TCP(sport=1234, dport=80, flags="S"), UDP(sport=1234, dport=53), ICMP(id=1234, seq=1)]


def error(src: str, dst: str, kind: Packet, quoted: bytes) -> bytes:
    """An ICMP error as it lies on the wire."""
    outer = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
    return bytes(ETHER / outer / kind / Raw(quoted))


@pytest.mark.parametrize("cut", [28, 36, 40, 48, None], ids=lambda cut: f"cut={cut}")
@pytest.mark.parametrize("l4", LAYERS, ids=["TCP", "UDP", "ICMP"])
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: str(kind.type))
def test_an_error_comes_back_as_if_about_the_original(kind: Packet, l4: Packet, cut: int | None) -> None:
    nat = Nat(snat=SNAT)
    sent = bytes(ETHER / IP(src=CLIENT, dst=SERVER, id=9) / l4 / DATA)
    seen = nat.through(sent)
    passage = nat.arrive(error(ROUTER, PUBLIC, kind, seen[14:][:cut]))
    assert (passage.info & 0x7F, passage.reply) == (4, True)
    assert nat.cross(passage) == 0
    assert passage.frame == error(ROUTER, CLIENT, kind, sent[14:][:cut])
    assert passage.header[2] == CLIENT


@pytest.mark.parametrize("l4", LAYERS[:2], ids=["TCP", "UDP"])
@pytest.mark.parametrize("kind", ERRORS6, ids=lambda kind: str(kind.type))
def test_the_same_for_ipv6(kind: Packet, l4: Packet) -> None:
    nat = Nat(snat=SNAT6)
    sent = bytes(ETHER / IPv6(src=CLIENT6, dst=SERVER6) / l4 / DATA)
    seen = nat.through(sent)
    assert nat.through(error(ROUTER6, PUBLIC6, kind, seen[14:])) == error(ROUTER6, CLIENT6, kind, sent[14:])
    assert nat.through(error(ROUTER6, PUBLIC6, kind, seen[14:62])) == error(ROUTER6, CLIENT6, kind, sent[14:62])


@pytest.mark.parametrize(
    ("dnat", "ip", "client", "public", "inside", "hidden", "kind"),
    [
        (DNAT, IP, SERVER, PUBLIC, CLIENT, INSIDE, ERRORS[0]),
        (DNAT6, IPv6, SERVER6, PUBLIC6, CLIENT6, INSIDE6, ERRORS6[0]),
    ],
    ids=["IPv4", "IPv6"],
)
def test_an_error_from_inside_seems_to_come_from_the_public_address(
    dnat: object, ip: type, client: str, public: str, inside: str, hidden: str, kind: Packet
) -> None:
    nat = Nat(dnat=dnat)
    sent = bytes(ETHER / ip(src=client, dst=public) / TCP(sport=99, dport=80, flags="S"))
    seen = nat.through(sent)
    assert nat.through(error(hidden, client, kind, seen[14:])) == error(public, client, kind, sent[14:])


def test_an_error_about_an_answer_goes_to_the_server() -> None:
    nat = Nat(snat=SNAT)
    nat.through(ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=1234, dport=53))
    answer = bytes(ETHER / IP(src=SERVER, dst=PUBLIC) / UDP(sport=53, dport=5000) / DATA)
    inside = nat.through(answer)
    passage = nat.arrive(error(CLIENT, SERVER, ICMP(type=3, code=3), inside[14:]))
    assert (passage.info & 0x7F, passage.reply) == (4, False)
    assert nat.cross(passage) == 0
    assert passage.frame == error(PUBLIC, SERVER, ICMP(type=3, code=3), answer[14:])


def test_both_ends_are_put_back_at_their_hooks() -> None:
    nat = Nat(DNAT, SNAT)
    sent = bytes(ETHER / IP(src="10.0.0.3", dst="203.0.113.1") / TCP(sport=99, dport=80, flags="S"))
    seen = nat.through(sent)
    reached = nat.through(error(INSIDE, PUBLIC, ICMP(type=11), seen[14:]))
    assert reached == error("203.0.113.1", "10.0.0.3", ICMP(type=11), sent[14:])


def test_a_udp_checksum_of_zero_is_left_alone_in_quotes_too() -> None:
    nat = Nat(snat=SNAT)
    sent = bytes(ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=9, dport=53, chksum=0) / DATA)
    seen = nat.through(sent)
    come = nat.through(error(ROUTER, PUBLIC, ICMP(type=11), seen[14:]))
    assert come == error(ROUTER, CLIENT, ICMP(type=11), sent[14:])


def test_behind_extension_headers() -> None:
    nat = Nat(snat=SNAT6)
    l4 = UDP(sport=1234, dport=53)
    sent = bytes(ETHER / IPv6(src=CLIENT6, dst=SERVER6) / l4 / DATA)
    nat.through(sent)

    def quote(src: str, port: int) -> bytes:
        return bytes(IPv6(src=src, dst=SERVER6) / IPv6ExtHdrHopByHop() / UDP(sport=port, dport=53) / DATA)

    come = nat.through(error(ROUTER6, PUBLIC6, ERRORS6[1], quote(PUBLIC6, 5000)))
    assert come == error(ROUTER6, CLIENT6, ERRORS6[1], quote(CLIENT6, 1234))


@pytest.mark.parametrize(
    ("kind", "cut"),
    [(ICMP(type=5), None), (ICMP(type=11), 26)],
    ids=["a redirect", "a quote without all of the ports' 8 bytes"],
)
def test_what_cannot_be_translated_is_dropped_untouched(kind: Packet, cut: int | None) -> None:
    nat = Nat(snat=SNAT)
    seen = nat.through(ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=1234, dport=53) / DATA)
    frame = error(ROUTER, PUBLIC, kind, seen[14:][:cut])
    passage = nat.arrive(frame)
    assert nat.cross(passage) != 0
    assert passage.frame == frame


@pytest.mark.parametrize("length", range(0, 49, 3))
def test_quotes_cut_off_anywhere_never_reach_beyond(length: int) -> None:
    """The frame lies in memory of its size: a sanitizer would see it. What gets through is right."""
    for nat, kind, src, dst, ip in (
        (Nat(snat=SNAT), ERRORS[0], ROUTER, PUBLIC, IP(src=CLIENT, dst=SERVER)),
        (Nat(snat=SNAT6), ERRORS6[0], ROUTER6, PUBLIC6, IPv6(src=CLIENT6, dst=SERVER6)),
    ):
        seen = nat.through(ETHER / ip / TCP(sport=1234, dport=80, flags="S") / DATA)
        passage = nat.arrive(error(src, dst, kind, seen[14:][:length]))
        if passage.info & 0x7F == 4 and nat.cross(passage) == 0:
            assert checksums_hold(passage.frame)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=4), st.integers(0, 80), st.booleans())
def test_whatever_an_error_quotes_what_passes_has_right_checksums(damage: list, cut: int, v6: bool) -> None:
    """Damaged quotes in errors whose own checksum is right: refused untouched, or translated with all of it right."""
    nat = Nat(snat=SNAT6 if v6 else SNAT)
    ip = IPv6(src=CLIENT6, dst=SERVER6) if v6 else IP(src=CLIENT, dst=SERVER)
    quoted = bytearray(nat.through(ETHER / ip / UDP(sport=1234, dport=53) / DATA)[14:][:cut])
    for at, value in damage:
        if at < len(quoted):
            quoted[at] = value
    frame = error(ROUTER6 if v6 else ROUTER, PUBLIC6 if v6 else PUBLIC, (ERRORS6 if v6 else ERRORS)[0], bytes(quoted))
    passage = nat.arrive(frame)
    if passage.info & 0x7F == 4 and nat.cross(passage) == 0:
        assert checksums_hold(passage.frame)
        assert passage.frame[14:] != frame[14:]
    else:
        assert passage.frame == frame
