"""What the daemon tells systemd: ready, status, alive, reloading, stopping (sd_notify(3)).

systemd names a datagram socket in NOTIFY_SOCKET and takes lines of NAME=VALUE from it. Without that variable nobody
listens and every method does nothing, so the daemon need not know whether systemd started it. A message that cannot
be delivered is dropped: telling is no reason to fail.

Thread safety: each message is one datagram; any thread may send.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """One service's line to its manager."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(environ)

    def ready(self, status: str) -> None:
        """The service is up, or has come to the end of a reload; `status` is what `systemctl status` shows."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """A new line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is going down."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The watchdog's heartbeat; due within every `watchdog_s` seconds."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return


def _address(path: str) -> str | None:
    """The socket's address: a path, or in the abstract namespace when it begins with "@"."""
    if path.startswith("@"):
        return "\0" + path[1:]
    return path if path.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The watchdog's patience in seconds; None when there is none, or it waits for another process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
