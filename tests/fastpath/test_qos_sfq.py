"""sfq by example: fairness among flows of unequal packets, who gives way where room is short, a change of hash."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.qos_model import Packet
from tests.qosboard import STREAM_SHIFT, Board, FastPort, bytes_by_stream, jain, packet, saturate, streams
from tests.qostrees import MAJOR, MBIT, SECOND, cls, htb, sfq, tbf, tree

FLOWS = 32
FULL = 1514


def unequal(n: int = FLOWS) -> list[Packet]:
    """Flows of packets from 64 to 1514 bytes."""
    return [packet(flow=number, payload=10 + 1450 * number // (n - 1)) for number in range(n)]


def test_thirty_two_flows_are_served_alike() -> None:
    board = Board(FastPort(tree(sfq(limit=1000, quantum=FULL))))
    saturate(board, streams(unequal()), board.now, most=20000)
    shares = bytes_by_stream(board.sent)
    assert jain([shares[number] for number in range(FLOWS)]) >= 0.995
    board.check()


def test_no_flow_is_ahead_by_more_than_a_turn() -> None:
    board = Board(FastPort(tree(sfq(limit=1000, quantum=2000))))
    saturate(board, streams(unequal(8)), board.now, most=2000)
    served: Counter[int] = Counter()
    for one in board.sent:
        served[one.stream] += one.wire
        if len(served) == 8:
            assert max(served.values()) - min(served.values()) <= 2 * 2000 + FULL


@pytest.mark.parametrize("shaper", ["tbf", "htb"])
def test_behind_a_shaper(shaper: str) -> None:
    leaf = sfq(limit=1000, quantum=FULL)
    node = tbf(10 * MBIT, 3000, leaf) if shaper == "tbf" else htb([cls(10, 10 * MBIT, leaf=leaf)], default=10)
    board = Board(FastPort(tree(node)))
    saturate(board, streams(unequal()), board.now + 4 * SECOND)
    shares = bytes_by_stream(board.sent)
    assert jain([shares[number] for number in range(FLOWS)]) >= 0.995
    board.check()


def test_order_within_each_flow() -> None:
    board = Board(FastPort(tree(sfq(limit=1000))))
    saturate(board, streams(unequal()), board.now, most=3000)
    for number in range(FLOWS):
        labels = [one.label for one in board.sent if one.stream == number]
        assert labels == sorted(labels)


def offer(board: Board, flow: int, n: int, since: int = 0) -> list[str | None]:
    return [board.offer(Packet(flow << STREAM_SHIFT | since + i, flow=flow)) for i in range(n)]


def held_by_flow(board: Board) -> dict[int, list[int]]:
    held: dict[int, list[int]] = {}
    for one in board.serve():
        held.setdefault(one.stream, []).append(one.label & 0xFFFF)
    return held


@pytest.mark.parametrize("headdrop", [False, True])
def test_depth_bounds_each_flow(headdrop: bool) -> None:
    board = Board(FastPort(tree(sfq(limit=100, depth=5, headdrop=headdrop))))
    names = offer(board, 1, 8)
    assert names == [None] * 5 + ["qdisc_limit"] * 3
    offer(board, 2, 2)
    assert board.port.drops == {"qdisc_limit": 3}
    board.check()
    assert held_by_flow(board) == {1: [3, 4, 5, 6, 7] if headdrop else [0, 1, 2, 3, 4], 2: [0, 1]}


@pytest.mark.parametrize("headdrop", [False, True])
def test_a_full_queue_takes_from_the_longest(headdrop: bool) -> None:
    board = Board(FastPort(tree(sfq(limit=20, headdrop=headdrop))))
    offer(board, 1, 12)
    offer(board, 2, 5)
    offer(board, 3, 3)
    assert offer(board, 3, 4, since=3) == ["qdisc_limit"] * 4  # the first flow pays
    assert board.port.drops == {"qdisc_limit": 4}
    board.check()
    kept = list(range(4, 12)) if headdrop else list(range(8))
    assert held_by_flow(board) == {1: kept, 2: [0, 1, 2, 3, 4], 3: [0, 1, 2, 3, 4, 5, 6]}


def test_the_longest_pays_for_itself() -> None:
    board = Board(FastPort(tree(sfq(limit=10))))
    offer(board, 1, 8)
    offer(board, 2, 2)
    assert offer(board, 1, 3, since=8) == ["qdisc_limit"] * 3
    board.check()


def test_flows_bounds_how_many_are_active() -> None:
    board = Board(FastPort(tree(sfq(limit=100, flows=4))))
    names = [offer(board, flow, 1)[0] for flow in range(8)]
    assert names == [None] * 4 + ["qdisc_limit"] * 4
    board.serve()
    assert offer(board, 9, 1) == [None]
    board.check()


def test_a_divisor_of_one_knows_one_flow() -> None:
    board = Board(FastPort(tree(sfq(limit=100, divisor=1, depth=10))))
    assert [offer(board, flow, 1)[0] for flow in range(12)] == [None] * 10 + ["qdisc_limit"] * 2
    assert [one.stream for one in board.serve()] == list(range(10))


def test_a_small_divisor_shares_slots() -> None:
    board = Board(FastPort(tree(sfq(limit=1000, divisor=4))))
    saturate(board, streams(packet(flow=number) for number in range(64)), board.now, most=6400)
    shares = sorted(bytes_by_stream(board.sent).values())
    assert shares[0] < shares[-1]  # 64 flows in four slots: those with fewer beside them have more
    board.check()


def test_classify_chooses_the_flow() -> None:
    board = Board(FastPort(tree(sfq(limit=100, depth=3, divisor=1024, handle=MAJOR))))
    names = [board.offer(Packet(label, flow=label, class_id=MAJOR | 5)) for label in range(5)]
    assert names == [None] * 3 + ["qdisc_limit"] * 2


def test_another_hash_keeps_what_waits_and_its_order() -> None:
    board = Board(FastPort(tree(sfq(limit=2000, perturb_ns=SECOND))))
    for round_ in range(20):
        for flow in range(FLOWS):
            offer(board, flow, 2, since=2 * round_)
        board.serve(FLOWS)
        board.now += SECOND // 3
    board.serve()
    board.check()
    assert board.port.drops == {}
    for flow in range(FLOWS):
        labels = [one.label for one in board.sent if one.stream == flow]
        assert labels == [flow << STREAM_SHIFT | i for i in range(40)]


def test_perturbation_parts_flows_that_met() -> None:
    """In a hash of four slots two of five flows always share one; over many hashes it is everybody's lot in turn."""
    board = Board(FastPort(tree(sfq(limit=1000, divisor=4, perturb_ns=SECOND, quantum=FULL))))
    load = streams(packet(flow=number) for number in range(5))
    for stream in load:
        for _ in range(4):
            board.offer(stream.next())
    for _ in range(400):
        for _ in range(40):
            for one in board.serve(1):
                board.offer(load[one.stream].next())
        board.now += SECOND + 1
    shares = bytes_by_stream(board.sent)
    assert jain([shares[number] for number in range(5)]) >= 0.98
    board.check()
