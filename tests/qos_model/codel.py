"""CoDel (RFC 8289) for one flow, as the kernel has it: 1 / sqrt(count) is a number of 16 bits, bettered by one step of
Newton's at each change of count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vswitch.qos.view import FqCodelView

from .packet import Packet

ONE = 1 << 16
MTU_BYTES = 1514  # with no more than that waiting, delay is nobody's fault


class Codel:
    def __init__(self, rules: FqCodelView, backlog: Callable[[], int], drop: Callable[[Packet], None]) -> None:
        self.rules, self.backlog, self.drop = rules, backlog, drop
        self.queue: deque[Packet] = deque()
        self.dropping = False
        self.count = self.last_count = 0
        self.inverse_sqrt = 0
        self.first_above: int | None = None
        self.drop_next = 0
        self.delay = 0
        self.marked = self.ce_marked = 0

    def take(self, now: int) -> Packet | None:
        packet = self._next()
        if packet is None:
            self.dropping = False
            return None
        bad = self._stands(packet, now)
        if self.dropping:
            packet = self._go_on(packet, now) if bad else self._stop(packet)
        elif bad:
            packet = self._begin(packet, now)
        threshold = self.rules.ce_threshold_ns
        if packet and threshold is not None and self.delay > threshold and packet.mark_ce():
            self.ce_marked += 1
        return packet

    def _next(self) -> Packet | None:
        return self.queue.popleft() if self.queue else None

    def _stop(self, packet: Packet) -> Packet:
        self.dropping = False
        return packet

    def _stands(self, packet: Packet | None, now: int) -> bool:
        """Whether delay has been above the target for a whole interval."""
        if packet is None:
            self.first_above = None
            return False
        self.delay = now - packet.offered_at
        if self.delay < self.rules.target_ns or self.backlog() <= MTU_BYTES:
            self.first_above = None
        elif self.first_above is None:
            self.first_above = now + self.rules.interval_ns
        else:
            return now > self.first_above
        return False

    def _go_on(self, packet: Packet | None, now: int) -> Packet | None:
        while self.dropping and now >= self.drop_next:
            self.count += 1
            self._newton()
            if self.rules.ecn and packet.mark_ce():
                self.marked += 1
                self.drop_next = self._law(self.drop_next)
                return packet
            self.drop(packet)
            packet = self._next()
            if self._stands(packet, now):
                self.drop_next = self._law(self.drop_next)
            else:
                self.dropping = False
        return packet

    def _begin(self, packet: Packet, now: int) -> Packet | None:
        if self.rules.ecn and packet.mark_ce():
            self.marked += 1
        else:
            self.drop(packet)
            packet = self._next()
            self._stands(packet, now)
        self.dropping = True
        since = self.count - self.last_count
        if since > 1 and now - self.drop_next < 16 * self.rules.interval_ns:
            self.count = since  # not long ago that pace was the right one
            self._newton()
        else:
            self.count, self.inverse_sqrt = 1, ONE - 1
        self.last_count = self.count
        self.drop_next = self._law(now)
        return packet

    def _newton(self) -> None:
        estimate = self.inverse_sqrt << 16
        square = estimate * estimate >> 32
        self.inverse_sqrt = ((3 << 32) - self.count * square >> 2) * estimate >> 47

    def _law(self, time: int) -> int:
        return time + (self.rules.interval_ns * self.inverse_sqrt >> 16)
