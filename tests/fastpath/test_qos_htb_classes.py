"""Which class of htb takes a packet, what leaves unshaped, and which disciplines may be leaves."""

from __future__ import annotations

import pytest

from tests.htbboard import loaded, of_stream, rates, seed
from tests.qos_model import Packet
from tests.qosboard import Board, FastPort, packet
from tests.qostrees import (
    KBIT, MAJOR, MBIT, SECOND, bfifo, by_mark, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq, tbf, tree,
)
from vswitch.qos.view import TreeView

FULL = 1514
FAIR = 0.01


def where(view: TreeView, offered: Packet) -> int | None:
    """The minor number of the class that takes a packet; None: it leaves unshaped."""
    board = Board(FastPort(view))
    offered.label = 1
    assert board.offer(offered) is None
    assert len(board.serve()) == 1
    taken = [member.class_id & 0xFFFF for qdisc in view.qdiscs for member in qdisc.classes
             if member.leaf is not None and board.port.probe.stats(member.serial).packets]
    return taken[0] if taken else None


@pytest.mark.parametrize("offered, default, expected", [
    (packet(), 12, 12),
    (packet(), 0, None),
    (packet(), 1, None),  # not a leaf
    (packet(), 77, None),  # not there
    (packet(class_id=MAJOR), 12, None),  # the discipline itself
    (packet(class_id=MAJOR | 10), 12, 10),
    (packet(class_id=MAJOR | 77), 12, 12),
    (packet(class_id=2 << 16 | 10), 12, 12),
    (packet(class_id=MAJOR | 1), 12, 12),  # an inner class without filters
    (packet(mark=1), 12, 11),
    (packet(mark=2), 12, None),  # a filter to the discipline itself
    (packet(mark=3), 12, 12),  # ... to a class that is not there
    (packet(mark=4), 12, 10),  # ... to an inner class, whose filters go on
    (packet(mark=5), 12, 12),  # ... where none of them matches
    (packet(mark=1, class_id=MAJOR | 10), 12, 10),  # CLASSIFY comes first
])
def test_classification(offered: Packet, default: int, expected: int | None) -> None:
    filters = (by_mark(1, MAJOR | 11), by_mark(1, MAJOR | 10), by_mark(2, MAJOR), by_mark(3, MAJOR | 77),
               by_mark(4, MAJOR | 1), by_mark(5, MAJOR | 1))
    inner = cls(1, MBIT, filters=(by_mark(4, MAJOR | 10),))
    classes = [inner, *(cls(minor, 100 * KBIT, MBIT, parent=1) for minor in (10, 11, 12))]
    assert where(tree(htb(classes, default=default, filters=filters)), offered) == expected


def test_what_no_class_wants_leaves_at_once_and_first() -> None:
    board = Board(FastPort(tree(htb(seed(), direct_limit=3))))
    for label in range(5):
        board.offer(Packet(label, class_id=MAJOR | 11))
    names = [board.offer(Packet(100 + label)) for label in range(5)]
    assert names == [None, None, None, "qdisc_limit", "qdisc_limit"]
    assert [one.label for one in board.serve(4)][:3] == [100, 101, 102]
    board.run(board.now + SECOND)
    board.check()
    assert board.port.drops == {"qdisc_limit": 2}


# Leaves

LEAVES = {
    "pfifo": pfifo(50), "bfifo": bfifo(80000), "pfifo_fast": pfifo_fast(50), "sfq": sfq(100, quantum=FULL),
    "prio": prio(pfifo(50), pfifo(50), pfifo(50)), "tbf": tbf(20 * MBIT, 5000, pfifo(50)),
    "fq_codel": fq_codel(target_ns=SECOND), "htb": htb([cls(7, 20 * MBIT)], default=7, handle=9 << 16),
}


@pytest.mark.parametrize("kind", LEAVES)
def test_any_discipline_may_be_a_leaf(kind: str) -> None:
    classes = [cls(1, 10 * MBIT), cls(10, 3 * MBIT, 10 * MBIT, parent=1, leaf=LEAVES[kind]),
               cls(11, 7 * MBIT, 10 * MBIT, parent=1)]
    board = loaded(classes, [10, 11], 4)
    assert rates(board, 2) == pytest.approx([3 * MBIT, 7 * MBIT], rel=FAIR)
    assert [one.label for one in of_stream(board, 0)] == sorted(one.label for one in of_stream(board, 0))


def test_a_leaf_that_holds_back_keeps_nobody_waiting() -> None:
    """tbf below htb: its class stands aside until the bucket has tokens, and gets its turn again then."""
    classes = [cls(1, 10 * MBIT), cls(10, 5 * MBIT, 10 * MBIT, parent=1, leaf=tbf(2 * MBIT, 3000, pfifo(50))),
               cls(11, 5 * MBIT, 10 * MBIT, parent=1)]
    assert rates(loaded(classes, [10, 11], 4), 2) == pytest.approx([2 * MBIT, 8 * MBIT], rel=FAIR)
