"""A router of memory ports: a guest behind the NAT network `br0` on port "a", the world behind the uplink "b".

Driven frame by frame like `switchboard`, and with rules in the words of iptables.
"""

from __future__ import annotations

import time
from ipaddress import ip_interface

from vswitch.filter import iptables
from vswitch.filter.firewall import Firewall, Names, translates
from vswitch.filter.model import Rulesets
from vswitch.views import DeviceKind, DeviceView, Layer3View, NetworkMode, RouteView

from tests.switchboard import Switchboard

GATEWAY, UPLINK = "02:00:00:00:00:01", "02:00:00:00:00:02"
A_MAC, B_MAC = "02:aa:00:00:00:02", "02:bb:00:00:00:fe"
SERVER = "198.51.100.7"


class RouterBoard(Switchboard):
    """`await RouterBoard.make()`; `use` replaces the rules, a line a command of iptables."""

    def __init__(self) -> None:
        super().__init__()
        self.firewall = Firewall(self.dataplane)
        self.rulesets = Rulesets()
        self.devices: tuple[DeviceView, ...] = ()
        self.routes: tuple[RouteView, ...] = ()

    @classmethod
    async def make(cls, mode: NetworkMode = NetworkMode.NAT, **uplink) -> RouterBoard:
        board = cls()
        board.add("a")
        board.add("b", bridge=None)
        board.devices = (
            DeviceView(0, "br0", DeviceKind.NETWORK, 0, mode=mode, mac=GATEWAY, addresses=(ip_interface("10.1.0.1/24"),)),
            DeviceView(1, "b", DeviceKind.UPLINK, port=board.views["b"].id, mac=UPLINK,
                       addresses=(ip_interface("203.0.113.1/24"),), **uplink),
        )
        board.routes = (
            RouteView("10.1.0.0/24", 0), RouteView("10.1.0.1/32", 0), RouteView("203.0.113.0/24", 1),
            RouteView("203.0.113.1/32", 1), RouteView("0.0.0.0/0", 1, "203.0.113.254"),
        )
        await board.publish()
        board.dataplane.neighbours.add(0, "10.1.0.2", A_MAC)
        board.dataplane.neighbours.add(1, "203.0.113.254", B_MAC)
        return board

    async def publish(self) -> None:
        names = Names(tuple((name, view.id) for name, view in self.views.items()), self.devices, ((0, "br0"),))
        rules = self.firewall.compiled(self.rulesets, names)
        nat = translates(self.rulesets) or any(view.mode is NetworkMode.NAT for view in self.devices)
        layer3 = Layer3View(self.devices, (self.routes,), rules, nat)
        await self.dataplane.publish([self.bridge], self.views.values(), layer3)
        self.firewall.settle()
        self.now_ns = time.monotonic_ns()

    async def use(self, commands: str) -> None:
        """These rules and no others; words without `-t TABLE` are for table filter."""
        rulesets = Rulesets(next_id=self.rulesets.next_id)
        for command in filter(None, commands.splitlines()):
            outcome = iptables.run("iptables", command.split(), "", rulesets)
            assert outcome.code == 0, outcome.stderr
            rulesets = outcome.rulesets
        self.rulesets = rulesets
        await self.publish()

    def saved(self) -> str:
        """`iptables-save -c`."""
        return iptables.run("iptables-save", ["-c"], "", self.rulesets, self.firewall.counters()).stdout

    @property
    def connections(self):
        return self.dataplane.connections

    @staticmethod
    def neighbour(port: str) -> str:
        """The MAC of the station behind a port."""
        return {"a": A_MAC, "b": B_MAC}[port]
