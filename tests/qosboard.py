"""A port with queueing disciplines and no clock: offers packets, serves what is due, keeps the books.

`FastPort` is the fast path behind the face of the model (tests/qos_model), so that one `Board` drives either. A board
serves whenever something is due and never later, so that departures are exact.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest

from tests.qos_model import Packet, Port
from tests.qos_model.packet import HEADERS, LABEL, TOS_AT
from vswitch.qos.view import QdiscStats, TreeView

pytest.importorskip("vswitch._fastpath._probe_qos", reason="built without test doors (VSWITCH_PROBE=1)")

from vswitch._fastpath._probe_qos import QosProbe

VNET_BYTES = 12
START_NS = 10**12
STREAM_SHIFT = 20  # a label is the stream's number and the packet's in it


class FastPort:
    def __init__(self, tree: TreeView, **options) -> None:
        self.tree = tree
        self.probe = QosProbe(tree, **options)
        self.items: list[bytes] = []

    def offer(self, packet: Packet, now: int) -> str | None:
        """None: taken. Else why it was dropped, or another in its place."""
        return self.probe.offer(packet.frame(), now, mark=packet.mark, class_id=packet.class_id, vnet=packet.vnet())

    def serve(self, now: int, most: int | None = None) -> list[Packet]:
        items = self.probe.serve(now, most)
        self.items += items
        return [read_packet(item) for item in items]

    def due(self) -> int | None:
        return self.probe.due()

    def stats(self, index: int = 0) -> QdiscStats:
        return self.probe.stats(self.tree.qdiscs[index].serial)

    def class_stats(self, minor: int) -> QdiscStats:
        return self.probe.stats(next(cls.serial for qdisc in self.tree.qdiscs for cls in qdisc.classes
                                     if cls.class_id & 0xFFFF == minor))

    @property
    def held(self) -> int:
        return self.stats().qlen

    @property
    def drops(self) -> dict[str, int]:
        return {name: n for name, n in self.probe.drops().items() if n}


def read_packet(item: bytes) -> Packet:
    """What left: a virtio-net header and a frame."""
    frame = item[VNET_BYTES:]
    gso_type, gso_size = item[1], struct.unpack_from("<H", item, 4)[0]
    label, mss = int.from_bytes(frame[LABEL], "big"), gso_size if gso_type else 0
    return Packet(label, len(frame) - HEADERS, tos=frame[TOS_AT], mss=mss)


class Sent(NamedTuple):
    at: int
    label: int
    wire: int
    segments: int
    tos: int

    @property
    def stream(self) -> int:
        return self.label >> STREAM_SHIFT


def alike(ours: list[Sent], model: list[Sent]) -> bool:
    """The same frames and parts in the same order, and at the same times: to a nanosecond for each that left before, since
    the switch rounds once for frames that it charges for together."""
    return len(ours) == len(model) and all(
        a._replace(at=b.at) == b and abs(a.at - b.at) <= n for n, (a, b) in enumerate(zip(ours, model, strict=True), 1)
    )


@dataclass
class Board:
    port: FastPort | Port
    now: int = START_NS
    sent: list[Sent] = field(default_factory=list)
    offered: int = 0
    left: dict[int, int] = field(default_factory=dict)  # segments of each label that have not left

    def offer(self, packet: Packet) -> str | None:
        self.offered += 1
        self.left[packet.label] = packet.segments
        return self.port.offer(packet, self.now)

    def serve(self, most: int | None = None) -> list[Sent]:
        gone = self.port.serve(self.now, most)
        sent = [Sent(self.now, part.label, part.wire, part.segments, part.tos) for part in gone]
        for one in sent:
            self.left[one.label] -= one.segments
            assert self.left[one.label] >= 0, f"{one.label:#x} left twice"
        self.sent += sent
        return sent

    def run(self, until: int) -> None:
        """Let time pass, serving whatever is due."""
        while True:
            self.serve()
            due = self.port.due()
            if due is None or due > until:
                break
            assert due > self.now, "due, and nothing left"
            self.now = due
        self.now = max(self.now, until)

    def check(self) -> None:
        """Everything offered was served, was dropped by name, or is still held."""
        finished = sum(left == 0 for left in self.left.values())
        assert self.offered == finished + sum(self.port.drops.values()) + self.port.held


@dataclass
class Stream:
    """Packets of one kind without end."""

    number: int
    template: Packet
    depth: int = 4  # packets that it keeps waiting
    serial: itertools.count = field(default_factory=itertools.count)

    def next(self) -> Packet:
        return replace(self.template, label=self.number << STREAM_SHIFT | next(self.serial))


def streams(templates: Iterable[Packet], depth: int = 4) -> list[Stream]:
    return [Stream(number, template, depth) for number, template in enumerate(templates)]


def packet(**what) -> Packet:
    """One without a label yet."""
    return Packet(0, **what)


def saturate(board: Board, loads: Sequence[Stream], until: int, most: int | None = None) -> None:
    """Keep streams backlogged until a time, or until so many packets have left."""
    end = None if most is None else len(board.sent) + most
    known = {stream.number: stream for stream in loads}
    for stream in loads:
        for _ in range(stream.depth):
            assert board.offer(stream.next()) is None
    while end is None or len(board.sent) < end:
        if sent := board.serve(1):
            if sent[0].stream in known and not board.left[sent[0].label]:
                board.offer(known[sent[0].stream].next())
            continue
        due = board.port.due()
        if due is None or due > until:
            break
        assert due > board.now, "due, and nothing left"
        board.now = due
    if end is None:
        board.now = until


def bytes_by_stream(sent: Iterable[Sent], since: int = 0) -> Counter[int]:
    """Bytes on the wire of each stream, of what left later than `since`."""
    total: Counter[int] = Counter()
    for one in sent:
        if one.at > since:
            total[one.stream] += one.wire
    return total


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 where all have the same."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def worst_excess(sent: Iterable[Sent], rate: int) -> float:
    """By how many bytes the worst interval exceeds what the rate (bytes a second) puts through in it."""
    level, last, worst = 0.0, None, 0.0
    for one in sent:
        if last is not None:
            level = max(0.0, level - (one.at - last) * rate / 10**9)
        level += one.wire
        last, worst = one.at, max(worst, level)
    return worst
