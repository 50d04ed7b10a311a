"""Disciplines without a clock against the model: what is taken, what is dropped and in which order the rest leaves are
the same to the packet. So are those of sfq and fq_codel with one flow, where nothing depends on the hash.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.qos_model import Packet, Port
from tests.qosboard import Board, FastPort
from tests.qostrees import (
    MAJOR, MBIT, MS, Node, bfifo, by_mark, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq, tree,
)

OTHER = 7 << 16
FILTERS = (by_mark(1, MAJOR | 3), by_mark(2, MAJOR | 9), by_mark(3, MAJOR | 1), by_mark(1, MAJOR | 2))
NEVER = 10**12

few = settings(max_examples=60, deadline=None)
limits = st.integers(0, 6)
byte_limits = st.integers(0, 6000)
priomaps = st.lists(st.integers(0, 2), min_size=16, max_size=16).map(tuple)

packets = st.builds(
    Packet,
    st.just(0),
    payload=st.integers(0, 1460),
    tos=st.integers(0, 255),
    mark=st.integers(0, 3),
    class_id=st.sampled_from([0, 0, 0, MAJOR, MAJOR | 1, MAJOR | 2, MAJOR | 3, MAJOR | 4, OTHER | 1, OTHER | 6]),
)
steps = st.lists(st.tuples(packets, st.integers(0, 2)), min_size=10, max_size=60)


def go_the_same_way(node: Node, script: list[tuple[Packet, int]]) -> None:
    """Offer the packets one by one, let some leave after each; compare every answer."""
    boards = [Board(FastPort(tree(node))), Board(Port(tree(node)))]
    for label, (packet, leaving) in enumerate(script):
        packet.label = label + 1
        answers = [board.offer(packet) for board in boards]
        assert answers[0] == answers[1]
        sent = [board.serve(leaving) if leaving else [] for board in boards]
        assert sent[0] == sent[1]
        assert boards[0].port.held == boards[1].port.held
        for board in boards:
            board.now += MS
    rest = [board.serve() for board in boards]
    assert rest[0] == rest[1]
    assert boards[0].port.drops == boards[1].port.drops
    for board in boards:
        board.check()


@few
@given(limit=limits, script=steps)
def test_pfifo(limit: int, script: list) -> None:
    go_the_same_way(pfifo(limit), script)


@few
@given(limit=byte_limits, script=steps)
def test_bfifo(limit: int, script: list) -> None:
    go_the_same_way(bfifo(limit), script)


@few
@given(limit=limits, script=steps)
def test_pfifo_fast(limit: int, script: list) -> None:
    go_the_same_way(pfifo_fast(limit), script)


@few
@given(priomap=priomaps, limits=st.tuples(limits, byte_limits, limits), filtered=st.booleans(), script=steps)
def test_prio(priomap: tuple, limits: tuple, filtered: bool, script: list) -> None:
    bands = pfifo(limits[0]), bfifo(limits[1]), pfifo_fast(limits[2])
    go_the_same_way(prio(*bands, priomap=priomap, filters=FILTERS if filtered else (), handle=MAJOR), script)


@few
@given(priomap=priomaps, script=steps)
def test_prio_below_prio(priomap: tuple, script: list) -> None:
    inner = prio(pfifo(3), pfifo(4), pfifo(5), handle=OTHER)
    go_the_same_way(prio(pfifo(2), inner, pfifo(2), priomap=priomap, handle=MAJOR), script)


@few
@given(depth=st.integers(1, 6), limit=st.integers(2, 6), headdrop=st.booleans(), script=steps)
def test_sfq_with_one_flow(depth: int, limit: int, headdrop: bool, script: list) -> None:
    for packet, _ in script:
        packet.class_id = 0
    go_the_same_way(sfq(limit, depth, flows=1, headdrop=headdrop), script)


@few
@given(limit=st.integers(1, 8), batch=st.integers(1, 4), script=steps)
def test_fq_codel_with_one_flow(limit: int, batch: int, script: list) -> None:
    for packet, _ in script:
        packet.class_id = 0
    go_the_same_way(fq_codel(limit, drop_batch=batch, target_ns=NEVER, interval_ns=NEVER), script)


@few
@given(default=st.sampled_from([0, 1, 2, 3, 9]), direct_limit=limits, filtered=st.booleans(), script=steps)
def test_htb_that_never_lacks_tokens(default: int, direct_limit: int, filtered: bool, script: list) -> None:
    """Classification, the direct queue and priorities; three leaves of three priorities leave no turns to take."""
    leaves = [
        cls(minor, 100 * MBIT, parent=1, leaf=pfifo(3), burst=10**6, cburst=10**6, prio=place, filters=())
        for place, minor in enumerate((2, 3, 4))
    ]
    root = cls(1, 400 * MBIT, burst=10**6, cburst=10**6, filters=(by_mark(2, MAJOR | 4),))
    filters = (by_mark(1, MAJOR | 3), by_mark(2, MAJOR | 1), by_mark(3, MAJOR)) if filtered else ()
    go_the_same_way(htb([root, *leaves], default=default, direct_limit=direct_limit, filters=filters), script)

