"""A port's traffic control: disciplines, classes and filters, as tc's words make them. Immutable through and through.

Every place where a discipline can be is a key of `qdiscs`: the root, ingress, a leaf class of HTB, a band of prio, the
inside of tbf. What tc leaves out is there all the same, with handle 0: a new class has its pfifo. So a class is a leaf
exactly if it is a key, and nothing is left to be made up when the tree is compiled.

Each discipline and class has a serial number, new when it is added and its own through every change; the fast path
knows by it what to keep. No two of one process are alike. Comparing two trees by `shape` looks past them.

The mappings are plain dicts for their speed. Nobody writes to one that a struct holds; `Draft` has its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .words import INGRESS, MAJOR, MINOR, ROOT

FIRST_HANDLE = 0x8001 << 16  # of those that are given out; 8001: to fffe:
_serials = itertools.count(1)


def new_serial() -> int:
    """A serial number that nothing has had."""
    return next(_serials)


@dataclass(frozen=True, slots=True)
class Link:
    """What disciplines ask of the port that they are on."""

    name: str
    mtu: int = 1500
    txqueuelen: int = 1000

    @property
    def frame(self) -> int:
        """The longest frame, its Ethernet header included."""
        return self.mtu + 14


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A discipline in its place. `handle` 0: nobody asked for it. `options` is a struct of its kind's own."""

    serial: int
    handle: int
    parent: int
    kind: str
    options: Any


@dataclass(frozen=True, slots=True)
class HtbClass:
    """A class; `parent` is ROOT or another class. Bursts are ticks, `sizes` the bytes that were asked for as burst and
    cburst. `quantum` and `prio` count in a leaf only."""

    serial: int
    id: int
    parent: int
    rate: int
    ceil: int
    burst: int
    cburst: int
    overhead: int = 0
    mpu: int = 0
    prio: int = 0
    quantum: int = 0
    sizes: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Node:
    """One filter. `match` and `action` are structs of the filter's kind and of `filters.action`, or None."""

    handle: int
    classid: int | None = None
    match: Any = None
    action: Any = None


@dataclass(frozen=True, slots=True)
class FilterList:
    """The filters of one priority at one place: `block` is a discipline's handle, a class, or INGRESS."""

    block: int
    prio: int
    protocol: int
    kind: str
    table: int = 0  # of u32: its hash table's number
    mask: int = 0  # of fw: what of the mark is looked at
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficControl:
    """All of a port. `filters` are by block, each in the order of priorities."""

    qdiscs: Mapping[int, Qdisc] = field(default_factory=dict)
    classes: Mapping[int, HtbClass] = field(default_factory=dict)
    filters: Mapping[int, tuple[FilterList, ...]] = field(default_factory=dict)
    last_handle: int = 0

    @property
    def root(self) -> Qdisc | None:
        return self.qdiscs.get(ROOT)

    def find(self, handle: int) -> Qdisc | None:
        """The discipline of that handle."""
        return next((qdisc for qdisc in self.qdiscs.values() if handle and qdisc.handle == handle), None)

    def of(self, block: int) -> tuple[FilterList, ...]:
        """The filters at one place."""
        return self.filters.get(block, ())

    def classes_of(self, handle: int) -> Iterator[HtbClass]:
        """An HTB's classes, parents before their children."""
        return (cls for cls in self.classes.values() if cls.id & MAJOR == handle & MAJOR)

    @property
    def empty(self) -> bool:
        """Whether there is nothing: filters are never without a discipline."""
        return not self.qdiscs

    @property
    def shape(self) -> tuple[Any, ...]:
        """What there is, whatever its serial numbers."""
        qdiscs = {parent: replace(qdisc, serial=0) for parent, qdisc in self.qdiscs.items()}
        classes = {id: replace(cls, serial=0) for id, cls in self.classes.items()}
        filters = {
            block: tuple(replace(one, table=0) for one in lists) for block, lists in self.filters.items() if lists
        }  # fmt: skip
        return qdiscs, classes, filters


NOTHING = TrafficControl()


def level(control: TrafficControl, cls: HtbClass) -> int:
    """How far above the leaves the kernel counts it: 0 for a leaf, 7 for a root class with children."""
    if cls.id in control.qdiscs:
        return 0
    return 7 - sum(1 for _ in ancestors(control.classes, cls))


def ancestors(classes: Mapping[int, HtbClass], cls: HtbClass) -> Iterator[HtbClass]:
    while cls.parent != ROOT:
        cls = classes[cls.parent]
        yield cls


def adopted(control: TrafficControl, before: TrafficControl, lasting: Callable[[Qdisc, Qdisc], bool]) -> TrafficControl:
    """The same tree, but what was there before at the same place keeps its serial number, unless something above it did
    not. `lasting(old, new)` says whether a discipline can become the other while it holds packets."""
    qdiscs, classes, kept = dict(control.qdiscs), dict(control.classes), {ROOT, INGRESS}
    for parent, qdisc in control.qdiscs.items():
        old = before.qdiscs.get(parent)
        if not kept & {parent, parent & MAJOR} or old is None or not lasting(old, qdisc):
            continue
        qdiscs[parent] = replace(qdisc, serial=old.serial)
        if qdisc.kind != "htb":
            kept |= {qdisc.handle} - {0}
            continue
        for cls in control.classes_of(qdisc.handle):
            was = before.classes.get(cls.id)
            if was is not None and was.parent == cls.parent:
                classes[cls.id] = replace(cls, serial=was.serial)
                kept.add(cls.id)
    return replace(control, qdiscs=qdiscs, classes=classes)


__all__ = ["FIRST_HANDLE", "INGRESS", "MAJOR", "MINOR", "NOTHING", "ROOT", "FilterList", "HtbClass", "Link", "Node",
           "Qdisc", "TrafficControl", "adopted", "ancestors", "level", "new_serial"]  # fmt: skip
