"""What disciplines and classes count of themselves: the numbers behind `tc -s` and the metrics."""

from __future__ import annotations

import pytest

from tests.qos_model import Packet
from tests.qosboard import Board, FastPort
from tests.qostrees import KBIT, MAJOR, MBIT, MS, SECOND, cls, htb, pfifo, prio, sfq, tbf, tree

WIRE = 1000  # bytes of an ordinary packet


def in_class(label: int, minor: int) -> Packet:
    return Packet(label, class_id=MAJOR | minor)


def two_classes() -> Board:
    classes = [cls(1, MBIT), cls(10, 400 * KBIT, MBIT, parent=1, leaf=pfifo(5)),
               cls(11, 600 * KBIT, MBIT, parent=1, leaf=pfifo(50))]
    return Board(FastPort(tree(htb(classes))))


def test_every_level_counts_what_passes() -> None:
    board = two_classes()
    for label in range(30):
        board.offer(in_class(label, 11))
    board.run(board.now + SECOND)
    for stats in board.port.stats(), board.port.class_stats(1), board.port.class_stats(11), board.port.stats(2):
        assert (stats.bytes, stats.packets, stats.qlen, stats.backlog, stats.drops) == (30 * WIRE, 30, 0, 0, 0)
    assert board.port.class_stats(10).packets == 0


def test_what_waits_is_backlog_at_every_level() -> None:
    board = two_classes()
    for label in range(20):
        board.offer(in_class(label, 11))
    left = 20 - len(board.serve())
    for stats in board.port.stats(), board.port.stats(2):
        assert (stats.qlen, stats.backlog) == (left, left * WIRE)


def test_drops_are_counted_up_to_the_root() -> None:
    board = two_classes()
    for label in range(12):
        board.offer(in_class(label, 10))
    dropped = 12 - 5
    assert board.port.drops == {"qdisc_limit": dropped}
    for stats in board.port.stats(), board.port.class_stats(10), board.port.stats(1):
        assert stats.drops == dropped
    assert board.port.class_stats(11).drops == 0


def test_a_frame_dropped_for_another_is_counted_too() -> None:
    """sfq takes it from a flow that it has queued: the class above must know."""
    board = Board(FastPort(tree(htb([cls(10, MBIT, leaf=sfq(limit=4))], default=10))))
    for label in range(10):
        board.offer(Packet(label, flow=label % 3))
    stats = board.port.stats(1)
    assert (stats.qlen, stats.backlog, stats.drops) == (4, 4 * WIRE, 6)
    root = board.port.stats()
    assert (root.qlen, root.backlog, root.drops) == (4, 4 * WIRE, 6)
    board.run(board.now + SECOND)
    board.check()


def test_lent_and_borrowed() -> None:
    """Each packet is lent once, by the class that it is charged to, and borrowed by all below that."""
    board = two_classes()
    for label in range(50):
        board.offer(in_class(label, 11))
    board.run(board.now + SECOND)
    parent, own = board.port.class_stats(1).extra, board.port.class_stats(11).extra
    assert own[0] + parent[0] == 50
    assert own[1] == parent[0] > 0
    assert parent[1] == 0


def test_tokens_are_nanoseconds() -> None:
    board = two_classes()
    board.offer(in_class(1, 11))
    board.serve()
    tokens, ctokens = board.port.class_stats(11).extra[2:4]
    assert tokens == pytest.approx((1600 - WIRE) * 8 * SECOND / (600 * KBIT), abs=2)
    assert ctokens == pytest.approx((1600 - WIRE) * 8 * SECOND / MBIT, abs=2)


def test_overlimits_of_a_bucket() -> None:
    board = Board(FastPort(tree(tbf(MBIT, 1600, pfifo(100)))))
    for label in range(10):
        board.offer(Packet(label))
    board.run(board.now + SECOND)
    assert board.port.stats().overlimits >= 9  # each but the first has waited


def test_delays() -> None:
    """How long packets waited, by powers of two of a microsecond."""
    board = Board(FastPort(tree(prio(pfifo(10), pfifo(10), pfifo(10)))))
    for waits_us in (0, 1, 3, 1000, 100_000):
        board.offer(Packet(waits_us, tos=0))
        board.now += waits_us * 1000
        board.serve()
    delays = board.port.stats(2).delays
    assert sum(delays) == 5
    assert [place for place, n in enumerate(delays) if n] == [0, 1, 2, 10, 17]
    assert 2**10 > 1000 >= 2**9 and 2**17 > 100_000 >= 2**16


def test_time_alone_changes_no_count() -> None:
    board = two_classes()
    board.offer(in_class(1, 10))
    board.run(board.now + 10 * MS)
    before = board.port.stats()
    board.run(board.now + SECOND)
    assert board.port.stats() == before
