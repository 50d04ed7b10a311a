"""A steady stream of numbered frames between two wires, to see that none is lost while something else happens.

    with Stream(sender, receiver) as stream:
        ...                                 # what must not disturb it
    assert stream.lost() == []

The rate is a goal: where the machine is busy, the stream falls behind and goes on at its pace rather than catch up,
since a burst that overruns a queue would be a loss of the test's own making.
"""

from __future__ import annotations

import struct
import threading
import time
from types import TracebackType

from tests.lab import wait_for
from tests.switchboard import ethernet
from tests.wire import LIMIT_S, Wire, is_test_frame

FRAMES_A_SECOND = 20_000
TICK_S = 0.001
TICKS_LATE = 4  # made up for; what is later is not
FRAMES_MORE = 2000
SERIAL = slice(14, 18)
LAST = 0xFFFFFFFF


class Stream:
    """Frames from one wire to the other, each told by its serial number."""

    def __init__(self, sender: Wire, receiver: Wire) -> None:
        self.sent = 0
        self.received: list[int] = []
        self._sender, self._receiver = sender, receiver
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait until some more frames have been sent."""
        goal = self.sent + FRAMES_MORE
        wait_for(lambda: self.sent >= goal, LIMIT_S, "the stream to go on")

    def lost(self) -> list[int]:
        """Those that were sent and did not arrive once, in order; all of them if any came twice or out of turn."""
        expected = list(range(self.sent))
        if self.received == expected:
            return []
        return sorted(set(expected) - set(self.received)) or expected

    def _frame(self, serial: int) -> bytes:
        return ethernet(self._receiver.mac, self._sender.mac, payload=struct.pack("!I", serial))

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            burst = [self._frame(self.sent + i) for i in range(round(FRAMES_A_SECOND * TICK_S))]
            self._sender.send(*burst)
            self.sent += len(burst)
            due = max(due + TICK_S, time.monotonic() - TICKS_LATE * TICK_S)
        self._sender.send(self._frame(LAST))

    def _receive(self) -> None:
        while (frame := self._receiver.receive(LIMIT_S)) is not None:
            if is_test_frame(frame):
                (serial,) = struct.unpack("!I", frame[SERIAL])
                if serial == LAST:
                    return
                self.received.append(serial)
