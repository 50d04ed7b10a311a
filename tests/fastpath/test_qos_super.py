"""Super-frames in queues: charged by what goes on the wire, queued whole, and taken apart only where the whole would
hold the line for too long. Whatever the parts are, their segments are those of the whole, byte by byte.
"""

from __future__ import annotations

import struct

import pytest

from tests.gso_model import (
    IP6, TCP_DATA, TCPV4, TCPV6, UDP_DATA, VLAN, SuperFrame, checksum_holds, expected_segments, ones_sum, payload,
    super_frame,
)
from tests.qos_model import Packet
from tests.qosboard import START_NS, VNET_BYTES, Board, FastPort, packet, saturate, streams, worst_excess
from tests.qostrees import (
    GBIT, KBIT, MAJOR, MBIT, MS, SECOND, Node, bfifo, cls, fq_codel, htb, pfifo, prio, sfq, tbf, tree,
)

MSS = 1448
FULL = 1514
PEEL_NS = MS
ALL_OFFLOADS, NO_OFFLOADS = 0x1F, 0


def one_class(bits: int, **what) -> Node:
    return htb([cls(10, bits, **what)], default=10)


def super_packet(label: int, segments: int = 45) -> Packet:
    return Packet(label, payload=segments * MSS, mss=MSS)


# What is charged

@pytest.mark.parametrize("kind", ["htb", "tbf"])
@pytest.mark.parametrize("rate", [100 * KBIT, MBIT, 100 * MBIT, GBIT, 10 * GBIT])
def test_rate_by_wire_bytes(kind: str, rate: int) -> None:
    """Three hundred super-frames: the headers of all segments count."""
    node = one_class(rate) if kind == "htb" else tbf(rate, 3000, pfifo(1000))
    board = Board(FastPort(tree(node)))
    duration = 300 * 68000 * 8 * SECOND // rate
    saturate(board, streams([packet(payload=45 * MSS, mss=MSS)]), START_NS + duration)
    board.check()
    first = board.sent[0]
    later = [one for one in board.sent if one.at > START_NS]
    wire = sum(one.wire for one in later[:-1])
    assert wire * 8 * SECOND / (later[-1].at - later[0].at) == pytest.approx(rate, rel=0.005)
    assert first.segments >= 1


@pytest.mark.parametrize(
    "rate, whole", [(GBIT, True), (600 * MBIT, True), (400 * MBIT, False), (100 * MBIT, False), (MBIT, False)]
)
def test_peeled_only_above_a_millisecond(rate: int, whole: bool) -> None:
    """68,000 bytes take a millisecond at 544 Mbit/s."""
    board = Board(FastPort(tree(one_class(rate))))
    for label in range(20):
        board.offer(super_packet(label))
    board.run(board.now + 20 * SECOND)
    board.check()
    segments = {one.segments for one in board.sent}
    if whole:
        assert segments == {45}
    else:
        most = max(1, rate // 8 * PEEL_NS // SECOND // FULL)
        assert max(segments) == most
        assert all(one.wire <= max(FULL, rate // 8 * PEEL_NS // SECOND) for one in board.sent)


def test_a_slow_class_never_holds_the_line() -> None:
    """What a fast class may send goes between the parts of a slow one's super-frame."""
    classes = [cls(1, 100 * MBIT), cls(10, MBIT, parent=1), cls(11, 99 * MBIT, 100 * MBIT, parent=1)]
    board = Board(FastPort(tree(htb(classes))))
    loads = streams([packet(class_id=MAJOR | 10, payload=45 * MSS, mss=MSS), packet(class_id=MAJOR | 11, payload=1000)])
    saturate(board, loads, START_NS + SECOND)
    board.check()
    slow = [one for one in board.sent if one.stream == 0]
    assert {one.segments for one in slow} == {1}
    assert worst_excess(slow, MBIT // 8) <= 1600 + FULL + 1


def test_a_super_frame_counts_as_one_in_limits() -> None:
    board = Board(FastPort(tree(pfifo(3))))
    names = [board.offer(super_packet(label)) for label in range(5)]
    assert names == [None] * 3 + ["qdisc_limit"] * 2
    stats = board.port.stats()
    assert (stats.qlen, stats.drops) == (3, 2)
    assert stats.backlog == 3 * super_packet(0).wire
    board.serve()
    assert (board.port.stats().packets, board.port.stats().bytes) == (3 * 45, 3 * super_packet(0).wire)


def test_bytes_of_all_headers_count_in_limits() -> None:
    board = Board(FastPort(tree(bfifo(2 * super_packet(0).wire))))
    assert [board.offer(super_packet(label)) for label in range(3)] == [None, None, "qdisc_limit"]


def test_a_part_gone_the_rest_still_waits() -> None:
    board = Board(FastPort(tree(one_class(100 * MBIT))))
    board.offer(super_packet(1))
    whole = board.port.stats().backlog
    first = board.serve()
    stats = board.port.stats()
    assert stats.qlen == 1
    assert stats.backlog == whole - sum(one.wire for one in first) > 0
    board.check()
    board.run(board.now + SECOND)
    assert (board.port.held, board.port.stats().backlog) == (0, 0)
    board.check()


def test_tbf_splits_what_never_conforms() -> None:
    board = Board(FastPort(tree(tbf(10 * MBIT, 10000, pfifo(100)))))
    for label in range(10):
        board.offer(super_packet(label))
    board.run(board.now + 10 * SECOND)
    board.check()
    assert board.port.held == 0
    assert max(one.wire for one in board.sent) <= 10000
    assert worst_excess(board.sent, 10 * MBIT // 8) <= 10001


def test_tbf_refuses_segments_that_never_conform() -> None:
    board = Board(FastPort(tree(tbf(10 * MBIT, 1000, pfifo(100)))))
    assert board.offer(super_packet(1)) == "qdisc_oversized"
    assert board.offer(Packet(2, payload=1460)) == "qdisc_oversized"
    assert board.offer(Packet(3, payload=900)) is None
    board.check()


@pytest.mark.parametrize("leaf", [sfq(100), fq_codel(target_ns=1000 * SECOND), prio(pfifo(50), pfifo(50), pfifo(50)),
                                  tbf(20 * MBIT, 5000, pfifo(50))])
def test_parts_from_any_leaf(leaf: Node) -> None:
    board = Board(FastPort(tree(one_class(10 * MBIT, leaf=leaf))))
    for label in range(8):
        board.offer(super_packet(label, segments=20))
    board.run(board.now + 10 * SECOND)
    board.check()
    assert board.port.held == 0
    assert max(one.segments for one in board.sent) == 1
    assert [one.label for one in board.sent] == sorted(one.label for one in board.sent)


def test_parts_of_what_no_class_wants() -> None:
    """Of htb's direct queue, cut by a bucket above."""
    board = Board(FastPort(tree(tbf(10 * MBIT, 4000, htb([cls(10, MBIT)], handle=2 << 16)))))
    for label in range(3):
        board.offer(super_packet(label, segments=20))
    board.run(board.now + SECOND)
    board.check()
    assert board.port.held == 0
    assert max(one.segments for one in board.sent) == 2


# What the parts are

WHOLES = {
    "tcp4": super_frame(payload(30 * MSS + 100), MSS),
    "tcp4 exact": super_frame(payload(10 * MSS), MSS),
    "tcp6": super_frame(payload(25 * MSS + 7), MSS, ip=IP6),
    "tcp4 tagged": super_frame(payload(12 * MSS + 5), MSS, tags=(VLAN,)),
    "udp4": super_frame(payload(20 * 1400 + 33), 1400, l4=UDP_DATA),
    "udp6": super_frame(payload(11 * 1400), 1400, ip=IP6, l4=UDP_DATA),
    "small mss": super_frame(payload(5000), 100),
}
for flags in ("FPA", "CPA"):
    flagged = TCP_DATA.copy()
    flagged.flags = flags
    WHOLES[f"tcp4 {flags}"] = super_frame(payload(20 * MSS + 1), MSS, l4=flagged)


def parts(whole: SuperFrame, rate: int, offloads: int) -> list[bytes]:
    port = FastPort(tree(one_class(rate)), offloads=offloads)
    now = START_NS
    assert port.probe.offer(whole.frame, now, vnet=whole.vnet) is None
    items = port.probe.serve(now)
    while (due := port.due()) is not None:
        items += port.probe.serve(due)
    assert port.held == 0
    return items


def segments_of(item: bytes, whole: SuperFrame) -> list[bytes]:
    """What the device would make of a part: its segments with whole checksums."""
    vnet, frame = item[:VNET_BYTES], item[VNET_BYTES:]
    if vnet[1]:
        size = struct.unpack_from("<H", vnet, 4)[0]
        assert size == whole.mss
        assert (vnet[1] & 0x7F) == (whole.vnet[1] & 0x7F)
        return expected_segments(SuperFrame(vnet, frame, whole.l3_off, whole.l4_off, whole.hdr_len, size))
    if vnet[0] & 1:  # a partial checksum: add up
        start, offset = struct.unpack_from("<HH", vnet, 6)
        total = ones_sum(frame[start:]) ^ 0xFFFF
        frame = frame[: start + offset] + (total or 0xFFFF).to_bytes(2, "big") + frame[start + offset + 2 :]
    return [frame]


@pytest.mark.parametrize("offloads", [ALL_OFFLOADS, NO_OFFLOADS])
@pytest.mark.parametrize("rate", [MBIT, 50 * MBIT, 90 * MBIT, 10 * GBIT])
@pytest.mark.parametrize("name", WHOLES)
def test_parts_make_the_same_segments(name: str, rate: int, offloads: int) -> None:
    """Identifications, sequence numbers, flags, lengths and checksums included."""
    whole = WHOLES[name]
    items = parts(whole, rate, offloads)
    segments = [segment for item in items for segment in segments_of(item, whole)]
    assert segments == expected_segments(whole)
    protocol = 6 if whole.vnet[1] & 0x7F in (TCPV4, TCPV6) else 17
    assert all(checksum_holds(segment, whole.l3_off, whole.l4_off, protocol) for segment in segments)
    if offloads == ALL_OFFLOADS and rate == 50 * MBIT and whole.mss == MSS:
        assert all(len(item) - VNET_BYTES <= 50 * MBIT // 8 // 1000 for item in items)
