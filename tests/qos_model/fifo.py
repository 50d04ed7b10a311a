"""pfifo and bfifo: one queue. pfifo_fast: three, the first of which that holds anything is served."""

from __future__ import annotations

from collections import deque

from vswitch.qos.view import Kind

from .discipline import Discipline
from .packet import Packet

FAST_BANDS = (1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)  # by priority


class Fifo(Discipline):
    def __init__(self, *whose) -> None:
        super().__init__(*whose)
        self.queues: list[deque[Packet]] = [deque() for _ in range(3 if self.view.kind == Kind.PFIFO_FAST else 1)]

    def offer(self, packet: Packet, now: int) -> str | None:
        queue = self.queues[FAST_BANDS[packet.priority & 15]] if len(self.queues) > 1 else self.queues[0]
        more, used = (packet.wire, self.backlog) if self.view.kind == Kind.BFIFO else (1, len(queue))
        if used + more > self.view.parameters.limit:
            return self.books.drop(packet, "qdisc_limit")
        queue.append(packet)
        return None

    def peek(self, now: int) -> Packet | None:
        return next((queue[0] for queue in self.queues if queue), None)

    def _take(self, now: int) -> Packet | None:
        return next((queue.popleft() for queue in self.queues if queue), None)

    def _held(self) -> list[Packet]:
        return [packet for queue in self.queues for packet in queue]
