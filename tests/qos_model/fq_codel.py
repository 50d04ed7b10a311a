"""fq_codel: flows take turns by deficit, new ones before old ones, each watched by CoDel.

Beyond its limits the flow with the most bytes loses packets from its head: half of what it has, at most a batch.
"""

from __future__ import annotations

from .codel import Codel
from .discipline import Discipline
from .packet import Packet


class Flow(Codel):
    deficit = 0

    @property
    def bytes(self) -> int:
        return sum(packet.wire for packet in self.queue)


class FqCodel(Discipline):
    def __init__(self, *whose) -> None:
        super().__init__(*whose)
        self.flows: dict[int, Flow] = {}
        self.news: list[Flow] = []
        self.olds: list[Flow] = []

    def offer(self, packet: Packet, now: int) -> str | None:
        packet.offered_at = now
        flow = self.flows.setdefault(packet.flow, Flow(self.view.parameters, self._waiting, self._drop))
        flow.queue.append(packet)
        if flow not in self.news and flow not in self.olds:
            self.news.append(flow)
            flow.deficit = self.view.parameters.quantum
        if self.qlen <= self.view.parameters.limit:
            return None
        return "qdisc_limit" if packet in self._drop_from_fattest() else None

    def _drop_from_fattest(self) -> list[Packet]:
        fattest = max(self.flows.values(), key=lambda flow: flow.bytes)
        threshold = fattest.bytes // 2
        dropped = [fattest.queue.popleft()]
        while len(dropped) < self.view.parameters.drop_batch and sum(p.wire for p in dropped) < threshold:
            dropped.append(fattest.queue.popleft())
        fattest.count += len(dropped)
        for packet in dropped:
            self.books.drop(packet, "qdisc_limit")
        return dropped

    def _take(self, now: int) -> Packet | None:
        while self.news or self.olds:
            line = self.news or self.olds
            flow = line[0]
            if flow.deficit <= 0:
                flow.deficit += self.view.parameters.quantum
                self.olds.append(line.pop(0))
                continue
            packet = flow.take(now)
            if packet:
                flow.deficit -= packet.wire
                return packet
            line.pop(0)
            if line is self.news and self.olds:
                self.olds.append(flow)  # so that new flows without end cannot starve old ones
        return None

    def _waiting(self) -> int:
        return sum(packet.wire for packet in self._held())

    def _drop(self, packet: Packet) -> None:
        self.books.drop(packet, "qdisc_codel")

    def _held(self) -> list[Packet]:
        return [packet for flow in self.flows.values() for packet in flow.queue]
