"""Packets for connection tracking, and the table that they pass: what tests/fastpath/test_conntrack_*.py share.

A TCP segment is written "> SA 500 101 len=10 win=4096": direction, flags, sequence number, acknowledgement; the rest
may be left out.
"""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.packet import Raw

from vswitch._fastpath._probe_conntrack import Tracked
from vswitch._fastpath.filter.conntrack import ConnectionTable

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
FORWARD, BACKWARD = {"src": CLIENT, "dst": SERVER}, {"src": SERVER, "dst": CLIENT}


def segment(text: str, options: list | None = None) -> bytes:
    """The TCP segment that the text describes."""
    direction, flags, seq, *rest = text.split()
    fields = dict(word.split("=") for word in rest if "=" in word)
    ack = next((word for word in rest if "=" not in word), 0)
    sport, dport = (1000, 80) if direction == ">" else (80, 1000)
    tcp = TCP(sport=sport, dport=dport, flags=flags if flags != "-" else "", seq=int(seq) % 2**32, ack=int(ack) % 2**32,
              window=int(fields.get("win", 8192)), options=options or [])
    return bytes(IP(**(FORWARD if direction == ">" else BACKWARD)) / tcp / Raw(b"x" * int(fields.get("len", 0))))


class Wire:
    """A table and a clock; every packet that is sent is confirmed, unless it is refused."""

    def __init__(self, capacity: int = 100, now: float = 1000.0, **options: object) -> None:
        self.table = ConnectionTable(capacity, **options)
        self.now = now

    def track(self, packet: object, **options: object) -> Tracked:
        """As seen before any rule: not confirmed yet."""
        return Tracked(self.table, bytes(packet), self.now, **options)

    def send(self, packet: object, **options: object) -> str:
        """The packet's state, with "<" behind it in the direction of the replies, or the number of a drop reason."""
        tracked = self.track(packet, **options)
        reason = tracked.reason or tracked.confirm(int(self.now))
        return str(reason) if reason else tracked.info + ("<" if tracked.reply else "")

    def rows(self) -> list:
        """All connections."""
        found, start = [], 1
        while start:
            rows, start = self.table.rows(start, 64, int(self.now))
            found += rows
        return found

    def state(self) -> str:
        """The state of the only connection, with "!" if it is assured; "" if there is none."""
        rows = self.rows()
        assert len(rows) < 2
        return rows[0].state + ("!" if rows[0].status & 4 else "") if rows else ""
