"""The control socket: a unix socket in the run directory, there only while the switch is in force.

`start` binds a temporary name, sets mode and group, listens, and then renames into place, so whoever sees
`control.sock` can connect to it and is let in by what the file says. A socket file left by a daemon that was killed is
replaced; one behind which another program listens, and anything that is no socket, is refused.

A client cannot hold the daemon: connections are counted, a connection that sends no request is closed after
`IDLE_S`, bodies have a size and a time (`dispatch`), and `stop` closes what is open after a grace of `GRACE_S` for
answers under way. Runs on the daemon's event loop, uvloop or asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from pathlib import Path
from typing import cast

from aiohttp import web

from ..config.errors import Problem
from .control import Control
from .dispatch import application
from .peers import group_id

SOCKET_NAME = "control.sock"
MODE = 0o660
MAX_CONNECTIONS = 64
IDLE_S = 10.0
LINGER_S = 1.0  # for the rest of a refused request, so that its client can read why
GRACE_S = 0.05

log = logging.getLogger(__name__)


class ControlServer:
    """Serves one switch on RUN_DIR/control.sock until `stop`."""

    def __init__(self, switch: Control, run_dir: str | Path, group: str) -> None:
        self.path = Path(run_dir) / SOCKET_NAME
        self._group = group
        self._runner = web.AppRunner(
            application(switch, lambda: self._group),
            access_log=None,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            shutdown_timeout=GRACE_S,
        )
        self._server: asyncio.AbstractServer | None = None
        self._inode: int | None = None

    def refuse_taken(self) -> None:
        """Raise OSError if something else than a socket that was left behind is in the socket's place."""
        try:
            in_use = _listened_to(self.path) if stat.S_ISSOCK(self.path.lstat().st_mode) else None
        except FileNotFoundError:
            return
        if in_use is not False:
            what = "is in use by another program" if in_use else "is there, and is no socket"
            right = f"{SOCKET_NAME} in it {what}; choose another directory, or clear this one"
            raise OSError(errno.EADDRINUSE, Problem("switch.run_dir", right, str(self.path.parent)).line())

    async def start(self) -> None:
        """Listen, then appear; `refuse_taken` comes before. Raises OSError naming the socket when the run directory does not allow it."""
        await self._runner.setup()
        sock = self._bind(self.path.with_suffix(".new"))
        self._server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=sock)

    def _bind(self, temporary: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            temporary.unlink(missing_ok=True)
            sock.bind(str(temporary))
            self._admit(temporary)
            sock.listen()
            self._inode = temporary.stat().st_ino
            temporary.rename(self.path)
        except OSError as error:
            sock.close()
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise OSError(error.errno, f"control socket {self.path}: {error.strerror or error}") from error
        return sock

    def _admit(self, path: Path) -> None:
        gid = group_id(self._group)
        if gid is None:
            log.info("group '%s' does not exist: only root may use %s", self._group, self.path)
        os.chown(path, -1, os.getegid() if gid is None else gid)
        path.chmod(MODE)

    def use_group(self, group: str) -> None:
        """Let in another group from the next request on. Raises OSError when the file cannot be given to it."""
        self._group = group
        self._admit(self.path)

    def _accept(self) -> asyncio.Protocol:
        serve = self._runner.server
        assert serve is not None
        return serve() if len(serve.connections) < MAX_CONNECTIONS else _TurnedAway()

    async def stop(self) -> None:
        """Disappear, then close; at most 2 x GRACE_S for answers under way. Safe to call twice."""
        self._unlink()
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._runner.cleanup()

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            if self._inode == self.path.stat().st_ino:
                self.path.unlink()


def _listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except (BlockingIOError, PermissionError):  # its queue is full, or it is not for us
            pass
    return True


class _TurnedAway(asyncio.Protocol):
    """A connection beyond MAX_CONNECTIONS: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        body = b'{"error": "too many connections to the control socket; try again", "problems": []}'
        stream.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        stream.close()
