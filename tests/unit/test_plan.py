"""The diff of two configurations: which steps, in which order, in which words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from vswitch.config.model import (
    Bridge,
    Config,
    Conntrack,
    Firewall,
    Metrics,
    Network,
    Port,
    Route,
    StaticMac,
    Storm,
    Switch,
    Timeouts,
)
from vswitch.config.plan import NETWORK, Action, diff
from vswitch.qos.settings import Limit
from vswitch.l3.settings import Dhcp, Dns, Ra, Reservation

import pytest

BR0, BR1 = Bridge(name="br0"), Bridge(name="br1")
MAC = "52:54:00:00:00:0a"


def tap(name: str = "tapA", **fields: object) -> Port:
    return Port(name=name, kind="tap", **{"bridge": "br0", **fields})


def one(old: Port, new: Port) -> tuple[Action, str]:
    (step,) = diff(Config(bridge=(BR0, BR1), port=(old,)), Config(bridge=(BR0, BR1), port=(new,))).steps
    return step.action, str(step)


def test_nothing_to_do():
    config = Config(bridge=(BR0,), port=(tap(),))
    assert diff(config, config).lines == []


def test_order_and_words():
    old = Config(
        bridge=(BR0,),
        port=(tap("gone"), tap("kept"), tap("cold")),
        fdb=(StaticMac(bridge="br0", mac=MAC, port="gone"),),
    )
    new = Config(
        switch=Switch(log_level="debug"),
        metrics=Metrics(listen=""),
        bridge=(BR1,),
        port=(tap("idle", bridge=None), tap("kept", bridge="br1"), tap("cold", bridge="br1", netns="A"),
              Port(name="eth1", kind="netdev", bridge="br1")),
        fdb=(StaticMac(bridge="br1", mac=MAC, port="kept", vlan=10),),
    )
    assert diff(old, new).lines == [
        "change switch.log_level: info -> debug",
        "change metrics.listen: 127.0.0.1:9478 -> off",
        f"remove static {MAC} on br0 behind gone",
        "remove port gone (tap)",
        "remove bridge br0",
        "add bridge br1",
        "add port idle (tap), on no bridge",
        "change port kept (tap): bridge br0 -> br1",
        "replace port cold (tap): netns none -> A; bridge br0 -> br1",
        "add port eth1 (netdev) to br1",
        f"add static {MAC} vlan 10 on br1 behind kept",
    ]


WARM = [
    ({"bridge": "br1"}, "bridge br0 -> br1"),
    ({"access": 10}, "vlan all -> access 10"),
    ({"trunk": (10, "20-29"), "native": 1}, "vlan all -> trunk 10,20-29 native 1"),
    ({"trunk": ()}, "vlan all -> trunk none"),
    ({"isolated": True}, "isolated false -> true"),
    ({"hairpin": True}, "hairpin false -> true"),
    ({"mac_limit": 5}, "mac_limit none -> 5"),
    ({"mtu": 9000}, "mtu none -> 9000"),
    ({"mac": MAC}, f"mac none -> {MAC}"),
    ({"offloads": False}, "offloads true -> false"),
    ({"storm": Storm(broadcast=9)}, "storm.broadcast none -> 9"),
    ({"address": ("10.0.0.1/24", "fd00::1/64")}, "address none -> 10.0.0.1/24, fd00::1/64"),
    ({"gateway": "10.0.0.254"}, "gateway none -> 10.0.0.254"),
    ({"router": "blue"}, "router main -> blue"),
    ({"limit": Limit(egress="100mbit")}, 'limit none -> { egress = "100mbit" }'),
    ({"tc": ("qdisc add root pfifo",)}, "tc none -> 1 line"),
    ({"tc": ()}, "tc none -> 0 lines"),
]
COLD = [
    ({"kind": "memory"}, "kind tap -> memory"),
    ({"netns": "A"}, "netns none -> A"),
    ({"create": True}, "create false -> true"),
    ({"owner": "kvm"}, "owner none -> kvm"),
    ({"group": "kvm"}, "group none -> kvm"),
    ({"queues": 1}, "queues none -> 1"),
]


@pytest.mark.parametrize(("fields", "words"), WARM)
def test_changed_with_frames_flowing(fields: dict[str, object], words: str):
    old = tap()
    new = Port(**{"name": "tapA", "kind": "tap", "bridge": "br0", **fields})
    assert one(old, new) == (Action.CHANGE, f"change port tapA (tap): {words}")


@pytest.mark.parametrize(("fields", "words"), COLD)
def test_replaced(fields: dict[str, object], words: str):
    old = tap()
    new = Port(**{"name": "tapA", "kind": "tap", "bridge": "br0", **fields})
    assert one(old, new) == (Action.REPLACE, f"replace port tapA (tap): {words}")


def test_every_field_of_a_port_is_known_to_the_plan():
    covered = {key for fields, _ in WARM + COLD for key in fields}
    assert covered == set(Port.__struct_fields__) - {"name"}


def test_lines_of_tc_that_come_and_go():
    old, new = tap(tc=("qdisc add root pfifo", "a")), tap(tc=("qdisc add root bfifo", "a"))
    words = 'tc - "qdisc add root pfifo", + "qdisc add root bfifo"'
    assert one(old, new) == (Action.CHANGE, f"change port tapA (tap): {words}")
    assert one(tap(tc=("a", "b")), tap(tc=("b", "a")))[1].endswith("tc in another order")


def test_a_bridge_changes():
    plan = diff(Config(bridge=(BR0,)), Config(bridge=(Bridge(name="br0", ageing_s=60, mac_limit=9),)))
    assert plan.lines == ["change bridge br0: ageing_s 300 -> 60; mac_limit 8192 -> 9"]
    assert plan.names("bridge", Action.CHANGE) == ["br0"]


NET = Network(bridge="br0", address="10.0.0.1/24")


def test_networks_and_routes_in_their_order():
    old = Config(
        bridge=(BR0, BR1),
        network=(NET, Network(bridge="br0", vlan=9, address="10.0.9.1/24", mode="isolated")),
        route=(Route(to="0.0.0.0/0", via="10.0.0.254"), Route(to="10.8.0.0/16", via="10.0.0.253")),
    )
    new = Config(
        bridge=(Bridge(name="br0", hooks=False), BR1),
        port=(Port(name="eth1", kind="netdev", address="203.0.113.2/24"),),
        network=(
            Network(bridge="br0", address=("10.0.0.1/24", "fd00::1/64"), mode="nat", uplink="eth1", ra=Ra()),
            Network(bridge="br1", vlan=7, address="10.0.7.1/24"),
        ),
        route=(Route(to="10.8.0.0/16", via="10.0.0.253"), Route(to="0.0.0.0/0", via="10.0.0.9", router="blue")),
    )
    assert diff(old, new).lines == [
        "remove route 0.0.0.0/0 via 10.0.0.254",
        "remove network br0.9 (isolated) 10.0.9.1/24",
        "change bridge br0: hooks true -> false",
        "add port eth1 (netdev), on no bridge",
        "change network br0: address 10.0.0.1/24 -> 10.0.0.1/24, fd00::1/64; mode routed -> nat; uplink none -> eth1; "
        "ra none -> {}",
        "add network br1.7 (routed) 10.0.7.1/24",
        "add route 0.0.0.0/0 via 10.0.0.9 on router blue",
    ]


NETWORK_CHANGES = [
    ({"address": "10.0.0.2/24"}, "address 10.0.0.1/24 -> 10.0.0.2/24"),
    ({"mode": "nat"}, "mode routed -> nat"),
    ({"uplink": "eth1"}, "uplink none -> eth1"),
    ({"mac": MAC}, f"mac none -> {MAC}"),
    ({"mtu": 1400}, "mtu none -> 1400"),
    ({"router": "blue"}, "router main -> blue"),
    ({"dhcp": Dhcp(range=("10.0.0.8", "10.0.0.9"))}, 'dhcp none -> { range = ["10.0.0.8", "10.0.0.9"] }'),
    ({"dns": Dns()}, "dns none -> {}"),
    ({"ra": Ra(lifetime_s=0)}, "ra none -> { lifetime_s = 0 }"),
]


@pytest.mark.parametrize(("fields", "words"), NETWORK_CHANGES)
def test_a_network_changes_warm(fields: dict[str, object], words: str):
    (step,) = diff(Config(network=(NET,)), Config(network=(Network(**{"bridge": "br0", "address": NET.address, **fields}),))).steps
    assert (step.action, str(step)) == (Action.CHANGE, f"change network br0: {words}")


def test_a_service_changes_by_its_keys():
    entries = tuple(Reservation(mac=MAC[:-1] + str(n), address=f"10.0.0.{n}") for n in range(1, 4))
    old, new = (
        Network(bridge="br0", address=NET.address, dhcp=dhcp)
        for dhcp in (Dhcp(lease_s=600), Dhcp(range=(("10.0.0.8", "10.0.0.9"), ("10.0.0.20", "10.0.0.29")), reservations=entries))
    )
    (line,) = diff(Config(network=(old,)), Config(network=(new,))).lines
    assert line == (
        "change network br0: dhcp.range none -> 10.0.0.8, 10.0.0.9, 10.0.0.20, 10.0.0.29; "
        'dhcp.reservations none -> { mac = "52:54:00:00:00:01", address = "10.0.0.1" }, { mac = "52:54:00:00:00:...; '
        "dhcp.lease_s 600 -> 3600"
    )


def test_every_field_of_a_network_is_known_to_the_plan():
    assert set(NETWORK) == set(Network.__struct_fields__) - {"bridge", "vlan"}
    assert {key for fields, _ in NETWORK_CHANGES for key in fields} == set(NETWORK)


def test_settings_that_change_at_once():
    plan = diff(Config(), Config(
        conntrack=Conntrack(per_port=9, timeouts=Timeouts(udp=5)),
        firewall=Firewall(rules="rules.v4", rules6="rules.v6"),
    ))
    assert [line.partition(" -> ")[0] for line in plan.lines] == [
        "change conntrack.per_port: 0",
        "change conntrack.timeouts: none",
        "change firewall.rules: none",
        "change firewall.rules6: none",
    ]
    assert plan.restart == ()


def test_what_takes_a_restart():
    assert diff(Config(), Config(conntrack=Conntrack(max=4096))).restart == (
        "conntrack.max: 4096: takes a restart of the daemon; it runs with 262144",
    )
    plan = diff(Config(), Config(switch=Switch(run_dir="/run/x", workers=2, busy_poll_us=0, queue_memory_mb=32, state_dir="/srv")))
    assert plan.steps == ()
    assert plan.restart == (
        "switch.run_dir: /run/x: takes a restart of the daemon; it runs with /run/vswitch",
        "switch.state_dir: /srv: takes a restart of the daemon; it runs with /var/lib/vswitch",
        "switch.workers: 2: takes a restart of the daemon; it runs with 1",
        "switch.busy_poll_us: 0: takes a restart of the daemon; it runs with 2000",
        "switch.queue_memory_mb: 32: takes a restart of the daemon; it runs with 64",
    )


NAMES = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True)


@settings(deadline=None)
@given(NAMES, NAMES)
def test_names_go_and_come_and_nothing_else(before: list[str], after: list[str]):
    old, new = (Config(bridge=(BR0,), port=tuple(tap(name) for name in names)) for names in (before, after))
    plan = diff(old, new)
    assert set(plan.names("port", Action.REMOVE)) == set(before) - set(after)
    assert set(plan.names("port", Action.ADD)) == set(after) - set(before)
    assert plan.names("port", Action.CHANGE, Action.REPLACE) == []
