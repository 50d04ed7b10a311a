"""vnet.pxd: which virtio-net headers are believed. A table each: description, header and frame in, verdict out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN

from tests.gso_model import (
    DATA_VALID, ECN, IP6, NEEDS_CSUM, SERVICE_VLAN, TCPV4, TCPV6, UDP_DATA, UDP_L4, UFO, VLAN, SuperFrame,
    payload, super_frame, vnet,
)

probe = pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")

CONTENT = payload(4000)
TCP4 = super_frame(CONTENT, 1448)
TCP6 = super_frame(CONTENT, 1428, ip=IP6)
UDP4 = super_frame(CONTENT, 1400, l4=UDP_DATA)
UDP6 = super_frame(CONTENT, 1400, ip=IP6, l4=UDP_DATA)
ROUTER_ALERT = IP(src="10.0.0.1", dst="10.0.0.2", options=[b"\x94\x04\0\0"])
HOP_BY_HOP = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(12))])


def extended(count: int) -> SuperFrame:
    """TCP over IPv6 behind so many extension headers."""
    ip = IP6 / HOP_BY_HOP
    for _ in range(count - 1):
        ip = ip / IPv6ExtHdrDestOpt()
    return super_frame(CONTENT, 1300, ip=ip)


def with_header(whole: SuperFrame, **fields: int) -> SuperFrame:
    """The same frame, its virtio-net header changed; `flags`, `gso_type` and so on."""
    names = ("flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset", "num_buffers")
    values = dict(zip(names, struct.unpack("<BBHHHHH", whole.vnet), strict=True)) | fields
    return replace(whole, vnet=struct.pack("<BBHHHHH", *values.values()))


SUPER_FRAMES = [
    ("TCP over IPv4", TCP4, "TSO4"),
    ("TCP over IPv6", TCP6, "TSO6"),
    ("UDP over IPv4", UDP4, "USO4"),
    ("UDP over IPv6", UDP6, "USO6"),
    ("UDP in 128 segments", super_frame(payload(128 * 20), 20, l4=UDP_DATA), "USO4"),
    ("802.1Q", super_frame(CONTENT, 1448, tags=(VLAN,)), "TSO4"),
    ("802.1ad over 802.1Q", super_frame(CONTENT, 1448, ip=IP6, tags=(SERVICE_VLAN, VLAN)), "TSO6"),
    ("IPv4 options", super_frame(CONTENT, 1448, ip=ROUTER_ALERT), "TSO4"),
    ("no TCP options", super_frame(CONTENT, 1448, l4=TCP(flags="A")), "TSO4"),
    ("one extension header", extended(1), "TSO6"),
    ("eight extension headers", extended(8), "TSO6"),
    ("a routing header", super_frame(CONTENT, 1300, ip=IP6 / IPv6ExtHdrRouting(addresses=["fd00::9"])), "TSO6"),
    ("ECN", with_header(TCP4, gso_type=TCPV4 | ECN), "TSO4"),
    ("TCP with its checksum complete", with_header(TCP4, flags=0), "TSO4"),
    ("TCP, checksum seen right", with_header(TCP4, flags=DATA_VALID), "TSO4"),
    ("hdr_len zero", with_header(TCP4, hdr_len=0), "TSO4"),
    ("hdr_len the whole frame", with_header(TCP4, hdr_len=len(TCP4.frame)), "TSO4"),
    ("less payload than one segment", super_frame(payload(10), 1448), "TSO4"),
    ("no payload", super_frame(b"", 1448, ip=IP6), "TSO6"),
    ("the longest IPv4 packet", super_frame(payload(65535 - 52), 1448), "TSO4"),
    ("the longest IPv6 packet", super_frame(payload(65535 - 32), 1428, ip=IP6), "TSO6"),
]
OFFLOADS = {"TSO4": 2, "TSO6": 4, "USO4": 8, "USO6": 16}


@pytest.mark.parametrize(("whole", "offload"), [case[1:] for case in SUPER_FRAMES], ids=[c[0] for c in SUPER_FRAMES])
@pytest.mark.parametrize("knows_tags", [True, False], ids=["tags known", "tags unknown"])
def test_super_frames_and_what_is_found_in_them(whole: SuperFrame, offload: str, knows_tags: bool) -> None:
    kind, info = probe.check(whole.vnet, whole.frame, whole.l3_off if knows_tags else 14)
    assert kind == probe.GSO
    assert info == {
        "l3_off": whole.l3_off,
        "l4_off": whole.l4_off,
        "hdr_len": whole.hdr_len,
        "mss": whole.mss,
        "is_ipv6": offload.endswith("6"),
        "is_udp": offload.startswith("U"),
        "partial": bool(whole.vnet[0] & NEEDS_CSUM),
        "l3_len": whole.hdr_len - whole.l3_off + min(whole.mss, len(whole.payload)),
        "offload": OFFLOADS[offload],
    }


FRAME = TCP4.frame[: TCP4.hdr_len + 100]
LAST = len(FRAME) - 2
ORDINARY = [
    ("nothing promised", vnet(), "PLAIN"),
    ("checksum seen right", vnet(DATA_VALID), "PLAIN"),
    ("offsets without NEEDS_CSUM mean nothing", vnet(0, csum_start=60000, csum_offset=60000), "PLAIN"),
    ("hdr_len the whole frame", vnet(0, hdr_len=len(FRAME)), "PLAIN"),
    ("partial", vnet(NEEDS_CSUM, csum_start=34, csum_offset=16), "PARTIAL"),
    ("partial, and seen right", vnet(NEEDS_CSUM | DATA_VALID, csum_start=34, csum_offset=16), "PARTIAL"),
    ("partial, in the last two bytes", vnet(NEEDS_CSUM, csum_start=LAST, csum_offset=0), "PARTIAL"),
    ("hdr_len beyond the frame", vnet(0, hdr_len=len(FRAME) + 1), "BAD"),
    ("hdr_len within the Ethernet header", vnet(0, hdr_len=13), "BAD"),
    ("hdr_len short of a partial checksum", vnet(NEEDS_CSUM, hdr_len=1, csum_start=34, csum_offset=16), "PARTIAL"),
    ("an unknown flag", vnet(4), "BAD"),
    ("tunnel checksum flag", vnet(NEEDS_CSUM | 8, csum_start=34, csum_offset=16), "BAD"),
    ("csum_start within layer 2", vnet(NEEDS_CSUM, csum_start=13, csum_offset=40), "BAD"),
    ("csum_start within layer 3", vnet(NEEDS_CSUM, csum_start=33, csum_offset=16), "BAD"),
    ("the field one byte beyond the frame", vnet(NEEDS_CSUM, csum_start=34, csum_offset=LAST - 33), "BAD"),
    ("csum_start beyond the frame", vnet(NEEDS_CSUM, csum_start=LAST + 1, csum_offset=0), "BAD"),
    ("offsets whose sum wraps 16 bits", vnet(NEEDS_CSUM, csum_start=34, csum_offset=0xFFFF), "BAD"),
]


@pytest.mark.parametrize(("header", "verdict"), [case[1:] for case in ORDINARY], ids=[case[0] for case in ORDINARY])
def test_ordinary_frames(header: bytes, verdict: str) -> None:
    assert probe.check(header, FRAME) == (getattr(probe, verdict), None)


def test_a_checksum_far_inside_a_long_frame_is_refused() -> None:
    assert probe.check(vnet(NEEDS_CSUM, csum_start=0x8000, csum_offset=0), bytes(65000))[0] == probe.BAD


def test_a_header_is_plain_exactly_when_checking_it_is_needless() -> None:
    assert probe.is_plain(vnet()) and probe.is_plain(vnet(DATA_VALID))
    for field in ("gso_type", "hdr_len", "gso_size", "csum_start"):
        assert not probe.is_plain(vnet(**{field: 1}))
    assert not probe.is_plain(vnet(NEEDS_CSUM)) and not probe.is_plain(vnet(4))


FRAGMENT = IP(src="10.0.0.1", dst="10.0.0.2", flags="MF")
REFUSED = [
    ("gso_size zero", with_header(TCP4, gso_size=0)),
    ("gso_size with a meaning in the kernel", with_header(TCP4, gso_size=0xFFFF)),
    ("UDP in 129 segments", super_frame(payload(128 * 20 + 1), 20, l4=UDP_DATA)),
    ("UDP fragmentation offload", with_header(UDP4, gso_type=UFO)),
    ("a type that nobody knows", with_header(TCP4, gso_type=2)),
    ("tunnel segmentation", with_header(TCP4, gso_type=TCPV4 | 0x20)),
    ("ECN alone", with_header(TCP4, gso_type=ECN)),
    ("ECN on UDP", with_header(UDP4, gso_type=UDP_L4 | ECN)),
    ("TCPv4 on IPv6", with_header(TCP6, gso_type=TCPV4)),
    ("TCPv6 on IPv4", with_header(TCP4, gso_type=TCPV6)),
    ("TCPv4 on UDP", with_header(UDP4, gso_type=TCPV4)),
    ("UDP on TCP", with_header(TCP4, gso_type=UDP_L4)),
    ("UDP on TCP over IPv6", with_header(TCP6, gso_type=UDP_L4)),
    ("UDP with its checksum complete", with_header(UDP4, flags=0)),
    ("not IP at all", TCP4.patched(12, b"\x08\x06")),
    ("IPv6 under IPv4's EtherType", TCP4.patched(14, b"\x65")),
    ("IPv4 under IPv6's EtherType", TCP6.patched(14, b"\x40")),
    ("an IPv4 header of 16 bytes", with_header(TCP4.patched(14, b"\x44").patched(30 + 12, b"\x50"), flags=0)),
    ("an IPv4 header beyond the frame", replace(super_frame(b"", 1448, l4=UDP_DATA).patched(14, b"\x4f"))),
    ("an IPv4 length beyond the frame", TCP4.patched(16, struct.pack(">H", len(TCP4.frame) - 13))),
    ("an IPv4 length short of the frame", TCP4.patched(16, struct.pack(">H", len(TCP4.frame) - 15))),
    ("an IPv4 length of zero", TCP4.patched(16, b"\0\0")),
    ("the first IPv4 fragment", super_frame(CONTENT, 1448, ip=FRAGMENT)),
    ("a later IPv4 fragment", TCP4.patched(20, b"\x00\x01")),
    ("an IPv6 length beyond the frame", TCP6.patched(18, struct.pack(">H", len(TCP6.frame) - 53))),
    ("an IPv6 length of zero", TCP6.patched(18, b"\0\0")),
    ("an IPv6 fragment", super_frame(CONTENT, 1400, ip=IP6 / IPv6ExtHdrFragment(m=1))),
    ("nine extension headers", extended(9)),
    ("an extension header beyond the frame", extended(1).patched(14 + 40 + 1, b"\xff")),
    ("no next header", TCP6.patched(14 + 6, b"\x3b")),
    ("a TCP header of 16 bytes", TCP4.patched(34 + 12, b"\x40")),
    ("a TCP header beyond the frame", super_frame(b"", 1448).patched(34 + 12, b"\x90")),
    ("a UDP length that is not the packet's", UDP4.patched(34 + 4, b"\x00\x10")),
    ("csum_start beside the TCP header", with_header(TCP4, csum_start=36)),
    ("csum_offset of UDP in TCP", with_header(TCP4, csum_offset=6)),
    ("csum_offset of TCP in UDP", with_header(UDP6, csum_offset=16)),
    ("hdr_len beyond the frame", with_header(TCP4, hdr_len=len(TCP4.frame) + 1)),
    ("three tags more than known", super_frame(CONTENT, 1448, tags=(VLAN, VLAN, VLAN))),
]


@pytest.mark.parametrize("whole", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_headers_that_are_not_believed(whole: SuperFrame) -> None:
    assert probe.check(whole.vnet, whole.frame) == (probe.BAD, None)


@pytest.mark.parametrize(
    "whole", [TCP4, TCP6, UDP4, UDP6, extended(8), super_frame(CONTENT, 1448, tags=(SERVICE_VLAN, VLAN))]
)
def test_a_frame_cut_short_anywhere_is_refused(whole: SuperFrame) -> None:
    short = with_header(whole, hdr_len=0)
    for length in range(14, whole.hdr_len + 1):
        assert probe.check(short.vnet, whole.frame[:length]) == (probe.BAD, None), length


@pytest.mark.parametrize(
    ("before", "delta", "after"),
    [
        (vnet(), 4, vnet()),
        (vnet(NEEDS_CSUM, csum_start=34, csum_offset=16), 4, vnet(NEEDS_CSUM, csum_start=38, csum_offset=16)),
        (vnet(NEEDS_CSUM, csum_start=38, csum_offset=16), -4, vnet(NEEDS_CSUM, csum_start=34, csum_offset=16)),
        (TCP4.vnet, 4, vnet(NEEDS_CSUM, TCPV4, 70, 1448, 38, 16)),
        (vnet(0, TCPV4, 66, 1448), -4, vnet(0, TCPV4, 62, 1448)),
        (vnet(0, TCPV4, 0xFFFE, 1448), 4, vnet(0, TCPV4, 0, 1448)),
        (vnet(0, TCPV4, 17, 1448), -4, vnet(0, TCPV4, 0, 1448)),
    ],
    ids=["plain", "push", "pop", "push, super-frame", "pop, complete", "a hint too long", "a hint too short"],
)
def test_offsets_follow_a_tag(before: bytes, delta: int, after: bytes) -> None:
    assert probe.shift(before, delta) == after


def test_a_frame_with_its_tag_popped_is_still_believed() -> None:
    tagged = super_frame(CONTENT, 1448, tags=(VLAN,))
    linear = with_header(tagged, hdr_len=len(tagged.frame))
    popped = tagged.frame[:12] + tagged.frame[16:]
    kind, info = probe.check(probe.shift(linear.vnet, -4), popped)
    assert kind == probe.GSO and info["hdr_len"] == tagged.hdr_len - 4
