"""Judge packets that a rule with the target QUEUE or NFQUEUE has sent to a process of yours.

    with Queue(7) as queue:
        for packet in queue:
            packet.drop() if b"\\xde\\xad" in packet.payload else packet.accept()

Every packet wants a verdict, in any order, and soon: the switch waits five seconds, and not for more than 1,024 at once.
When the process ends, or closes the queue, what it has not judged is dropped, or passes where the rule has --queue-bypass.

The protocol, for other languages. A SEQPACKET unix socket, RUN_DIR/queue.sock; all numbers little-endian:

    to the switch       HELLO: magic, version, queue number
    from it             WELCOME: magic, version, 0 or an errno, then its meaning as text; after an errno it hangs up
    from it, each       PACKET, then the IP packet
    to it, each         VERDICT, then, with VERDICT_PAYLOAD, the IP packet that is to go on instead

Needs nothing but Python's own library; one process may listen on many queues, but only one on each.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

SOCKET_NAME = "queue.sock"
MAGIC, VERSION = b"VSWQ", 1
HELLO = struct.Struct("<4sHH")
WELCOME = struct.Struct("<4sHH")
#: id, mark, bytes of the IP packet, VLAN, EtherType, hook, connection, flags, MACs (to, from), device and port in, and out
PACKET = struct.Struct("<QIIHHBBBx6s6s24s24s24s24s")
#: id, mark, accepted (1) or dropped (0), flags
VERDICT = struct.Struct("<QIBB2x")
VERDICT_MARK, VERDICT_PAYLOAD = 1, 2
CHECKSUM_OPEN = 1  # of PACKET's flags: layer 4's checksum is not computed yet
SUPER_FRAME = 2  # TCP or UDP that is cut into segments when it leaves
HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
MESSAGE_MAX = 1 << 17  # bytes; beyond any packet

_STATES = {0: "", 1: "NEW", 2: "ESTABLISHED", 4: "RELATED", 8: "INVALID", 16: "UNTRACKED"}
_REPLY = 128
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_CHECKSUM_AT = {_TCP: 16, _UDP: 6, _ICMP: 2, _ICMP6: 2}
_EXTENSIONS = (0, 43, 60)


class QueueError(OSError):
    """The switch does not let this process listen, or is not there."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that waits for a verdict. `payload` is the IP packet; names are "" where there is none (yet)."""

    id: int
    payload: bytes
    mark: int
    hook: str
    in_device: str
    in_port: str
    out_device: str
    out_port: str
    vlan: int
    source_mac: bytes
    destination_mac: bytes
    ctstate: str
    reply: bool
    checksum_open: bool
    super_frame: bool
    _socket: socket.socket = field(repr=False, compare=False)

    def accept(self, *, mark: int | None = None, payload: bytes | None = None, finish: bool = True) -> None:
        """Let it go on behind the table that it was in, with another mark or as another packet if one is given.

        A new packet's lengths and checksums are put right here unless `finish` is False. It must be of the same protocol, and
        what does not fit the next link is dropped there."""
        flags = VERDICT_MARK * (mark is not None) | VERDICT_PAYLOAD * (payload is not None)
        body = b"" if payload is None else finished(payload) if finish else payload
        self._socket.sendall(VERDICT.pack(self.id, mark or 0, 1, flags) + body)

    def drop(self) -> None:
        """End it."""
        self._socket.sendall(VERDICT.pack(self.id, 0, 0, 0))


class Queue:
    """Listen on a queue. Iterating ends when the switch ends; `async for` works too. Raises QueueError when it is refused."""

    def __init__(self, number: int, run_dir: str | os.PathLike[str] = "/run/vswitch") -> None:
        path = Path(run_dir) / SOCKET_NAME
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
            self._greet(number)
        except QueueError:
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise QueueError(error.errno, f"{path}: {error.strerror}") from error

    def _greet(self, number: int) -> None:
        self._socket.sendall(HELLO.pack(MAGIC, VERSION, number))
        answer = self._socket.recv(MESSAGE_MAX)
        if len(answer) < WELCOME.size:
            raise QueueError(errno.ECONNRESET, "the switch has hung up")
        _, _, status = WELCOME.unpack_from(answer)
        if status:
            raise QueueError(status, answer[WELCOME.size :].decode())

    def fileno(self) -> int:
        """Readable when a packet waits: for select and its kin."""
        return self._socket.fileno()

    def receive(self, *, wait: bool = True) -> Packet | None:
        """The next packet; None when the switch has ended. Raises BlockingIOError if there is none and you will not wait."""
        message = self._socket.recv(MESSAGE_MAX, 0 if wait else socket.MSG_DONTWAIT)
        return _packet(message, self._socket) if message else None

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def __iter__(self) -> Iterator[Packet]:
        while (packet := self.receive()) is not None:
            yield packet

    async def __aiter__(self) -> AsyncIterator[Packet]:
        while True:
            try:
                packet = self.receive(wait=False)
            except BlockingIOError:
                await self._readable()
                continue
            if packet is None:
                return
            yield packet

    async def _readable(self) -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.fileno(), told.set)
        try:
            await told.wait()
        finally:
            loop.remove_reader(self.fileno())

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _packet(message: bytes, sock: socket.socket) -> Packet:
    (id, mark, length, vlan, _, hook, ct, flags, dst, src, *names) = PACKET.unpack_from(message)
    in_device, in_port, out_device, out_port = (name.rstrip(b"\0").decode() for name in names)
    return Packet(
        id=id, payload=message[PACKET.size : PACKET.size + length], mark=mark, hook=HOOKS[hook],
        in_device=in_device, in_port=in_port, out_device=out_device, out_port=out_port, vlan=vlan,
        source_mac=src, destination_mac=dst, ctstate=_STATES.get(ct & ~_REPLY, ""), reply=bool(ct & _REPLY),
        checksum_open=bool(flags & CHECKSUM_OPEN), super_frame=bool(flags & SUPER_FRAME), _socket=sock,
    )  # fmt: skip


# Putting a packet right


def finished(packet: bytes) -> bytes:
    """The IP packet with its lengths and checksums as they should be. Raises ValueError for one without a whole header."""
    data = bytearray(packet)
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20 and 20 <= (data[0] & 15) * 4 <= len(data):
        at, protocol = _finish_ipv4(data)
    elif version == 6 and len(data) >= 40:
        at, protocol = _finish_ipv6(data)
    else:
        raise ValueError("not an IP packet")
    if at is not None:
        _finish_layer4(data, at, protocol)
    return bytes(data)


def _finish_ipv4(data: bytearray) -> tuple[int | None, int]:
    """Where layer 4 is, unless this is a fragment, and what."""
    header = (data[0] & 15) * 4
    struct.pack_into("!H", data, 2, len(data))
    struct.pack_into("!H", data, 10, 0)
    struct.pack_into("!H", data, 10, checksum(data[:header]))
    return (None if int.from_bytes(data[6:8], "big") & 0x3FFF else header), data[9]


def _finish_ipv6(data: bytearray) -> tuple[int | None, int]:
    struct.pack_into("!H", data, 4, len(data) - 40)
    at, protocol = 40, data[6]
    while protocol in _EXTENSIONS and at + 8 <= len(data):
        at, protocol = at + (data[at + 1] + 1) * 8, data[at]
    return at, protocol


def _finish_layer4(data: bytearray, at: int, protocol: int) -> None:
    where = _CHECKSUM_AT.get(protocol)
    if where is None or at + where + 2 > len(data):
        return
    length = len(data) - at
    if protocol == _UDP:
        struct.pack_into("!H", data, at + 4, length)
    struct.pack_into("!H", data, at + where, 0)
    addresses = data[12:20] if data[0] >> 4 == 4 else data[8:40]
    pseudo = b"" if protocol == _ICMP else bytes(addresses) + struct.pack("!II", length, protocol)
    value = checksum(pseudo + data[at:])
    struct.pack_into("!H", data, at + where, value or (0xFFFF if protocol == _UDP else 0))


def checksum(data: bytes | bytearray) -> int:
    """The internet checksum (RFC 1071)."""
    padded = bytes(data) + b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
