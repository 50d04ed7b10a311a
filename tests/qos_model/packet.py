"""A packet as a discipline sees it, and the frame that it is on the wire.

All are TCP over IPv4, so that each may be a super-frame. The label goes where every segment keeps it: into the
acknowledgment number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from tests.gso_model import NEEDS_CSUM, TCPV4, ones_sum, vnet

HEADERS = 54  # Ethernet, IPv4, TCP
TOS_AT, ECN_CE, LABEL = 15, 3, slice(42, 46)
CSUM_START, CSUM_OFFSET = 34, 16
TOS_PRIORITY = (0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)  # by the four bits of RFC 1349


@dataclass
class Packet:
    """`payload` bytes behind the headers; with `mss`, as many segments as that takes."""

    label: int
    payload: int = 946
    flow: int = 0
    tos: int = 0
    mark: int = 0
    class_id: int = 0
    mss: int = 0
    offered_at: int = 0

    @property
    def segments(self) -> int:
        return max(1, -(-self.payload // self.mss)) if self.mss else 1

    @property
    def wire(self) -> int:
        """Bytes that its segments put on the wire."""
        return HEADERS * self.segments + self.payload

    @property
    def largest_segment(self) -> int:
        """Bytes of its largest segment on the wire."""
        return HEADERS + (min(self.mss, self.payload) if self.mss else self.payload)

    @property
    def priority(self) -> int:
        """What CLASSIFY chose, else what the type of service asks for (skb->priority)."""
        return self.class_id or TOS_PRIORITY[self.tos >> 1 & 15]

    def peel(self, segments: int) -> Packet:
        """Its first segments as a packet of their own; it keeps the rest."""
        part = replace(self, payload=segments * self.mss)
        self.payload -= part.payload
        return part

    def peel_to(self, most: int) -> Packet | None:
        """As many segments as fit into `most` bytes of the wire, one at least; None: it fits whole, or has only one."""
        if self.segments == 1 or self.wire <= most:
            return None
        return self.peel(max(1, most // self.largest_segment))

    def mark_ce(self) -> bool:
        """Tell of congestion, if the ends understand it."""
        if not self.tos & ECN_CE:
            return False
        self.tos |= ECN_CE
        return True

    def frame(self) -> bytes:
        source = 0x0A000000 + self.flow
        ip = struct.pack(">BBHHHBBHII", 0x45, self.tos, 40 + self.payload, self.label & 0xFFFF, 0x4000, 64, 6, 0,
                         source, 0x0AFF0001)
        ip = ip[:10] + struct.pack(">H", ones_sum(ip) ^ 0xFFFF) + ip[12:]
        tcp = struct.pack(">HHIIBBHHH", 1024 + self.flow % 60000, 5001, 1, self.label, 0x50, 0x10, 500, 0, 0)
        return bytes.fromhex("020000000001020000000002") + b"\x08\x00" + ip + tcp + bytes(self.payload)

    def vnet(self) -> bytes:
        """Its virtio-net header."""
        if not self.mss or self.segments == 1:
            return bytes(12)
        return vnet(NEEDS_CSUM, TCPV4, HEADERS, self.mss, CSUM_START, CSUM_OFFSET)
