"""A rate as the kernel keeps it: the time of n bytes is n times a number of 32 bits, shifted."""

from __future__ import annotations

from vswitch.qos.view import Shape

from .packet import Packet

SECOND = 10**9


class Rate:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.shift = 0
        while (SECOND << self.shift + 1) // shape.rate < 1 << 32:
            self.shift += 1
        self.factor = (SECOND << self.shift) // shape.rate

    def time(self, packet: Packet) -> int:
        """Nanoseconds that a packet takes, what is added to each segment included."""
        return self.time_of(packet.wire, packet.segments)

    def time_of(self, size: int, segments: int = 1) -> int:
        size = max(size + self.shape.overhead * segments, self.shape.mpu * segments)
        return size * self.factor >> self.shift
