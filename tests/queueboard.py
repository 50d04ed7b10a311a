"""A router of memory ports with rules, and a process that listens on its queues: all in step, without a socket.

    board = await QueueBoard.make("-A FORWARD -j NFQUEUE --queue-num 7")
    board.listen(7)
    assert board.pass_by("a", frame) == {}         # it is with the listener
    [packet] = board.packets
    assert board.judge(packet) == {"u": [...]}

Ports a, b and c are on br0, the network 10.0.0.1/24 (and fd00::1/64), whose guests are 10.0.0.11 at a, .12 at b; u is an uplink,
192.0.2.1/24 (and 2001:db8::1/64), behind which .9 is. Their neighbours are known.
"""

from __future__ import annotations

from ipaddress import ip_interface

from tests.switchboard import Switchboard, station
from vswitch._fastpath import _probe
from vswitch.filter import iptables
from vswitch.filter.firewall import Firewall, Names
from vswitch.filter.model import Rulesets
from vswitch.filter.queue import Queues
from vswitch.own import Own
from vswitch.queue_client import PACKET
from vswitch.views import DeviceKind, DeviceView, Layer3View, NetworkMode, RouteView

GATEWAY, UPLINK, OUTSIDE = station(254), station(253), station(9)
GUESTS = {"a": station(11), "b": station(12), "c": station(13)}
BR0, U = 0, 1


class QueueBoard(Switchboard):
    """See above. `packets` are the messages that the listeners have had, as (header fields, IP packet)."""

    @classmethod
    async def make(cls, *rules: str, mode: NetworkMode = NetworkMode.ROUTED, network: bool = True, **ports: dict) -> QueueBoard:
        board = cls()
        for name in "abc":
            board.add(name, **ports.get(name, {}))
        board.add("u", **{"bridge": None} | ports.get("u", {}))
        board.packets: list[tuple[tuple, bytes]] = []
        board.full = False
        board._mode, board._network = mode, network
        board.firewall = Firewall(board.dataplane)
        registry = board.dataplane.device_ids
        assert (registry.allocate("br0"), registry.allocate("u")) == (BR0, U)
        board.queues = Queues(board.dataplane, board.dataplane.port_ids.name, registry.name, lambda: board.now_ns / 1e9)
        await board.load(*rules)
        for device, address, mac in ((BR0, "10.0.0.11", GUESTS["a"]), (BR0, "10.0.0.12", GUESTS["b"]), (U, "192.0.2.9", OUTSIDE),
                                     (BR0, "fd00::11", GUESTS["a"]), (U, "2001:db8::9", OUTSIDE)):
            board.dataplane.neighbours.add(device, address, mac)
        for name, mac in GUESTS.items():
            board.table.add_static(mac, 0, board.views[name].id)
        return board

    async def load(self, *rules: str) -> None:
        rulesets = Rulesets()
        for words in rules:
            program = "ip6tables" if words.startswith("6 ") else "iptables"
            outcome = iptables.run(program, words.removeprefix("6 ").split(), "", rulesets)
            assert outcome.code == 0, outcome.stderr
            rulesets = outcome.rulesets
        self._rulesets = rulesets
        await self.publish()

    async def publish(self) -> None:
        if not hasattr(self, "_rulesets"):
            return
        kind = DeviceKind.NETWORK if self._network else DeviceKind.NAME
        addresses = tuple(map(ip_interface, ("10.0.0.1/24", "fd00::1/64"))) if self._network else ()
        devices = (
            DeviceView(BR0, "br0", kind, bridge=0, hooks=True, mode=self._mode, uplink=U, mac=GATEWAY if self._network else None,
                       addresses=addresses),
            DeviceView(U, "u", DeviceKind.UPLINK, port=self.views["u"].id, mac=UPLINK,
                       addresses=tuple(map(ip_interface, ("192.0.2.1/24", "2001:db8::1/64")))),
        )
        routes = tuple(RouteView(str(address.network), view.id) for view in devices for address in view.addresses)
        routes += tuple(RouteView(f"{address.ip}/{address.max_prefixlen}", view.id) for view in devices for address in view.addresses)
        names = Names(tuple((name, view.id) for name, view in self.views.items()), devices, ((0, "br0"),))
        rules = self.firewall.compiled(self._rulesets, names)
        await self.dataplane.publish([self.bridge], self.views.values(), Layer3View(devices, (routes,), rules, nat=True))

    # The listener

    def listen(self, *numbers: int) -> None:
        for number in numbers:
            self.queues.listen(number, self._send)

    def _send(self, message: bytes) -> bool:
        if not self.full:
            fields = PACKET.unpack_from(message)
            self.packets.append((fields, message[PACKET.size:]))
            assert fields[2] == len(message) - PACKET.size
        return not self.full

    def pass_by(self, port: str, *frames: bytes, vnet: bytes | None = None) -> dict[str, list[bytes]]:
        """Frames into a port, and what is queued of them to the listener; what comes out meanwhile."""
        out = self.send(port, *frames, vnet=vnet)
        for punt in self.dataplane.own.take():
            if punt.kind is Own.QUEUE:
                self.queues.receive(punt)
        return self._merged(out, self.settle())

    def judge(self, packet: tuple[tuple, bytes], accept: bool = True, mark: int | None = None, payload: bytes | None = None,
              queue: int = 7) -> dict[str, list[bytes]]:
        """The verdict, and what comes out."""
        self.queues.judge(queue, packet[0][0], accept, mark, payload)
        return self.settle()

    def settle(self) -> dict[str, list[bytes]]:
        """Let the worker take what was given back, and the listener what that leads to; what comes out."""
        out: dict[str, list[bytes]] = {}
        while self.serve_own():
            for punt in self.dataplane.own.take():
                if punt.kind is Own.QUEUE:
                    self.queues.receive(punt)
        for name, view in self.views.items():
            if frames := view.memory.collect():
                out[name] = frames
        self.check_books()
        return out

    def serve_own(self) -> int:
        """Let the worker take what was given back; how many packets."""
        return _probe.step_own(self.dataplane.workers.workers[0], self.dataplane.own._rings.event, self.now_ns)

    @staticmethod
    def _merged(*parts: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
        return {name: [frame for part in parts for frame in part.get(name, [])] for part in parts for name in part}

    def check_books(self) -> None:
        super().check_books()
        own = self.dataplane.port_counters(4095)
        assert own.balance == 0, own

    def queued(self) -> int:
        """Packets that are away, by the books."""
        return sum(self.counters(name).queued for name in self.views) + self.dataplane.port_counters(4095).queued

    def connections(self) -> list:
        return list(self.dataplane.connections)

    def used(self) -> int:
        """Entries in use, those of unconfirmed connections too."""
        return self.dataplane.connections.counters().used
