"""What the kernel dropped on its way into taps, read from a namespace's /proc/net/dev.

A tap's transmit side is the switch's receive side: when its ring is full, the kernel counts a transmit drop on the
device. The file, once opened in a namespace, can be read from any other; one reading shows all devices, so it is kept
for a moment and a scrape of a thousand ports reads it once. Safe to use from any thread.
"""

from __future__ import annotations

import os
import threading
import time

KEEP_S = 0.1
TX_DROP = 11  # the column: eight of receive, then bytes, packets, errs, drop


class DropTable:
    """Transmit drops by device, of the namespace the calling thread is in when making it."""

    def __init__(self) -> None:
        self._file = open("/proc/thread-self/net/dev", "rb", buffering=0)
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._drops: dict[str, int] = {}

    def get(self, name: str) -> int:
        """The drops of a device since it was made; 0 where there is none of that name."""
        with self._lock:
            if self._file.closed:
                return 0
            now = time.monotonic()
            if now - self._read_at > KEEP_S:
                self._drops, self._read_at = self._read(), now
            return self._drops.get(name, 0)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _read(self) -> dict[str, int]:
        self._file.seek(0, os.SEEK_SET)
        drops = {}
        for line in self._file.readall().decode().splitlines()[2:]:
            name, _, columns = line.rpartition(":")
            drops[name.strip()] = int(columns.split()[TX_DROP])
        return drops
