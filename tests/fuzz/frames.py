"""Frames that lie: random bytes, and super-frames of every shape with something wrong in them, or nothing.

`Mutator` draws them from one `random.Random`, so a seed tells the whole sequence. What it starts from is well formed:
TCP and UDP over IPv4 and IPv6, options and extension headers, 802.1Q and 802.1ad tags, with the virtio-net header that
belongs to it. Most are shorter than 4 KiB, since a million are wanted; some as long as frames can be, or longer.
"""

from __future__ import annotations

import random
import struct
from itertools import product

from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from tests.fuzz.routed import spoken
from tests.gso_model import (
    DATA_VALID, IP4, IP6, NEEDS_CSUM, SERVICE_VLAN, TCP_DATA, UDP_DATA, VLAN, payload, super_frame, vnet,
)

VIDS = (0, 1, 10, 20, 30, 4094, 4095)
STATIONS = [bytes((2, 0, 0, 0, 0, n)) for n in range(40)]
DESTINATIONS = [*STATIONS, b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("0180c2000003"), bytes(6)]
SOURCES = [*STATIONS, bytes(6), bytes.fromhex("030000000001")]
FRAME_MAX = 65600

IPS = (IP4, IP4.__class__(src="10.0.0.1", dst="10.0.0.2", options=[b"\x94\x04\0\0"]), IP6,
       IP6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt())
LAYER_4 = (TCP_DATA, TCP(flags="FPAC"), UDP_DATA)
TAGS = ((), (VLAN,), (VLAN, VLAN), (SERVICE_VLAN, VLAN), (SERVICE_VLAN,), (VLAN, SERVICE_VLAN, VLAN))
SMALL, LARGE = ((0, 100), (1, 8), (90, 8), (3000, 1448)), ((20000, 1400), (65000, 1448), (65000, 20))
PLAIN = vnet()


class Mutator:
    """`draw()` gives one virtio-net header and frame."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._small = list(_originals(SMALL))
        self._large = list(_originals(LARGE, IPS[::2], TAGS[:2]))
        self._spoken = spoken(rng)

    def draw(self) -> tuple[bytes, bytes]:
        rng = self._rng
        dice = rng.random()
        if dice < 0.08:
            return self._noise()
        if dice > 0.7:
            return self._to_router()
        header, frame = self._addressed(rng.choice(self._small if dice > 0.084 else self._large))
        if dice < 0.4:
            return bytes(header), bytes(frame)
        if dice < 0.6:
            self._damage(header, frame)
        return bytes(header), self._resized(frame) if dice > 0.5 else bytes(frame)

    def _to_router(self) -> tuple[bytes, bytes]:
        """What somebody says to the router or through it; as it should be, mostly."""
        rng = self._rng
        header, frame = bytearray(PLAIN), bytearray(rng.choice(self._spoken))
        dice = rng.random()
        if dice < 0.1:
            self._damage(header, frame)
        elif dice < 0.2:
            at = 12 + int(rng.random() * (len(frame) - 12))
            frame[at] = int(rng.random() * 256)
        return bytes(header), self._resized(frame) if dice > 0.95 else bytes(frame)

    def _noise(self) -> tuple[bytes, bytes]:
        rng = self._rng
        header = PLAIN if rng.random() < 0.7 else rng.randbytes(12)
        return header, rng.randbytes(int(rng.random() * 120))

    def _addressed(self, original: tuple[bytes, bytes]) -> tuple[bytearray, bytearray]:
        """The original between two of our stations, in one of our VLANs, its super-frame header or a lesser one."""
        rng = self._rng
        header, frame = map(bytearray, original)
        frame[:12] = rng.choice(DESTINATIONS) + rng.choice(SOURCES if rng.random() < 0.1 else STATIONS)
        if frame[12:14] == b"\x81\x00":
            struct.pack_into(">H", frame, 14, rng.choice(VIDS) | int(rng.random() * 16) << 12)
        dice = rng.random()
        if dice < 0.3:
            header[:] = PLAIN
        elif dice < 0.5:
            header[1:6] = bytes(5)      # the partial checksum alone
        elif dice < 0.6:
            header[0] = rng.choice((0, DATA_VALID, NEEDS_CSUM | DATA_VALID))
        return header, frame

    def _damage(self, header: bytearray, frame: bytearray) -> None:
        """One to three bytes of the headers, or fields of the virtio-net header set to where mistakes hide."""
        rng = self._rng
        for _ in range(1 + int(rng.random() * 3)):
            if rng.random() < 0.5:
                frame[int(rng.random() * min(len(frame), 110))] = int(rng.random() * 256)
            elif rng.random() < 0.3:
                header[int(rng.random() * 2)] = int(rng.random() * 256)
            else:
                at = 2 + 2 * int(rng.random() * 5)
                edges = (0, 1, 13, 14, 33, 34, 0x7FFC, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF)
                value = rng.choice(edges) if rng.random() < 0.5 else len(frame) + int(rng.random() * 80) - 60
                struct.pack_into("<H", header, at, value & 0xFFFF)

    def _resized(self, frame: bytearray) -> bytes:
        """Cut short anywhere, mostly within the headers; or longer than it says, rarely than any frame may be."""
        rng = self._rng
        dice = rng.random()
        if dice < 0.5:
            return bytes(frame[: int(rng.random() * 110)])
        if dice < 0.8:
            return bytes(frame[: int(rng.random() * len(frame))])
        if dice < 0.998:
            return bytes(frame) + bytes(int(rng.random() * 40))
        return bytes(frame).ljust(FRAME_MAX - 8 + int(rng.random() * 16), b"\0")


def _originals(sizes, ips=IPS, tags=TAGS):
    for ip, l4, outer, (length, mss) in product(ips, LAYER_4, tags, sizes):
        whole = super_frame(payload(length), mss, ip=ip, l4=l4, tags=outer)
        yield whole.vnet, whole.frame
