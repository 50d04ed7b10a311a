"""A switch between memory ports whose frames pass all hooks: what rules, connections and NAT cost.

    Bridged    a bridge with hooks, 10 rules in FORWARD
    Routed     a network behind NAT: guests at port 0, the uplink is port 1, all is masqueraded

Run as a program (`python -m bench.hooked bridged 100000`) it replays so many frames of known
connections and ends: for valgrind and perf.
"""

from __future__ import annotations

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from ipaddress import ip_interface

from bench.flows import ACK, SYN, Flow, flows, mac_of, segment, shuffled
from bench.memory import RECORD_BYTES, RING_BYTES, doors
from bench.rules import restore_text
from bench.shell import BenchError
from vswitch.dataplane import BridgeView, Dataplane, MemoryPort, PortView
from vswitch.filter import iptables
from vswitch.filter.firewall import Firewall, Names
from vswitch.views import DeviceKind, DeviceView, Layer3View, NetworkMode, RouteView

GUESTS, SERVERS = range(0x0A010002, 0x0A010102), range(0xC6336401, 0xC6336411)
GATEWAY_MAC, UPLINK_MAC = "02:00:fe:00:00:01", "02:00:fe:00:00:02"
BORROWED, ROUTER = 0xCB007101, 0xCB0071FE
"""203.0.113.1, which guests are masqueraded as, and 203.0.113.254."""
KNOWN = 1000
TEN_RULES = 10


def compiled(plane: Dataplane, count: int, names: Names) -> object:
    """That many rules in the workers' form."""
    outcome = iptables.run("iptables-restore", [], restore_text(count))
    if outcome.code:
        raise BenchError(outcome.stderr)
    return Firewall(plane).compiled(outcome.rulesets, names)


class Hooked(ABC):
    """Two memory ports, from one to the other."""

    nat = False

    def __init__(self, rule_count: int = TEN_RULES, *, connections: int = 65_536,
                 frames: int = KNOWN) -> None:
        self._doors = doors()
        self.plane = Dataplane(workers=1, connections=connections)
        size = max(RING_BYTES, 1 << (frames * RECORD_BYTES).bit_length())
        self.rings = [MemoryPort(f"m{id}", 1, size, sink=True) for id in (0, 1)]
        self._ports = [self.port(id, ring) for id, ring in enumerate(self.rings)]
        names = Names(tuple((ring.name, id) for id, ring in enumerate(self.rings)),
                      self.devices(), ((0, "br0"),))
        layer3 = Layer3View(self.devices(), self.routes(),
                            compiled(self.plane, rule_count, names), self.nat)
        self.plane.connections.set_budget(0, 0)  # one port opens them all
        asyncio.run(self.plane.publish([BridgeView(0, "br0")], self._ports, layer3))

    @abstractmethod
    def port(self, id: int, ring: MemoryPort) -> PortView: ...

    @abstractmethod
    def devices(self) -> tuple[DeviceView, ...]: ...

    @abstractmethod
    def routes(self) -> tuple[tuple[RouteView, ...], ...]: ...

    @abstractmethod
    def beyond(self, server: int) -> bytes:
        """The MAC that a client's frames to the server have."""

    @abstractmethod
    def towards(self, client: int) -> bytes:
        """The MAC that frames to the client have when they arrive."""

    # What a direction's frames look like on their way in

    def out(self, flow: Flow, flags: int = ACK) -> bytes:
        return segment(flow, self.beyond(flow.server), mac_of(flow.client), flags, *_numbers(flags))

    def back(self, flow: Flow, flags: int = ACK) -> bytes:
        answer = flow.answered(BORROWED if self.nat else None)
        source = mac_of(ROUTER) if self.nat else mac_of(flow.server)
        return segment(answer, self.towards(flow.client), source, flags, *_numbers(flags))

    # Work

    def pass_through(self, port: int, frames: Iterable[bytes]) -> None:
        """Send frames through once."""
        waiting = list(frames)
        while waiting:
            taken = self.rings[port].inject(waiting)
            self._doors.step(self.plane.workers.workers[0], [port], time.monotonic_ns())
            waiting = waiting[taken:]

    def load(self, port: int, frames: list[bytes]) -> None:
        """Frames that the port takes over and over from now on."""
        if self.rings[port].inject(frames) < len(frames):
            raise BenchError(f"no room for {len(frames)} frames")
        self.rings[port].loop()

    def establish(self, known: list[Flow]) -> None:
        """Three-way handshakes."""
        self.pass_through(0, (self.out(flow, SYN) for flow in known))
        self.pass_through(1, (self.back(flow, SYN | ACK) for flow in known))
        self.pass_through(0, (self.out(flow) for flow in known))
        self.check()

    def converse(self, known: list[Flow], loop: int = 0) -> None:
        """Have both directions of established connections loop, in an order of chance."""
        self.establish(known)
        self.loop(known, loop)

    def loop(self, known: list[Flow], loop: int = 0) -> None:
        """The same for connections that are established already."""
        order = shuffled(known, loop or len(known))
        self.load(0, [self.out(flow) for flow in order])
        self.load(1, [self.back(flow) for flow in order])

    def replay(self, port: int, count: int) -> float:
        """Send about `count` frames through; returns ns a frame."""
        taken, elapsed = self._doors.replay(self.plane.workers.workers[0], port, count)
        return elapsed / taken

    def check(self) -> None:
        """BenchError unless all has been delivered."""
        for id, ring in enumerate(self.rings):
            counters = self.plane.port_counters(id)
            if counters.drops or counters.delivered != counters.rx_frames + counters.copied:
                raise BenchError(f"{ring.name}: dropped {counters.drops}")


class Bridged(Hooked):
    def port(self, id: int, ring: MemoryPort) -> PortView:
        return PortView(id, ring.name, "memory", (), 0, memory=ring)

    def devices(self) -> tuple[DeviceView, ...]:
        return (DeviceView(0, "br0", DeviceKind.NAME, 0, hooks=True),)

    def routes(self) -> tuple[tuple[RouteView, ...], ...]:
        return ()

    def beyond(self, server: int) -> bytes:
        return mac_of(server)

    def towards(self, client: int) -> bytes:
        return mac_of(client)


class Routed(Hooked):
    nat = True

    def __init__(self, *args: int, **sizes: int) -> None:
        super().__init__(*args, **sizes)
        for guest in GUESTS:
            self.plane.neighbours.add(0, _dotted(guest), mac_of(guest).hex(":"))
        self.plane.neighbours.add(1, _dotted(ROUTER), mac_of(ROUTER).hex(":"))
        # The network's bridge has heard its guests before any answer comes.
        self.pass_through(0, (self.out(Flow(guest, 1, SERVERS[0], 9), SYN) for guest in GUESTS))
        self.plane.connections.flush()

    def port(self, id: int, ring: MemoryPort) -> PortView:
        return PortView(id, ring.name, "memory", (), 0 if id == 0 else None, memory=ring)

    def devices(self) -> tuple[DeviceView, ...]:
        return (DeviceView(0, "br0", DeviceKind.NETWORK, 0, mode=NetworkMode.NAT, mac=GATEWAY_MAC, uplink=1,
                           addresses=(ip_interface("10.1.0.1/16"),)),
                DeviceView(1, "m1", DeviceKind.UPLINK, port=1, mac=UPLINK_MAC,
                           addresses=(ip_interface(f"{_dotted(BORROWED)}/24"),)))

    def routes(self) -> tuple[tuple[RouteView, ...], ...]:
        return ((RouteView("10.1.0.0/16", 0), RouteView("10.1.0.1/32", 0), RouteView("203.0.113.0/24", 1),
                 RouteView("203.0.113.1/32", 1), RouteView("0.0.0.0/0", 1, _dotted(ROUTER))),)

    def beyond(self, server: int) -> bytes:
        return bytes.fromhex(GATEWAY_MAC.replace(":", ""))

    def towards(self, client: int) -> bytes:
        return bytes.fromhex(UPLINK_MAC.replace(":", ""))


def _numbers(flags: int) -> tuple[int, int]:
    """Sequence and acknowledgement: 1 for a SYN, 1 and 2 for its answer, 2 and 2 from then on."""
    if flags & SYN:
        return 1, 2 if flags & ACK else 0
    return 2, 2


def _dotted(address: int) -> str:
    return ".".join(str(byte) for byte in address.to_bytes(4))


def known_connections(kind: type[Hooked], rule_count: int = TEN_RULES, count: int = KNOWN,
                      loop: int = 0) -> Hooked:
    """A switch with `count` established connections that loop."""
    switch = kind(rule_count, connections=max(65_536, count), frames=max(loop, count))
    switch.converse(flows(count, GUESTS, SERVERS), loop)
    return switch


if __name__ == "__main__":
    switch = known_connections({"bridged": Bridged, "routed": Routed}[sys.argv[1]])
    for port in (0, 1):
        switch.replay(port, int(sys.argv[2]) // 2)
