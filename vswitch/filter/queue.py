"""QUEUE: packets that a process of the user's is to judge. Who listens on which number, and what waits for a verdict.

A worker hands such a packet over (filter/refuse.pyx) and forgets it; here it waits, and its new connection with it, until
every packet has come to exactly one of these ends, each by a name of its own in the books of the port that it came from:

    the listener accepts            it goes on behind the table that it was in, with what mark and content the verdict has
    the listener drops              QUEUE_DROP
    nobody listens (any more)       QUEUE_UNATTENDED; with --queue-bypass it goes on
    the listener reads no faster    QUEUE_FULL: OUTSTANDING packets, OUTSTANDING_BYTES or the socket's buffer are the most
    no verdict in VERDICT_S         QUEUE_TIMEOUT
    its port or network has gone    QUEUE_STALE; also an accepted packet whose connection has ended, or that the listener has
                                    made into one of another protocol (l3/enter.pxd)

Workers take back only so much at once. What they do not take is kept in order; while that is more than BACKLOG packets, they
are told that nobody listens. Sockets are queue_server.py's business. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..own import SELF_PORT, Punt
from ..queue_client import CHECKSUM_OPEN, PACKET, SUPER_FRAME

log = logging.getLogger(__name__)

OUTSTANDING = 1024
OUTSTANDING_BYTES = 8 << 20
VERDICT_S = 5.0
BACKLOG = 4096

_PLACES = 8  # _fastpath/filter/rule.pxd
_ETHERNET = 14
_FRAME_MAX = _ETHERNET + 65535
_NEEDS_CSUM = 1  # of a virtio-net header

Send = Callable[[bytes], bool]  # a message to the listener; false: it reads no faster
Name = Callable[[int], str | None]


class Plane(Protocol):
    """What queues need of the data plane."""

    def attend(self, queue: int, on: bool) -> None: ...
    def resume(self, punt: Punt, frame: bytes, mark: int) -> bool: ...
    def discard(self, punt: Punt, reason: str, *, gone: bool = False) -> bool: ...


class QueueTaken(Exception):
    """Somebody listens on that number already."""


@dataclass(slots=True)
class Counters:
    """Of one queue, since it was first listened on."""

    packets: int = 0  # given to the listener
    accepted: int = 0
    dropped: int = 0
    timeouts: int = 0
    overruns: int = 0  # not given to it: it has too many
    orphans: int = 0  # its listener left them without a verdict


@dataclass(slots=True)
class Waiting:
    """A packet that the listener has. Names tell whether its port and device are still those that it came by."""

    punt: Punt
    deadline: float
    names: tuple[str | None, str | None]


@dataclass(slots=True)
class Queue:
    """One number."""

    number: int
    send: Send | None = None
    waiting: dict[int, Waiting] = field(default_factory=dict)  # the oldest first
    bytes: int = 0
    counters: Counters = field(default_factory=Counters)

    @property
    def full(self) -> bool:
        return len(self.waiting) >= OUTSTANDING or self.bytes >= OUTSTANDING_BYTES

    def take(self, id: int) -> Waiting | None:
        """The packet is no longer with the listener."""
        waiting = self.waiting.pop(id, None)
        if waiting:
            self.bytes -= len(waiting.punt.frame)
        return waiting


class Queues:
    """All queues. `port_name` and `device_name` tell whose an id of the data plane is now."""

    def __init__(self, plane: Plane, port_name: Name, device_name: Name,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._plane, self._port_name, self._device_name, self._clock = plane, port_name, device_name, clock
        self._queues: dict[int, Queue] = {}
        self._ids = itertools.count(1)
        self._backlog: deque[Callable[[], bool]] = deque()
        self._paused = False

    @property
    def queues(self) -> tuple[Queue, ...]:
        """Every queue that has been listened on."""
        return tuple(self._queues.values())

    # Listeners

    def listen(self, number: int, send: Send) -> None:
        """Have the queue's packets sent there from now on. Raises QueueTaken."""
        queue = self._queues.setdefault(number, Queue(number))
        if queue.send is not None:
            raise QueueTaken(number)
        queue.send = send
        self._plane.attend(number, not self._paused)

    def leave(self, number: int) -> None:
        """Its listener has gone: what it has not judged comes to the end that the rule states."""
        queue = self._queues[number]
        queue.send = None
        self._plane.attend(number, False)
        for id in list(queue.waiting):
            queue.counters.orphans += 1
            self._orphan(queue.take(id))

    def stop(self) -> None:
        """No listener from now on."""
        for queue in self._queues.values():
            if queue.send is not None:
                self.leave(queue.number)

    # Packets

    def receive(self, punt: Punt) -> None:
        """A packet from a worker."""
        queue = self._queues.get(punt.queue)
        waiting = Waiting(punt, self._clock() + VERDICT_S, self._names(punt))
        if queue is None or queue.send is None:
            self._orphan(waiting)
            return
        id = next(self._ids)
        if queue.full or not queue.send(self._message(id, punt)):
            queue.counters.overruns += 1
            self._discard(waiting, "queue_full")
            return
        queue.counters.packets += 1
        queue.bytes += len(punt.frame)
        queue.waiting[id] = waiting

    def judge(self, number: int, id: int, accept: bool, mark: int | None, payload: bytes | None) -> None:
        """The listener's verdict. One that comes too late, or twice, is no fault: the packet has had another."""
        queue = self._queues[number]
        waiting = queue.take(id)
        if waiting is None:
            return
        if not accept:
            queue.counters.dropped += 1
            self._discard(waiting, "queue_drop")
        else:
            queue.counters.accepted += 1
            self._resume(waiting, mark, payload)

    def tick(self) -> None:
        """Once a second: packets that have waited for too long, and those that workers would not take."""
        now = self._clock()
        for queue in self._queues.values():
            late = [id for id, waiting in queue.waiting.items() if waiting.deadline <= now]
            for id in late:
                queue.counters.timeouts += 1
                self._discard(queue.take(id), "queue_timeout")
            if late:
                log.warning("queue %d: no verdict on %d packets within %.0f s", queue.number, len(late), VERDICT_S)
        self._flush()

    def _message(self, id: int, punt: Punt) -> bytes:
        frame, hook = punt.frame, (punt.resume - 1) // _PLACES
        flags = CHECKSUM_OPEN * bool(punt.vnet[0] & _NEEDS_CSUM) | SUPER_FRAME * bool(punt.vnet[1])
        length = _length(frame)
        came_in = self._device_name(punt.device) if punt.port != SELF_PORT else None
        names = came_in, self._port_name(punt.port), self._device_name(punt.out_dev), self._port_name(punt.out)
        head = PACKET.pack(
            id, punt.mark, length, punt.vid, int.from_bytes(frame[12:14], "big"), hook, punt.ct_info, flags,
            frame[:6], frame[6:12], *((name or "").encode() for name in names),
        )  # fmt: skip
        return head + frame[_ETHERNET : _ETHERNET + length]

    def _names(self, punt: Punt) -> tuple[str | None, str | None]:
        return self._port_name(punt.port), self._device_name(punt.device)

    # Back to the workers

    def _orphan(self, waiting: Waiting) -> None:
        if waiting.punt.bypass:
            self._resume(waiting, None, None)
        else:
            self._discard(waiting, "queue_unattended")

    def _resume(self, waiting: Waiting, mark: int | None, payload: bytes | None) -> None:
        punt = waiting.punt
        frame = punt.frame if payload is None else punt.frame[:_ETHERNET] + payload
        if waiting.names != self._names(punt) or len(frame) > _FRAME_MAX:
            self._discard(waiting, "queue_stale")
        else:
            self._give(lambda: self._plane.resume(punt, frame, punt.mark if mark is None else mark))

    def _discard(self, waiting: Waiting, reason: str) -> None:
        gone = waiting.names[0] != self._port_name(waiting.punt.port)
        self._give(lambda: self._plane.discard(waiting.punt, reason, gone=gone))

    def _give(self, give: Callable[[], bool]) -> None:
        self._backlog.append(give)
        self._flush()

    def _flush(self) -> None:
        while self._backlog and self._backlog[0]():
            self._backlog.popleft()
        paused = len(self._backlog) > (0 if self._paused else BACKLOG)
        if paused != self._paused:
            self._paused = paused
            for queue in self._queues.values():
                self._plane.attend(queue.number, queue.send is not None and not paused)


def _length(frame: bytes) -> int:
    """Bytes of the IP packet, by its header, which a worker has checked: a short frame is padded."""
    if frame[_ETHERNET] >> 4 == 4:
        return int.from_bytes(frame[16:18], "big")
    return 40 + int.from_bytes(frame[18:20], "big")
