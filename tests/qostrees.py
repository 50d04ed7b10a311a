"""Trees of queueing disciplines, said briefly. Rates are bits a second, sizes bytes, times nanoseconds.

    tree(htb(default=12, classes=[cls(1, MBIT), cls(10, 300 * KBIT, parent=1, leaf=pfifo(5)), ...]))

The handle of the root is 1:, so class ids are 1:minor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.qos_model import Rate
from vswitch.qos.view import (
    Base, ClassView, FifoView, FilterView, FqCodelView, HtbView, KeyView, Kind, PrioView, QdiscView, SfqView, Shape,
    TbfView, TreeView,
)

KBIT, MBIT, GBIT = 10**3, 10**6, 10**9
MS, SECOND = 10**6, 10**9
MAJOR = 1 << 16
PRIOMAP = (1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)  # tc's own
BURST = 1600  # tc's default at low rates
QUANTUM = 1514


@dataclass(frozen=True)
class Node:
    kind: Kind
    parameters: tuple
    children: tuple[Node, ...] = ()
    classes: tuple[Cls, ...] = ()
    filters: tuple[FilterView, ...] = ()
    handle: int = 0


@dataclass(frozen=True)
class Cls:
    minor: int
    rate: Shape
    ceil: Shape
    parent: int | None
    leaf: Node | None
    burst: int
    cburst: int
    prio: int
    quantum: int
    filters: tuple[FilterView, ...] = ()


def shape(bits: int, overhead: int = 0, mpu: int = 0) -> Shape:
    return Shape(bits // 8, overhead, mpu)


def duration(shape: Shape, size: int) -> int:
    """What a burst of that size takes."""
    return Rate(Shape(shape.rate)).time_of(size)


def pfifo(limit: int = 1000) -> Node:
    return Node(Kind.PFIFO, FifoView(limit))


def bfifo(limit: int) -> Node:
    return Node(Kind.BFIFO, FifoView(limit))


def pfifo_fast(limit: int = 1000) -> Node:
    return Node(Kind.PFIFO_FAST, FifoView(limit))


def prio(*children: Node, priomap: tuple[int, ...] = PRIOMAP, filters: tuple[FilterView, ...] = (),
         handle: int = 0) -> Node:
    return Node(Kind.PRIO, PrioView(priomap), children, filters=filters, handle=handle)


def sfq(limit: int = 127, depth: int = 127, flows: int = 128, divisor: int = 65536, quantum: int = QUANTUM,
        perturb_ns: int = 0, headdrop: bool = False, handle: int = 0) -> Node:
    return Node(Kind.SFQ, SfqView(limit, depth, flows, divisor, quantum, perturb_ns, headdrop), handle=handle)


def tbf(bits: int, burst: int, child: Node, *, peak: int = 0, mtu: int = 0, overhead: int = 0, mpu: int = 0) -> Node:
    """The largest packet is what tc and the kernel make of burst and mtu: what the bucket holds."""
    rate = shape(bits, overhead, mpu)
    top = shape(peak, overhead, mpu) if peak else None
    largest = min(burst, mtu) if peak else burst
    view = TbfView(rate, duration(rate, burst), top, duration(top, mtu) if top else 0, largest)
    return Node(Kind.TBF, view, (child,))


def fq_codel(limit: int = 10240, flows: int = 65536, quantum: int = QUANTUM, target_ns: int = 5 * MS,
             interval_ns: int = 100 * MS, ce_threshold_ns: int | None = None, ecn: bool = True,
             memory_limit: int = 32 << 20, drop_batch: int = 64) -> Node:
    view = FqCodelView(limit, flows, quantum, target_ns, interval_ns, ce_threshold_ns, ecn, memory_limit, drop_batch)
    return Node(Kind.FQ_CODEL, view)


def htb(classes: list[Cls], *, default: int = 0, direct_limit: int = 1000, filters: tuple[FilterView, ...] = (),
        handle: int = MAJOR) -> Node:
    return Node(Kind.HTB, HtbView(default, direct_limit), classes=tuple(classes), filters=filters, handle=handle)


def cls(minor: int, bits: int, ceil: int | None = None, *, parent: int | None = None, leaf: Node | None = None,
        burst: int = BURST, cburst: int = BURST, prio: int = 0, quantum: int = QUANTUM, overhead: int = 0, mpu: int = 0,
        filters: tuple[FilterView, ...] = ()) -> Cls:
    rate, top = shape(bits, overhead, mpu), shape(bits if ceil is None else ceil, overhead, mpu)
    return Cls(minor, rate, top, parent, leaf, burst, cburst, prio, quantum, filters)


def by_mark(mark: int, class_id: int) -> FilterView:
    return FilterView((KeyView(Base.MARK, 0, mark, 0xFFFFFFFF),), class_id)


def tree(root: Node) -> TreeView:
    """Parents come before their children; serial numbers are given in that order, so that a changed tree keeps them."""
    return TreeView(tuple(_Builder().add(root if root.handle else replace(root, handle=MAJOR))))


@dataclass
class _Builder:
    qdiscs: list[QdiscView | None] = field(default_factory=list)
    serial: int = 0

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def add(self, node: Node) -> list[QdiscView]:
        self._add(node)
        return self.qdiscs

    def _add(self, node: Node) -> int:
        index, serial = len(self.qdiscs), self.next_serial()
        self.qdiscs.append(None)
        children = tuple(self._add(child) for child in node.children)
        places = {member.minor: place for place, member in enumerate(node.classes)}
        classes = tuple(self._class(node, member, places) for member in node.classes)
        self.qdiscs[index] = QdiscView(serial, node.handle, node.kind, node.parameters, children, classes, node.filters)
        return index

    def _class(self, node: Node, member: Cls, places: dict[int, int]) -> ClassView:
        inner = any(other.parent == member.minor for other in node.classes)
        serial = self.next_serial()
        leaf = None if inner else self._add(member.leaf or pfifo())
        return ClassView(
            serial, node.handle | member.minor, None if member.parent is None else places[member.parent], leaf,
            member.rate, member.ceil, duration(member.rate, member.burst), duration(member.ceil, member.cburst),
            member.prio, member.quantum, member.filters,
        )
