"""Frames of many connections: TCP of 60 bytes, untagged, all checksums right, for they are verified.

A `Flow` is one connection as its client sees it. Everything is seeded, and the order of frames is
shuffled, as in frames.py.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import NamedTuple

from bench.frames import LOCAL_UNICAST, SEED

SYN, ACK = 2, 16
PAYLOAD = 6  # of 60 bytes, 54 are headers
SERVER_PORT = 80
FIRST_PORT = 1024
PORTS = 59_999
IP_BASE, TCP_BASE = 0x4500 + 46 + 0x4000 + 0x4006, 6 + 20 + PAYLOAD


class Flow(NamedTuple):
    """Addresses and ports as numbers."""

    client: int
    client_port: int
    server: int
    server_port: int = SERVER_PORT

    def answered(self, by: int | None = None) -> Flow:
        """The flow of the answers: to `by`, where the client is known by another address."""
        return Flow(self.server, self.server_port, by or self.client, self.client_port)


def flows(count: int, clients: Sequence[int], servers: Sequence[int]) -> list[Flow]:
    """So many connections, clients in turn.

    No two have the same port while there are others, so that NAT need not change them. PORTS is
    prime: clients and ports meet in ever new pairs.
    """
    return [Flow(clients[n % len(clients)], FIRST_PORT + n % PORTS, servers[n % len(servers)])
            for n in range(count)]


def shuffled(items: Sequence, count: int) -> list:
    """`count` of them in an order of chance, each about equally often."""
    source = random.Random(SEED)
    drawn: list = []
    while len(drawn) < count:
        drawn += source.sample(items, len(items))
    return drawn[:count]


def mac_of(address: int) -> bytes:
    """The station that has an IPv4 address."""
    return (LOCAL_UNICAST | address).to_bytes(6)


def segment(flow: Flow, destination: bytes, source: bytes, flags: int = ACK, seq: int = 2,
            ack: int = 2) -> bytes:
    """One TCP segment; a connection's ends count from 1, so 2 follows the SYN."""
    ends = sum((address >> 16) + (address & 0xFFFF) for address in (flow.client, flow.server))
    words = flow.client_port + flow.server_port + seq + ack + 0x5000 + flags + 0xFFFF
    return struct.pack("!6s6sHHHIHHIIHHIIHHHH6x", destination, source,
                       0x0800, 0x4500, 46, 0x4000, 0x4006, _sum(IP_BASE + ends),
                       flow.client, flow.server, flow.client_port, flow.server_port,
                       seq, ack, 0x5000 | flags, 0xFFFF, _sum(TCP_BASE + ends + words), 0)


def _sum(total: int) -> int:
    """The Internet checksum of words that add up to `total`."""
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
