"""htb: a tree of classes, each with a rate of its own and a ceil up to which it borrows from its ancestors.

A leaf with something to send stands in a row of its own level while it can send; while it may borrow, it stands in its
parent's feed, and the parent, if it can send, in a row of the parent's level, and so on upwards. Rows of lower levels
go first, within a level those of better priorities; within a row classes take turns, each for a quantum of bytes.
"""

from __future__ import annotations

from collections import deque

from .discipline import Discipline, earliest, matching
from .htb_class import LEVELS, PRIOS, Class, Mode
from .htb_row import Row
from .packet import Packet

PEEL_NS = 10**6  # a super-frame must not hold the line for longer
DIRECT = object()


class Htb(Discipline):
    def __init__(self, *whose, leaves: dict[int, Discipline]) -> None:
        super().__init__(*whose)
        self.classes: list[Class] = []
        for view in self.view.classes:
            parent = None if view.parent is None else self.classes[view.parent]
            self.classes.append(Class(view, parent, None if view.leaf is None else leaves[view.leaf]))
        self.by_id = {cls.view.class_id: cls for cls in self.classes}
        self.rows = [[Row() for _ in range(PRIOS)] for _ in range(LEVELS)]
        self.direct: deque[Packet] = deque()
        self.now = 0

    # Classification

    def classify(self, packet: Packet) -> Class | object:
        """The leaf class; DIRECT: what nobody shapes."""
        if packet.class_id == self.view.handle:
            return DIRECT
        cls = self.by_id.get(packet.class_id)
        while cls is None or cls.level:
            chosen = matching(cls.view.filters if cls else self.view.filters, packet)
            if chosen == self.view.handle:
                return DIRECT
            cls = self.by_id.get(chosen)
            if cls is None:
                return self._default()
        return cls

    def _default(self) -> Class | object:
        cls = self.by_id.get(self.view.handle | self.view.parameters.default)
        return DIRECT if cls is None or cls.level else cls

    def offer(self, packet: Packet, now: int) -> str | None:
        cls = self.classify(packet)
        if cls is DIRECT:
            if len(self.direct) >= self.view.parameters.direct_limit:
                return self.books.drop(packet, "qdisc_limit")
            self.direct.append(packet)
            return None
        name = cls.leaf.offer(packet, now)
        if cls.leaf.qlen and not cls.active:
            cls.active = {cls.view.prio}
            self._join(cls)
        return name

    # Who may send

    def _join(self, cls: Class) -> None:
        """Take a place in the parent's feed, and so upwards, or in a row."""
        prios = set(cls.active)
        while cls.mode is Mode.MAY_BORROW and cls.parent and prios:
            parent = cls.parent
            known = {prio for prio in prios if parent.feeds[prio].members}
            for prio in prios:
                parent.feeds[prio].add(cls)
            prios -= known
            parent.active |= prios
            cls = parent
        if cls.mode is Mode.CAN_SEND:
            for prio in prios:
                self.rows[cls.level][prio].add(cls)

    def _leave(self, cls: Class) -> None:
        """The opposite, by the mode that the class had."""
        prios = set(cls.active)
        while cls.mode is Mode.MAY_BORROW and cls.parent and prios:
            parent = cls.parent
            for prio in prios:
                parent.feeds[prio].remove_from_feed(cls)
            prios = {prio for prio in prios if not parent.feeds[prio].members}
            parent.active -= prios
            cls = parent
        if cls.mode is Mode.CAN_SEND:
            for prio in prios:
                self.rows[cls.level][prio].remove(cls)

    def _deactivate(self, cls: Class) -> None:
        self._leave(cls)
        cls.active = set()

    def _change_mode(self, cls: Class, passed: int) -> int:
        """Returns in how long it may change again."""
        mode, wait = cls.mode_after(passed)
        if mode is not cls.mode:
            if cls.mode is not Mode.CANT_SEND:
                self._leave(cls)
            cls.mode = mode
            if mode is not Mode.CANT_SEND:
                self._join(cls)
        return wait

    def _wait(self, cls: Class, wait: int) -> None:
        cls.waits_until = None if cls.mode is Mode.CAN_SEND else self.now + max(wait, 1)

    def _events(self, level: int) -> None:
        """Modes that time alone has changed at a level."""
        while True:
            waiting = [cls for cls in self.classes if cls.level == level and cls.waits_until is not None]
            first = min(waiting, key=lambda cls: cls.waits_until, default=None)
            if first is None or first.waits_until > self.now:
                return
            self._wait(first, self._change_mode(first, first.passed(self.now)))

    def due(self) -> int | None:
        if not self.qlen:
            return None
        times = [cls.waits_until for cls in self.classes]
        times += [cls.leaf.due() for cls in self.classes if cls.leaf and cls.leaf.qlen]
        return earliest([time for time in times if time and time > self.now])  # a leaf may be ready, its class not

    # What leaves

    def _take(self, now: int) -> Packet | None:
        self.now = now
        if self.direct:
            return self.direct.popleft()
        for level in range(LEVELS):
            self._events(level)
            for prio in [prio for prio in range(PRIOS) if self.rows[level][prio].members]:
                if packet := self._take_from(level, prio):
                    return packet
        return None

    def _take_from(self, level: int, prio: int) -> Packet | None:
        row = self.rows[level][prio]
        cls = start = row.leaf(prio)
        while cls is not None:
            if not cls.leaf.qlen:
                self._deactivate(cls)
                following = row.leaf(prio)
                start = following if start is cls else start
                cls = following
                continue
            if packet := self._take_from_leaf(cls):
                self._charge(cls, level, prio, packet)
                return packet
            self._turns(cls, level, prio).advance()  # its own discipline holds it back
            cls = row.leaf(prio)
            if cls is start:
                return None
        return None

    def _take_from_leaf(self, cls: Class) -> Packet | None:
        packet = cls.leaf.peek(self.now)
        if packet and (part := packet.peel_to(cls.view.ceil.rate * PEEL_NS // 10**9)):
            return part
        return cls.leaf.take(self.now) if packet else None

    def _turns(self, cls: Class, level: int, prio: int) -> Row:
        return cls.parent.feeds[prio] if level else self.rows[0][prio]

    def _charge(self, cls: Class, level: int, prio: int, packet: Packet) -> None:
        cls.deficits[level] -= packet.wire
        if cls.deficits[level] < 0:
            cls.deficits[level] += cls.view.quantum
            self._turns(cls, level, prio).advance()
        if not cls.leaf.qlen:
            self._deactivate(cls)
        payer: Class | None = cls
        while payer:
            payer.charge(packet, level, self.now)
            before = payer.mode
            wait = self._change_mode(payer, 0)
            if payer.mode is not before:
                self._wait(payer, wait)
            payer = payer.parent

    def _held(self) -> list[Packet]:
        return [*self.direct, *(packet for cls in self.classes if cls.leaf for packet in cls.leaf.held())]
