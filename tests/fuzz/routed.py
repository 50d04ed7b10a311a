"""What makes the fuzzed switch a router: an uplink, a network with NAT, rules at random, and frames that speak to both.

The topology is the oracle's (tests/oracle/topology.py): port "b" is the uplink, "a" the network on the bridge. The frames
are those of its scenarios, fragments and ICMP errors among them, as if nobody ever answered.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_interface

from tests.oracle import topology
from tests.oracle.compare import case
from tests.oracle.driver import Driver
from tests.oracle.kernel import BLANK
from tests.oracle.rules import rule_set
from tests.oracle.subject import Outcome
from tests.switchboard import Switchboard
from vswitch.filter.firewall import Firewall, Names
from vswitch.filter.iptables import NO_RULES, run
from vswitch.views import DeviceKind, DeviceView, Layer3View, NetworkMode, RouteView

SCENARIOS = 40
PROGRAMS = ("iptables-restore", "ip6tables-restore")


class Deaf:
    """A subject that says nothing, for the frames that it is told."""

    name = "deaf"

    def send(self, port: str, frame: bytes) -> list[Outcome]:
        return []


def spoken(rng: random.Random) -> list[bytes]:
    """Frames of some scenarios."""
    return list(_spoken(rng.randrange(1 << 30)))


def _spoken(first: int) -> Iterator[bytes]:
    for seed in range(first, first + SCENARIOS):
        driver = Driver(Deaf(), seed * 100)
        for step in case(seed).steps:
            yield from (sent.frame for sent in driver.play(step))


class Router:
    """The board's layer 3: the same devices all the time, other modes and rules with every change."""

    def __init__(self, rng: random.Random, board: Switchboard) -> None:
        self._rng, self._board = rng, board
        self._firewall = Firewall(board.dataplane)
        self._rulesets = NO_RULES
        for port, address, mac in topology.neighbours():
            board.dataplane.neighbours.add(topology.PORTS.index(port), address, mac)

    def layer3(self) -> Layer3View:
        """Another picture of it."""
        rng = self._rng
        network, uplink = topology.devices()
        devices = (
            DeviceView(0, network.name, DeviceKind.NETWORK, 0, vid=rng.choice((0, 0, 10)), mode=rng.choice(list(NetworkMode)),
                       hooks=rng.random() < 0.5, mtu=rng.choice((576, 1500, 9000)), mac=network.mac,
                       addresses=tuple(map(ip_interface, network.addresses))),
            DeviceView(1, uplink.name, DeviceKind.UPLINK, port=self._board.views["b"].id, mtu=rng.choice((1280, 1500)),
                       mac=uplink.mac, addresses=tuple(map(ip_interface, uplink.addresses))),
        )  # fmt: skip
        return Layer3View(devices, (tuple(_routes(devices)),), self._rules(devices), nat=True)

    def _rules(self, devices: tuple[DeviceView, ...]):
        texts = rule_set(self._rng)
        for program, text in zip(PROGRAMS, (texts.ipv4, texts.ipv6), strict=True):
            outcome = run(program, [], BLANK + text, self._rulesets)
            assert not outcome.code, outcome.stderr
            self._rulesets = outcome.rulesets
        self._firewall.settle()         # no worker runs: the last change has passed
        ports = tuple((name, view.id) for name, view in self._board.views.items())
        return self._firewall.compiled(self._rulesets, Names(ports, devices, ((0, self._board.bridge.name),)))


def _routes(devices: tuple[DeviceView, ...]) -> Iterator[RouteView]:
    for view in devices:
        for own in view.addresses:
            yield RouteView(str(own.network), view.id)
            yield RouteView(f"{own.ip}/{own.max_prefixlen}", view.id)
    yield RouteView("0.0.0.0/0", 1, topology.text("b", 4, 20))
