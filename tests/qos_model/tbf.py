"""tbf: one or two buckets of time. A packet leaves when both hold what it takes; tokens are nanoseconds."""

from __future__ import annotations

from .discipline import Discipline
from .packet import Packet
from .rate import Rate


class Tbf(Discipline):
    def __init__(self, *whose, child: Discipline) -> None:
        super().__init__(*whose)
        rules = self.view.parameters
        self.child = child
        self.rate = Rate(rules.rate)
        self.peak = Rate(rules.peak) if rules.peak else None
        self.tokens, self.peak_tokens = rules.burst_ns, rules.mtu_ns
        self.charged = 0
        self.waits_until: int | None = None

    def offer(self, packet: Packet, now: int) -> str | None:
        if packet.largest_segment > self.view.parameters.max_size:
            return self.books.drop(packet, "qdisc_oversized")
        return self.child.offer(packet, now)

    def due(self) -> int | None:
        return self.child.due() if self.waits_until is None else self.waits_until

    def _take(self, now: int) -> Packet | None:
        whole = self.child.peek(now)
        self.waits_until = None
        if whole is None:
            return None
        part = whole.peel_to(self.view.parameters.max_size) or whole
        if not self._charge(part, now):
            if part is not whole:
                whole.payload += part.payload
            return None
        return part if part is not whole else self.child.take(now)

    def _charge(self, packet: Packet, now: int) -> bool:
        rules = self.view.parameters
        passed = min(now - self.charged, rules.burst_ns)
        tokens = min(self.tokens + passed, rules.burst_ns) - self.rate.time(packet)
        peak_tokens = 0
        if self.peak:
            peak_tokens = min(self.peak_tokens + passed, rules.mtu_ns) - self.peak.time(packet)
        if min(tokens, peak_tokens) < 0:
            self.waits_until = now + max(-tokens, -peak_tokens)
            return False
        self.tokens, self.peak_tokens, self.charged = tokens, peak_tokens, now
        return True

    def _held(self) -> list[Packet]:
        return self.child.held()
