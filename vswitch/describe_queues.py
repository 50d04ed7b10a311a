"""Queueing in the words of `observe.queueing`: from ports' traffic control and its counters to reports.

What a discipline of nobody's asking has counted is told where an administrator would look for it. Frames wait in leaves
only, and a leaf's delays belong to the class that it is in (one of HTB, a band of prio), or to "root". A tbf is no such
place: what it holds waits in the discipline inside it.

Rates are measured here, between looks (`Pace`), since a look at a thousand ports every second would cost more than
their shaping does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from .observe.queueing import BucketReport, ClassReport, QdiscReport, QueueingReport, QueueReport
from .qos.compile import ingress
from .qos.model import HtbClass, Qdisc, TrafficControl
from .qos.units import rate_text
from .qos.view import PolicerView, QdiscStats
from .qos.words import INGRESS, MAJOR, ROOT, written

INTERVAL_S = 1.0  # the shortest over which a rate is measured
CLASSFUL = ("htb", "prio", "tbf")
NONE = QdiscStats()

Controls = Mapping[str, TrafficControl]
Stats = Mapping[int, QdiscStats]
Rates = Mapping[int, float]


class Pace:
    """Bytes a second by serial number, from one look to the next that comes INTERVAL_S later or more.

    What was not there at the last look has no rate yet. Serial numbers are never used again, so no counter falls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._sent: dict[int, int] = {}
        self._rates: Rates = {}

    def measure(self, sent: dict[int, int]) -> Rates:
        """The rates; `sent` is how many bytes have left by now, by serial number."""
        elapsed = self._clock() - self._at
        if elapsed >= INTERVAL_S:
            before = self._sent
            self._rates = {one: (sent[one] - before[one]) / elapsed for one in sent.keys() & before.keys()}
            self._sent, self._at = sent, self._at + elapsed
        return self._rates


def queueing_report(
    controls: Controls, stats: Mapping[str, Stats], memory: tuple[int, int, int], pace: Pace
) -> QueueingReport:
    """All queues of all ports. `stats` is by port, `memory` as `Dataplane.queue_memory` has it."""
    rates = pace.measure({serial: counts.bytes for port in stats.values() for serial, counts in port.items()})
    taken, frames, limit = memory
    return QueueingReport(
        qdiscs=[one for port, control in controls.items() for one in _qdiscs(port, control, stats[port], rates)],
        classes=[one for port, control in controls.items() for one in _classes(port, control, stats[port], rates)],
        queues=[one for port, control in controls.items() for one in _queues(port, control, stats[port])],
        memory_bytes=taken, memory_frames=frames, memory_limit=limit,
    )  # fmt: skip


def _qdiscs(port: str, control: TrafficControl, stats: Stats, rates: Rates) -> Iterator[QdiscReport]:
    for qdisc in control.qdiscs.values():
        if qdisc.handle and qdisc.parent != INGRESS:
            counts = stats.get(qdisc.serial, NONE)
            yield QdiscReport(
                port=port, kind=qdisc.kind, parent=written(qdisc.parent), handle=written(qdisc.handle),
                **_counted(counts), rate=qdisc.options.rate if qdisc.kind == "tbf" else None, achieved=rates.get(qdisc.serial),
                marked=(*counts.extra, 0, 0, 0, 0)[3] if qdisc.kind == "fq_codel" else None,
            )  # fmt: skip


def _counted(stats: QdiscStats) -> dict[str, int]:
    return {
        "bytes": stats.bytes, "packets": stats.packets, "drops": stats.drops, "overlimits": stats.overlimits,
        "requeues": stats.requeues, "backlog_bytes": stats.backlog, "backlog_frames": stats.qlen,
    }  # fmt: skip


def _classes(port: str, control: TrafficControl, stats: Stats, rates: Rates) -> Iterator[ClassReport]:
    for cls in control.classes.values():
        yield _htb_class(port, control, cls, stats.get(cls.serial, NONE), rates.get(cls.serial))
    kinds = {qdisc.handle: qdisc.kind for qdisc in control.qdiscs.values() if qdisc.handle}
    for qdisc in control.qdiscs.values():
        if qdisc.parent not in (ROOT, INGRESS) and kinds[qdisc.parent & MAJOR] == "prio":
            yield ClassReport(
                port=port, kind="prio", parent=written(qdisc.parent & MAJOR), classid=written(qdisc.parent),
                leaf=_handle(qdisc), **_counted(stats.get(qdisc.serial, NONE)),
                rate=None, achieved=rates.get(qdisc.serial), bucket=None,
            )  # fmt: skip


def _handle(qdisc: Qdisc | None) -> str:
    return written(qdisc.handle) if qdisc and qdisc.handle else ""


def _htb_class(
    port: str, control: TrafficControl, cls: HtbClass, stats: QdiscStats, achieved: float | None
) -> ClassReport:
    lends, borrows, tokens_ns, ctokens_ns = (*stats.extra, 0, 0, 0, 0)[:4]
    return ClassReport(
        port=port, kind="htb", parent=written(cls.parent), classid=written(cls.id),
        leaf=_handle(control.qdiscs.get(cls.id)), **_counted(stats), rate=cls.rate, achieved=achieved,
        bucket=BucketReport(
            ceil=cls.ceil, tokens_s=tokens_ns / 1e9, ceil_tokens_s=ctokens_ns / 1e9, lends=lends, borrows=borrows
        ),
    )  # fmt: skip


def _queues(port: str, control: TrafficControl, stats: Stats) -> Iterator[QueueReport]:
    around = {qdisc.handle: qdisc for qdisc in control.qdiscs.values() if qdisc.handle}
    for qdisc in control.qdiscs.values():
        if qdisc.kind in CLASSFUL or qdisc.parent == INGRESS:
            continue
        place, counts = qdisc.parent, stats.get(qdisc.serial, NONE)
        while place != ROOT and around[place & MAJOR].kind == "tbf":
            place = around[place & MAJOR].parent
        yield QueueReport(port=port, classid=written(place), delays=counts.delays)


# In a word


def egress_text(control: TrafficControl) -> str | None:
    """The discipline at the root, and the rate that it keeps if it has one; None: nothing waits."""
    root = control.root
    if root is None:
        return None
    roots = [cls for cls in control.classes_of(root.handle) if cls.parent == ROOT] if root.kind == "htb" else []
    rate = root.options.rate if root.kind == "tbf" else roots[0].ceil if len(roots) == 1 else None
    return root.kind if rate is None else f"{root.kind} {rate_text(rate)}"


def ingress_text(control: TrafficControl) -> str | None:
    """What the whole port may send, then its VLANs; None: anything."""
    policers = sorted(ingress(control), key=lambda policer: policer.vlan or 0)
    return ", ".join(map(_policed, policers)) or None


def _policed(policer: PolicerView) -> str:
    limits = [rate_text(policer.rate)] if policer.rate else []
    limits += [f"{policer.frame_rate} frames/s"] if policer.frame_rate else []
    return ("" if policer.vlan is None else f"VLAN {policer.vlan} ") + " ".join(limits)
