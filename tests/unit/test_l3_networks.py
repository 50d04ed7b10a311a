"""What is wrong with networks, uplinks and routes, in exact words."""

from __future__ import annotations

import pytest

from vswitch.config.check import normal, problems
from vswitch.config.load import parse
from vswitch.config.errors import ConfigError
from vswitch.config.model import Bridge, Config, Network, Port, Route
from vswitch.l3.settings import Dhcp, Dns, Ra

BR0, BR1 = Bridge(name="br0"), Bridge(name="br1")
UPLINK = Port(name="eth1", kind="netdev", address="203.0.113.2/24", gateway="203.0.113.1")


def faults(config: Config) -> list[str]:
    return [problem.line() for problem in problems(config)]


def network(**fields: object) -> Config:
    """A configuration with one network, which an uplink serves."""
    table = Network(**{"bridge": "br0", "address": "10.0.0.1/24", **fields})
    return Config(bridge=(BR0, BR1), port=(UPLINK,), network=(table,))


SOUND = [
    {},
    {"vlan": 4094},
    {"address": ("10.0.0.1/24", "10.0.0.2/24", "fd00::1/64")},
    {"address": "10.0.0.0/31"},
    {"address": "10.0.0.255/32"},
    {"address": ("10.0.0.1/24", "fe80::1/64")},
    {"mode": "nat", "uplink": "eth1"},
    {"mode": "nat"},
    {"mode": "isolated", "dhcp": Dhcp(), "dns": Dns()},
    {"address": "fd00::1/64", "ra": Ra()},
    {"mac": "52-54-00-12-34-56", "mtu": 68, "router": "blue"},
    {"router": "blue", "uplink": "eth1", "mode": "nat", "address": "203.0.113.1/24"},
]


@pytest.mark.parametrize("fields", SOUND, ids=str)
def test_sound(fields: dict[str, object]) -> None:
    assert faults(network(**fields)) == []


AN_ADDRESS = 'an address with its prefix length, like "10.0.0.1/24" or "fd00::1/64"'
NETWORKS = [
    ({"address": ()}, 'network[0].address: missing, and needed: the gateway\'s own, like "10.0.0.1/24"'),
    ({"address": "10.0.0.1"}, f'network[0].address: "10.0.0.1": {AN_ADDRESS}'),
    ({"address": ("10.0.0.1/24", "10.0.1.1/33")}, f'network[0].address[1]: "10.0.1.1/33": {AN_ADDRESS}'),
    ({"address": "fe80::1%eth0/64"}, f'network[0].address: "fe80::1%eth0/64": {AN_ADDRESS}'),
    ({"address": "10.0.0.0/24"},
     'network[0].address: "10.0.0.0/24": an address that a host can have, not 10.0.0.0 of 10.0.0.0/24'),
    ({"address": "10.0.0.255/24"},
     'network[0].address: "10.0.0.255/24": an address that a host can have, not 10.0.0.255 of 10.0.0.0/24'),
    ({"address": "127.0.0.1/8"},
     'network[0].address: "127.0.0.1/8": an address that a host can have, not 127.0.0.1 of 127.0.0.0/8'),
    ({"address": "ff02::1/64"}, 'network[0].address: "ff02::1/64": an address that a host can have, not ff02::1 of ff02::/64'),
    ({"address": tuple(f"10.{n}.0.1/24" for n in range(17))}, "network[0].address: at most 16 addresses"),
    ({"vlan": 0}, "network[0].vlan: 0: a VLAN id is 1 to 4094"),
    ({"vlan": 4095}, "network[0].vlan: 4095: a VLAN id is 1 to 4094"),
    ({"mode": "bridged"}, 'network[0].mode: "bridged": isolated, routed or nat'),
    ({"mode": "isolated", "uplink": "eth1"}, 'network[0].uplink: "eth1": an isolated network has no way out'),
    ({"mode": "nat", "uplink": "eth9"}, 'network[0].uplink: "eth9": no port with an address of its own; right: eth1'),
    ({"mac": "01:00:5e:00:00:01"}, "network[0].mac: \"01:00:5e:00:00:01\": a station's MAC is unicast: its first byte is even"),
    ({"mtu": 67}, "network[0].mtu: 67: 68 to 65521"),
    ({"router": "two words"}, 'network[0].router: "two words": a router\'s name is one word of at most 15 characters'),
    ({"bridge": "br9"}, 'network[0].bridge: "br9": no such bridge; right: br0, br1'),
    ({"address": "203.0.113.200/28"},
     'network[0].address: "203.0.113.200/28": port[0] has 203.0.113.2/24; networks of one router do not overlap'),
    ({"address": "fd00::1/64", "dhcp": Dhcp()}, "network[0].dhcp: DHCP needs an IPv4 address on the network"),
    ({"dhcp": Dhcp(range=("10.0.1.1", "10.0.1.2"))},
     'network[0].dhcp.range: ["10.0.1.1", "10.0.1.2"]: within 10.0.0.0/24, the network\'s own'),
    ({"dns": Dns(servers=("x",))}, 'network[0].dns.servers[0]: "x": an IP address, like "10.0.0.1" or "fd00::1"'),
    ({"ra": Ra()}, "network[0].ra: router advertisements need an IPv6 address on the network"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "line"), NETWORKS)
def test_a_faulty_network(fields: dict[str, object], line: str) -> None:
    assert faults(network(**fields)) == [line]


A_NEIGHBOUR = "a neighbour there: within 203.0.113.0/24"
UPLINKS = [
    ({"bridge": "br0"}, 'address: "203.0.113.2/24": an uplink is on no bridge; a bridge has its address in a [[network]]'),
    ({"access": 10}, "access: 10: an uplink takes untagged frames; a VLAN's gateway is a [[network]] on a bridge"),
    ({"trunk": (7,), "native": 1}, "trunk: [7]: an uplink takes untagged frames; a VLAN's gateway is a [[network]] on a bridge"),
    ({"address": "203.0.113.2"}, f'address: "203.0.113.2": {AN_ADDRESS}'),
    ({"address": ()}, 'gateway: "203.0.113.1": only with an address: a gateway is reached from an address'),
    ({"gateway": "203.0.114.1"}, f'gateway: "203.0.114.1": {A_NEIGHBOUR}'),
    ({"gateway": "203.0.113.2"}, f'gateway: "203.0.113.2": {A_NEIGHBOUR}'),
    ({"gateway": ("203.0.113.1", "fe80::1")}, f'gateway[1]: "fe80::1": {A_NEIGHBOUR}'),
    ({"gateway": ("203.0.113.1", "203.0.113.3")}, 'gateway[1]: "203.0.113.3": one gateway a family'),
    ({"gateway": "router"}, 'gateway: "router": an address, like "203.0.113.1"'),
    ({"router": ""}, 'router: "": a router\'s name is one word of at most 15 characters'),
]


@pytest.mark.parametrize(("fields", "line"), UPLINKS)
def test_a_faulty_uplink(fields: dict[str, object], line: str) -> None:
    port = Port(**{"name": "eth1", "kind": "netdev", "address": UPLINK.address, "gateway": UPLINK.gateway, **fields})
    assert faults(Config(bridge=(BR0,), port=(port,))) == [f'port[0] ("eth1").{line}']


def test_an_uplink_with_a_link_local_gateway() -> None:
    port = Port(name="eth1", kind="tap", address=("203.0.113.2/24", "2001:db8::2/64"), gateway=("203.0.113.1", "fe80::1"))
    assert faults(Config(port=(port,))) == []


A_PREFIX = 'a prefix with nothing behind its length, like "192.168.0.0/16", or "default"'
ROUTES = [
    ({"to": "192.168.0.1/16"}, f'to: "192.168.0.1/16": {A_PREFIX}'),
    ({"to": "everywhere"}, f'to: "everywhere": {A_PREFIX}'),
    ({"via": "10.0.0.254/24"}, 'via: "10.0.0.254/24": an address, like "10.0.0.254" or "fd00::fe"'),
    ({"via": "fd00::2"}, 'via: "fd00::2": of the same family as `to`'),
    ({"to": "fd01:1::/16", "via": "fd00::2"}, f'to: "fd01:1::/16": {A_PREFIX}'),
    ({"to": "fd01::/48", "via": "fe80::2"}, 'via: "fe80::2": not a link-local address: every network has those'),
    ({"via": "10.0.1.254"},
     'via: "10.0.1.254": no neighbour of router main; its networks: 203.0.113.0/24, 10.0.0.0/24, fd00::/64'),
    ({"via": "10.0.0.1"},
     'via: "10.0.0.1": no neighbour of router main; its networks: 203.0.113.0/24, 10.0.0.0/24, fd00::/64'),
    ({"router": "blue"}, 'via: "10.0.0.254": no neighbour of router blue; its networks: none'),
    ({"router": "b l"}, 'router: "b l": a router\'s name is one word of at most 15 characters'),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "line"), ROUTES)
def test_a_faulty_route(fields: dict[str, str], line: str) -> None:
    table = Network(bridge="br0", address=("10.0.0.1/24", "fd00::1/64"))
    route = Route(**{"to": "192.168.0.0/16", "via": "10.0.0.254", **fields})
    assert faults(Config(bridge=(BR0,), port=(UPLINK,), network=(table,), route=(route,))) == [f"route[0].{line}"]


def two(first: Network, second: Network, *ports: Port) -> list[str]:
    return faults(Config(bridge=(BR0, BR1), port=ports, network=(first, second)))


def test_networks_beside_each_other() -> None:
    one = Network(bridge="br0", address="10.0.0.1/24")
    assert two(one, Network(bridge="br0", vlan=10, address="10.0.1.1/24")) == []
    assert two(one, Network(bridge="br1", address="10.0.0.1/24", router="blue")) == []
    local = (Network(bridge=bridge, address=(address, "fe80::1/64")) for bridge, address in
             (("br0", "fd00:1::1/64"), ("br1", "fd00:2::1/64")))
    assert two(*local) == []
    assert two(one, Network(bridge="br1", address="10.0.0.129/25")) == [
        'network[1].address: "10.0.0.129/25": network[0] has 10.0.0.1/24; networks of one router do not overlap'
    ]
    assert two(one, Network(bridge="br0", address="10.0.1.1/24")) == [
        'network[1].bridge: "br0": one network for br0; network[0] is it'
    ]


def test_a_network_has_a_name_for_rules_and_for_itself() -> None:
    port = Port(name="br0.10", kind="tap")
    assert two(Network(bridge="br0", address="10.0.0.1/24"), Network(bridge="br0", vlan=10, address="10.0.1.1/24"), port) == [
        "network[1].vlan: 10: a port has the name br0.10 already"
    ]
    table = Network(bridge="longestbridge", vlan=100, address="10.0.0.1/24")
    assert faults(Config(bridge=(Bridge(name="longestbridge"),), network=(table,))) == [
        "network[0].vlan: 100: a device's name in rules has at most 15 bytes, bridge, dot and VLAN together"
    ]


def test_one_spelling() -> None:
    config = Config(
        bridge=(BR0,),
        port=(Port(name="eth1", kind="netdev", address=("203.0.113.2/24",), gateway=("203.0.113.1",)),),
        network=(Network(bridge="br0", address=("10.0.0.1/24",), mac="52-54-00-12-34-56"),),
        route=(Route(to="default", via="10.0.0.254"),),
    )
    plain = normal(config)
    assert (plain.port[0].address, plain.port[0].gateway) == ("203.0.113.2/24", "203.0.113.1")
    assert (plain.network[0].address, plain.network[0].mac) == ("10.0.0.1/24", "52:54:00:12:34:56")
    assert plain.route[0].to == "0.0.0.0/0"


FILE = """
[[bridge]]
name = "br0"
[[network]]
bridge = "br0"
addres = "10.0.0.1/24"
mode = 5
dhcp = { ranges = [] }
[[route]]
to = "default"
[conntrack]
max = 5
timeouts = { udp = 0, tcp = 1 }
[firewall]
rules = 1
"""


def test_a_file_is_judged_key_by_key() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(FILE, "x.toml")
    assert sorted(caught.value.problems) == sorted([
        'x.toml: network[0].addres: unknown key; did you mean "address"?',
        "x.toml: network[0].mode: 5: a string",
        'x.toml: network[0].dhcp.ranges: unknown key; did you mean "range"?',
        "x.toml: route[0].via: missing, and needed",
        'x.toml: conntrack.timeouts.tcp: unknown key; right: ' + ", ".join(TIMEOUTS),
        "x.toml: firewall.rules: 1: a string",
    ])


TIMEOUTS = (
    "tcp_syn_sent", "tcp_syn_recv", "tcp_established", "tcp_fin_wait", "tcp_close_wait", "tcp_last_ack", "tcp_time_wait",
    "tcp_close", "tcp_max_retrans", "tcp_unacknowledged", "udp", "udp_stream", "icmp", "icmpv6", "generic",
)  # fmt: skip


def test_numbers_of_connections() -> None:
    text = "[conntrack]\nmax = 1000\nper_port = 2000\ntimeouts = { udp = 0 }\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.toml")
    assert caught.value.problems == [
        "x.toml: conntrack.max: 1000: 1024 to 16777216 connections",
        "x.toml: conntrack.per_port: 2000: 0 to 1000 connections; 0: half of the table",
        "x.toml: conntrack.timeouts.udp: 0: 1 to 100000000 seconds",
    ]
