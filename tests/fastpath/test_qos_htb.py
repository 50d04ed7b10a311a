"""htb by example, in virtual time: guaranteed rates, borrowing, sharing, priorities, and trees that change meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.qos_model import Packet
from tests.qosboard import (
    START_NS, STREAM_SHIFT, Board, FastPort, Sent, bytes_by_stream, packet, saturate, streams, worst_excess,
)
from tests.qostrees import (
    BURST, GBIT, KBIT, MAJOR, MBIT, MS, SECOND, Cls, Node, bfifo, by_mark, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq,
    tbf, tree,
)
from vswitch.qos.view import TreeView

FULL = 1514
EXACT = 0.005  # of rates
FAIR = 0.01  # of shares of the excess


def in_class(minor: int, payload: int = 1460, **what) -> Packet:
    return packet(class_id=MAJOR | minor, payload=payload, **what)


def loaded(classes: Sequence[Cls], minors: Sequence[int], seconds: float = 4, payloads: Sequence[int] = ()) -> Board:
    """A board on which the classes have been backlogged for so long."""
    board = Board(FastPort(tree(htb(list(classes)))))
    sizes = payloads or [1460] * len(minors)
    loads = streams(in_class(minor, size) for minor, size in zip(minors, sizes, strict=True))
    saturate(board, loads, START_NS + int(seconds * SECOND))
    board.check()
    return board


def rates(board: Board, n: int, settle_ns: int = SECOND // 2) -> list[float]:
    """Bits a second of each stream, without the bursts of the beginning."""
    shares = bytes_by_stream(board.sent, START_NS + settle_ns)
    return [shares[number] * 8 * SECOND / (board.now - START_NS - settle_ns) for number in range(n)]


def of_stream(board: Board, number: int) -> list[Sent]:
    return [one for one in board.sent if one.stream == number]


def seed(default: int = 12) -> list[Cls]:
    """The tree of tc-htb's manual: 100 kbyte a second for 30, 10 and 60."""
    rate, leaves = 800 * KBIT, {10: 240 * KBIT, 11: 80 * KBIT, 12: 480 * KBIT}
    return [cls(1, rate), *(cls(minor, own, rate, parent=1) for minor, own in leaves.items())]


@pytest.mark.parametrize("rate", [100 * KBIT, MBIT, 33 * MBIT, 100 * MBIT])
def test_a_class_keeps_its_rate(rate: int) -> None:
    seconds = 100 * MBIT / rate / 20
    board = loaded([cls(10, rate)], [10], seconds)
    assert rates(board, 1, int(seconds * SECOND / 8)) == pytest.approx([rate], rel=EXACT)
    assert worst_excess(board.sent, rate // 8) <= BURST + FULL + 1


@pytest.mark.parametrize("rate", [GBIT, 2 * GBIT, 10 * GBIT])
def test_a_fast_class_with_super_frames(rate: int) -> None:
    board = Board(FastPort(tree(htb([cls(10, rate)]))))
    duration = SECOND // 10
    saturate(board, streams([in_class(10, 45 * 1448, mss=1448)]), START_NS + duration)
    board.check()
    assert bytes_by_stream(board.sent, START_NS + MS)[0] * 8 * SECOND / (duration - MS) == pytest.approx(rate, rel=EXACT)


def test_everybody_gets_what_is_guaranteed() -> None:
    assert rates(loaded(seed(), [10, 11, 12], 20), 3) == pytest.approx([240 * KBIT, 80 * KBIT, 480 * KBIT], rel=0.02)


@pytest.mark.parametrize("minor", [10, 11, 12])
def test_one_alone_borrows_up_to_its_ceil(minor: int) -> None:
    board = loaded(seed(), [minor], 20)
    assert rates(board, 1) == pytest.approx([800 * KBIT], rel=EXACT)
    stats = board.port.class_stats(minor)
    lended, borrowed = stats.extra[:2]
    assert borrowed > 0 and lended + borrowed == len(board.sent)
    assert board.port.class_stats(1).extra[0] == borrowed


def test_what_one_leaves_goes_to_those_who_want_it() -> None:
    """Equal quanta, so the excess is halved; the guarantees stay."""
    classes = [cls(1, 10 * MBIT), cls(10, 2 * MBIT, 10 * MBIT, parent=1), cls(11, 4 * MBIT, 10 * MBIT, parent=1),
               cls(12, 4 * MBIT, 10 * MBIT, parent=1)]
    got = rates(loaded(classes, [10, 11], 8), 2)
    assert got == pytest.approx([4 * MBIT, 6 * MBIT], rel=FAIR)


@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (1, 3), (2, 5), (1, 10)])
def test_excess_is_shared_by_quantum(weights: tuple[int, int]) -> None:
    """Nearly all of the link is excess. Turns are whole packets: quanta that are multiples of one make it exact."""
    classes = [cls(1, 20 * MBIT)]
    classes += [cls(10 + i, 100 * KBIT, 20 * MBIT, parent=1, quantum=weight * FULL) for i, weight in enumerate(weights)]
    got = rates(loaded(classes, [10, 11], 8), 2)
    excess = [rate - 100 * KBIT for rate in got]
    assert excess[1] / excess[0] == pytest.approx(weights[1] / weights[0], rel=FAIR)
    assert sum(got) == pytest.approx(20 * MBIT, rel=EXACT)


def test_quantum_counts_bytes_not_packets() -> None:
    classes = [cls(1, 20 * MBIT)]
    classes += [cls(10 + i, 100 * KBIT, 20 * MBIT, parent=1, quantum=6 * FULL) for i in range(3)]
    got = rates(loaded(classes, [10, 11, 12], 6, payloads=[1460, 703, 325]), 3)
    assert got == pytest.approx([sum(got) / 3] * 3, rel=2 * FAIR)


@pytest.mark.parametrize("ceil", [3 * MBIT, 5 * MBIT])
def test_no_interval_exceeds_the_ceil(ceil: int) -> None:
    classes = [cls(1, 20 * MBIT), *(cls(10 + i, MBIT, ceil, parent=1) for i in range(3))]
    board = loaded(classes, [10, 11, 12])
    assert rates(board, 3) == pytest.approx([ceil] * 3, rel=EXACT)
    for number in range(3):
        assert worst_excess(of_stream(board, number), ceil // 8) <= BURST + FULL + 1


def test_ceil_below_rate_is_the_ceil() -> None:
    assert rates(loaded([cls(10, 8 * MBIT, 2 * MBIT)], [10]), 1) == pytest.approx([2 * MBIT], rel=EXACT)


def test_borrowing_is_from_ancestors_only() -> None:
    """Two departments of 4 and 6: what the second leaves unused is the first's only as far as the root has it to lend."""
    inner = [cls(1, 10 * MBIT), cls(2, 4 * MBIT, parent=1), cls(3, 6 * MBIT, 10 * MBIT, parent=1)]
    leaves = [cls(20, MBIT, 10 * MBIT, parent=2), cls(30, MBIT, 10 * MBIT, parent=3)]
    alone = rates(loaded([*inner, *leaves], [20]), 1)
    assert alone == pytest.approx([4 * MBIT], rel=EXACT)  # its department's ceil
    both = rates(loaded([*inner, *leaves], [20, 30], 8), 2)
    assert both == pytest.approx([4 * MBIT, 6 * MBIT], rel=FAIR)


def test_a_department_has_its_own_before_others_borrow_it() -> None:
    inner = [cls(1, 10 * MBIT), cls(2, 7 * MBIT, 10 * MBIT, parent=1), cls(3, 3 * MBIT, 10 * MBIT, parent=1)]
    leaves = [cls(20, MBIT, 10 * MBIT, parent=2), *(cls(30 + i, 500 * KBIT, 10 * MBIT, parent=3) for i in range(3))]
    got = rates(loaded([*inner, *leaves], [20, 30, 31, 32], 8), 4)
    assert got[0] == pytest.approx(7 * MBIT, rel=FAIR)
    assert sum(got[1:]) == pytest.approx(3 * MBIT, rel=FAIR)
    assert got[1:] == pytest.approx([MBIT] * 3, rel=0.03)


def test_better_priority_takes_the_excess() -> None:
    classes = [cls(1, 10 * MBIT), cls(10, MBIT, 10 * MBIT, parent=1, prio=1), cls(11, MBIT, 10 * MBIT, parent=1, prio=0),
               cls(12, MBIT, 10 * MBIT, parent=1, prio=2)]
    got = rates(loaded(classes, [10, 11, 12], 8), 3)
    assert got == pytest.approx([MBIT, 8 * MBIT, MBIT], rel=0.02)


def test_guarantees_hold_against_better_priorities() -> None:
    classes = [cls(1, 10 * MBIT), cls(10, 4 * MBIT, 10 * MBIT, parent=1, prio=7), cls(11, 6 * MBIT, 10 * MBIT, parent=1)]
    assert rates(loaded(classes, [10, 11], 8), 2) == pytest.approx([4 * MBIT, 6 * MBIT], rel=FAIR)


def test_overhead_and_smallest_unit_are_charged() -> None:
    """A frame of 100 bytes counts 124 of the rate's; one of 60 counts the smallest unit."""
    classes = [cls(10, MBIT, overhead=24), cls(11, MBIT, overhead=24, mpu=200)]
    got = rates(loaded(classes, [10, 11], 4, payloads=[46, 6]), 2)
    assert got == pytest.approx([MBIT * 100 / 124, MBIT * 60 / 200], rel=EXACT)


# Who goes where

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


# Changes

def changed(view: TreeView, **what) -> TreeView:
    """The same with other parameters for the last class."""
    root = view.qdiscs[0]
    return view._replace(qdiscs=(root._replace(classes=(*root.classes[:-1], root.classes[-1]._replace(**what))), *view.qdiscs[1:]))


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


# Lateness, and size

@pytest.mark.parametrize("late_ns, rate", [(MS // 10, 100 * MBIT), (MS, 100 * MBIT), (5 * MS, 20 * MBIT), (9 * MS, 2 * MBIT)])
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


def test_a_thousand_classes() -> None:
    """All backlogged: every one has its rate, and the excess is shared."""
    n, link = 1000, 100 * MBIT
    classes = [cls(1, link), *(cls(10 + i, 50 * KBIT, link, parent=1, quantum=FULL) for i in range(n))]
    board = Board(FastPort(tree(htb(classes))))
    saturate(board, streams((in_class(10 + i) for i in range(n)), depth=2), START_NS + 2 * SECOND)
    board.check()
    shares = bytes_by_stream(board.sent, START_NS + SECOND // 2)
    mean = sum(shares.values()) / n
    # They began together, so their own tokens come to all of them at once.
    assert sum(shares.values()) == pytest.approx(1.5 * link / 8, abs=n * FULL)
    assert all(abs(shares[number] - mean) <= 3 * FULL for number in range(n))


def test_a_thousand_classes_of_which_one_sends() -> None:
    classes = [cls(1, 10 * MBIT), *(cls(10 + i, 10 * KBIT, 10 * MBIT, parent=1) for i in range(1000))]
    assert rates(loaded(classes, [777]), 1) == pytest.approx([10 * MBIT], rel=EXACT)
