"""Trees of all kinds, anything offered, changes in between: what was offered was served, dropped by name, or is held.

No frame leaves twice, none comes out of nowhere, flows keep their order within a class, and the switch's bound in bytes
holds whatever the disciplines allow.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.qos_model import Packet
from tests.qosboard import STREAM_SHIFT, Board, FastPort
from tests.qostrees import (
    KBIT, MAJOR, MBIT, MS, SECOND, Node, bfifo, by_mark, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq, tbf, tree,
)
from vswitch.qos.view import Kind, QdiscView, Shape, TreeView

FLOWS = 6
MSS = 1000

leaves = st.one_of(
    st.builds(pfifo, st.integers(0, 20)),
    st.builds(bfifo, st.integers(0, 40000)),
    st.builds(pfifo_fast, st.integers(0, 10)),
    st.builds(sfq, limit=st.integers(2, 20), depth=st.integers(1, 10), flows=st.integers(1, 8),
              divisor=st.sampled_from([1, 4, 1024]), perturb_ns=st.sampled_from([0, 5 * MS]), headdrop=st.booleans()),
    st.builds(fq_codel, limit=st.integers(1, 30), flows=st.sampled_from([1, 3, 1024]),
              target_ns=st.sampled_from([MS, 5 * MS]), interval_ns=st.just(10 * MS), ecn=st.booleans(),
              memory_limit=st.sampled_from([20_000, 1 << 20]), drop_batch=st.integers(1, 8)),
)


def inner(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(lambda rate, child: tbf(rate, 4000, child), st.integers(100 * KBIT, 20 * MBIT), children),
        st.builds(prio, children, children, children),
        st.builds(shaped, st.integers(1, 10), st.lists(children, min_size=1, max_size=3), st.integers(0, 4)),
    )


def shaped(rate: int, leaves: list[Node], default: int) -> Node:
    link = rate * MBIT
    classes = [cls(1, link)]
    classes += [cls(2 + i, link // 8, link, parent=1, leaf=leaf, prio=i) for i, leaf in enumerate(leaves)]
    filters = (by_mark(1, MAJOR | 2), by_mark(2, MAJOR | 3))
    return htb(classes, default=default, direct_limit=5, filters=filters)


nodes = st.recursive(leaves, inner, max_leaves=5)
packets = st.builds(
    Packet,
    st.just(0),
    payload=st.integers(0, 1460),
    tos=st.sampled_from([0, 0x02, 0x10, 0x0A]),
    mark=st.integers(0, 2),
    class_id=st.sampled_from([0, 0, MAJOR | 2, MAJOR | 3]),
)


def with_handles(node: Node, taken: list[int]) -> Node:
    """Handles of their own for all that have classes: CLASSIFY means the root's."""
    taken.append(len(taken) + 1)
    handle = taken[-1] << 16
    children = tuple(with_handles(child, taken) for child in node.children)
    classes = tuple(replace(member, leaf=member.leaf and with_handles(member.leaf, taken)) for member in node.classes)
    filters = tuple(known._replace(class_id=handle | known.class_id & 0xFFFF) for known in node.filters)
    return replace(node, handle=handle, children=children, classes=classes, filters=filters)


def reborn(view: TreeView, more: int) -> TreeView:
    """With other serial numbers."""
    return TreeView(tuple(
        qdisc._replace(serial=qdisc.serial + more,
                       classes=tuple(member._replace(serial=member.serial + more) for member in qdisc.classes))
        for qdisc in view.qdiscs
    ))


def tuned(view: TreeView, percent: int) -> TreeView:
    """With other limits and rates."""
    return TreeView(tuple(_tuned(qdisc, percent) for qdisc in view.qdiscs))


def _tuned(qdisc: QdiscView, percent: int) -> QdiscView:
    numbers = qdisc.parameters
    if hasattr(numbers, "limit"):
        numbers = numbers._replace(limit=max(2, numbers.limit * percent // 100))
    if qdisc.kind == Kind.TBF:  # the burst stays in bytes, so that what waits conforms one day
        rate = _faster(numbers.rate, percent)
        numbers = numbers._replace(rate=rate, burst_ns=numbers.burst_ns * numbers.rate.rate // rate.rate + 1000)
    classes = tuple(member._replace(rate=_faster(member.rate, percent), ceil=_faster(member.ceil, percent))
                    for member in qdisc.classes)
    return qdisc._replace(parameters=numbers, classes=classes)


def _faster(rate: Shape, percent: int) -> Shape:
    return rate._replace(rate=max(10_000, rate.rate * percent // 100))


class BooksMachine(RuleBasedStateMachine):
    @initialize(node=nodes)
    def start(self, node: Node) -> None:
        self.board = Board(FastPort(tree(with_handles(node, []))))
        self.serials = [0] * FLOWS
        self.generation = 0

    def label(self, flow: int) -> int:
        self.serials[flow] += 1
        return flow << STREAM_SHIFT | self.serials[flow]

    @rule(flow=st.integers(0, FLOWS - 1), packet=packets, n=st.integers(1, 8))
    def offer(self, flow: int, packet: Packet, n: int) -> None:
        for _ in range(n):
            self.board.offer(replace(packet, label=self.label(flow), flow=flow))

    @rule(flow=st.integers(0, FLOWS - 1), segments=st.integers(2, 30), more=st.integers(0, MSS - 1))
    def offer_super_frame(self, flow: int, segments: int, more: int) -> None:
        self.board.offer(Packet(self.label(flow), payload=segments * MSS - more, flow=flow, mss=MSS))

    @rule(most=st.none() | st.integers(1, 5))
    def serve(self, most: int | None) -> None:
        self.board.serve(most)

    @rule(elapsed=st.integers(0, 30 * MS))
    def wait(self, elapsed: int) -> None:
        """Without serving: late."""
        self.board.now += elapsed

    @rule(elapsed=st.integers(0, 30 * MS))
    def run(self, elapsed: int) -> None:
        self.board.run(self.board.now + elapsed)

    @rule(node=nodes)
    def change(self, node: Node) -> None:
        """Another tree, with serial numbers of its own: what waits is gone."""
        self.generation += 1
        held, gone = self.board.port.held, self.board.port.drops.get("qdisc_gone", 0)
        self.change_to(reborn(tree(with_handles(node, [])), 1000 * self.generation))
        assert self.board.port.held == 0
        assert self.board.port.drops.get("qdisc_gone", 0) == gone + held

    @rule(percent=st.sampled_from([30, 100, 250]))
    def tune(self, percent: int) -> None:
        """The same tree with other numbers: what waits stays, as far as the disciplines allow."""
        self.change_to(tuned(self.board.port.tree, percent))

    def change_to(self, view: TreeView) -> None:
        self.board.port.probe.change(view)
        self.board.port.tree = view

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "board"):
            self.board.check()
            stats = self.board.port.stats()
            assert (stats.qlen == 0) == (stats.backlog == 0)
            reserved, frames = self.board.port.probe.memory_used()
            assert frames == stats.qlen and (reserved == 0) == (frames == 0)

    def teardown(self) -> None:
        """All of it leaves in the end."""
        if hasattr(self, "board"):
            self.board.run(self.board.now + 1000 * SECOND)
            self.board.check()
            assert self.board.port.held == 0


TestBooks = BooksMachine.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=40, deadline=None)
@given(node=nodes, script=st.lists(st.tuples(st.integers(0, FLOWS - 1), packets, st.integers(0, 5 * MS)), max_size=80))
def test_flows_keep_their_order(node: Node, script: list) -> None:
    """Of packets that are told apart by nothing but their flow."""
    board = Board(FastPort(tree(with_handles(node, []))))
    for serial, (flow, packet, gap) in enumerate(script):
        board.offer(Packet(flow << STREAM_SHIFT | serial, payload=packet.payload, flow=flow))
        board.run(board.now + gap)
    board.run(board.now + 1000 * SECOND)
    board.check()
    for flow in range(FLOWS):
        labels = [one.label for one in board.sent if one.stream == flow]
        assert labels == sorted(labels)


@pytest.mark.parametrize("payload, mss", [(100, 0), (1446, 0), (60_000, 1200)])
@pytest.mark.parametrize("memory", [1 << 20, 3 << 20])
def test_memory_is_bounded_whatever_the_disciplines_allow(payload: int, mss: int, memory: int) -> None:
    leaves = [cls(10 + i, 100 * KBIT, leaf=pfifo(10**6)) for i in range(4)]
    board = Board(FastPort(tree(htb(leaves)), memory=memory))
    names = []
    for label in range(2 * memory // payload):
        names.append(board.offer(Packet(label, payload=payload, mss=mss, class_id=MAJOR | 10 + label % 4)))
    held = board.port.stats().backlog
    board.check()
    assert set(names) == {None, "qdisc_memory"}
    assert memory // 8 < held + (payload if mss else 0)
    assert board.port.probe.memory_used()[0] <= memory
    assert mss or held <= memory
    before = len(board.sent)
    board.run(board.now + 10 * SECOND)
    assert len(board.sent) > before
    assert board.offer(Packet(10**6, payload=payload, mss=mss, class_id=MAJOR | 10)) is None
    board.check()


