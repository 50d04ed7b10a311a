"""Run-time commands as pure edits: what they make of a configuration, and what they refuse in which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from vswitch.config import edit
from vswitch.config.errors import ConfigError
from vswitch.config.model import Bridge, Config, Network, Port, Route, StaticMac
from vswitch.l3.settings import Dhcp

MAC = "52:54:00:00:00:0a"
STATIC = StaticMac(bridge="br0", mac=MAC, port="trunk", vlan=10)
BASE = Config(
    bridge=(Bridge(name="br0"), Bridge(name="br1")),
    port=(
        Port(name="trunk", kind="tap", bridge="br0", trunk=(10, 20), native=1),
        Port(name="edge", kind="tap", bridge="br0", access=10),
        Port(name="all", kind="tap"),
    ),
    fdb=(STATIC,),
)


def test_bridges():
    config = edit.add_bridge(BASE, "br2", ageing_s=60)
    assert config.find_bridge("br2") == Bridge(name="br2", ageing_s=60)
    assert edit.del_bridge(config, "br2") == BASE
    assert edit.set_ageing(BASE, "br1", 0).find_bridge("br1") == Bridge(name="br1", ageing_s=0)


def test_a_bridge_taken_away_by_force_leaves_its_ports():
    config = edit.del_bridge(BASE, "br0", force=True)
    assert config.find_bridge("br0") is None
    assert [port.bridge for port in config.port] == [None, None, None]
    assert config.fdb == ()


def test_ports():
    port = Port(name="tapB", kind="tap", bridge="br1", mac="52-54-00-00-00-0B")
    config = edit.add_port(BASE, port)
    assert config.port[-1].mac == "52:54:00:00:00:0b"
    assert edit.del_port(config, "tapB") == BASE
    assert edit.del_port(BASE, "trunk").fdb == ()


def test_a_changed_port_keeps_its_place_and_its_entries():
    config = edit.change_port(BASE, "trunk", isolated=True, mtu=9000)
    assert [port.name for port in config.port] == ["trunk", "edge", "all"]
    assert (config.port[0].isolated, config.port[0].mtu, config.fdb) == (True, 9000, (STATIC,))


def test_a_moved_port_leaves_its_entries():
    config = edit.move_port(BASE, "trunk", "br1")
    assert (config.port[0].bridge, config.fdb) == ("br1", ())
    assert edit.move_port(BASE, "edge", None).find_port("edge").bridge is None


def test_vlans_of_a_trunk():
    config = edit.add_vlan(edit.add_vlan(BASE, "trunk", 12), "trunk", 11)
    assert config.port[0].trunk == ("10-12", 20)
    assert edit.remove_vlan(config, "trunk", 11).port[0].trunk == (10, 12, 20)


def test_the_last_vlan_leaves_an_empty_trunk():
    config = Config(port=(Port(name="p", kind="tap", trunk=(10,)),))
    assert edit.remove_vlan(config, "p", 10).port[0].trunk == ()


def test_static_entries():
    entry = StaticMac(bridge="br0", mac="52-54-00-00-00-0B", port="edge", vlan=10)
    config = edit.add_static(BASE, entry)
    assert [e.mac for e in config.fdb] == [MAC, "52:54:00:00:00:0b"]
    assert edit.remove_static(config, "br0", "5254.0000.000B", 10) == BASE
    moved = edit.add_static(BASE, StaticMac(bridge="br0", mac=MAC, port="edge", vlan=10))
    assert [(e.mac, e.port) for e in moved.fdb] == [(MAC, "edge")]


REFUSALS: list[tuple[Callable[[], Config], str]] = [
    (lambda: edit.add_bridge(BASE, "br0"), "bridge br0 exists already"),
    (lambda: edit.add_bridge(BASE, "edge"), "port edge exists already"),
    (lambda: edit.add_bridge(BASE, "a b"),
     'bridge "a b".name: "a b": a name has no space, control character, slash, colon or percent sign'),
    (lambda: edit.add_bridge(BASE, "br2", ageing_s=-1), 'bridge "br2".ageing_s: -1: 0 to 1000000'),
    (lambda: edit.del_bridge(BASE, "br9"), "there is no bridge br9"),
    (lambda: edit.del_bridge(BASE, "br0"), "bridge br0 still has ports: trunk, edge; remove or move them first"),
    (lambda: edit.set_ageing(BASE, "br9", 1), "there is no bridge br9"),
    (lambda: edit.set_ageing(BASE, "br0", -1), 'bridge "br0".ageing_s: -1: 0 to 1000000'),
    (lambda: edit.add_port(BASE, Port(name="edge", kind="tap")), "port edge exists already"),
    (lambda: edit.add_port(BASE, Port(name="br0", kind="tap")), "bridge br0 exists already"),
    (lambda: edit.add_port(BASE, Port(name="p", kind="tap", bridge="br9")), "there is no bridge br9"),
    (lambda: edit.add_port(BASE, Port(name="p", kind="gre")),
     'port "p".kind: "gre": not supported yet; right: tap, netdev or memory'),
    (lambda: edit.add_port(BASE, Port(name="p", kind="tap", access=0)), 'port "p".access: 0: a VLAN id is 1 to 4094'),
    (lambda: edit.del_port(BASE, "p"), "there is no port p"),
    (lambda: edit.change_port(BASE, "edge", mtu=1), 'port "edge".mtu: 1: 68 to 65521'),
    (lambda: edit.change_port(BASE, "edge", speed=1), "port edge has nothing called speed to change"),
    (lambda: edit.change_port(BASE, "edge", name="p"), "port edge has nothing called name to change"),
    (lambda: edit.move_port(BASE, "edge", "br9"), "there is no bridge br9"),
    (lambda: edit.add_vlan(BASE, "trunk", 10), "port trunk carries VLAN 10 already"),
    (lambda: edit.add_vlan(BASE, "trunk", 4095), "port trunk: 4095: a VLAN id is 1 to 4094"),
    (lambda: edit.add_vlan(BASE, "edge", 11),
     "port edge is no trunk: it carries VLAN 10 untagged; give it trunk = [...] first"),
    (lambda: edit.add_vlan(BASE, "all", 11),
     "port all is no trunk: it carries every VLAN; give it trunk = [...] first"),
    (lambda: edit.remove_vlan(BASE, "trunk", 30),
     "port trunk does not carry VLAN 30 tagged: trunk 10,20 native 1"),
    (lambda: edit.remove_vlan(BASE, "trunk", 1), "port trunk does not carry VLAN 1 tagged: trunk 10,20 native 1"),
    (lambda: edit.remove_vlan(BASE, "trunk", 10),
     "fdb[0].vlan: 10: port trunk does not carry it; right: trunk 20 native 1"),
    (lambda: edit.add_static(BASE, StaticMac(bridge="br9", mac=MAC, port="edge")), "there is no bridge br9"),
    (lambda: edit.add_static(BASE, StaticMac(bridge="br0", mac=MAC, port="p")), "there is no port p"),
    (lambda: edit.add_static(BASE, StaticMac(bridge="br0", mac="x", port="edge")),
     'fdb "x".mac: "x": a MAC address is six hex pairs, like "52:54:00:12:34:56"'),
    (lambda: edit.remove_static(BASE, "br0", MAC), f"bridge br0 has no static entry for {MAC} in VLAN 0"),
    (lambda: edit.remove_static(BASE, "br0", "x"), 'x: a MAC address is six hex pairs, like "52:54:00:12:34:56"'),
]


@pytest.mark.parametrize(("edited", "line"), REFUSALS)
def test_refused(edited: Callable[[], Config], line: str):
    with pytest.raises(ConfigError) as caught:
        edited()
    assert caught.value.problems == [line]


ROUTED = edit.replace(
    BASE,
    network=(Network(bridge="br0", vlan=10, address="10.0.0.1/24"), Network(bridge="br1", address="fd00::1/64")),
    route=(Route(to="192.168.0.0/16", via="10.0.0.254"),),
)


def test_networks():
    network = Network(bridge="br1", vlan=20, address=("10.0.20.1/24",), mac="52-54-00-00-00-0C", dhcp=Dhcp())
    config = edit.add_network(ROUTED, network)
    assert (config.network[-1].name, config.network[-1].address, config.network[-1].mac) == (
        "br1.20", "10.0.20.1/24", "52:54:00:00:00:0c",
    )  # fmt: skip
    changed = edit.change_network(config, "br1.20", mode="isolated", dhcp=None)
    assert (changed.network[-1].mode, changed.network[-1].dhcp) == ("isolated", None)
    assert [n.name for n in changed.network] == ["br0.10", "br1", "br1.20"]
    assert edit.del_network(config, "br1.20") == ROUTED


def test_routes():
    config = edit.add_route(ROUTED, Route(to="default", via="10.0.0.253"))
    assert [(r.to, r.via) for r in config.route] == [("192.168.0.0/16", "10.0.0.254"), ("0.0.0.0/0", "10.0.0.253")]
    moved = edit.add_route(config, Route(to="192.168.0.0/16", via="10.0.0.252"))
    assert [(r.to, r.via) for r in moved.route] == [("0.0.0.0/0", "10.0.0.253"), ("192.168.0.0/16", "10.0.0.252")]
    assert edit.del_route(config, "default", "main") == ROUTED


def test_a_bridge_taken_away_by_force_takes_its_networks_along():
    config = edit.del_bridge(ROUTED, "br1", force=True)
    assert [n.name for n in config.network] == ["br0.10"]


AWAY = 'route[0].via: "10.0.0.254": no neighbour of router main; its networks: '
ROUTED_REFUSALS: list[tuple[Callable[[], Config], str]] = [
    (lambda: edit.add_network(ROUTED, Network(bridge="br0", vlan=10, address="10.0.1.1/24")),
     "network br0.10 exists already"),
    (lambda: edit.add_network(ROUTED, Network(bridge="br9", address="10.0.1.1/24")), "there is no bridge br9"),
    (lambda: edit.add_network(ROUTED, Network(bridge="br0", address="10.0.1.0/24")),
     'network "br0".address: "10.0.1.0/24": an address that a host can have, not 10.0.1.0 of 10.0.1.0/24'),
    (lambda: edit.add_network(ROUTED, Network(bridge="br0", address="10.0.0.129/25")),
     'network[2].address: "10.0.0.129/25": network[0] has 10.0.0.1/24; networks of one router do not overlap'),
    (lambda: edit.change_network(ROUTED, "br0.10", mode="nat", uplink="trunk"),
     'network[0].uplink: "trunk": no port with an address of its own; right: none'),
    (lambda: edit.change_network(ROUTED, "br0", mode="nat"), "there is no network br0 (there are: br0.10, br1)"),
    (lambda: edit.change_network(ROUTED, "br1", vlan=7), "network br1 has nothing called vlan to change"),
    (lambda: edit.change_network(ROUTED, "br1", speed=7), "network br1 has nothing called speed to change"),
    (lambda: edit.change_network(ROUTED, "br0.10", address="10.1.0.1/24"), AWAY + "10.1.0.0/24, fd00::/64"),
    (lambda: edit.del_network(ROUTED, "br9"), "there is no network br9 (there are: br0.10, br1)"),
    (lambda: edit.del_network(ROUTED, "br0.10"), AWAY + "fd00::/64"),
    (lambda: edit.del_bridge(ROUTED, "br1"), "bridge br1 still has networks: br1; remove them first"),
    (lambda: edit.add_route(ROUTED, Route(to="10.0.0.1/24", via="10.0.0.254")),
     'route "10.0.0.1/24".to: "10.0.0.1/24": a prefix with nothing behind its length, like "192.168.0.0/16", or "default"'),
    (lambda: edit.add_route(ROUTED, Route(to="default", via="10.9.9.9")),
     'route[1].via: "10.9.9.9": no neighbour of router main; its networks: 10.0.0.0/24, fd00::/64'),
    (lambda: edit.del_route(ROUTED, "10.0.0.0/8", "main"), "router main has no static route to 10.0.0.0/8"),
    (lambda: edit.del_route(ROUTED, "192.168.0.0/16", "blue"), "router blue has no static route to 192.168.0.0/16"),
    (lambda: edit.del_route(ROUTED, "x", "main"),
     'x: a prefix with nothing behind its length, like "192.168.0.0/16", or "default"'),
]


@pytest.mark.parametrize(("edited", "line"), ROUTED_REFUSALS)
def test_refused_of_networks_and_routes(edited: Callable[[], Config], line: str):
    with pytest.raises(ConfigError) as caught:
        edited()
    assert caught.value.problems == [line]
