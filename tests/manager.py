"""systemd's end of sd_notify: a bound datagram socket whose messages a test reads one by one."""

from __future__ import annotations

import socket

WAIT_S = 20.0


class Manager:
    """The socket at `address`: a path, or "@name" in the abstract namespace. `environ` is what a service gets."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(WAIT_S)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.environ = {"NOTIFY_SOCKET": address}

    def message(self) -> dict[str, str]:
        """The next message, taken apart. Raises TimeoutError when none comes."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def until(self, name: str) -> dict[str, str]:
        """The next message that holds `name`; those before it are dropped."""
        while name not in (message := self.message()):
            pass
        return message

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
