"""htb against the model: trees of any shape.

One backlogged leaf class leaves no turns to take, so its departures are the same to the nanosecond, whatever the
classes above it have. Of several the shares are compared, each to within what a turn of everybody is worth: the
kernel looks at what time has changed level by level and only as far as it must, the switch at all of it first.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.qos_model import Packet, Port
from tests.qosboard import Board, FastPort, STREAM_SHIFT, alike, bytes_by_stream, packet, saturate, streams, worst_excess
from tests.qostrees import (
    KBIT, MAJOR, MBIT, MS, SECOND, Cls, Node, bfifo, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq, tbf, tree,
)

FULL = 1514
FOREVER = 10**15
LINK = 10 * MBIT

bursts = st.integers(1, 20000)
rates = st.integers(100 * KBIT, LINK)
quanta = st.sampled_from([300, 1514, 3000, 10000])
leaves = st.sampled_from([pfifo(50), bfifo(60000), pfifo_fast(50), prio(pfifo(50), pfifo(50), pfifo(50)), sfq(100),
                          fq_codel(target_ns=FOREVER), tbf(8 * MBIT, 5000, pfifo(50)),
                          tbf(300 * KBIT, 2000, pfifo(50))])


@st.composite
def chains(draw: st.DrawFn) -> list[Cls]:
    """One leaf below up to four classes."""
    depth = draw(st.integers(0, 4))
    return [
        cls(minor + 1, draw(rates), draw(rates), parent=minor or None, leaf=draw(leaves), burst=draw(bursts),
            cburst=draw(bursts), quantum=draw(quanta), overhead=draw(st.sampled_from([0, 24])))
        for minor in range(depth + 1)
    ]


@st.composite
def trees(draw: st.DrawFn) -> list[Cls]:
    """Up to six leaves under a root and up to two inner classes."""
    inner = draw(st.integers(0, 2))
    classes = [cls(1, LINK)]
    classes += [cls(minor, draw(st.integers(1, 4)) * MBIT, LINK, parent=1) for minor in range(2, 2 + inner)]
    for minor in range(10, 10 + draw(st.integers(2, 6))):
        parent = draw(st.integers(1, 1 + inner))
        rate, ceil = draw(st.integers(2, 15)) * 100 * KBIT, draw(st.sampled_from([2, 4, 10])) * MBIT
        classes.append(cls(minor, rate, ceil, parent=parent, prio=draw(st.integers(0, 1)),
                           quantum=draw(st.sampled_from([FULL, 3000, 10000]))))
    with_children = {member.parent for member in classes}
    return [member for member in classes if member.minor >= 10 or member.minor in with_children]


def leaf_minors(classes: list[Cls]) -> list[int]:
    return [member.minor for member in classes if member.minor not in {other.parent for other in classes}]


@settings(max_examples=150, deadline=None)
@given(classes=chains(), script=st.lists(st.tuples(st.integers(0, 1460), st.integers(0, 20)), min_size=8, max_size=50))
def test_one_leaf_leaves_at_the_same_times(classes: list[Cls], script: list[tuple[int, int]]) -> None:
    view = tree(htb(classes, default=classes[-1].minor))
    boards = [Board(FastPort(view)), Board(Port(view))]
    for label, (payload, gap) in enumerate(script):
        for board in boards:
            board.offer(Packet(label + 1, payload=payload))
            board.run(board.now + gap * MS)
        assert alike(boards[0].sent, boards[1].sent)
    for board in boards:
        board.run(board.now + 100 * SECOND)
        board.check()
        assert board.port.held == 0
    assert alike(boards[0].sent, boards[1].sent)
    assert boards[0].port.drops == boards[1].port.drops


@settings(max_examples=80, deadline=None)
@given(
    rate=st.sampled_from([100 * KBIT, 7 * MBIT, 90 * MBIT, 400 * MBIT, 1000 * MBIT, 10_000 * MBIT]),
    burst=bursts,
    overhead=st.sampled_from([0, 24]),
    child=st.sampled_from([pfifo(9), bfifo(200_000)]),
    script=st.lists(st.tuples(st.integers(1, 64000), st.sampled_from([0, 536, 1448, 8948]), st.integers(0, 9)),
                    max_size=25),
)
def test_super_frames_leave_in_the_same_parts(rate: int, burst: int, overhead: int, child: Node, script: list) -> None:
    view = tree(htb([cls(10, rate, burst=burst, cburst=burst, leaf=child, overhead=overhead)], default=10))
    boards = [Board(FastPort(view)), Board(Port(view))]
    for label, (payload, mss, gap) in enumerate(script):
        names = [board.offer(Packet(label, payload=payload if mss else payload % 1460, mss=mss)) for board in boards]
        assert names[0] == names[1]
        for board in boards:
            board.run(board.now + gap * 10**13 // rate)
        assert alike(boards[0].sent, boards[1].sent)
    for board in boards:
        board.run(board.now + 1000 * SECOND)
        board.check()
        assert board.port.held == 0
    assert alike(boards[0].sent, boards[1].sent)


@settings(max_examples=25, deadline=None)
@given(classes=trees(), sizes=st.lists(st.sampled_from([200, 700, 1460]), min_size=6, max_size=6))
def test_shares(classes: list[Cls], sizes: list[int]) -> None:
    view, minors = tree(htb(classes)), leaf_minors(classes)
    loads = [packet(class_id=MAJOR | minor, payload=size) for minor, size in zip(minors, sizes, strict=False)]
    shares = []
    for port in FastPort(view), Port(view):
        board = Board(port)
        saturate(board, streams(loads), board.now + SECOND // 2)
        board.check()
        shares.append(bytes_by_stream(board.sent))
    most = sum(member.quantum + FULL for member in classes)
    assert all(abs(shares[0][number] - shares[1][number]) <= most for number in range(len(loads))), shares


@settings(max_examples=60, deadline=None)
@given(
    classes=trees(),
    script=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 12), st.integers(0, 1460), st.integers(0, 8)),
                    min_size=8, max_size=60),
)
def test_whatever_is_offered(classes: list[Cls], script: list[tuple[int, int, int, int]]) -> None:
    """Order within a class, no more than its ceil in any interval, all of it in the end, when the model has it done."""
    view, minors = tree(htb(classes)), leaf_minors(classes)
    boards = [Board(FastPort(view)), Board(Port(view))]
    for board in boards:
        serial = 0
        for which, n, payload, gap in script:
            stream = which % len(minors)
            for _ in range(n):
                serial += 1
                board.offer(Packet(stream << STREAM_SHIFT | serial, payload=payload, class_id=MAJOR | minors[stream]))
            board.run(board.now + gap * MS)
        board.run(board.now + 100 * SECOND)
        board.check()
        assert board.port.held == 0
    for stream, minor in enumerate(minors):
        sent = [one for one in boards[0].sent if one.stream == stream]
        assert sent == sorted(sent, key=lambda one: one.label)
        ceil = next(member.ceil.rate for member in classes if member.minor == minor)
        assert worst_excess(sent, ceil) <= 1600 + FULL + 1
    assert sorted(one.label for one in boards[0].sent) == sorted(one.label for one in boards[1].sent)


@settings(max_examples=30, deadline=None)
@given(classes=trees(), rate=st.integers(1, 12))
def test_below_a_bucket(classes: list[Cls], rate: int) -> None:
    """htb as the child of tbf: the bucket's rate holds for all of them together."""
    view, minors = tree(tbf(rate * MBIT, 3000, htb(classes, handle=2 << 16))), leaf_minors(classes)
    board = Board(FastPort(view))
    saturate(board, streams(packet(class_id=2 << 16 | minor) for minor in minors), board.now + SECOND // 2)
    board.check()
    assert worst_excess(board.sent, rate * MBIT // 8) <= 3001


@settings(max_examples=30, deadline=None)
@given(rate=st.integers(1, 8), ceil=st.integers(1, 10), link=st.integers(15, 30), worse=st.booleans())
def test_in_a_band_of_prio(rate: int, ceil: int, link: int, worse: bool) -> None:
    """A better band takes what it wants, and what htb holds back keeps no worse one waiting."""
    classes = [cls(1, rate * MBIT, ceil * MBIT), cls(10, rate * MBIT, ceil * MBIT, parent=1)]
    shaped = htb(classes, default=10, handle=2 << 16)
    bands = (shaped, pfifo(10)) if worse else (pfifo(10), shaped)
    node = tbf(link * MBIT, 3000, prio(*bands, priomap=(0, 0, 1, *[0] * 13)))
    board = Board(FastPort(tree(node)))
    loads = streams([packet(tos=0), packet(tos=0x08)])  # priorities 0 and 2: the first band and the second
    saturate(board, loads, board.now + SECOND)
    board.check()
    shares = bytes_by_stream(board.sent)
    if worse:
        assert abs(shares[0] - min(rate, ceil) * MBIT // 8) < 10000
        assert abs(shares[1] - (link - min(rate, ceil)) * MBIT // 8) < 10000
    else:
        assert abs(shares[0] - link * MBIT // 8) < 10000
        assert shares[1] == 0
