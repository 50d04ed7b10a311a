"""What a guest asks for: busybox's DHCP client in a namespace, questions of DNS, and a resolver of few words.

    client = Udhcpc(lab, netns, device, "-x", "hostname:web")
    assert "ip=10.0.0.100 " in client.heard("bound")
    client.signal(signal.SIGUSR1)                   # renew
    client.heard("renew")
    ask(netns, "10.0.0.1", "web.lab.example")       # (0, b"\\x0a\\0\\0\\x64")
"""

from __future__ import annotations

import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Lab, Running, inside, wait_for

LIMIT_S = 20.0

# What the client calls with the news: the address is set, and a line is written of what the server said.
UDHCPC = """#!/bin/sh
case $1 in
    deconfig) ip address flush dev "$interface" ;;
    bound|renew)
        ip address replace "$ip/$mask" dev "$interface"
        [ -z "$router" ] || ip route replace default via "$router" dev "$interface" ;;
esac
echo "$1 ip=$ip router=$router dns=$dns domain=$domain mtu=$mtu lease=$lease routes=$staticroutes" >>"$NEWS"
"""


def script(lab: Lab, name: str, text: str) -> Path:
    """A program of the lab's."""
    path = lab.path(name)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Udhcpc:
    """busybox's client in a guest."""

    def __init__(self, lab: Lab, netns: str, device: str, *words: str) -> None:
        self.netns, self.device = netns, device
        self._news = lab.path(f"{device}.news")
        argv = ["busybox", "udhcpc", "-f", "-i", device, "-s", str(script(lab, f"{device}.sh", UDHCPC)),
                "-t", "10", "-T", "1", "-A", "1", "-O", "staticroutes", "-O", "mtu", *words]
        env = {"NEWS": str(self._news), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.process: Running = lab.start(*argv, netns=netns, env=env)

    def heard(self, event: str, count: int = 1) -> str:
        """The news of the event, when it has come so many times."""
        return wait_for(lambda: news_of(self._news, event, count), LIMIT_S, f"{event}: {self.process.text()}")

    def signal(self, number: signal.Signals) -> None:
        """Have it renew (SIGUSR1) or release (SIGUSR2) its lease."""
        self.process.process.send_signal(number)


def news_of(path: Path, event: str, count: int) -> str | None:
    """The line of an event, when it has come so many times."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line for line in lines if line.startswith(event + " ")]
    return found[count - 1] if len(found) >= count else None


def _query(number: int, name: str, kind: int) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def ask(netns: str, server: str, name: str, kind: int = 1) -> tuple[int, bytes]:
    """Ask a server for a name; the code and the last bytes of the answer."""
    with inside(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(LIMIT_S)
        sock.sendto(_query(4711, name, kind), (server, 53))
        answer = sock.recv(4096)
    assert answer[:2] == (4711).to_bytes(2, "big")
    return answer[3] & 15, answer[-4:]


@contextmanager
def upstream(netns: str, address: str) -> Iterator[int]:
    """A server at an address that knows 192.0.2.7 for everything; its port."""
    with inside(netns):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 0))

    def serve() -> None:
        while (asked := sock.recvfrom(4096))[0]:
            payload, client = asked
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes((192, 0, 2, 7))
            sock.sendto(payload[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + payload[12:] + record, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        with inside(netns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        thread.join()
        sock.close()
