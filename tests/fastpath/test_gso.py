"""gso.pxd: super-frames in, segments out, each compared byte for byte with what scapy builds."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.layers.l2 import Ether

from tests.gso_model import (
    IP6, NEEDS_CSUM, SERVICE_VLAN, TCP_DATA, UDP_DATA, VLAN, SuperFrame, expected_segments, ones_sum, payload,
    super_frame, vnet,
)

probe = pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")


def tcp(flags: str, **fields: int) -> TCP:
    """TCP_DATA with other flags and fields."""
    header = TCP_DATA.copy()
    header.flags = flags
    for name, value in fields.items():
        setattr(header, name, value)
    return header


def whole_frames(whole: SuperFrame, **options: object) -> list[bytes]:
    """The segments without their virtio-net headers."""
    return [frame for _, frame in probe.segment(whole.vnet, whole.frame, **options)]


ROUTED = IP6 / IPv6ExtHdrRouting(addresses=["fd00::9", "fd00::a"], segleft=2)
OPTIONS = IP(src="10.0.0.1", dst="10.0.0.2", id=7, tos=0xB8, ttl=3, options=[b"\x94\x04\0\0"])
CASES = [
    ("TCP over IPv4", super_frame(payload(4000), 1448)),
    ("TCP over IPv6", super_frame(payload(4000), 1428, ip=IP6)),
    ("UDP over IPv4", super_frame(payload(4000), 1400, l4=UDP_DATA)),
    ("UDP over IPv6", super_frame(payload(4000), 1400, ip=IP6, l4=UDP_DATA)),
    ("802.1Q", super_frame(payload(4000), 1448, tags=(VLAN,))),
    ("802.1ad over 802.1Q", super_frame(payload(4000), 1428, ip=IP6, tags=(SERVICE_VLAN, VLAN))),
    ("an odd MSS", super_frame(payload(4001), 1447)),
    ("an odd last segment of one byte", super_frame(payload(2897), 1448)),
    ("payload an exact multiple", super_frame(payload(2896), 1448)),
    ("payload of exactly one segment", super_frame(payload(1448), 1448, l4=tcp("FPCA"))),
    ("payload below one segment", super_frame(payload(5), 1448, l4=tcp("FPCA"))),
    ("no payload", super_frame(b"", 1448, l4=tcp("FA"))),
    ("FIN, PSH and CWR", super_frame(payload(4000), 1000, l4=tcp("FPCA"))),
    ("every other flag stays", super_frame(payload(4000), 1000, l4=tcp("SRUENA", urgptr=9))),
    ("sequence numbers wrap", super_frame(payload(4000), 1000, l4=tcp("A", seq=0xFFFFF800))),
    ("identifications wrap", super_frame(payload(4000), 1000, ip=IP(src="1.2.3.4", dst="5.6.7.8", id=0xFFFE))),
    ("IPv4 options", super_frame(payload(4000), 1448, ip=OPTIONS)),
    ("no TCP options", super_frame(payload(4000), 1448, l4=TCP(flags="A", seq=1))),
    ("extension headers", super_frame(payload(4000), 1400, ip=IP6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt())),
    ("a routing header", super_frame(payload(4000), 1400, ip=ROUTED)),
    ("the smallest MSS", super_frame(payload(100), 8)),
    ("the longest packet", super_frame(payload(65535 - 52), 8948)),
    ("a payload of zeros", super_frame(bytes(4000), 1448, l4=UDP_DATA)),
]


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_segments_are_what_scapy_builds(whole: SuperFrame) -> None:
    segments = probe.segment(whole.vnet, whole.frame)
    assert [frame for _, frame in segments] == expected_segments(whole)
    assert {header for header, _ in segments} == {vnet()}


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_checksums_left_to_the_port_complete_to_the_same(whole: SuperFrame) -> None:
    segments = probe.segment(whole.vnet, whole.frame, leave_checksum=True)
    offset = whole.csum_at - whole.l4_off
    assert {header for header, _ in segments} == {vnet(NEEDS_CSUM, csum_start=whole.l4_off, csum_offset=offset)}
    done = [probe.complete(frame, whole.l4_off, offset) for _, frame in segments]
    assert done == expected_segments(whole)


def test_tcp_flags_by_place() -> None:
    segments = whole_frames(super_frame(payload(3000), 1000, l4=tcp("FPCEA")))
    assert [str(Ether(frame)[TCP].flags) for frame in segments] == ["AEC", "AE", "FPAE"]


def test_a_complete_checksum_in_the_super_frame_is_not_needed() -> None:
    whole = super_frame(payload(4000), 1448, ip=IP6)
    merged = SuperFrame(vnet(0, whole.vnet[1], 0, 1448), whole.frame, *(14, whole.l4_off, whole.hdr_len, 1448))
    assert whole_frames(merged) == expected_segments(whole)


def test_a_computed_zero_is_sent_as_ones_in_udp() -> None:
    whole = super_frame(payload(1400) + bytes(1400), 1400, l4=UDP_DATA)
    check = whole_frames(whole)[1][whole.csum_at :][:2]
    cancelling = whole.patched(whole.hdr_len + 1400, check)
    second = whole_frames(cancelling)[1]
    assert second[whole.csum_at :][:2] == b"\xff\xff"
    assert second == expected_segments(cancelling)[1]


def test_the_headers_may_come_from_elsewhere() -> None:
    untagged, tagged = super_frame(payload(4000), 1448), super_frame(payload(4000), 1448, tags=(VLAN,))
    other = tagged.frame[: tagged.hdr_len]
    assert whole_frames(untagged, other_header=other) == expected_segments(tagged)


def test_the_super_frame_says_its_ipv4_checksum_wrongly_and_the_segments_rightly() -> None:
    whole = super_frame(payload(4000), 1448).patched(14 + 10, b"\xde\xad")
    for frame in whole_frames(whole):
        assert ones_sum(frame[14:34]) == 0xFFFF


WIDE = IP6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(148))])  # 14 + 40 + 152 + 20 + 12 bytes of headers
WIDER = IP6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(172))])
MALFORMED = [
    ("headers of 262 bytes", super_frame(payload(4000), 1000, ip=WIDER)),
    ("an MSS of 7", super_frame(payload(100), 7)),
    ("2049 segments", super_frame(payload(2048 * 16 + 1), 16)),
]


@pytest.mark.parametrize("whole", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_super_frames_beyond_the_limits_are_malformed(whole: SuperFrame) -> None:
    assert probe.segment(whole.vnet, whole.frame) is None


def test_super_frames_at_the_limits_are_not() -> None:
    assert len(whole_frames(super_frame(payload(2048 * 16), 16))) == 2048
    assert whole_frames(super_frame(payload(4000), 1000, ip=WIDE)) == expected_segments(
        super_frame(payload(4000), 1000, ip=WIDE)
    )


def test_what_is_no_super_frame_does_not_come_this_far() -> None:
    with pytest.raises(ValueError, match="not a super-frame"):
        probe.segment(vnet(), super_frame(payload(100), 1448).frame)
