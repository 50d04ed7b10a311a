"""sfq: flows take turns, each for a quantum of bytes; where room is short, the longest gives way.

Among several that are longest it is the one that changed last. If none holds more than one packet, it is the one whose
turn it is.
"""

from __future__ import annotations

from collections import deque

from .discipline import Discipline
from .packet import Packet


class Flow:
    def __init__(self, quantum: int) -> None:
        self.queue: deque[Packet] = deque()
        self.allot = quantum
        self.changed = 0


class Sfq(Discipline):
    def __init__(self, *whose) -> None:
        super().__init__(*whose)
        self.flows: dict[int, Flow] = {}
        self.turns: deque[int] = deque()
        self.changes = 0

    def offer(self, packet: Packet, now: int) -> str | None:
        rules = self.view.parameters
        flow = self.flows.get(packet.flow)
        if flow is None:
            if len(self.flows) >= rules.flows:
                return self.books.drop(packet, "qdisc_limit")
            flow = self.flows[packet.flow] = Flow(rules.quantum)
            self.turns.append(packet.flow)
        elif len(flow.queue) >= rules.depth:
            if not rules.headdrop:
                return self.books.drop(packet, "qdisc_limit")
            self.books.drop(flow.queue.popleft(), "qdisc_limit")
        flow.queue.append(packet)
        self._changed(flow)
        if self.qlen <= rules.limit:
            return None
        dropped = self._drop_from_longest()
        name = self.books.drop(dropped, "qdisc_limit")
        return name if dropped is packet else None

    def _drop_from_longest(self) -> Packet:
        longest = max(self.flows, key=lambda number: (len(self.flows[number].queue), self.flows[number].changed))
        if len(self.flows[longest].queue) == 1:
            longest = self.turns[0]
        queue = self.flows[longest].queue
        packet = queue.popleft() if self.view.parameters.headdrop else queue.pop()
        self._changed(self.flows[longest])
        if not queue:
            self._forget(longest)
        return packet

    def _take(self, now: int) -> Packet | None:
        while self.turns:
            flow = self.flows[self.turns[0]]
            if flow.allot > 0:
                return self._take_from(flow)
            flow.allot += self.view.parameters.quantum
            self.turns.rotate(-1)
        return None

    def _take_from(self, flow: Flow) -> Packet:
        packet = flow.queue.popleft()
        self._changed(flow)
        if flow.queue:
            flow.allot -= packet.wire
        else:
            self._forget(self.turns[0])
        return packet

    def _changed(self, flow: Flow) -> None:
        self.changes += 1
        flow.changed = self.changes

    def _forget(self, number: int) -> None:
        del self.flows[number]
        self.turns.remove(number)

    def _held(self) -> list[Packet]:
        return [packet for flow in self.flows.values() for packet in flow.queue]
