"""Frames and streams on real devices, byte by byte.

A `Wire` is a packet socket on a device, at the guest's end of a port or on the cable between two hosts. It sends what
it is given and returns what comes in by the device, never what leaves by it. The kernel takes the outer VLAN tag off a
frame before a packet socket sees it, and says so beside it; `Wire` puts it back, so that a frame reads as it was on the
wire.

To see that a frame does *not* arrive, send another one behind it and read until that: `Wire.until`. One worker, one
device and one direction keep the order.

A wire belongs to one thread.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import Closing, inside

LIMIT_S = 10.0
TEST_ETHERTYPE = 0x88B5  # local experimental, 802.1Q-2018 annex H
TAGS = (0x8100, 0x88A8)
WIRE_FRAME_BYTES = 1514  # Ethernet header and 1500 bytes: what is larger, but for a tag, is a super-frame
BUFFER_BYTES = 64 << 20
FRAME_MAX = 70000
CHUNK_BYTES = 64 << 10

# linux/if_ether.h, linux/if_packet.h: what the socket module lacks
ETH_P_ALL = 3
SOL_PACKET = 263
SO_RCVBUFFORCE = 33
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("IIIHHHH")  # struct tpacket_auxdata

Match = Callable[[bytes], bool]


def ethertype(frame: bytes) -> int:
    """What a frame carries, behind its VLAN tags."""
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in TAGS:
        at += 4
    return int.from_bytes(frame[at : at + 2], "big")


def is_test_frame(frame: bytes) -> bool:
    """Whether a test made the frame; the kernels' own are noise."""
    return ethertype(frame) == TEST_ETHERTYPE


def carries(kind: int) -> Match:
    """Frames of an EtherType."""
    return lambda frame: ethertype(frame) == kind


class Wire(Closing):
    """A device's frames, from now on."""

    def __init__(self, device: str, netns: str | None) -> None:
        self.device = device
        with inside(netns):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self._sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            self._sock.bind((device, ETH_P_ALL))
            self.mac = self._sock.getsockname()[4].hex(":")

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()

    def fileno(self) -> int:
        """The socket, to be waited for."""
        return self._sock.fileno()

    def send(self, *frames: bytes) -> None:
        """Send frames out of the device."""
        for frame in frames:
            self._sock.send(frame)

    def receive(self, limit_s: float) -> bytes | None:
        """The next frame, its VLAN tag in place; None when none comes in `limit_s` seconds."""
        if not select.select([self._sock], [], [], limit_s)[0]:
            return None
        frame, ancillary, _, _ = self._sock.recvmsg(FRAME_MAX, socket.CMSG_SPACE(AUXDATA.size))
        return _with_tag(frame, ancillary)

    def next(self, match: Match = is_test_frame) -> bytes:
        """The next frame that matches; others are thrown away."""
        while (frame := self.receive(LIMIT_S)) is not None:
            if match(frame):
                return frame
        pytest.fail(f"no such frame came in by {self.device} in {LIMIT_S:g} s")

    def until(self, last: bytes, match: Match = is_test_frame) -> list[bytes]:
        """The frames that match up to `last`, which is not among them."""
        frames = []
        while (frame := self.next(match)) != last:
            frames.append(frame)
        return frames

    def waiting(self, match: Match = is_test_frame) -> Iterator[bytes]:
        """The frames that match among those that have arrived."""
        while (frame := self.receive(0)) is not None:
            if match(frame):
                yield frame


def _with_tag(frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    for level, kind, value in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, tpid = AUXDATA.unpack(value)
            if status & TP_STATUS_VLAN_VALID:
                return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return frame


def transfer(
    size: int,
    address: str,
    *,
    sender: str,
    receiver: str,
    through: tuple[str, int] | None = None,
    download: bool = False,
) -> None:
    """Send `size` random bytes over TCP between two namespaces; fail unless they arrive as they were.

    The receiver listens on `address`, on the same port as that of `through` if the sender connects to that instead.
    With `download` it is the receiver that connects, and the sender that listens.
    """
    server, client = (sender, receiver) if download else (receiver, sender)
    with inside(server):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, through[1] if through else 0), family=family)
    with listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(LIMIT_S)
        accepted = pool.submit(lambda: listener.accept()[0])
        with inside(client):
            connection = socket.create_connection(through or listener.getsockname()[:2], LIMIT_S)
        ends = accepted.result(), connection
        sent = pool.submit(_send, size, ends[0] if download else ends[1])
        assert _receive(ends[1] if download else ends[0]) == sent.result()


def _send(size: int, connection: socket.socket) -> str:
    digest = hashlib.sha256()
    with connection:
        connection.settimeout(LIMIT_S)
        for start in range(0, size, CHUNK_BYTES):
            chunk = os.urandom(min(CHUNK_BYTES, size - start))
            digest.update(chunk)
            connection.sendall(chunk)
    return digest.hexdigest()


def _receive(connection: socket.socket) -> str:
    digest = hashlib.sha256()
    with connection:
        connection.settimeout(LIMIT_S)
        while chunk := connection.recv(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
