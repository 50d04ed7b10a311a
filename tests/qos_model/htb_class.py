"""A class of HTB: two buckets of time, at its rate and at its ceil, and the mode that follows from them."""

from __future__ import annotations

import enum

from vswitch.qos.view import ClassView

from .discipline import Discipline
from .htb_row import Row
from .packet import Packet
from .rate import Rate

MBUFFER_NS = 60 * 10**9  # nothing is counted of longer pauses
LEVELS = PRIOS = 8


class Mode(enum.Enum):
    CANT_SEND = 0
    MAY_BORROW = 1
    CAN_SEND = 2


class Class:
    def __init__(self, view: ClassView, parent: Class | None, leaf: Discipline | None) -> None:
        self.view, self.parent, self.leaf = view, parent, leaf
        self.level = 0 if leaf else (parent.level if parent else LEVELS) - 1
        self.rate, self.ceil = Rate(view.rate), Rate(view.ceil)
        self.tokens, self.ctokens = view.burst_ns, view.cburst_ns
        self.charged = 0
        self.mode = Mode.CAN_SEND
        self.waits_until: int | None = None
        self.active: set[int] = set()  # priorities that something below has to send in
        self.feeds = [Row() for _ in range(PRIOS)]
        self.deficits = [0] * LEVELS
        self.lends = self.borrows = 0

    def mode_after(self, passed: int) -> tuple[Mode, int]:
        """The mode `passed` nanoseconds after the last charge, and in how long it may change."""
        if self.ctokens + passed < 0:
            return Mode.CANT_SEND, -self.ctokens - passed
        if self.tokens + passed < 0:
            return Mode.MAY_BORROW, -self.tokens - passed
        return Mode.CAN_SEND, 0

    def passed(self, now: int) -> int:
        return min(now - self.charged, MBUFFER_NS)

    def charge(self, packet: Packet, lender_level: int, now: int) -> None:
        """A packet has left from below here, on the tokens of the class at that level and of those above it."""
        passed = self.passed(now)
        if self.level >= lender_level:
            self.lends += self.level == lender_level
            self.tokens = self._bucket(self.tokens + passed, self.view.burst_ns, self.rate.time(packet))
        else:
            self.borrows += 1
            self.tokens += passed
        self.ctokens = self._bucket(self.ctokens + passed, self.view.cburst_ns, self.ceil.time(packet))
        self.charged = now

    @staticmethod
    def _bucket(tokens: int, most: int, taken: int) -> int:
        return max(min(tokens, most) - taken, 1 - MBUFFER_NS)
