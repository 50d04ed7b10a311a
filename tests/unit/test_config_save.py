"""Model to text and back: whatever the model can hold, `load.parse` reads as an equal model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from vswitch.config.check import problems
from vswitch.config.load import parse
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
from vswitch.config.save import dumps
from vswitch.config.text import vlan_list
from vswitch.l3.settings import Dhcp, Dns, Host, Ra, Reservation
from vswitch.l3.settings import Route as ClientRoute

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "S", "P"), exclude_characters="/:%"),
                min_size=1, max_size=15).filter(lambda name: len(name.encode()) <= 15 and name not in (".", ".."))
VIDS = st.integers(1, 4094)
TRUNKS = st.frozensets(VIDS, max_size=40).map(vlan_list)
MACS = st.integers(1, 2**48 - 1).map(lambda n: n & ~(1 << 40)).filter(bool).map(
    lambda n: ":".join(f"{n:012x}"[i : i + 2] for i in range(0, 12, 2)))
RATES = st.none() | st.integers(1, 10**9)
STORMS = st.builds(Storm, broadcast=RATES, multicast=RATES, unknown_unicast=RATES).filter(lambda s: s != Storm())
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20)


def ports(name: str, bridges: list[str]) -> st.SearchStrategy[Port]:
    common = {
        "name": st.just(name),
        "bridge": st.none() | st.sampled_from(bridges) if bridges else st.none(),
        "mtu": st.none() | st.integers(68, 65521),
        "offloads": st.booleans(),
        "isolated": st.booleans(),
        "hairpin": st.booleans(),
        "mac_limit": st.none() | st.integers(1, 1_048_576),
        "storm": st.none() | STORMS,
    }
    tap = st.builds(Port, kind=st.just("tap"), netns=st.none() | TEXTS.filter(lambda t: t not in (".", "..")),
                    mac=st.none() | MACS, access=st.none() | VIDS, **common)
    made = st.builds(Port, kind=st.just("netdev"), create=st.just(True), owner=st.none() | TEXTS,
                     group=st.none() | TEXTS, queues=st.none() | st.integers(1, 16), trunk=TRUNKS,
                     native=st.none() | VIDS, **common)
    memory = st.builds(Port, kind=st.just("memory"), trunk=st.none() | TRUNKS, **common)
    return tap | made | memory


NAMES_OF_HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,9}[a-z0-9]", fullmatch=True)
SECONDS = st.none() | st.integers(1, 100_000_000)


def networks(bridge: str, number: int) -> st.SearchStrategy[Network]:
    """A network of a bridge, with addresses of its number."""
    v4, v6 = f"10.{number}.0.1/16", f"fd00:{number:x}::1/64"
    dhcp = st.builds(
        Dhcp,
        range=st.sampled_from([(), (f"10.{number}.1.0", f"10.{number}.2.255"),
                               ((f"10.{number}.1.0", f"10.{number}.1.9"), (f"10.{number}.3.0", f"10.{number}.3.9"))]),
        reservations=st.lists(MACS, max_size=3, unique=True).flatmap(lambda macs: st.tuples(*(
            st.builds(Reservation, mac=st.just(mac), address=st.just(f"10.{number}.9.{at}"),
                      name=st.sampled_from(["", f"h{at}"])) for at, mac in enumerate(macs)))),
        lease_s=st.integers(120, 86_400), domain=st.just("") | NAMES_OF_HOSTS, mtu=st.none() | st.integers(68, 9000),
        dns=st.none() | st.sampled_from([(), ("192.0.2.53",)]), router=st.sampled_from([None, "", f"10.{number}.0.9"]),
        routes=st.sampled_from([(), (ClientRoute(to="192.168.0.0/16", via=f"10.{number}.0.9"),)]),
        options=st.sampled_from([(), ("42:0a000001",)]), per_port=st.integers(1, 64),
    )  # fmt: skip
    dns = st.builds(Dns, servers=st.sampled_from([(), ("192.0.2.53", "2001:db8::53")]), domain=st.just("") | NAMES_OF_HOSTS,
                    hosts=st.lists(st.builds(Host, name=NAMES_OF_HOSTS, address=st.just("10.0.0.9")), max_size=2).map(tuple))
    ra = st.builds(Ra, interval_s=st.integers(4, 1800), lifetime_s=st.sampled_from([0, 1800]))
    return st.builds(
        Network, bridge=st.just(bridge), vlan=st.none() | st.integers(1, 99), address=st.just((v4, v6)),
        mode=st.sampled_from(["isolated", "routed", "nat"]), mac=st.none() | MACS, mtu=st.none() | st.integers(68, 65521),
        router=st.sampled_from(["main", "blue"]), dhcp=st.none() | dhcp, dns=st.none() | dns, ra=st.none() | ra,
    )  # fmt: skip


@st.composite
def routed(draw: st.DrawFn) -> Config:
    """Any configuration of networks, routes, rules and connections."""
    tables = tuple(draw(networks(f"br{number}", number)) for number in range(draw(st.integers(0, 3))))
    uplink = Port(name="eth1", kind="netdev", address=("203.0.113.2/24", "2001:db8::2/64"), gateway=("203.0.113.1", "fe80::1"),
                  router=draw(st.sampled_from(["main", "blue"])))
    return Config(
        bridge=tuple(Bridge(name=f"br{number}", hooks=draw(st.booleans())) for number in range(len(tables))),
        port=(uplink,),
        network=tables,
        route=tuple(Route(to="192.168.0.0/16", via=f"10.{number}.0.9", router=table.router)
                    for number, table in enumerate(tables)),
        firewall=draw(st.builds(Firewall, rules=st.none() | TEXTS, rules6=st.none() | TEXTS)),
        conntrack=draw(st.builds(Conntrack, max=st.integers(1024, 99_999), per_port=st.integers(0, 1024),
                                 timeouts=st.none() | st.builds(Timeouts, udp=SECONDS, tcp_established=SECONDS))),
    )  # fmt: skip


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any configuration that `check` has nothing against."""
    names = draw(st.lists(NAMES, unique=True, max_size=8))
    split = draw(st.integers(0, len(names)))
    bridges, port_names = names[:split], names[split:]
    table = tuple(draw(ports(name, bridges)) for name in port_names)
    homes = [port for port in table if port.bridge and port.access is None and port.trunk is None]
    entries = draw(st.lists(st.tuples(st.sampled_from(homes), MACS), max_size=4)) if homes else []
    statics = {(p.bridge, mac): StaticMac(bridge=p.bridge, mac=mac, port=p.name, vlan=7) for p, mac in entries}
    return Config(
        switch=draw(st.builds(Switch, run_dir=TEXTS.map("/{}".format), workers=st.integers(1, 16),
                              busy_poll_us=st.integers(0, 10**6), queue_memory_mb=st.integers(16, 4096), group=st.text(max_size=9))),
        metrics=draw(st.builds(Metrics, listen=st.sampled_from(["", ":0", "[::1]:9478", "127.0.0.1:9478"]))),
        bridge=tuple(draw(st.builds(Bridge, name=st.just(name), ageing_s=st.integers(0, 10**6),
                                    mac_limit=st.integers(1, 1_048_576))) for name in bridges),
        port=table,
        fdb=tuple(statics.values()),
    )


@settings(deadline=None)  # a busy machine is no fault
@given(configs())
def test_round_trip(config: Config):
    assert problems(config) == []
    assert parse(dumps(config), "saved") == config


@settings(deadline=None, max_examples=50)
@given(routed())
def test_round_trip_of_networks(config: Config):
    assert problems(config) == []
    assert parse(dumps(config), "saved") == config


def test_what_is_default_is_left_out():
    assert dumps(Config()) == "\n"
    config = Config(
        switch=Switch(workers=2),
        bridge=(Bridge(name="br0"),),
        port=(Port(name="tapA", kind="tap", bridge="br0", trunk=(10, "20-29"), storm=Storm(broadcast=5)),),
    )
    assert dumps(config) == (
        '[switch]\nworkers = 2\n\n'
        '[[bridge]]\nname = "br0"\n\n'
        '[[port]]\nname = "tapA"\nkind = "tap"\nbridge = "br0"\ntrunk = [10, "20-29"]\nstorm = { broadcast = 5 }\n'
    )
