"""The switch as a router: two memory ports of a data plane that has no thread, served in step with the test.

    SwitchSubject()                 both ports are uplinks: the whole of layer 3, and nothing of layer 2
    SwitchSubject(network=True)     port a is on a bridge whose network the router is the gateway of, in mode routed

Rules go the way that the daemon's do: the iptables front end reads the text, `Firewall` compiles the rules and keeps their
counters, and they are published with the devices and routes. After every frame the books of both ports and of the
switch itself must balance; what they call `queued` then are fragments that wait.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address, ip_interface

from tests.lab import Closing
from tests.oracle import topology
from tests.oracle.build import ICMP, ICMPV6
from tests.oracle.kernel import BLANK
from tests.oracle.subject import Connection, Outcome, Tuple
from tests.switchboard import SECOND, Switchboard
from vswitch._fastpath import _probe
from vswitch._fastpath.filter.rows import Connection as Row
from vswitch._fastpath.filter.rows import Flow
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.firewall import Firewall, Names
from vswitch.filter.iptables import NO_RULES, run
from vswitch.own import SELF_PORT
from vswitch.views import BridgeView, DeviceKind, DeviceView, Layer3View, RouteView

PROGRAMS = {4: "iptables", 6: "ip6tables"}
BRIDGE = "inside"
SEEN_REPLY, ASSURED = 2, 4
UNLIMITED = 1_000_000
FRAGMENTS_LAST_NS = 60 * SECOND


class SwitchSubject(Closing):
    """The switch's fast path; `with SwitchSubject() as switch`."""

    def __init__(self, name: str = "switch", *, network: bool = False) -> None:
        self.name = name
        self._network = network
        self._runner = asyncio.Runner()
        self._board = Switchboard()
        self._board.bridge = BridgeView(0, BRIDGE)
        for port in topology.PORTS:
            self._board.add(port, bridge=0 if self._on_bridge(port) else None)
        self._devices = tuple(self._device(number, device) for number, device in enumerate(topology.devices()))
        self._names = Names(
            tuple((name, view.id) for name, view in self._board.views.items()), self._devices, ((0, BRIDGE),)
        )
        self._shared = self._board.dataplane._shared
        self._shared.icmp_limits.set_limits(UNLIMITED, UNLIMITED, 0, UNLIMITED)
        self._rulesets = NO_RULES
        self._firewall = Firewall(self._board.dataplane)
        self._publish(None)
        self._meet_neighbours()

    def close(self) -> None:
        """Give back what it holds."""
        self._runner.close()

    def reset(self) -> None:
        """Forget all connections and fragments; the books must balance all the same."""
        self._shared.connections.flush()
        _probe.expire(self._board.dataplane.workers.workers[0], time.monotonic_ns() + FRAGMENTS_LAST_NS)
        self._check_books()

    def load(self, ipv4_rules: str, ipv6_rules: str) -> None:
        """Put rules in force by iptables-restore."""
        outcomes = []
        for family, text in ((4, ipv4_rules), (6, ipv6_rules)):
            outcome = run(f"{PROGRAMS[family]}-restore", [], BLANK + text, self._rulesets)
            if outcome.code:
                raise RuntimeError(outcome.stderr)
            self._rulesets = outcome.rulesets
            outcomes.append(outcome)
        self._publish(self._firewall.compiled(self._rulesets, self._names))
        self._firewall.settle()
        for outcome in outcomes:
            self._firewall.set_counters(outcome.zero, outcome.set_counters)

    def send(self, port: str, frame: bytes) -> list[Outcome]:
        """Put a frame into a port's ring, serve it, and look into both."""
        self._board.now_ns = time.monotonic_ns()
        out = self._board.send(port, frame)
        self._check_books()
        return [(name, one) for name in topology.PORTS for one in out.get(name, ())]

    def conntrack(self) -> list[Connection]:
        """The connection table."""
        return [_connection(row) for row in self._shared.connections]

    def counters(self) -> dict[int, str]:
        """The rules with their counters, as iptables-save prints them."""
        held = self._firewall.counters()
        return {
            family: run(f"{program}-save", ["-c"], "", self._rulesets, held).stdout
            for family, program in PROGRAMS.items()
        }

    def _on_bridge(self, port: str) -> bool:
        return self._network and port == "a"

    def _device(self, number: int, device: topology.Device) -> DeviceView:
        on_bridge = self._on_bridge(device.name)
        return DeviceView(
            id=number,
            name=device.name,
            kind=DeviceKind.NETWORK if on_bridge else DeviceKind.UPLINK,
            bridge=0 if on_bridge else None,
            port=None if on_bridge else self._board.views[device.name].id,
            mac=device.mac,
            addresses=tuple(map(ip_interface, device.addresses)),
        )

    def _publish(self, rules: CompiledRuleset | None) -> None:
        routes = tuple(
            RouteView(network, view.id)
            for view in self._devices
            for own in view.addresses
            for network in (str(own.network), f"{own.ip}/{own.max_prefixlen}")
        )
        layer3 = Layer3View(self._devices, (routes,), rules, nat=True)
        board = self._board
        bridges = [board.bridge] if self._network else []
        self._runner.run(board.dataplane.publish(bridges, board.views.values(), layer3))

    def _meet_neighbours(self) -> None:
        numbers = {view.name: view.id for view in self._devices}
        for port, address, mac in topology.neighbours():
            self._shared.neighbours.add(numbers[port], address, mac)

    def _check_books(self) -> None:
        self._board.check_books()
        own = self._board.dataplane.port_counters(SELF_PORT)
        assert own.balance == 0, own


def _connection(row: Row) -> Connection:
    is_icmp = row.proto in (ICMP, ICMPV6)
    words = {SEEN_REPLY: "SEEN_REPLY", ASSURED: "ASSURED"}
    return Connection(
        original=_tuple(row.proto, row.original),
        reply=_tuple(row.proto, row.reply),
        state=row.state,
        flags=frozenset(word for bit, word in words.items() if row.status & bit),
        mark=row.mark,
        zones=(row.original.zone, row.reply.zone),
        icmp=divmod(row.original.dport, 256) if is_icmp else None,
    )


def _tuple(protocol: int, flow: Flow) -> Tuple:
    src, dst = ip_address(flow.src).packed, ip_address(flow.dst).packed
    return Tuple(protocol, src, flow.sport, dst, flow.sport if protocol in (ICMP, ICMPV6) else flow.dport)
