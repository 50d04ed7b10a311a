"""The control side's end of the switch's own port: packets that workers hand over, frames that the control side sends.

Records are those of _fastpath/io/own.pxd. Handing over is by readiness: `fileno` is readable when something waits, and
`take` empties the rings. Thread safety: all of it belongs to the event loop's thread.
"""

from __future__ import annotations

import enum
import os
import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vswitch._fastpath.io.ring import MemoryRings

SELF_PORT = 4095  # the switch itself, in the books
NO_DEVICE = 0xFFFF
PLAIN = bytes(12)  # a virtio-net header that promises nothing

_HEADER = struct.Struct("<BBHHHHHIIIBBHHHBBHHxx")
_FIELDS = 19
_PORT_GONE = 0xFFFF


class Own(enum.IntEnum):
    """What a record is."""

    SERVICE = 1  # to the control side: DHCP, DNS, router solicitations
    QUEUE = 2  # ... for a user's process to judge
    TICK = 16  # from it: a second has passed
    PACKET = 17  # an IP packet of the switch's own, behind an Ethernet header that is filled in later
    FRAME = 18  # a frame of its own, complete
    RESUME = 19  # a packet that came by QUEUE goes on
    DISCARD = 20  # ... or ends


class Punt(NamedTuple):
    """A packet that a worker handed over. `frame` begins at the destination MAC and has no VLAN tag."""

    kind: Own
    resume: int
    device: int
    vid: int
    port: int
    queue: int
    largest: int
    mark: int
    ct: int
    serial: int
    ct_info: int
    flags: int
    out: int
    tci: int
    zone: int
    bypass: int
    reason: int
    out_dev: int
    zone_reply: int
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

    def send(self, kind: Own, frame: bytes = b"", *, device: int = NO_DEVICE, vid: int = 0) -> bool:
        """Give the workers a frame of the switch's own; false: they take no more just now."""
        fields = kind, 0, device, vid, SELF_PORT
        return self._put(_HEADER.pack(*fields, *(0,) * (_FIELDS - len(fields))) + frame, PLAIN)

    def resume(self, punt: Punt, frame: bytes, mark: int) -> bool:
        """Let a packet that came by QUEUE go on, as it came or as another; false: they take no more just now."""
        return self._give_back(punt._replace(kind=Own.RESUME, mark=mark), frame)

    def discard(self, punt: Punt, reason: int, gone: bool) -> bool:
        """End a packet that came by QUEUE, by a name from the books; `gone`: the port that it came from is no more."""
        port = _PORT_GONE if gone else punt.port
        return self._give_back(punt._replace(kind=Own.DISCARD, reason=reason, port=port), punt.frame)

    def _give_back(self, punt: Punt, frame: bytes) -> bool:
        return self._put(_HEADER.pack(*punt[:_FIELDS]) + frame, punt.vnet if frame == punt.frame else PLAIN)

    def _put(self, record: bytes, vnet: bytes) -> bool:
        return self._rings.inject([record], [vnet]) == 1


def arp_probe(mac: str, address: IPv4Address) -> bytes:
    """The question whether anybody has the address (RFC 5227, 2.1.1), from nobody's."""
    own = bytes.fromhex(mac.replace(":", ""))
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + bytes(4) + bytes(6) + address.packed
    return (b"\xff" * 6 + own + b"\x08\x06" + arp).ljust(60, b"\0")
