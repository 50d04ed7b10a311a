"""`tc qdisc show`, `class show` and `filter show`: lines and JSON as tc prints them, in the order of the kernel's
tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .draft import block_of
from .filters import CLASSIFIERS
from .filters.u32 import show_table
from .kinds import KINDS
from .kinds.htb import show_class, show_class_stats
from .model import FilterList, HtbClass, Qdisc, TrafficControl, level
from .printer import Printer
from .view import QdiscStats
from .words import AT_INGRESS, INGRESS, MAJOR, MINOR, ROOT, protocol_text, written

Stats = Mapping[int, QdiscStats]
NONE = QdiscStats()
REFCNT = 2  # of what is at the root: the queue's and its own


@dataclass(slots=True)
class Wanted:
    """What of it to show; 0 and "": all."""

    device: str = ""
    parent: int = 0
    handle: int = 0
    qdisc: int = 0
    classid: int = 0
    prio: int = 0
    protocol: int = 0
    invisible: bool = False


def show_statistics(out: Printer, stats: QdiscStats) -> None:
    out.text(" ")
    out.put("bytes", "Sent {} bytes", stats.bytes)
    out.put("packets", " {} pkt", stats.packets)
    out.put("drops", " (dropped {}", stats.drops)
    out.put("overlimits", ", overlimits {}", stats.overlimits)
    out.put("requeues", " requeues {}) ", stats.requeues)
    out.text("\n ")
    out.size("backlog", "backlog {}", stats.backlog)
    out.put("qlen", " {}p", stats.qlen)
    out.text(f" requeues {stats.requeues}\n")


# Disciplines


def qdiscs(name: str, control: TrafficControl, stats: Stats, wanted: Wanted, out: Printer) -> None:
    """The disciplines of one port. A port without any says so, as a device without a queue does."""
    root = control.root
    if root is None and _asked(0, ROOT, wanted):
        _show_head(name, Qdisc(0, 0, ROOT, "noqueue", None), NONE, wanted, out)
    for qdisc in _in_order(control):
        if _asked(qdisc.handle, qdisc.parent, wanted) and (qdisc.handle or wanted.invisible):
            _show_head(name, qdisc, stats.get(qdisc.serial, NONE), wanted, out)


def _asked(handle: int, parent: int, wanted: Wanted) -> bool:
    return wanted.handle in (0, handle) and wanted.parent in (0, parent)


def _in_order(control: TrafficControl) -> Iterator[Qdisc]:
    """The root, then by the kernel's hash of the handle, the newest first, then ingress."""
    places = [[] for _ in range(16)]
    for qdisc in sorted(control.qdiscs.values(), key=lambda qdisc: qdisc.serial, reverse=True):
        if qdisc.parent == ROOT:
            yield qdisc
        elif qdisc.parent != INGRESS:
            places[(qdisc.handle * 0x61C88647 & 0xFFFFFFFF) >> 28].append(qdisc)
    for place in places:
        yield from place
    if INGRESS in control.qdiscs:
        yield control.qdiscs[INGRESS]


def _show_head(name: str, qdisc: Qdisc, stats: QdiscStats, wanted: Wanted, out: Printer) -> None:
    with out.object():
        out.put("kind", "qdisc {}", qdisc.kind)
        out.put("handle", " {} ", f"{qdisc.handle >> 16:x}:")
        if not wanted.device:
            out.put("dev", "dev {} ", name)
        if qdisc.parent == ROOT:
            out.put("root", "root ", True)
            out.put("refcnt", "refcnt {} ", REFCNT)
        else:
            out.put("parent", "parent {} ", written(qdisc.parent))
        out.direct = stats.extra[0] if qdisc.kind == "htb" and stats.extra else 0
        with out.object("options"):
            if qdisc.kind in KINDS:
                KINDS[qdisc.kind].show(qdisc.options, out)
        out.text("\n")
        if out.stats:
            show_statistics(out, stats)
            if qdisc.kind in KINDS and KINDS[qdisc.kind].show_stats(out, stats):
                out.text("\n")


# Classes


def classes(name: str, control: TrafficControl, stats: Stats, wanted: Wanted, out: Printer) -> None:
    """The classes of one port, discipline by discipline."""
    for qdisc in _in_order(control):
        if not qdisc.handle or wanted.parent and wanted.parent & MAJOR != qdisc.handle:
            continue
        if wanted.qdisc in (0, qdisc.handle):
            _classes_of(control, qdisc, stats, wanted, out)


def _classes_of(control: TrafficControl, qdisc: Qdisc, stats: Stats, wanted: Wanted, out: Printer) -> None:
    if qdisc.kind == "htb":
        for cls in hashed(control.classes_of(qdisc.handle)):
            if wanted.classid in (0, cls.id):
                _show_class(control, cls, stats.get(cls.serial, NONE), wanted, out)
    elif qdisc.kind in ("prio", "tbf"):
        for place in sorted(place for place in control.qdiscs if place & MAJOR == qdisc.handle):
            inner = control.qdiscs[place]
            if wanted.classid in (0, place):
                _show_slot(qdisc, inner, stats.get(inner.serial, NONE), wanted, out)


def hashed(classes: Iterable[HtbClass]) -> Iterator[HtbClass]:
    """As the kernel's table has them, which doubles where it is three quarters full."""
    table: list[list[HtbClass]] = [[] for _ in range(4)]
    for number, cls in enumerate(classes, 1):
        table[_hash(cls.id) & len(table) - 1].insert(0, cls)
        if number * 4 > len(table) * 3:
            table = _doubled(table)
    for place in table:
        yield from place


def _doubled(table: list[list[HtbClass]]) -> list[list[HtbClass]]:
    larger: list[list[HtbClass]] = [[] for _ in range(len(table) * 2)]
    for place in table:
        for cls in place:
            larger[_hash(cls.id) & len(larger) - 1].insert(0, cls)
    return larger


def _hash(id: int) -> int:
    id ^= id >> 8
    return id ^ id >> 4


def _show_ids(kind: str, id: int, parent: int, leaf: int, wanted: Wanted, out: Printer) -> None:
    short = MINOR if wanted.qdisc else 0xFFFFFFFF
    out.put("class", "class {} ", kind)
    out.put("handle", "{} ", written(id & short))
    if parent == ROOT:
        out.put("root", "root ", True)
    else:
        out.put("parent", "parent {} ", written(parent & short))
    if leaf:
        out.put("leaf", "leaf {}: ", f"{leaf >> 16:#x}" if out.is_json else f"{leaf >> 16:x}")


def _show_class(control: TrafficControl, cls: HtbClass, stats: QdiscStats, wanted: Wanted, out: Printer) -> None:
    leaf = control.qdiscs.get(cls.id)
    with out.object():
        _show_ids("htb", cls.id, cls.parent, leaf.handle if leaf else 0, wanted, out)
        show_class(cls, level(control, cls), out)
        out.text("\n")
        if out.stats:
            with out.object("stats"):
                show_statistics(out, stats)
                show_class_stats(out, stats)
                out.text("\n")


def _show_slot(qdisc: Qdisc, inner: Qdisc, stats: QdiscStats, wanted: Wanted, out: Printer) -> None:
    """A band of prio, or what is in a tbf, of which the kernel counts nothing."""
    with out.object():
        _show_ids(qdisc.kind, inner.parent, qdisc.handle, inner.handle, wanted, out)
        out.text("\n")
        if out.stats:
            with out.object("stats"):
                if qdisc.kind == "prio":
                    show_statistics(out, stats)
                else:
                    out.text("\n")


# Filters


def filters(name: str, control: TrafficControl, wanted: Wanted, out: Printer) -> None:
    """The filters at one place of a port, by default at its root."""
    parent = wanted.parent or (control.root.handle if control.root else 0)
    for one in control.of(block_of(parent)):
        if wanted.prio in (0, one.prio) and wanted.protocol in (0, one.protocol):
            _show_list(one, parent, wanted, out)


def _show_list(one: FilterList, parent: int, wanted: Wanted, out: Printer) -> None:
    """First a line for the priority, of u32 another for its table, then the filters."""
    with out.object():
        _show_filter_head(one, parent, wanted, out)
        out.text("\n")
    if one.kind == "u32":
        with out.object():
            _show_filter_head(one, parent, wanted, out)
            with out.object("options"):
                show_table(one, out)
            out.text("\n")
    for node in one.nodes:
        with out.object():
            _show_filter_head(one, parent, wanted, out)
            with out.object("options"):
                CLASSIFIERS[one.kind].show(one, node, out)
            out.text("\n")


def _show_filter_head(one: FilterList, parent: int, wanted: Wanted, out: Printer) -> None:
    out.text("filter ")
    if not wanted.parent:
        if parent == AT_INGRESS:
            out.put("ingress", "ingress ", True)
        else:
            out.put("parent", "parent {} ", written(parent))
    if not wanted.protocol:
        out.put("protocol", "protocol {} ", protocol_text(one.protocol))
    if not wanted.prio:
        out.put("pref", "pref {} ", one.prio)
    out.put("kind", "{} ", one.kind)
    out.put("chain", "chain {} ", 0)
