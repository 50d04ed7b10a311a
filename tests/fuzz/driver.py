"""Random frames through a switch whose configuration changes all the while. Run by test_sanitized.py in a build with
AddressSanitizer and UndefinedBehaviorSanitizer, which end the process at the first finding; by hand:

    python tests/fuzz/driver.py --frames 100000 --seed 7

The ports are memory ports and, so that the code of taps and packet sockets is driven too, ends of socket pairs: a
datagram socket keeps frame boundaries as those devices do. After every batch the books must balance.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import sys
from dataclasses import replace

from tests.fuzz.frames import VIDS, Mutator
from tests.fuzz.queues import policers, tree
from tests.fuzz.routed import Router
from tests.switchboard import SECOND, Switchboard
from vswitch._fastpath import _probe
from vswitch.dataplane import Offload, PortCounters, PortView, VlanMode
from vswitch.own import SELF_PORT

MEMORY_PORTS = 8
SOCKET_PORTS = ("tap", "tap", "packet", "packet")
BATCH, SOCKET_BATCH = 250, 8            # frames; a Unix datagram socket queues ten or so
BATCHES_BETWEEN_CHANGES = 8
TAP_HEADER, PACKET_HEADER = 12, 10      # bytes of virtio-net header that each kind reads and writes


class SocketPort:
    """The far end of a port that is a socket pair instead of a device."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._header = TAP_HEADER if kind == "tap" else PACKET_HEADER
        self._far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._far, self.near):
            end.setblocking(False)

    def inject(self, frames: list[bytes], headers: list[bytes]) -> int:
        for sent, (header, frame) in enumerate(zip(headers, frames, strict=True)):
            try:
                self._far.send(header[: self._header] + frame)
            except BlockingIOError:
                return sent
        return len(frames)

    def collect(self) -> None:
        try:
            while True:
                self._far.recv(70000)
        except BlockingIOError:
            pass


class Fuzzer:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.mutator = Mutator(self.rng)
        self.board = Switchboard()
        self.ends: dict[str, SocketPort] = {}
        for n in range(MEMORY_PORTS):
            self.board.add(f"m{n}")
        for n, kind in enumerate(SOCKET_PORTS):
            self._add_socket(f"s{n}", kind)
        self.board.add("b", bridge=None)
        self.router = Router(self.rng, self.board)

    def _add_socket(self, name: str, kind: str) -> None:
        end = self.ends[name] = SocketPort(kind)
        self.board.views[name] = PortView(id=self.board.dataplane.port_ids.allocate(name), name=name, kind=kind,
                                          fds=(end.near.fileno(),), bridge=0)

    async def change(self) -> None:
        """Another configuration: most of the ports in another mode, the tables of another size now and then."""
        rng = self.rng
        for name, view in self.board.views.items():
            if rng.random() < 0.6:
                self.board.views[name] = replace(view, **self._fields() | ({"bridge": None} if name == "b" else {}))
        if rng.random() < 0.05:
            self.board.bridge = replace(self.board.bridge, mac_limit=rng.choice((1, 8, 64, 1000)),
                                        ageing_s=rng.choice((0, 1, 300)))
        await self.board.dataplane.publish([self.board.bridge], self.board.views.values(), self.router.layer3())

    def _fields(self) -> dict:
        rng = self.rng
        return {
            "bridge": None if rng.random() < 0.02 else 0,
            "vlan": self._vlan(),
            "mtu": rng.choice((68, 576, 1500, 9000, 65535, 65535)),
            "up": rng.random() < 0.95,
            "offloads": rng.choice((Offload(0), Offload(rng.randrange(32)), Offload(31))),
            "isolated": rng.random() < 0.2,
            "hairpin": rng.random() < 0.2,
            "mac_limit": rng.choice((0, 0, 1, 10)),
            "tree": tree(rng),
            "policers": policers(rng),
            "storm": (0, 0, 0) if rng.random() < 0.8 else tuple(rng.choice((0, 10, 1000, 10**9)) for _ in range(3)),
        }

    def _vlan(self) -> VlanMode:
        rng = self.rng
        vids = VIDS[1:-1]
        dice = rng.random()
        if dice < 0.4:
            return VlanMode()
        if dice < 0.6:
            return VlanMode(access=rng.choice(vids))
        return VlanMode(trunk=frozenset(rng.sample(vids, rng.randrange(1, len(vids)))),
                        native=rng.choice(vids) if dice < 0.8 else None)

    def batch(self) -> int:
        """Frames into one port and through the switch; how many it took."""
        name = self.rng.choice(list(self.board.views))
        end = self.ends.get(name)
        drawn = [self.mutator.draw() for _ in range(SOCKET_BATCH if end else BATCH)]
        headers, frames = map(list, zip(*drawn, strict=True))
        taken = (end or self.board.views[name].memory).inject(frames, headers)
        moved = self.board.step(name)
        assert moved == taken, f"{taken} frames went into {name}, {moved} arrived"
        for port, view in self.board.views.items():
            (self.ends.get(port) or view.memory).collect()
        self.board.now_ns += int(self.rng.random() * SECOND)
        _probe.expire(self.board.dataplane.workers.workers[0], self.board.now_ns)
        self.board.dataplane.connections.sweep(self.board.now_ns // SECOND)
        return taken

    def check_books(self) -> None:
        self.board.check_books()
        counters = self._counters()
        assert counters[-1].balance == 0, counters[-1]
        assert sum(c.delivered for c in counters) == sum(c.tx_frames for c in counters)

    def _counters(self) -> list[PortCounters]:
        """Of all ports, and the switch itself."""
        return [self.board.counters(name) for name in self.board.views] + [self.board.dataplane.port_counters(SELF_PORT)]

    async def run(self, frames: int) -> None:
        while frames > 0:
            await self.change()
            for _ in range(BATCHES_BETWEEN_CHANGES):
                frames -= self.batch()
                self.check_books()

    def summary(self) -> str:
        counters = self._counters()
        reasons = sorted({reason for c in counters for reason in c.drops})
        return "\n".join([
            f"{sum(c.rx_frames for c in counters)} frames in, {sum(c.delivered for c in counters)} copies out, "
            f"{sum(c.segments for c in counters)} segments",
            *(f"{reason} {sum(c.drops.get(reason, 0) for c in counters)}" for reason in reasons),
        ])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", file=sys.stderr, flush=True)
    fuzzer = Fuzzer(arguments.seed)
    asyncio.run(fuzzer.run(arguments.frames))
    print(fuzzer.summary())


if __name__ == "__main__":
    main()
