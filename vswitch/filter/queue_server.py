"""The socket by which processes listen on queues: RUN_DIR/queue.sock, SEQPACKET, in the protocol of queue_client.py.

One socket for all numbers, and a first message that names one: numbers come and go with rules, a socket file would not, and
there is one file whose mode and group say who may. They are those of the control socket, and so is the check of the peer's
credentials: who may judge packets may do anything to them.

A listener cannot hold the daemon: messages to it are sent without waiting, at most MESSAGES of its own are read at a time,
connections are counted, and one that does not say which queue it wants within HELLO_S is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from ..api.peers import group_id, peer_of, refusal
from ..queue_client import (
    HELLO, MAGIC, MESSAGE_MAX, SOCKET_NAME, VERDICT, VERDICT_MARK, VERDICT_PAYLOAD, VERSION, WELCOME,
)  # fmt: skip
from .queue import Queues, QueueTaken

log = logging.getLogger(__name__)

MODE = 0o660
MAX_LISTENERS = 256
MESSAGES = 64
HELLO_S = 5.0
SEND_BUFFER = 4 << 20  # bytes, where the kernel lets us
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h


class QueueServer:
    """Listens on RUN_DIR/queue.sock from `start` to `stop`."""

    def __init__(self, queues: Queues, run_dir: str | Path, group: str) -> None:
        self.path = Path(run_dir) / SOCKET_NAME
        self._queues, self._group = queues, group
        self._socket: socket.socket | None = None
        self._listeners: set[Listener] = set()

    async def start(self) -> None:
        """Appear. A file left by a daemon that was killed is replaced: the lock has kept a living one out. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        temporary = self.path.with_suffix(".new")
        try:
            temporary.unlink(missing_ok=True)
            sock.bind(str(temporary))
            self._admit(temporary)
            sock.listen()
            temporary.rename(self.path)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"queue socket {self.path}: {error.strerror or error}") from error
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept)

    def _admit(self, path: Path) -> None:
        gid = group_id(self._group)
        os.chown(path, -1, os.getegid() if gid is None else gid)
        path.chmod(MODE)

    def use_group(self, group: str) -> None:
        """Let in another group from now on. Raises OSError when the file cannot be given to it."""
        self._group = group
        self._admit(self.path)

    async def stop(self) -> None:
        """Disappear, and hang up on all. Safe to call twice."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self.path.unlink()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        for listener in list(self._listeners):
            listener.close()

    def _accept(self) -> None:
        assert self._socket is not None
        try:
            sock, _ = self._socket.accept()
        except OSError:  # it has gone again, or there are no descriptors left
            return
        sock.setblocking(False)
        try:
            reason = refusal(peer_of(sock), self._group)
        except OSError:
            reason = "nobody is there"
        if len(self._listeners) >= MAX_LISTENERS:
            sock.close()
        else:
            self._listeners.add(Listener(sock, self._queues, reason, self._listeners.discard))


class Listener:
    """One connection. `number` is its queue once it has said so; `reason` is why it may have none, which it hears then."""

    def __init__(self, sock: socket.socket, queues: Queues, reason: str | None, gone: Callable[[Listener], None]) -> None:
        self.number: int | None = None
        self._socket, self._queues, self._reason, self._gone = sock, queues, reason, gone
        self._patience = asyncio.get_running_loop().call_later(HELLO_S, self.close)
        with contextlib.suppress(OSError):  # only root may go beyond net.core.wmem_max
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Hang up; what it has not judged comes to its end."""
        if self._socket.fileno() < 0:
            return
        self._leave()
        self._socket.close()

    def _leave(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._patience.cancel()
        self._gone(self)
        if self.number is not None:
            self._queues.leave(self.number)
            log.info("queue %d: nobody listens any more", self.number)
            self.number = None

    def _readable(self) -> None:
        for _ in range(MESSAGES):
            try:
                message = self._socket.recv(MESSAGE_MAX)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message or not self._take(message):
                self.close()
                return

    def _take(self, message: bytes) -> bool:
        return self._hello(message) if self.number is None else self._verdict(message)

    def _hello(self, message: bytes) -> bool:
        magic, version, number = HELLO.unpack(message) if len(message) == HELLO.size else (b"", 0, 0)
        if magic != MAGIC or version != VERSION:
            return self._refuse(errno.EPROTO, f"this switch speaks version {VERSION} of its queues' protocol")
        if self._reason is not None:
            return self._refuse(errno.EACCES, self._reason)
        try:
            self._queues.listen(number, self._send)
        except QueueTaken:
            return self._refuse(errno.EBUSY, f"another process listens on queue {number}")
        self.number = number
        self._patience.cancel()
        log.info("queue %d: somebody listens", number)
        return self._send(WELCOME.pack(MAGIC, VERSION, 0))

    def _refuse(self, code: int, reason: str) -> bool:
        self._send(WELCOME.pack(MAGIC, VERSION, code) + reason.encode())
        return False

    def _verdict(self, message: bytes) -> bool:
        if len(message) < VERDICT.size:
            log.warning("queue %d: its listener speaks another protocol", self.number)
            return False
        id, mark, accept, flags = VERDICT.unpack_from(message)
        payload = message[VERDICT.size :] if flags & VERDICT_PAYLOAD else None
        self._queues.judge(self.number, id, accept == 1, mark if flags & VERDICT_MARK else None, payload)
        return True

    def _send(self, message: bytes) -> bool:
        try:
            return self._socket.send(message) == len(message)
        except OSError:  # its buffer is full; or it has gone, which reading will tell
            return False
