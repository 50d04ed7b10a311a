"""prio: a discipline a band; the first band that has something to send is served."""

from __future__ import annotations

from .discipline import Discipline, earliest, matching
from .packet import Packet

MAJOR, MINOR = 0xFFFF0000, 0xFFFF


class Prio(Discipline):
    def __init__(self, *whose, children: list[Discipline]) -> None:
        super().__init__(*whose)
        self.children = children

    def band(self, packet: Packet) -> int:
        """That of the class id which CLASSIFY, or else a filter, has chosen; else what the priority says."""
        chosen = packet.priority
        if chosen & MAJOR != self.view.handle or not self.view.handle:
            found = matching(self.view.filters, packet)
            if found is None:
                return self.view.parameters.priomap[0 if chosen & MAJOR else chosen & 15]
            chosen = found
        band = (chosen & MINOR) - 1
        return band if 0 <= band < len(self.children) else self.view.parameters.priomap[0]

    def offer(self, packet: Packet, now: int) -> str | None:
        return self.children[self.band(packet)].offer(packet, now)

    def peek(self, now: int) -> Packet | None:
        return next((packet for child in self.children if (packet := child.peek(now))), None)

    def due(self) -> int | None:
        return earliest([child.due() for child in self.children if child.qlen])

    def _take(self, now: int) -> Packet | None:
        return next((packet for child in self.children if (packet := child.take(now))), None)

    def _held(self) -> list[Packet]:
        return [packet for child in self.children for packet in child.held()]
