"""What the switch says about its queues: disciplines, classes, how long frames waited, and how much memory that takes.

In the manner of `observe.report`. The numbers are those that `tc -s` prints, by the same counters. A discipline is
known by its port and handle; those that nobody asked for have none, and are not here: their class or discipline tells
of them. A class is one of HTB, or a band of prio. Counters count from when their discipline or class was made.
"""

from __future__ import annotations

import msgspec


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What disciplines and classes count. A super-frame is its segments in `packets`, one frame in `drops` and
    `backlog_frames`."""

    port: str
    kind: str
    parent: str  # "root", or a class as tc writes it
    bytes: int
    packets: int
    drops: int
    overlimits: int
    requeues: int
    backlog_bytes: int
    backlog_frames: int
    rate: int | None  # bytes a second; None: it has none
    achieved: float | None  # bytes a second over the last interval; None: it was not there at its beginning


class QdiscReport(Counted, frozen=True, kw_only=True):
    """A discipline."""

    handle: str
    marked: int | None  # packets that fq_codel has marked, by ECN


class BucketReport(msgspec.Struct, frozen=True, kw_only=True):
    """What HTB adds: its two buckets, and how often frames left by its own rate and by its parent's."""

    ceil: int
    tokens_s: float
    ceil_tokens_s: float
    lends: int
    borrows: int


class ClassReport(Counted, frozen=True, kw_only=True):
    """A class; `bucket` is HTB's."""

    classid: str
    leaf: str  # the handle of the discipline in it; "" if it has none, or one that nobody asked for
    bucket: BucketReport | None


class QueueReport(msgspec.Struct, frozen=True, kw_only=True):
    """A place where frames wait: the class, or "root". `delays` as in `QdiscStats`: frames that waited below
    1 us, 2 us, 4 us, ...; the last: longer."""

    port: str
    classid: str
    delays: tuple[int, ...]


class QueueingReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, at one moment."""

    qdiscs: list[QdiscReport]
    classes: list[ClassReport]
    queues: list[QueueReport]
    memory_bytes: int
    memory_frames: int
    memory_limit: int
