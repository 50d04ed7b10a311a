"""Frames of the services: what scapy makes is read, what is made scapy reads, and lengths that lie are named."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6ND_RS, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Ether

from vswitch.l3.wire import Datagram, Icmp6, Malformed, build_icmp6, build_udp, parse_icmp6, parse_udp

HERE, THERE = "52:54:00:00:00:01", "02:00:00:00:00:01"
ETHER = Ether(src=HERE, dst=THERE)
V4, V6 = IP(src="10.0.0.2", dst="10.0.0.1"), IPv6(src="fd00::2", dst="fd00::1")


@pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_udp_both_ways(ip, payload):
    frame = bytes(ETHER / ip / UDP(sport=68, dport=67) / payload)
    datagram = parse_udp(frame + b"padding")
    assert (datagram.eth_src.hex(":"), str(datagram.src)) == (HERE, ip.src)
    assert (datagram.sport, datagram.payload) == (68, payload)
    again = Ether(build_udp(datagram))
    sums = again[UDP].chksum
    del again[UDP].chksum
    assert Ether(bytes(again))[UDP].chksum == sums
    assert parse_udp(build_udp(datagram)) == datagram


def test_ip_options_are_passed_over():
    frame = bytes(ETHER / IP(src="10.0.0.2", dst="10.0.0.1", options=[IPOption_NOP()] * 4) / UDP(dport=67) / b"x")
    assert parse_udp(frame).payload == b"x"


def test_without_a_checksum():
    assert parse_udp(bytes(ETHER / V4 / UDP(chksum=0) / b"x")).payload == b"x"
    with pytest.raises(Malformed, match="checksum"):
        parse_udp(bytes(ETHER / V6 / UDP(chksum=0) / b"x"))
    assert parse_udp(bytes(ETHER / V6 / UDP(chksum=0) / b"x"), checked=True).payload == b"x"


def test_a_sum_of_zero_is_sent_as_ones():
    fields = dict(eth_src=bytes(6), eth_dst=bytes(6), src=IPv4Address(0), dst=IPv4Address(0), sport=0, dport=0)
    frame = build_udp(Datagram(**fields, payload=(0xFFFF - 17 - 20).to_bytes(2, "big")))
    assert frame[40:42] == b"\xff\xff" and parse_udp(frame)


MALFORMED = [
    ("nothing", b"", "length"),
    ("ARP", bytes(ETHER / ARP()), "not IP"),
    ("ICMP", bytes(ETHER / V4 / ICMP()), "not UDP"),
    ("TCP over IPv6", bytes(ETHER / V6 / TCP()), "not UDP"),
    ("half an IPv4 header", bytes(ETHER / V4)[:24], "length"),
    ("half an IPv6 header", bytes(ETHER / V6)[:44], "length"),
    ("total length beyond the frame", bytes(ETHER / IP(len=100) / UDP()), "length"),
    ("total length within the header", bytes(ETHER / IP(len=19) / UDP()), "length"),
    ("header length beyond the packet", bytes(ETHER / IP(ihl=15) / UDP()), "length"),
    ("header length too small", bytes(ETHER / IP(ihl=4) / UDP()), "length"),
    ("version 6 in an IPv4 packet", bytes(ETHER / IP(version=6) / UDP()), "length"),
    ("header checksum", bytes(ETHER / IP(chksum=1) / UDP()), "checksum"),
    ("first fragment", bytes(ETHER / IP(flags="MF") / UDP()), "fragment"),
    ("later fragment", bytes(ETHER / IP(frag=1) / UDP()), "fragment"),
    ("UDP header cut", bytes(ETHER / IP(proto=17) / b"1234567"), "length"),
    ("UDP length too small", bytes(ETHER / V4 / UDP(len=7)), "length"),
    ("UDP length beyond the packet", bytes(ETHER / V4 / UDP(len=9)), "length"),
    ("UDP checksum", bytes(ETHER / V4 / UDP(chksum=1) / b"x"), "checksum"),
    ("payload length beyond the frame", bytes(ETHER / IPv6(plen=9) / UDP()), "length"),
    ("extension header", bytes(ETHER / V6 / IPv6ExtHdrDestOpt() / UDP()), "not UDP"),
]


@pytest.mark.parametrize("frame, reason", [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed(frame, reason):
    with pytest.raises(Malformed, match=f"^{reason}$"):
        parse_udp(frame)


def test_icmp6_both_ways():
    frame = bytes(ETHER / V6 / ICMPv6ND_RS())
    message = parse_icmp6(frame)
    assert (message.type, message.code, message.hop_limit, message.body) == (133, 0, 255, bytes(4))
    assert build_icmp6(message) == frame


@pytest.mark.parametrize("frame, reason", [
    (bytes(ETHER / V4 / ICMP()), "not ICMPv6"),
    (bytes(ETHER / IP(proto=58) / b"12345678"), "not ICMPv6"),
    (bytes(ETHER / IPv6(nh=58) / b"123"), "length"),
    (bytes(ETHER / V6 / ICMPv6ND_RS(cksum=1)), "checksum"),
])
def test_malformed_icmp6(frame, reason):
    with pytest.raises(Malformed, match=f"^{reason}$"):
        parse_icmp6(frame)


def test_too_large_for_a_datagram():
    with pytest.raises(ValueError, match="a datagram of"):
        build_udp(Datagram(bytes(6), bytes(6), IPv4Address(1), IPv4Address(2), 1, 2, bytes(65_508)))


def test_icmp6_frame_is_scapys():
    message = Icmp6(bytes(6), bytes(6), IPv6Address("fe80::1"), IPv6Address("ff02::1"), 255, 134, 0, bytes(12))
    assert Ether(build_icmp6(message))[IPv6].hlim == 255
