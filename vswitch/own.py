"""The control side's end of the switch's own port: packets that workers hand over, frames that the control side sends.

Records are those of _fastpath/io/own.pxd. Handing over is by readiness: `fileno` is readable when something waits, and
`take` empties the rings. Thread safety: all of it belongs to the event loop's thread.
"""

from __future__ import annotations

import enum
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vswitch._fastpath.io.ring import MemoryRings

SELF_PORT = 4095  # the switch itself, in the books
NO_DEVICE = 0xFFFF
PLAIN = bytes(12)  # a virtio-net header that promises nothing

_HEADER = struct.Struct("<BBHHHIIQ")


class Own(enum.IntEnum):
    """What a record is."""

    SERVICE = 1  # to the control side: DHCP, DNS, router solicitations
    QUEUE = 2  # ... for a user's process to judge
    LOG = 3
    TICK = 16  # from it: a second has passed
    PACKET = 17  # an IP packet of the switch's own, behind an Ethernet header that is filled in later
    FRAME = 18  # a frame of its own, complete
    RESUME = 19  # a packet that came by QUEUE goes on


class Punt(NamedTuple):
    """A packet that a worker handed over. `frame` begins at the destination MAC and has no VLAN tag."""

    kind: Own
    resume: int
    device: int
    port: int
    queue: int
    mark: int
    id: int
    time_ns: int
    vnet: bytes
    frame: bytes


class OwnPort:
    """The rings' Python end."""

    def __init__(self, rings: MemoryRings) -> None:
        self._rings = rings

    def fileno(self) -> int:
        return self._rings.notify

    def take(self) -> list[Punt]:
        """All that waits."""
        try:
            os.eventfd_read(self._rings.notify)
        except BlockingIOError:
            pass
        return [self._punt(vnet, record) for vnet, record in self._rings.collect(True)]

    @staticmethod
    def _punt(vnet: bytes, record: bytes) -> Punt:
        kind, *fields = _HEADER.unpack_from(record)
        return Punt(Own(kind), *fields, vnet, record[_HEADER.size :])

    def send(self, kind: Own, frame: bytes = b"", *, device: int = NO_DEVICE, port: int = SELF_PORT, mark: int = 0,
             resume: int = 0, vnet: bytes = PLAIN) -> bool:
        """Give a record to the workers; false: they take no more just now."""
        record = _HEADER.pack(kind, resume, device, port, 0, mark, 0, 0) + frame
        return self._rings.inject([record], [vnet]) == 1
