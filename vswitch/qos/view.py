"""Queueing disciplines as the fast path takes them: plain numbers, nothing to be looked up.

A port's tree is a `TreeView`. The root is qdisc 0; a qdisc's children and a class's leaf are indices into `qdiscs`, a
class's parent one into `classes` of its qdisc. What `tc` leaves out is made explicit by whoever makes the view: each leaf
class, each band of prio and each tbf has its fifo. Times are nanoseconds, rates bytes a second, sizes bytes.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.IntEnum):
    """Disciplines. The parameters of each are a tuple of the name in the comment."""

    PFIFO = 1  # FifoView, in packets; a super-frame is one
    BFIFO = 2  # FifoView, in bytes
    PFIFO_FAST = 3  # FifoView, in packets a band
    PRIO = 4  # PrioView; a child a band
    SFQ = 5  # SfqView
    TBF = 6  # TbfView; one child
    HTB = 7  # HtbView; classes
    FQ_CODEL = 8  # FqCodelView


class Shape(NamedTuple):
    """A rate, and what is added to each packet on the wire before it is charged."""

    rate: int
    overhead: int = 0
    mpu: int = 0


class FifoView(NamedTuple):
    limit: int


class PrioView(NamedTuple):
    priomap: tuple[int, ...]  # sixteen bands by priority


class SfqView(NamedTuple):
    limit: int  # packets in all flows
    depth: int  # packets in one
    flows: int  # that are active at once
    divisor: int  # slots of the hash, a power of two
    quantum: int
    perturb_ns: int  # 0: never
    headdrop: bool


class TbfView(NamedTuple):
    rate: Shape
    burst_ns: int  # what the burst takes at the rate
    peak: Shape | None
    mtu_ns: int  # what the mtu takes at the peak rate
    max_size: int  # the largest packet that ever conforms: super-frames are split for it, others dropped


class HtbView(NamedTuple):
    default: int  # minor number; of no leaf class: what no filter takes leaves unshaped
    direct_limit: int  # packets waiting unshaped


class FqCodelView(NamedTuple):
    limit: int  # packets
    flows: int
    quantum: int
    target_ns: int
    interval_ns: int
    ce_threshold_ns: int | None
    ecn: bool
    memory_limit: int
    drop_batch: int


class Base(enum.IntEnum):
    """What a key of a filter looks at: four bytes there, as a big-endian number."""

    NETWORK = 1  # the offset counts from the IP header; the Ethernet header lies at negative ones
    TRANSPORT = 2  # ... from behind the IPv4 header and its options, or behind the fixed IPv6 header
    MARK = 3  # the packet's mark
    PROTOCOL = 4  # the EtherType behind all tags
    VLAN = 5  # PCP << 13 | DEI << 12 | VID of the VLAN that the frame is in; 0: none


class KeyView(NamedTuple):
    base: Base
    offset: int
    value: int
    mask: int


class FilterView(NamedTuple):
    """Matches if all keys do (without any: always). What lies beyond the frame's end matches nothing."""

    keys: tuple[KeyView, ...]
    class_id: int  # major << 16 | minor


class ClassView(NamedTuple):
    """A class of HTB; one without `leaf` has child classes."""

    serial: int
    class_id: int
    parent: int | None  # None: a root class
    leaf: int | None
    rate: Shape
    ceil: Shape
    burst_ns: int  # what the burst takes at the rate
    cburst_ns: int
    prio: int  # 0 to 7, of a leaf
    quantum: int
    filters: tuple[FilterView, ...] = ()


class QdiscView(NamedTuple):
    """`serial` numbers are never used again: a discipline or class that is changed keeps its own, and so what it holds."""

    serial: int
    handle: int  # major << 16; 0: made without being asked for
    kind: Kind
    parameters: tuple
    children: tuple[int, ...] = ()
    classes: tuple[ClassView, ...] = ()  # parents before their children
    filters: tuple[FilterView, ...] = ()  # in the order in which they are asked


class TreeView(NamedTuple):
    qdiscs: tuple[QdiscView, ...]


class QdiscStats(NamedTuple):
    """What a discipline or class has done. A super-frame counts as its segments in `packets`, as one in `qlen`, `drops`."""

    bytes: int = 0
    packets: int = 0
    drops: int = 0
    overlimits: int = 0
    requeues: int = 0
    backlog: int = 0  # bytes that wait
    qlen: int = 0
    extra: tuple[int, ...] = ()  # of HTB classes: lended, borrowed, tokens_ns, ctokens_ns; of fq_codel: maxpacket, drop_overlimit, new_flow_count, ecn_mark, new_flows_len, old_flows_len, ce_mark, memory_used, drop_overmemory
    delays: tuple[int, ...] = ()  # of what is a leaf: packets that waited below 1 us, 2 us, 4 us, ...; the last: longer


class PolicerView(NamedTuple):
    """What may come in from a port, or from one VLAN of it. More is dropped, or marked."""

    vlan: int | None
    rate: int  # bytes a second; 0: any
    burst: int  # bytes
    frame_rate: int  # frames a second; 0: any
    frame_burst: int
    mark: int | None  # None: drop
