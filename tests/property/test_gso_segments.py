"""Properties of segmentation, for super-frames of every shape, against a plain model (tests/gso_model.py).

Whatever the shape, the segments' payloads joined are the super-frame's, lengths and checksums are right, and sequence
numbers and identifications follow on. And whatever the bytes, checking a header never reads beyond the frame (the door
puts each frame into memory of its size; a sanitizer sees the rest).
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.packet import Packet

from tests.gso_model import SERVICE_VLAN, TIMESTAMP, VLAN, SuperFrame, checksum_holds, super_frame

probe = pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")

ipv4 = st.builds(
    IP,
    src=st.just("10.0.0.1"),
    dst=st.just("10.9.8.7"),
    id=st.integers(0, 0xFFFF),
    tos=st.integers(0, 255),
    ttl=st.integers(1, 255),
    options=st.sampled_from([[], [b"\x94\x04\0\0"]]),
)
ipv6 = st.builds(
    lambda flow, extensions: _stack(IPv6(src="fd00::1", dst="fd00:1:2:3:4:5:6:7", fl=flow), extensions),
    st.integers(0, 0xFFFFF),
    st.sampled_from([[], [IPv6ExtHdrHopByHop()], [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()]]),
)
tcp = st.builds(
    TCP,
    sport=st.just(40000),
    dport=st.just(40001),
    seq=st.integers(0, 0xFFFFFFFF),
    ack=st.integers(0, 0xFFFFFFFF),
    flags=st.integers(0, 0x1FF),
    window=st.integers(0, 0xFFFF),
    options=st.sampled_from([[], TIMESTAMP]),
)
udp = st.builds(UDP, sport=st.just(40000), dport=st.just(40001))
super_frames = st.builds(
    lambda content, mss, ip, l4, tags: super_frame(content, mss + 16 * (UDP in l4), ip=ip, l4=l4, tags=tags),
    st.binary(max_size=3000),
    st.integers(8, 1500),
    st.one_of(ipv4, ipv6),
    st.one_of(tcp, udp),
    st.sampled_from([(), (VLAN,), (SERVICE_VLAN, VLAN)]),
)


def _stack(ip: Packet, extensions: list[Packet]) -> Packet:
    for extension in extensions:
        ip = ip / extension
    return ip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(whole=super_frames, leave_checksum=st.booleans())
def test_segments_are_the_super_frame_cut_up(whole: SuperFrame, leave_checksum: bool) -> None:
    made = probe.segment(whole.vnet, whole.frame, leave_checksum=leave_checksum)
    segments = [frame for _, frame in made]
    if leave_checksum:
        segments = [probe.complete(frame, *struct.unpack_from("<HH", header, 6)) for header, frame in made]
    assert b"".join(frame[whole.hdr_len :] for frame in segments) == whole.payload
    assert all(len(frame) == whole.hdr_len + whole.mss for frame in segments[:-1])
    for index, frame in enumerate(segments):
        assert_header_follows(whole, frame, index, len(segments))


def assert_header_follows(whole: SuperFrame, frame: bytes, index: int, count: int) -> None:
    """Every field of a segment's headers is the super-frame's, or what its place makes of it."""
    is_tcp = whole.csum_at - whole.l4_off == 16
    expected = bytearray(whole.frame[: whole.hdr_len])
    if frame[whole.l3_off] >> 4 == 4:
        first_id = int.from_bytes(expected[whole.l3_off + 4 :][:2], "big")
        struct.pack_into(">HH", expected, whole.l3_off + 2, len(frame) - whole.l3_off, (first_id + index) & 0xFFFF)
        expected[whole.l3_off + 10 : whole.l3_off + 12] = frame[whole.l3_off + 10 : whole.l3_off + 12]
    else:
        struct.pack_into(">H", expected, whole.l3_off + 4, len(frame) - whole.l3_off - 40)
    if is_tcp:
        seq = int.from_bytes(expected[whole.l4_off + 4 :][:4], "big") + index * whole.mss
        struct.pack_into(">I", expected, whole.l4_off + 4, seq & 0xFFFFFFFF)
        expected[whole.l4_off + 13] &= (0xFF if index == 0 else ~0x80) & (0xFF if index == count - 1 else ~0x09)
    else:
        struct.pack_into(">H", expected, whole.l4_off + 4, len(frame) - whole.l4_off)
    expected[whole.csum_at : whole.csum_at + 2] = frame[whole.csum_at : whole.csum_at + 2]
    assert frame[: whole.hdr_len] == expected
    assert checksum_holds(frame, whole.l3_off, whole.l4_off, 6 if is_tcp else 17)


@settings(max_examples=300, deadline=None)
@given(header=st.binary(min_size=12, max_size=12), frame=st.binary(min_size=14, max_size=200))
def test_any_header_on_any_frame_gets_a_verdict(header: bytes, frame: bytes) -> None:
    assert_safe(header, frame)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(whole=super_frames, data=st.data())
def test_a_damaged_super_frame_gets_a_verdict(whole: SuperFrame, data: st.DataObject) -> None:
    header, frame = bytearray(whole.vnet), bytearray(whole.frame[: whole.hdr_len + 40])
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from([header, frame]))
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    assert_safe(bytes(header), bytes(frame[: data.draw(st.integers(14, len(frame)))]))


def assert_safe(header: bytes, frame: bytes) -> None:
    """What is believed stays inside the frame, and can be finished and cut up."""
    kind, info = probe.check(header, frame)
    start, offset = struct.unpack_from("<HH", header, 6)
    if kind == probe.PARTIAL:
        assert start >= 34 and start + offset + 2 <= len(frame)
        assert len(probe.complete(frame, start, offset)) == len(frame)
    elif kind == probe.GSO:
        assert 14 <= info["l3_off"] < info["l4_off"] < info["hdr_len"] <= len(frame)
        segments = probe.segment(header, frame)
        assert segments is None or b"".join(f[info["hdr_len"] :] for _, f in segments) == frame[info["hdr_len"] :]
