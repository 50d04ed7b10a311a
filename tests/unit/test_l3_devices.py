"""From a configuration to devices and routes: ids, zones, MACs, addresses, ways out."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from vswitch.config.load import parse
from vswitch.dataplane import Registry
from vswitch.l3 import devices
from vswitch.l3.devices import BLOCK, BRIDGE_ZONES, Builder, own_mac, with_link_local
from vswitch.views import DeviceKind, DeviceView, NetworkMode, RouteView, Service

FILE = """
[[bridge]]
name = "br0"
[[bridge]]
name = "br1"
[[bridge]]
name = "br2"
hooks = false
[[port]]
name = "tapA"
kind = "tap"
bridge = "br0"
[[port]]
name = "eth1"
kind = "netdev"
address = ["203.0.113.2/24", "2001:db8::2/64"]
gateway = ["203.0.113.1", "fe80::1"]
[[port]]
name = "host"
kind = "tap"
address = "192.168.254.2/30"
router = "blue"
[[network]]
bridge = "br0"
vlan = 10
address = ["10.0.0.1/24", "fd00::1/64"]
mode = "nat"
uplink = "eth1"
dhcp = {}
ra = {}
[[network]]
bridge = "br0"
address = "10.1.0.1/24"
mode = "isolated"
mtu = 1280
mac = "52:54:00:00:00:99"
[[network]]
bridge = "br2"
address = "10.0.0.1/24"
router = "blue"
dns = {}
[[route]]
to = "192.168.0.0/16"
via = "10.0.0.254"
[[route]]
to = "default"
via = "10.0.0.253"
router = "blue"
"""


@dataclass
class Ids:
    """The registries of a data plane where other things were before."""

    bridge_ids: Registry = field(default_factory=lambda: Registry(64, "bridges"))
    port_ids: Registry = field(default_factory=lambda: Registry(64, "ports"))
    device_ids: Registry = field(default_factory=lambda: Registry(64, "devices"))
    router_ids: Registry = field(default_factory=lambda: Registry(64, "routers"))


@dataclass
class Opened:
    """An open device."""

    mtu: int = 1500
    mac: str | None = "52:54:00:00:00:01"


def builder(text: str = FILE, attached: dict[str, Opened] | None = None, ids: Ids | None = None) -> Builder:
    config, ids = parse(text, "test"), ids or Ids()
    for bridge in config.bridge:
        ids.bridge_ids.allocate(bridge.name)
    for port in config.port:
        ids.port_ids.allocate(port.name)
    return Builder(config, ids, attached or {})


def views(made: Builder, hooked: bool = True) -> dict[str, DeviceView]:
    return {view.name: view for view in made.devices(hooked)}


def test_every_name_that_a_rule_can_call_is_a_device() -> None:
    found = views(builder())
    assert {name: view.kind for name, view in found.items()} == {
        "br1": DeviceKind.NAME,
        "br0.10": DeviceKind.NETWORK,
        "br0": DeviceKind.NETWORK,
        "br2": DeviceKind.NETWORK,
        "eth1": DeviceKind.UPLINK,
        "host": DeviceKind.UPLINK,
    }
    assert len({view.id for view in found.values()}) == len(found)


def test_a_vlan_that_rules_name_is_a_device_of_its_own() -> None:
    found = {view.name: view for view in builder().devices(True, ["br1.7", "br0.10", "br1.x", "br2.5", "br1.4095", "tapA"])}
    assert found.keys() == {*views(builder()), "br1.7"}
    view = found["br1.7"]
    assert (view.kind, view.bridge, view.vid, view.hooks, view.zone) == (DeviceKind.NAME, 1, 7, True, BRIDGE_ZONES + BLOCK)


def test_without_rules_bridges_are_bridges() -> None:
    found = views(builder(), hooked=False)
    assert "br1" not in found
    assert not any(view.hooks for view in found.values())
    assert {name for name, view in views(builder()).items() if view.hooks} == {"br0", "br0.10", "br1"}


def test_a_network() -> None:
    found = views(builder(attached={"tapA": Opened(mtu=1400), "eth1": Opened(mtu=9000)}))
    view = found["br0.10"]
    assert (view.bridge, view.vid, view.port, view.mode) == (0, 10, None, NetworkMode.NAT)
    assert view.services == Service.DHCP | Service.RA
    assert view.uplink == found["eth1"].id
    assert view.mtu == 1400  # the least of its bridge's ports
    other = found["br0"]
    assert (other.vid, other.mode, other.mtu, other.mac) == (0, NetworkMode.ISOLATED, 1280, "52:54:00:00:00:99")
    assert (other.services, other.uplink, other.addresses) == (Service(0), None, (IPv4Interface("10.1.0.1/24"),))
    assert found["br2"].services == Service.DNS and found["br2"].mtu == 1500


def test_an_uplink() -> None:
    found = views(builder(attached={"eth1": Opened(9000), "host": Opened(1400, "52:54:00:00:00:02")}))
    eth1, host = found["eth1"], found["host"]
    assert (eth1.port, eth1.bridge, eth1.mtu, eth1.mac) == (1, None, 9000, "52:54:00:00:00:01")
    assert (host.mtu, host.mac) == (1400, own_mac("host"))  # the device's own is the host's end
    given = FILE.replace('address = ["203', 'mac = "52:54:00:00:00:77"\naddress = ["203')
    assert views(builder(given, {"eth1": Opened()}))["eth1"].mac == "52:54:00:00:00:77"
    assert views(builder())["eth1"].mac == own_mac("eth1")  # it is missing


def test_a_router_is_a_zone_and_so_is_each_vlan_without_a_network() -> None:
    made = builder()
    found = views(made)
    assert made.routers == {"main": 0, "blue": 1}
    assert {name: (view.zone, view.router) for name, view in found.items()} == {
        "br1": (BRIDGE_ZONES + BLOCK, 0),
        "br0.10": (0, 0),
        "br0": (0, 0),
        "eth1": (0, 0),
        "br2": (1, 1),
        "host": (1, 1),
    }


def test_no_zone_leaves_its_sixteen_bits() -> None:
    ids = Ids()
    for number in range(9):
        ids.bridge_ids.allocate(f"earlier{number}")
    made = builder('[[bridge]]\nname = "br0"\n', ids=ids)
    assert [view.zone for view in made.devices(True)] == [BRIDGE_ZONES + BLOCK]
    assert BRIDGE_ZONES + devices.BLOCKS * BLOCK - 1 == 0xFFFF


def test_ids_stay_through_a_change() -> None:
    ids = Ids()
    before = views(builder(ids=ids))
    after = views(builder(FILE.replace('name = "br1"', 'name = "br7"'), ids=ids))
    assert {name: view.id for name, view in after.items() if name != "br7"} == {
        name: view.id for name, view in before.items() if name != "br1"
    }


def out_by(eth1: int) -> tuple[RouteView, ...]:
    """The routes that come with the uplink."""
    return (
        RouteView("203.0.113.0/24", eth1),
        RouteView("2001:db8::/64", eth1),
        RouteView("203.0.113.2/32", eth1),
        RouteView("2001:db8::2/128", eth1),
        RouteView("0.0.0.0/0", eth1, "203.0.113.1"),
        RouteView("::/0", eth1, "fe80::1"),
    )


def test_routes() -> None:
    made = builder()
    at = {name: view.id for name, view in views(made).items()}
    main, blue = made.routes()
    assert main == (
        RouteView("10.0.0.0/24", at["br0.10"]),
        RouteView("fd00::/64", at["br0.10"]),
        RouteView("10.0.0.1/32", at["br0.10"]),  # the switch's own
        RouteView("fd00::1/128", at["br0.10"]),
        RouteView("10.1.0.0/24", at["br0"]),
        RouteView("10.1.0.1/32", at["br0"]),
        *out_by(at["eth1"]),
        RouteView("192.168.0.0/16", at["br0.10"], "10.0.0.254"),
    )
    assert blue == (
        RouteView("10.0.0.0/24", at["br2"]),
        RouteView("10.0.0.1/32", at["br2"]),
        RouteView("192.168.254.0/30", at["host"]),
        RouteView("192.168.254.2/32", at["host"]),
        RouteView("0.0.0.0/0", at["br2"], "10.0.0.253"),
    )


TENANT = """
[[network]]
bridge = "br1"
vlan = {vlan}
address = "{address}"
mode = "nat"
uplink = "eth1"
router = "green"
"""


def test_tenants_share_an_uplink() -> None:
    text = FILE + TENANT.format(vlan=5, address="10.0.0.1/24") + TENANT.format(vlan=6, address="10.0.6.1/24")
    made = builder(text)
    at = {name: view.id for name, view in views(made).items()}
    assert made.routes()[made.routers["green"]] == (
        RouteView("10.0.0.0/24", at["br1.5"]),
        RouteView("10.0.0.1/32", at["br1.5"]),
        RouteView("10.0.6.0/24", at["br1.6"]),
        RouteView("10.0.6.1/32", at["br1.6"]),
        *out_by(at["eth1"]),
    )


def test_a_tenants_own_addresses_come_before_those_of_its_uplink() -> None:
    made = builder(FILE + TENANT.format(vlan=5, address="203.0.113.200/16"))
    assert [route.network for route in made.routes()[made.routers["green"]]] == [
        "203.0.0.0/16", "203.0.113.200/32", "2001:db8::/64", "2001:db8::2/128", "0.0.0.0/0", "::/0",
    ]  # fmt: skip


def test_the_link_local_address_goes_with_the_mac() -> None:
    own = (IPv6Interface("fd00::1/64"),)
    assert with_link_local(own, "52:54:00:12:34:56") == (*own, IPv6Interface("fe80::5054:ff:fe12:3456/64"))
    assert with_link_local((IPv4Interface("10.0.0.1/24"),), "52:54:00:12:34:56") == (IPv4Interface("10.0.0.1/24"),)
    given = (IPv6Interface("fe80::5054:ff:fe12:3456/64"),)
    assert with_link_local(given, "52:54:00:12:34:56") == given


def test_macs_are_of_this_machine_and_of_their_network(monkeypatch: pytest.MonkeyPatch) -> None:
    here = own_mac("br0"), own_mac("br0.10")
    assert here == (own_mac("br0"), own_mac("br0.10")) and len(set(here)) == 2
    assert all(int(mac[:2], 16) & 3 == 2 for mac in here)  # locally administered, of one station
    monkeypatch.setattr(devices, "machine_id", lambda: b"another")
    assert own_mac("br0") not in here
