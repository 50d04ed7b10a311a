"""A port's traffic control while it is being changed.

A draft takes the place of one `TrafficControl` for the length of one command or of one section of the configuration.
Edits change it in place; one that is refused may leave it half changed, and then it is thrown away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .complaint import NO_ROOM, denied, errno
from .kinds import KINDS
from .model import FIRST_HANDLE, FilterList, HtbClass, Link, Qdisc, TrafficControl, ancestors, new_serial
from .words import AT_EGRESS, AT_INGRESS, INGRESS, MAJOR, MINOR, ROOT

STEP = 1 << 16
MOST_QDISCS = 65_536  # as many as a port has handles for


class Draft:
    """The parts of a `TrafficControl`, open to change; `warnings` is what is said though nothing is wrong."""

    def __init__(self, control: TrafficControl, link: Link) -> None:
        self.link = link
        self.qdiscs: dict[int, Qdisc] = dict(control.qdiscs)
        self.classes: dict[int, HtbClass] = dict(control.classes)
        self.filters: dict[int, tuple[FilterList, ...]] = dict(control.filters)
        self.warnings = ""
        self._last_handle = control.last_handle
        self._places = {qdisc.handle: parent for parent, qdisc in self.qdiscs.items() if qdisc.handle}

    def freeze(self) -> TrafficControl:
        return TrafficControl(self.qdiscs, self.classes, self.filters, self._last_handle)

    # Looking

    def find(self, handle: int) -> Qdisc | None:
        """The discipline of that handle; nothing has handle 0."""
        return self.qdiscs.get(self._places.get(handle & MAJOR, 0))

    @property
    def root(self) -> Qdisc | None:
        return self.qdiscs.get(ROOT)

    def place(self, parent: int, missing: str) -> int:
        """The key of the place that a parent names, or a refusal: `missing` is said if no discipline has it."""
        if parent == ROOT or parent & MAJOR == INGRESS & MAJOR:
            return ROOT if parent == ROOT else INGRESS
        owner = self.find(parent)
        if owner is None:
            raise denied(missing)
        if not KINDS[owner.kind].classful:
            raise denied("Parent qdisc is not classful")
        if owner.kind == "tbf":
            return owner.handle | 1
        if owner.kind == "prio" and 1 <= parent & MINOR <= owner.options.bands:
            return owner.handle | parent & MINOR
        if owner.kind == "htb" and parent in self.classes:
            return parent
        raise denied("Specified class not found")

    def has_class(self, id: int) -> bool:
        """Whether filters may be put there."""
        if id & MAJOR == INGRESS & MAJOR:
            return INGRESS in self.qdiscs
        owner = self.find(id)
        if owner is not None and owner.kind == "prio":
            return 1 <= id & MINOR <= owner.options.bands
        return id in self.classes

    def depth(self, cls: HtbClass) -> int:
        return sum(1 for _ in ancestors(self.classes, cls))

    # Changing

    def new_handle(self) -> int:
        """The next of 8001: to fffe: that is free; what was given once comes last again."""
        handle = self._last_handle or FIRST_HANDLE - STEP
        for _ in range(FIRST_HANDLE >> 16, 0xFFFF):
            handle = handle + STEP if handle < MAJOR - STEP else FIRST_HANDLE
            if handle not in self._places:
                self._last_handle = handle
                return handle
        raise errno(NO_ROOM)

    def put(self, place: int, handle: int, kind: str, options: Any) -> Qdisc:
        """A new discipline in a place, instead of what is there; with what it has inside unasked."""
        self.clear(place)
        if len(self.qdiscs) >= MOST_QDISCS:
            raise errno(NO_ROOM)
        qdisc = self.qdiscs[place] = Qdisc(new_serial(), handle, place, kind, options)
        if handle:
            self._places[handle] = place
        for minor in KINDS[kind].slots(options, self.link):
            self.fill(handle | minor)
        return qdisc

    def change(self, qdisc: Qdisc, options: Any) -> None:
        """Other options; bands of prio that are no more go with what is in them."""
        self.qdiscs[qdisc.parent] = replace(qdisc, options=options)
        slots = KINDS[qdisc.kind].slots(options, self.link)
        if qdisc.kind == "prio":
            for band in range(1, 17):
                self._keep_band(qdisc.handle | band, band in slots)
        elif qdisc.kind == "tbf":
            self._resize(qdisc.handle | 1, options.limit)

    def _keep_band(self, place: int, wanted: bool) -> None:
        if wanted and place not in self.qdiscs:
            self.fill(place)
        elif not wanted and place in self.qdiscs:
            self.clear(place)
            self.filters.pop(place, None)

    def _resize(self, place: int, limit: int) -> None:
        """A tbf's limit is that of the fifo within, if it is one."""
        inner = self.qdiscs[place]
        if inner.kind in ("bfifo", "pfifo"):
            self.qdiscs[place] = replace(inner, options=replace(inner.options, limit=limit))

    def fill(self, place: int) -> None:
        """What is there when nothing is asked for: in a class of HTB a pfifo, else what the owner says."""
        owner = self.find(place)
        slots = KINDS[owner.kind].slots(owner.options, self.link) if owner else {}
        kind, options = slots.get(place & MINOR) or ("pfifo", KINDS["pfifo"].make(None, self.link))
        self.put(place, 0, kind, options)

    def clear(self, place: int) -> None:
        """Without what is in a place, and all that is within that."""
        qdisc = self.qdiscs.pop(place, None)
        if qdisc is None:
            return
        if place == INGRESS:
            self.filters.pop(INGRESS, None)
        if not qdisc.handle:
            return
        self._places.pop(qdisc.handle, None)
        for table in (self.classes, self.filters):
            for id in [id for id in table if id & MAJOR == qdisc.handle]:
                del table[id]
        for inner in [inner for inner in self.qdiscs if inner & MAJOR == qdisc.handle and inner != ROOT]:
            self.clear(inner)


def block_of(parent: int) -> int:
    """Where a filter's parent keeps its filters: what is said of ingress in several ways is one."""
    if parent in (AT_INGRESS, INGRESS) or parent == INGRESS & MAJOR:
        return INGRESS
    if parent == AT_EGRESS:
        raise denied("what leaves is classified at the root discipline; the switch has no filters of clsact egress")
    return parent
