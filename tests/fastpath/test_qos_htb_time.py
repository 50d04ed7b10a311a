"""htb while the tree changes, and with a scheduler that comes late."""

from __future__ import annotations

import pytest

from tests.qos_model import Packet
from tests.qosboard import Board, FastPort, packet, streams
from tests.qostrees import BURST, MAJOR, MBIT, MS, SECOND, cls, htb, pfifo, tree
from vswitch.qos.view import TreeView

FULL = 1514


def changed(view: TreeView, **what) -> TreeView:
    """The same with other parameters for the last class."""
    root = view.qdiscs[0]
    classes = (*root.classes[:-1], root.classes[-1]._replace(**what))
    return view._replace(qdiscs=(root._replace(classes=classes), *view.qdiscs[1:]))


def test_a_class_that_changes_keeps_its_queue() -> None:
    view = tree(htb([cls(10, MBIT)], default=10))
    board = Board(FastPort(view))
    for label in range(100):
        board.offer(Packet(label, payload=1446))
    board.run(board.now + 240 * MS)
    before = len(board.sent)
    faster = cls(10, 4 * MBIT)
    board.port.probe.change(changed(view, rate=faster.rate, ceil=faster.ceil))
    start = board.now
    board.run(board.now + SECOND)
    board.check()
    assert [one.label for one in board.sent] == list(range(100))
    assert board.sent[-1].at - start == pytest.approx((100 - before) * 1500 * 8 * SECOND / (4 * MBIT), rel=0.05)


def test_a_class_that_goes_loses_what_it_held_by_name() -> None:
    view = tree(htb([cls(1, MBIT), cls(10, MBIT, parent=1), cls(11, MBIT, parent=1)]))
    board = Board(FastPort(view))
    for label in range(20):
        board.offer(Packet(label, class_id=MAJOR | 10 + label % 2))
    gone = len(board.serve())
    root = view.qdiscs[0]
    less = view._replace(qdiscs=(root._replace(classes=root.classes[:2]), view.qdiscs[1]))
    board.port.probe.change(less)
    board.check()
    assert board.port.drops["qdisc_gone"] + board.port.held == 20 - gone
    board.run(board.now + SECOND)
    board.check()
    assert board.port.held == 0
    assert all(one.label % 2 == 0 for one in board.sent[gone:])


def test_another_root_takes_nothing_over() -> None:
    board = Board(FastPort(tree(htb([cls(10, MBIT)], default=10))))
    for label in range(20):
        board.offer(Packet(label))
    gone = len(board.serve())
    other = tree(pfifo(10))
    other = other._replace(qdiscs=(other.qdiscs[0]._replace(serial=1000),))
    board.port.probe.change(other)
    board.port.tree = other
    assert board.port.drops == {"qdisc_gone": 20 - gone}
    board.offer(Packet(100))
    assert [one.label for one in board.serve()] == [100]
    board.check()


# Lateness

@pytest.mark.parametrize(
    "late_ns, rate", [(MS // 10, 100 * MBIT), (MS, 100 * MBIT), (5 * MS, 20 * MBIT), (9 * MS, 2 * MBIT)]
)
def test_a_late_scheduler_costs_no_rate(late_ns: int, rate: int) -> None:
    """Whoever waited gets what it would have had; tc's burst alone would let most of it pass unused."""
    board = Board(FastPort(tree(htb([cls(10, rate)], default=10))))
    stream = streams([packet(payload=1460)])[0]
    sent = 0
    for _ in range(800):
        while board.offered - len(board.sent) < 500:
            board.offer(stream.next())
        sent += sum(one.wire for one in board.serve())
        board.now += late_ns
    assert sent * 8 * SECOND / (800 * late_ns) == pytest.approx(rate, rel=0.01)


def test_lateness_is_made_up_for_to_ten_milliseconds_only() -> None:
    board = Board(FastPort(tree(htb([cls(10, 100 * MBIT)], default=10))))
    for label in range(900):
        board.offer(Packet(label, payload=1446))
    board.serve()
    board.now += SECOND
    assert sum(one.wire for one in board.serve()) <= 100 * MBIT // 8 // 100 + BURST + 2 * FULL


def test_idleness_is_not_lateness() -> None:
    """A class that had nothing to send has its burst and no more."""
    board = Board(FastPort(tree(htb([cls(10, 100 * MBIT)], default=10))))
    for label in range(3):
        board.offer(Packet(label, payload=1446))
    board.run(board.now + 10 * MS)
    assert board.port.held == 0
    board.now += SECOND
    for label in range(3, 50):
        board.offer(Packet(label, payload=1446))
    assert sum(one.wire for one in board.serve()) <= BURST + FULL
