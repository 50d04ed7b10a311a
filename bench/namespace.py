"""Network namespaces: a host for the contender, a guest with one device at each end."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from pathlib import Path
from typing import TextIO

from bench.shell import BenchError, run, start

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
PREFIX_LENGTH = 24


class Namespace:
    """A network namespace of its own; commands run inside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.enter = ("nsenter", f"--net={NAMESPACES / name}")

    def create(self) -> None:
        """Make it, with a loopback and without IPv6, whose solicitations would count as frames."""
        run("ip", "netns", "add", self.name)
        self.run("ip link set lo up")
        for scope in ("all", "default"):
            switch = f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"
            self.run("sh", "-c", f"[ ! -e {switch} ] || echo 1 >{switch}")

    def delete(self) -> None:
        run("ip", "netns", "delete", self.name)

    def run(self, *words: str, limit_s: float = 60.0) -> str:
        return run(*words, prefix=self.enter, limit_s=limit_s)

    def start(self, *words: str | Path, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        return start(*words, log=log, prefix=self.enter, environment=environment)

    def has_device(self, device: str) -> bool:
        return any(line.split(":")[1].split("@")[0].strip() == device
                   for line in self.run("ip -o link show").splitlines())


class Guest(Namespace):
    """One end of a topology: an address on one device, whose counters can be read cheaply."""

    def __init__(self, name: str, device: str, address: str) -> None:
        super().__init__(name)
        self.device = device
        self.address = address
        self._statistics: TextIO | None = None

    def configure(self) -> None:
        """Bring the device up with the guest's address; opens its counters."""
        self.run("ip", "address", "add", f"{self.address}/{PREFIX_LENGTH}", "dev", self.device)
        self.run("ip", "link", "set", self.device, "up")
        self._statistics = self._open_statistics()

    def delete(self) -> None:
        if self._statistics is not None:
            self._statistics.close()
        super().delete()

    def mac(self) -> str:
        return self.run("ip", "-br", "link", "show", "dev", self.device).split()[2]

    def received_frames(self) -> int:
        """rx_packets of the guest's device."""
        return self._counters()[1]

    def refused_frames(self) -> int:
        """tx_dropped of the guest's device: its queue was full, the switch did not read."""
        return self._counters()[11]

    def _counters(self) -> list[int]:
        """The device's line in /proc/net/dev: [0] rx bytes, [1] rx packets, ... [11] tx drops."""
        assert self._statistics is not None, "configure() comes first"
        self._statistics.seek(0)
        for line in self._statistics:
            device, _, numbers = line.partition(":")
            if device.strip() == self.device:
                return [int(number) for number in numbers.split()]
        raise BenchError(f"{self.name}: {self.device} is gone")

    def _open_statistics(self) -> TextIO:
        """/proc/net/dev as seen from inside: the file stays with the namespace it was opened in.

        Opened by a thread of its own, for a namespace is a property of a thread.
        """
        opened: list[TextIO] = []

        def enter_and_open() -> None:
            namespace = os.open(NAMESPACES / self.name, os.O_RDONLY)
            if ctypes.CDLL(None).setns(namespace, CLONE_NEWNET) == 0:
                opened.append(open("/proc/thread-self/net/dev"))
            os.close(namespace)

        thread = threading.Thread(target=enter_and_open)
        thread.start()
        thread.join()
        if not opened:
            raise BenchError(f"{self.name}: cannot enter the namespace")
        return opened[0]
