"""htb by example, in virtual time: guaranteed rates, borrowing, sharing by quantum, priorities."""

from __future__ import annotations

import pytest

from tests.htbboard import in_class, loaded, of_stream, rates, seed
from tests.qosboard import START_NS, Board, FastPort, bytes_by_stream, saturate, streams, worst_excess
from tests.qostrees import BURST, GBIT, KBIT, MBIT, MS, SECOND, cls, htb, tree

FULL = 1514
EXACT = 0.005  # of rates
FAIR = 0.01  # of shares of the excess


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
    sent = bytes_by_stream(board.sent, START_NS + MS)[0]
    assert sent * 8 * SECOND / (duration - MS) == pytest.approx(rate, rel=EXACT)


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
    """Two departments of 4 and 6: what the second leaves unused is the first's only up to its ceil."""
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
    classes = [cls(1, 10 * MBIT), cls(10, MBIT, 10 * MBIT, parent=1, prio=1),
               cls(11, MBIT, 10 * MBIT, parent=1, prio=0), cls(12, MBIT, 10 * MBIT, parent=1, prio=2)]
    got = rates(loaded(classes, [10, 11, 12], 8), 3)
    assert got == pytest.approx([MBIT, 8 * MBIT, MBIT], rel=0.02)


def test_guarantees_hold_against_better_priorities() -> None:
    classes = [cls(1, 10 * MBIT), cls(10, 4 * MBIT, 10 * MBIT, parent=1, prio=7),
               cls(11, 6 * MBIT, 10 * MBIT, parent=1)]
    assert rates(loaded(classes, [10, 11], 8), 2) == pytest.approx([4 * MBIT, 6 * MBIT], rel=FAIR)


def test_overhead_and_smallest_unit_are_charged() -> None:
    """A frame of 100 bytes counts 124 of the rate's; one of 60 counts the smallest unit."""
    classes = [cls(10, MBIT, overhead=24), cls(11, MBIT, overhead=24, mpu=200)]
    got = rates(loaded(classes, [10, 11], 4, payloads=[46, 6]), 2)
    assert got == pytest.approx([MBIT * 100 / 124, MBIT * 60 / 200], rel=EXACT)


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
