"""Frames for the memory ports: small tagged TCP, addresses in a shuffled order.

The order matters: addresses used in the order in which they were learned walk the tables as the
prefetcher likes it and make a large table look fast. Everything is seeded, so every run replays
the same frames.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable

SEED = 20_000
FRAME_BYTES = 62
VLAN = 10
ETHERTYPE_VLAN, ETHERTYPE_IPV4 = 0x8100, 0x0800
TCP_HEADER_BYTES, IP_HEADER_BYTES, TAGGED_HEADER_BYTES = 20, 20, 18
LOCAL_UNICAST = 0x02_00_00_00_00_00


NOBODY = bytes.fromhex("02ffffffffff")
"""A station that never speaks: frames to it are flooded."""


def macs(count: int) -> list[bytes]:
    """`count` distinct locally administered addresses, at most 2^32.

    Scattered, not counted up: real addresses differ in more than their last bits.
    """
    numbers = random.Random(SEED).sample(range(1 << 32), count)
    return [(LOCAL_UNICAST | number).to_bytes(6) for number in numbers]


def tcp(destination: bytes, source: bytes, *, source_port: int = 40_000) -> bytes:
    """A tagged TCP segment of 62 bytes; its IP checksum is right, TCP's is nobody's business here."""
    payload = FRAME_BYTES - TAGGED_HEADER_BYTES - IP_HEADER_BYTES - TCP_HEADER_BYTES
    ethernet = struct.pack("!6s6sHHH", destination, source, ETHERTYPE_VLAN, VLAN, ETHERTYPE_IPV4)
    segment = struct.pack("!HHIIBBHHH", source_port, 5001, 1, 1, 5 << 4, 0x10, 65_535, 0, 0)
    return ethernet + _ip_header(len(segment) + payload) + segment + bytes(payload)


def _ip_header(payload: int) -> bytes:
    def packed(checksum: int) -> bytes:
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, IP_HEADER_BYTES + payload, 0, 0x4000, 64,
                           socket.IPPROTO_TCP, checksum,
                           socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2"))

    total = sum(struct.unpack("!10H", packed(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packed(~total & 0xFFFF)


def announcements(sources: Iterable[bytes]) -> list[bytes]:
    """A frame from each address to nobody: the switch learns where they are."""
    return [tcp(NOBODY, source) for source in sources]


def conversation(sources: list[bytes], destinations: list[bytes], count: int) -> list[bytes]:
    """`count` frames in a shuffled order; every address is used, about equally often."""
    source = random.Random(SEED)
    return [tcp(to, of) for to, of in zip(_shuffled(source, destinations, count),
                                          _shuffled(source, sources, count))]


def _shuffled(source: random.Random, values: list[bytes], count: int) -> list[bytes]:
    drawn: list[bytes] = []
    while len(drawn) < count:
        drawn += source.sample(values, len(values))
    return drawn[:count]
