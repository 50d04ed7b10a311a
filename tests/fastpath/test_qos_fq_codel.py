"""fq_codel by example: fairness, CoDel's pace of drops, marks instead of drops, limits that the fattest pays for."""

from __future__ import annotations

import math

import pytest

from tests.gso_model import ones_sum
from tests.qos_model import Packet, Port
from tests.qos_model.packet import HEADERS
from tests.qosboard import STREAM_SHIFT, VNET_BYTES, Board, FastPort, bytes_by_stream, jain, packet, saturate, streams
from tests.qostrees import MBIT, MS, SECOND, Node, cls, fq_codel, htb, tbf, tree

NEVER = 1000 * SECOND
FLOWS = 32
ECT0, CE = 2, 3


def patient(**what) -> Node:
    """Without the CoDel part."""
    return fq_codel(target_ns=NEVER, interval_ns=NEVER, **what)


def offer(board: Board, flow: int, n: int, since: int = 0, payload: int = 946) -> list[str | None]:
    return [board.offer(Packet(flow << STREAM_SHIFT | since + i, flow=flow, payload=payload)) for i in range(n)]


@pytest.mark.parametrize("shaper", ["none", "tbf", "htb"])
def test_thirty_two_flows_are_served_alike(shaper: str) -> None:
    leaf = patient()
    nodes = {"none": leaf, "tbf": tbf(10 * MBIT, 3000, leaf), "htb": htb([cls(10, 10 * MBIT, leaf=leaf)], default=10)}
    board = Board(FastPort(tree(nodes[shaper])))
    load = streams(packet(flow=number, payload=10 + 1450 * number // (FLOWS - 1)) for number in range(FLOWS))
    saturate(board, load, board.now + 100 * SECOND, most=8000)
    shares = bytes_by_stream(board.sent)
    assert jain([shares[number] for number in range(FLOWS)]) >= 0.995
    board.check()


def test_a_new_flow_goes_before_old_ones() -> None:
    board = Board(FastPort(tree(patient())))
    offer(board, 1, 20)
    offer(board, 2, 20)
    board.serve(10)
    offer(board, 3, 1)
    assert [one.stream for one in board.serve(1)] == [3]
    board.check()


# CoDel

def congested(port: FastPort | Port, seconds: int = 6, tos: int = 0) -> Board:
    """One flow of twice what a link of 4 Mbit/s takes: 1,000 bytes in each millisecond, out each other one."""
    board = Board(port)
    for tick in range(seconds * 1000):
        board.offer(Packet(tick, tos=tos))
        if tick % 2:
            board.serve(1)
        board.now += MS
    return board


def times_of_drops(board: Board) -> list[int]:
    """When packets went missing, as far as the order of what left tells: the time of the next that left."""
    times, expected = [], 0
    for one in board.sent:
        times += [one.at] * (one.label - expected)
        expected = one.label + 1
    return times


def test_the_pace_of_drops() -> None:
    """First after an interval above the target, then each interval / sqrt(count) after the one before."""
    board = congested(FastPort(tree(fq_codel(ecn=False))))
    board.check()
    times = times_of_drops(board)
    assert board.port.drops["qdisc_codel"] == len(times) > 50
    for count, (earlier, later) in enumerate(zip(times[:40], times[1:41], strict=True), start=1):
        newton = 0.3 if 1 < count < 5 else 0.02  # 1 / sqrt(2) is a bad guess, made better by one step at a time
        law = 100 * MS / math.sqrt(count)
        assert later - earlier == pytest.approx(law, abs=2 * MS + newton * law)


def test_the_model_drops_the_same() -> None:
    """Whatever the flow does, of one flow all is the same to the packet."""
    for ecn, tos in (False, 0), (True, 0), (True, ECT0):
        boards = [congested(port(tree(fq_codel(ecn=ecn))), tos=tos) for port in (FastPort, Port)]
        assert boards[0].sent == boards[1].sent
        assert boards[0].port.drops == boards[1].port.drops


def test_a_short_queue_is_left_alone() -> None:
    """Delay within the target, or no more than one frame waiting."""
    board = Board(FastPort(tree(fq_codel())))
    for tick in range(3000):
        board.offer(Packet(2 * tick))
        board.offer(Packet(2 * tick + 1))
        board.now += 2 * MS
        board.serve()
    assert board.port.drops == {}
    for tick in range(3000):
        board.offer(Packet(10**5 + tick))
        board.now += 50 * MS
        board.serve()
    assert board.port.drops == {}


def test_marks_instead_of_drops() -> None:
    board = congested(FastPort(tree(fq_codel())), seconds=3, tos=ECT0)
    board.check()
    assert board.port.drops == {}
    marked = [one for one in board.sent if one.tos & 3 == CE]
    assert len(marked) > 20
    assert board.port.stats().extra[3] == len(marked)
    for item in board.port.items:
        assert ones_sum(item[VNET_BYTES + 14 : VNET_BYTES + 34]) == 0xFFFF


def test_who_does_not_know_ecn_is_dropped() -> None:
    board = congested(FastPort(tree(fq_codel())), seconds=3)
    assert board.port.drops["qdisc_codel"] > 20
    assert all(one.tos == 0 for one in board.sent)


def test_ce_threshold() -> None:
    """Whatever has waited longer is marked, whatever CoDel thinks."""
    board = Board(FastPort(tree(patient(ce_threshold_ns=5 * MS))))
    for label in range(20):
        board.offer(Packet(label, tos=ECT0))
        board.now += MS
    sent = board.serve()
    assert [one.tos & 3 for one in sent] == [CE] * 15 + [ECT0] * 5  # the first waited 20 ms, the last 1
    assert board.port.stats().extra[6] == 15


# Limits

def test_the_fattest_flow_pays_for_the_limit() -> None:
    """Half of what it has, from its head."""
    board = Board(FastPort(tree(patient(limit=40, drop_batch=64))))
    offer(board, 1, 30)
    offer(board, 2, 10)
    assert offer(board, 3, 1) == ["qdisc_limit"]  # the first flow's
    assert board.port.drops == {"qdisc_limit": 15}
    assert board.port.stats().extra[1] == 15
    board.check()
    kept = [one.label for one in board.serve() if one.stream == 1]
    assert kept == [1 << STREAM_SHIFT | i for i in range(15, 30)]


def test_fat_is_in_bytes() -> None:
    board = Board(FastPort(tree(patient(limit=30))))
    offer(board, 1, 20, payload=10)
    offer(board, 2, 10, payload=1400)
    offer(board, 3, 1)
    board.check()
    kept = [one.stream for one in board.serve()]
    assert kept.count(1) == 20 and kept.count(2) == 5


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_batch_bounds_what_goes_at_once(batch: int) -> None:
    board = Board(FastPort(tree(patient(limit=100, drop_batch=batch))))
    offer(board, 1, 101)
    assert board.port.drops == {"qdisc_limit": min(batch, 51)}
    board.check()


def test_a_lone_packet_pays_itself() -> None:
    board = Board(FastPort(tree(patient(limit=0))))
    assert offer(board, 1, 3) == ["qdisc_limit"] * 3
    assert board.serve() == []
    board.check()


def test_memory_limit() -> None:
    board = Board(FastPort(tree(patient(memory_limit=200_000))))
    for flow in range(4):
        offer(board, flow, 100, payload=1446)
        assert board.port.stats().extra[7] <= 200_000
    board.check()
    stats = board.port.stats()
    assert stats.extra[8] == board.port.drops["qdisc_limit"] > 0
    assert stats.backlog <= 200_000
    board.serve()
    assert board.port.stats().extra[7] == 0


def test_statistics() -> None:
    board = Board(FastPort(tree(patient())))
    for flow in range(5):
        offer(board, flow, 3)
    extra = board.port.stats().extra
    assert (extra[2], extra[4], extra[5]) == (5, 5, 0)  # new flows ever; on the new list; on the old one
    board.serve(12)
    assert board.port.stats().extra[4:6] != (0, 0)
    board.serve()
    assert board.port.stats().qlen == board.port.stats().backlog == 0
    assert board.port.stats().packets == 15
    assert board.port.stats().bytes == 15 * (946 + HEADERS)
