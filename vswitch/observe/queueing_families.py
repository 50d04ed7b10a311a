"""From a report of queueing to Prometheus' metric families: see collector.py for the rules.

A discipline has a port and a handle, a class a port and a class id; what else there is to know of them is in
`vswitch_qdisc_info` and `vswitch_class_info`, as with ports.

How long frames waited is a histogram of counters, one for each place where any do. It has buckets from 16 us on: less
is no waiting, and a thousand ports need not pay for it. It has no sum, for nobody adds the delays up; so it has no count
either, which OpenMetrics would not have without, and the bucket +Inf says the same. Quantiles and rates need neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from .families import Family, Table, labelled, singles
from .queueing import ClassReport, Counted, QdiscReport, QueueingReport, QueueReport

# Counters that disciplines and classes have alike: behind vswitch_qdisc_ or vswitch_class_, and what is said of both.
COUNTERS: Table = (
    ("bytes", "sent_bytes", "Bytes that left, as they went on the wire."),
    ("packets", "sent_packets", "Packets that left; of a super-frame its segments."),
    ("drops", "dropped_frames", "Frames dropped, by its own rule or by what is below."),
    ("overlimits", "overlimits", "Times when a frame could not leave for want of tokens."),
    ("requeues", "requeues", "Frames put back because the device took no more."),
)

GAUGES: Table = (
    ("backlog_bytes", "backlog_bytes", "Bytes that wait."),
    ("backlog_frames", "backlog_frames", "Frames that wait."),
    ("rate", "rate_bytes_per_second", "Configured rate."),
    ("achieved", "achieved_bytes_per_second", "What left in the last interval, between two scrapes."),
)

BUCKET_COUNTERS: Table = (
    ("lends", "lends", "Times when a frame left by this class's rate, its own or a child's."),
    ("borrows", "borrows", "Times when a frame of this class left by a parent's rate."),
)

BUCKET_GAUGES: Table = (
    ("ceil", "ceil_bytes_per_second", "Configured ceil."),
    ("tokens_s", "tokens_seconds", "Time that may be spent sending at the class's rate; below 0: owed."),
    ("ceil_tokens_s", "ceil_tokens_seconds", "Time that may be spent sending at the class's ceil; below 0: owed."),
)

MARKED: Table = (("marked", "marked_packets", "Packets that fq_codel marked, by ECN, rather than drop them."),)

MEMORY: Table = (
    ("memory_bytes", "vswitch_queue_memory_bytes", "Memory that waiting frames take, in all disciplines together."),
    ("memory_limit", "vswitch_queue_memory_limit_bytes", "Memory that waiting frames may take."),
    ("memory_frames", "vswitch_queue_memory_frames", "Frames that wait, in all disciplines together."),
)

FIRST, LAST = 4, 22  # powers of two of a microsecond that are a bucket's bound: 16 us to 4.2 s
BOUNDS = (*(repr((1 << power) / 1e6) for power in range(FIRST, LAST + 1)), "+Inf")

Rows = Iterable[tuple[tuple[str, str], object]]  # port and handle or class id, and what it has counted


def queueing_families(report: QueueingReport) -> Iterator[Metric]:
    """All families of the report."""
    qdiscs = [((one.port, one.handle), one) for one in report.qdiscs]
    classes = [((one.port, one.classid), one) for one in report.classes]
    yield _info("vswitch_qdisc", "A queueing discipline.", "handle", qdiscs, _described_qdisc)
    yield from _both("vswitch_qdisc_", "handle", qdiscs)
    yield from _table(CounterMetricFamily, "vswitch_qdisc_", "handle", qdiscs, MARKED)
    buckets = [(labels, one.bucket) for labels, one in classes if one.bucket]
    yield _info("vswitch_class", "A class of a queueing discipline.", "classid", classes, _described_class)
    yield from _both("vswitch_class_", "classid", classes)
    yield from _table(CounterMetricFamily, "vswitch_class_", "classid", buckets, BUCKET_COUNTERS)
    yield from _table(GaugeMetricFamily, "vswitch_class_", "classid", buckets, BUCKET_GAUGES)
    yield _delays(report.queues)
    yield from singles(GaugeMetricFamily, report, MEMORY)


def _both(prefix: str, label: str, rows: Rows) -> Iterator[Metric]:
    yield from _table(CounterMetricFamily, prefix, label, rows, COUNTERS)
    yield from _table(GaugeMetricFamily, prefix, label, rows, GAUGES)


def _table(family: Family, prefix: str, label: str, rows: Rows, table: Table) -> Iterator[Metric]:
    """One family a line; who has no such number has no sample."""
    for attribute, name, text in table:
        samples = ((labels, getattr(one, attribute)) for labels, one in rows)
        yield labelled(family, prefix + name, text, ("port", label), (pair for pair in samples if pair[1] is not None))


def _info(name: str, text: str, label: str, rows: Iterable[tuple[tuple[str, str], Counted]],
          describe: Callable[..., dict[str, str]]) -> Metric:
    info = InfoMetricFamily(name, f"{text[:-1]}: join on it by port and {label}.", labels=["port", label])
    for labels, one in rows:
        info.add_metric(labels, describe(one))
    return info


def _described_qdisc(qdisc: QdiscReport) -> dict[str, str]:
    return {"kind": qdisc.kind, "parent": qdisc.parent}


def _described_class(cls: ClassReport) -> dict[str, str]:
    return {"kind": cls.kind, "parent": cls.parent, "leaf": cls.leaf}


def _delays(queues: Iterable[QueueReport]) -> Metric:
    text = "Frames by how long they waited in a class, or, without classes, in a port's root discipline."
    metric = HistogramMetricFamily("vswitch_queue_delay_seconds", text, labels=["port", "classid"])
    for queue in queues:
        below = list(accumulate(queue.delays)) or [0] * (LAST + 2)
        counts = (*below[FIRST : LAST + 1], below[-1])
        metric.add_metric([queue.port, queue.classid], list(zip(BOUNDS, counts, strict=True)), None)
    return metric
