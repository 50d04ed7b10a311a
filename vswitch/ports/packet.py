"""An AF_PACKET socket as a `netdev` port needs it.

Opened for no protocol and bound last, so that no frame of another device and no frame from before the options were set
ever gets in. Each frame has a virtio-net header of 10 bytes in front (`PACKET_VNET_HDR`), so super-frames come and go
whole: the kernel cuts up what the device cannot take. The VLAN tag that drivers strip comes beside the frame
(`PACKET_AUXDATA`). What the host itself sends is not seen. What we send goes by the device's queueing discipline: past it
(PACKET_QDISC_BYPASS) the kernel drops a super-frame that the device cannot take, where it would otherwise cut it up.

The socket outlives its device: the kernel takes it off a device that goes (and says so once, by ENETDOWN), and `attach`
puts it onto the one that comes.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading

from vswitch.dataplane import Offload

VNET_HDR_LEN = 10  # struct virtio_net_hdr; a choice of 12 (PACKET_VNET_HDR_SZ) exists from Linux 6.4 only
BUFFER_BYTES = 8 << 20
ETH_P_ALL = 3
USO_SINCE = (6, 2)

# linux/socket.h, linux/if_packet.h: what the socket module lacks
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1


class PacketSocket:
    """A socket on no device until it is attached to one. `drops` may be asked for from any thread."""

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        self._lock = threading.Lock()
        self._drops = 0
        try:
            for option in (PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
                self._sock.setsockopt(SOL_PACKET, option, 1)
            for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
                self._sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        except OSError:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def attach(self, name: str, ifindex: int) -> None:
        """Take all frames of a device, whoever they are for. Raises OSError."""
        self._sock.bind((name, ETH_P_ALL))
        promiscuous = struct.pack("iHH8s", ifindex, PACKET_MR_PROMISC, 0, b"")
        self._sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)

    @property
    def drops(self) -> int:
        """Frames dropped because the socket's buffer was full, since it was opened."""
        with self._lock:
            if self._sock.fileno() >= 0:
                _, dropped = struct.unpack("II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
                self._drops += dropped  # reading sets the kernel's count to zero
            return self._drops

    def close(self) -> None:
        """Close the socket. Blocks for some 10 ms."""
        with self._lock:
            self._sock.close()


def packet_offloads() -> Offload:
    """What a frame may leave undone when sent by such a socket: the kernel does in software what the device cannot."""
    offloads = Offload.CSUM | Offload.TSO4 | Offload.TSO6
    if _kernel() >= USO_SINCE:
        offloads |= Offload.USO4 | Offload.USO6
    return offloads


def _kernel() -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()
    return int(major), int(minor)
