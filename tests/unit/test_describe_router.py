"""Routing and connections as reports: what has a name is told by it, and what has none makes no label."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fake_switch import FakeSwitch
from vswitch import describe_router
from vswitch.config.load import parse
from vswitch.config.picture import Picture, device_views
from vswitch.dataplane import Dataplane
from vswitch.filter import iptables
from vswitch.filter.model import Rulesets
from vswitch.l3.devices import BLOCK, BRIDGE_ZONES
from vswitch.observe.router import NEIGHBOUR_STATES, RouterReport

CONFIG = """
[[bridge]]
name = "br0"
[[bridge]]
name = "br1"
[[port]]
name = "tapA"
bridge = "br0"
kind = "tap"
[[port]]
name = "up0"
kind = "netdev"
address = "203.0.113.2/24"
gateway = "203.0.113.254"
[[network]]
bridge = "br0"
address = "10.1.0.1/24"
mode = "nat"
dhcp = { range = ["10.1.0.100", "10.1.0.200"] }
[[network]]
bridge = "br0"
vlan = 20
address = "10.2.0.1/24"
router = "tenant"
"""
CENSUS = SimpleNamespace(
    states={(6, 3): 5, (6, 7): 2, (17, 0): 4, (132, 0): 1}, source_nat=6, destination_nat=1,
    ports={("203.0.113.2", 6): 5, ("203.0.113.2", 17): 3},
)  # fmt: skip


class Plane:
    """A data plane that no worker serves; `zones` are the connections by zone, for there are no real ones."""

    def __init__(self, zones: dict[int, int]) -> None:
        self._plane = Dataplane(connections=1000)
        self.connections = SimpleNamespace(
            zone_entries=lambda: zones, capacity=1000, counters=self._plane.connections.counters,
            owner_entries=lambda port: (3, 1), budget=lambda port: 0 if port else 500,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plane, name)


@pytest.fixture
def plane() -> Iterator[Plane]:
    bridge_one = BRIDGE_ZONES + BLOCK
    yield Plane({0: 7, 1: 2, BRIDGE_ZONES: 3, BRIDGE_ZONES + 10: 4, bridge_one + 1: 5, 4711: 6})


def picture(plane: Plane) -> Picture:
    config = parse(CONFIG, "test")
    for bridge in config.bridge:
        plane.bridge_ids.allocate(bridge.name)
    for port in config.port:
        plane.port_ids.allocate(port.name)
    rules = iptables.run("iptables", ["-A", "FORWARD", "-p", "tcp", "-j", "DROP"], "", Rulesets()).rulesets
    return Picture(config, rulesets=rules)


@pytest.fixture
def report(plane: Plane) -> RouterReport:
    seen = picture(plane)
    return describe_router.router_report(seen, plane, device_views(seen, plane), [], CENSUS)


def test_zones_go_by_the_names_of_routers_and_bridges(report: RouterReport) -> None:
    assert [(zone.kind, zone.name, zone.entries) for zone in report.zones] == [
        ("router", "main", 7), ("router", "tenant", 2), ("bridge", "br0", 7), ("bridge", "br1", 5), ("other", "", 6),
    ]  # fmt: skip


def test_protocols_without_a_name_are_one(report: RouterReport) -> None:
    assert {name: n for name, n in report.protocols.items() if n} == {"tcp": 7, "udp": 4, "other": 1}
    assert {name: n for name, n in report.tcp_states.items() if n} == {"ESTABLISHED": 5, "TIME_WAIT": 2}


def test_a_port_without_a_budget_may_have_the_table(report: RouterReport) -> None:
    assert [(port.name, port.entries, port.limit, port.refused) for port in report.ports] == [
        ("tapA", 3, 500, 1), ("up0", 3, 1000, 1),
    ]  # fmt: skip


def test_rules_are_counted_by_table(report: RouterReport) -> None:
    assert {table: n for table, n in report.rules.tables.items() if n} == {("ipv4", "filter"): 1}
    assert len(report.rules.tables) == 10


def test_neighbours_are_told_of_devices_that_can_have_some(report: RouterReport) -> None:
    devices = dict.fromkeys(device for device, _ in report.neighbours.states)
    assert list(devices) == ["br0", "br0.20", "up0"]
    assert len(report.neighbours.states) == 3 * len(NEIGHBOUR_STATES)


def test_nat_by_address_and_protocol(report: RouterReport) -> None:
    assert report.nat.ports == [("203.0.113.2", "tcp", 5), ("203.0.113.2", "udp", 3)]
    assert report.nat.connections == {"source": 6, "destination": 1}
    assert (report.nat.exhausted, report.nat.retried, report.nat.moved) == (0, 0, 0)


def test_networks_and_uplinks_for_show(plane: Plane) -> None:
    seen = picture(plane)
    devices = device_views(seen, plane)
    first, second = describe_router.networks(seen.config, devices)
    assert (first.name, first.address, first.mode, first.serves) == ("br0", ["10.1.0.1/24"], "nat", ["dhcp"])
    assert (second.name, second.router) == ("br0.20", "tenant") and second.mac
    (uplink,) = describe_router.uplinks(seen, devices)
    assert (uplink.name, uplink.gateway, uplink.state) == ("up0", ["203.0.113.254"], "missing")


def test_the_pretended_switch_tells_the_same(plane: Plane) -> None:
    seen = picture(plane)
    told = FakeSwitch(seen.config).show()
    assert [n.name for n in told.networks] == ["br0", "br0.20"] and [u.name for u in told.uplinks] == ["up0"]
