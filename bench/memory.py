"""A switch between memory ports: what a frame costs without any device.

No thread runs: `replay` drives a worker's whole pipeline in the calling thread, without the GIL,
through the test doors of a build with VSWITCH_PROBE=1. Ports loop over the frames injected into
them, and what is sent to a port is only counted.

Run as a program it replays so many frames and ends: valgrind counts the instructions of that.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from types import ModuleType

from bench import frames
from bench.shell import BenchError
from vswitch.dataplane import BridgeView, Dataplane, MemoryPort, PortView, VlanMode
from vswitch.qos import compile
from vswitch.qos.lines import built
from vswitch.qos.model import Link

BRIDGE = 0
RING_BYTES = 1 << 18
MAC_LIMIT = 1 << 17
RECORD_BYTES = 96  # at most, of a frame in a ring
TRUNK = VlanMode(trunk=frozenset({frames.VLAN}))


def doors() -> ModuleType:
    """The test doors; BenchError where the build has none."""
    try:
        from vswitch._fastpath import _probe
    except ImportError as error:
        raise BenchError(f"no test doors in this build ({error}): VSWITCH_PROBE=1") from error
    return _probe


class MemorySwitch:
    """`ports` trunk ports of one bridge; each port's `ring_bytes` hold the frames it loops over."""

    def __init__(self, ports: int, *, workers: int = 1, ring_bytes: int = RING_BYTES) -> None:
        self._doors = doors()
        self._announced = 0
        self._dataplane = Dataplane(workers=workers)
        self._rings = [MemoryPort(f"m{id}", workers, ring_bytes, sink=True)
                       for id in range(ports)]
        self._views = [PortView(id=id, name=ring.name, kind="memory", fds=(), bridge=BRIDGE,
                               vlan=TRUNK, memory=ring) for id, ring in enumerate(self._rings)]
        self._bridges = [BridgeView(id=BRIDGE, name="br0", mac_limit=MAC_LIMIT)]
        asyncio.run(self._dataplane.publish(self._bridges, self._views))

    def learn(self, port: int, stations: list[bytes]) -> None:
        """Let the switch hear each station at the port once."""
        announced = frames.announcements(stations)
        self._announced = max(self._announced, len(announced))
        while announced:
            taken = self._rings[port].inject(announced)
            self._doors.step(self._dataplane.workers.workers[0], [port], time.monotonic_ns())
            announced = announced[taken:]

    def queue(self, port: int, lines: Sequence[str]) -> None:
        """Give a port the disciplines that these lines of tc make."""
        control = built(lines, Link(f"m{port}"))
        self._dataplane.set_qdiscs(port, compile.tree(control), ())
        asyncio.run(self._dataplane.publish(self._bridges, self._views))

    def load(self, port: int, looping: list[bytes]) -> None:
        """Frames the port takes over and over from now on."""
        if self._rings[port].inject(looping) < len(looping):
            raise BenchError(f"memory port {port}: no room for {len(looping)} frames")
        self._rings[port].loop()

    def replay(self, port: int, count: int, *, worker: int = 0) -> float:
        """Send about `count` frames through; returns ns a frame."""
        taken, elapsed = self._doors.replay(self._dataplane.workers.workers[worker], port, count)
        return elapsed / taken

    def check(self) -> None:
        """BenchError unless every replayed frame was forwarded to one port."""
        for id, ring in enumerate(self._rings):
            counters = self._dataplane.port_counters(id)
            if counters.drops or counters.copied > self._announced * len(self._rings):
                raise BenchError(f"{ring.name}: dropped {counters.drops}, copied {counters.copied}")


def two_ports(stations: int, *, workers: int = 1, loop: int = 0) -> MemorySwitch:
    """Half the stations at each of two ports, talking across in a shuffled order.

    Each port loops over `loop` frames; by default it uses every station once.
    """
    return _joined(2, stations, max(loop, stations // 2), workers=workers)


def many_ports(ports: int, stations: int, frames_in_all: int) -> MemorySwitch:
    """The stations spread over all ports, every port talking to every other's."""
    return _joined(ports, stations, frames_in_all // ports)


def _joined(ports: int, stations: int, loop: int, *, workers: int = 1) -> MemorySwitch:
    ring = 1 << (loop * RECORD_BYTES).bit_length()
    switch = MemorySwitch(ports, workers=workers, ring_bytes=max(RING_BYTES, ring))
    everyone = frames.macs(stations)
    for port in range(ports):
        switch.learn(port, everyone[port::ports])
    for port in range(ports):
        own = everyone[port::ports]
        others = [mac for index, mac in enumerate(everyone) if index % ports != port]
        switch.load(port, frames.conversation(own, others, loop))
    return switch


if __name__ == "__main__":
    two_ports(1000).replay(0, int(sys.argv[1]))
