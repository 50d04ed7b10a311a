"""Shaping between guests: a noisy neighbour, the classic example of HTB, limits from the file, what is policed.

Bounds are wide: a busy machine must not fail them, and what has no limit at all does.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.lab import Lab, inside, require_root, wait_for
from tests.qoshost import QosHost, flood, floods
from tests.switchboard import BROADCAST, ethernet, tag
from tests.switchhost import LIMIT_S
from tests.wire import transfer

NOISY, NEIGHBOUR, SERVER = "10.0.0.1", "10.0.0.2", "10.0.0.9"
MBIT = 1_000_000
DOWNLOAD = 4 << 20
PINGS = 20
FRAMES = 50
ONE_CLASS = "qdisc add root handle 1: htb default 1\nclass add parent 1: classid 1:1 htb rate {}"
EXAMPLE = (
    "qdisc add dev eth0 root handle 1: htb default 12",
    "class add dev eth0 parent 1: classid 1:1 htb rate 100kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:10 htb rate 30kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:11 htb rate 10kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:12 htb rate 60kbps ceil 100kbps",
    "qdisc add dev eth0 parent 1:10 handle 20: pfifo limit 5",
    "qdisc add dev eth0 parent 1:11 handle 30: pfifo limit 5",
    "qdisc add dev eth0 parent 1:12 handle 40: sfq perturb 10",
    "filter add dev eth0 protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 match ip dport 80 0xffff flowid 1:10",
    "filter add dev eth0 protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 flowid 1:11",
)


class Site:
    """A noisy guest and its neighbour, and a server that both have to do with."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = QosHost(lab, "h")
        self.noisy = self.host.guest("n", f"{NOISY}/24")
        self.neighbour = self.host.guest("g", f"{NEIGHBOUR}/24")
        self.server = self.host.guest("s", f"{SERVER}/24")
        self.host.start()

    def reset(self) -> None:
        """Ports without sections and queues."""
        for name, keys in self.host.ports.items():
            keys.pop("limit", None)
            keys["tc"] = []
        self.host.apply()
        for keys in self.host.ports.values():
            del keys["tc"]

    def drops(self) -> int:
        """What the policer took from the noisy guest."""
        return self.host.stats(self.noisy.name)["drops"].get("policed", 0)


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.reset()
    shared_site.host.wait_for_rest()


def test_a_noisy_neighbour_is_not_noticed(site: Site) -> None:
    host, port = site.host, site.server.name
    host.tc(
        port,
        "qdisc add root handle 1: htb default 20",
        "class add parent 1: classid 1:1 htb rate 200mbit",
        "class add parent 1:1 classid 1:10 htb rate 20mbit",
        "class add parent 1:1 classid 1:20 htb rate 180mbit ceil 200mbit",
        f"filter add parent 1: protocol ip prio 1 u32 match ip src {NOISY} flowid 1:10",
    )
    with flood(site.noisy.netns, SERVER):
        host.wait_for_waiting(port, "1:10", 100)
        ping = ["ping", "-n", "-q", "-i", "0.02", "-c", str(PINGS), "-W", "2", SERVER]
        told = site.lab.run(*ping, netns=site.neighbour.netns).stdout
        assert f"{PINGS} received" in told, told
        transfer(DOWNLOAD, SERVER, sender=site.neighbour.netns, receiver=site.server.netns)
        bits = host.wait_for_bytes(port, "1:10", 2 * MBIT)
    counters = host.counted(port)
    assert 5 * MBIT < bits < 40 * MBIT
    assert counters["1:10"].dropped and not counters["1:20"].dropped
    assert counters["1:20"].sent > DOWNLOAD


def test_the_classic_example_on_a_port(lab: Lab) -> None:
    host = QosHost(lab, "x")
    eth0, sender = lab.namespace("e"), host.guest("f")
    host.port("eth0", netns=eth0)
    host.start()
    lab.ip("link", "set", "eth0", "up", netns=eth0)
    wire = host.wire(sender)
    host.wait_for_state("eth0", "up")
    for line in EXAMPLE:
        host.words("tc", *line.split())
    broadcast = Ether(src=wire.mac, dst="ff:ff:ff:ff:ff:ff")
    wire.send(bytes(broadcast / IP(src="1.2.3.4") / UDP(dport=80)))
    wire.send(*[bytes(broadcast / IP(src="1.2.3.4") / UDP(dport=81))] * 2)
    wire.send(*[bytes(broadcast / IP(src="1.2.3.5") / UDP(dport=80))] * 3)
    wait_for(lambda: host.counted("eth0")["1:"].packets == 6, LIMIT_S, "all to have left")
    counters = host.counted("eth0")
    assert [counters[handle].packets for handle in ("1:10", "1:11", "1:12", "20:", "30:", "40:")] == [1, 2, 3] * 2
    assert counters["1:1"].packets == 6
    host.wait_for_rest()


@pytest.fixture
def lab() -> Iterator[Lab]:
    require_root()
    with Lab() as lab:
        yield lab


def test_a_limit_of_the_file(site: Site) -> None:
    host, port = site.host, site.server.name
    host.ports[port]["limit"] = {"egress": "20mbit"}
    host.apply()
    with flood(site.noisy.netns, SERVER):
        assert 5 * MBIT < host.wait_for_bytes(port, "1:1", 3 * MBIT) < 40 * MBIT
        host.ports[port]["limit"] = {"egress": "4mbit"}
        host.apply()
        assert 1 * MBIT < host.wait_for_bytes(port, "1:1", 1 * MBIT) < 8 * MBIT
        assert host.lab.ping(SERVER, netns=site.neighbour.netns, count=3, limit_s=3)  # fq_codel: a flow of its own


def test_what_a_guest_sends_is_policed(site: Site) -> None:
    host, guest = site.host, site.noisy.name
    host.ports[guest]["limit"] = {"ingress": "8mbit"}
    host.tc(site.server.name, *ONE_CLASS.format("10gbit").splitlines())
    host.apply()
    with flood(site.noisy.netns, SERVER):
        bits = host.wait_for_bytes(site.server.name, "1:1", 2 * MBIT)
        transfer(DOWNLOAD, SERVER, sender=site.neighbour.netns, receiver=site.server.netns)
    assert 2 * MBIT < bits < 20 * MBIT
    assert site.drops()


def test_what_exceeds_may_be_marked_instead(site: Site) -> None:
    host, guest, port = site.host, site.noisy.name, site.server.name
    before = site.drops()
    host.ports[guest]["limit"] = {"ingress": {"rate": "8mbit", "mark": 7}}
    host.apply()
    host.tc(
        port,
        "qdisc add root handle 1: htb default 10",
        "class add parent 1: classid 1:10 htb rate 10gbit",
        "class add parent 1: classid 1:20 htb rate 10gbit",
        "filter add parent 1: prio 1 handle 7 fw flowid 1:20",
    )
    with flood(site.noisy.netns, SERVER):
        within = host.wait_for_bytes(port, "1:10", 2 * MBIT)
    beyond = host.counted(port)["1:20"]
    assert 2 * MBIT < within < 20 * MBIT
    assert beyond.packets and site.drops() == before


def test_a_vlan_is_policed_by_itself(lab: Lab) -> None:
    host = QosHost(lab, "v")
    limit = {"ingress": {"vlans": [{"vlan": 10, "frames": 1, "frame_burst": 2}]}}
    trunk = host.guest("t", trunk=[10, 20], limit=limit)
    guests = {vlan: host.guest(f"g{vlan}", access=vlan) for vlan in (10, 20)}
    host.start()
    wire = host.wire(trunk)
    ends = {vlan: host.wire(guest) for vlan, guest in guests.items()}
    for port in (trunk, *guests.values()):
        host.wait_for_state(port.name, "up")
    for vlan in ends:
        wire.send(*[ethernet(BROADCAST, wire.mac, tag(vlan))] * FRAMES)
    for _ in range(FRAMES):
        ends[20].next()
    host.wait_for_rest()
    came = len([*ends[10].waiting()])
    assert 0 < came < FRAMES
    assert host.stats(trunk.name)["drops"]["policed"] == FRAMES - came


def test_the_excess_is_shared_by_quantum(site: Site) -> None:
    host, port = site.host, site.server.name
    host.tc(port, *ONE_CLASS.format("24mbit").splitlines())
    for minor, quantum in ((10, 6000), (20, 3000)):
        host.tc(
            port,
            f"class add parent 1:1 classid 1:{minor} htb rate 3mbit ceil 24mbit quantum {quantum}",
            f"filter add parent 1: protocol ip prio 1 u32 match ip dport {minor} 0xffff flowid 1:{minor}",
        )
    with floods(site.noisy.netns, SERVER, 10, 20):
        host.wait_for_waiting(port, "1:10", 100)
        host.wait_for_waiting(port, "1:20", 100)
        before = host.counted(port)
        host.wait_for_bytes(port, "1:1", 6 * MBIT)
        after = host.counted(port)
    more, less = (after[handle].sent - before[handle].sent for handle in ("1:10", "1:20"))
    assert more / less == pytest.approx((3 + 12) / (3 + 6), rel=0.1)


def test_rules_choose_the_class(site: Site) -> None:
    """CLASSIFY says it outright, MARK by way of a filter; the rest goes where the default is."""
    host, port = site.host, site.server.name
    host.tc(
        port,
        "qdisc add root handle 1: htb default 12",
        *(f"class add parent 1: classid 1:{minor} htb rate 100mbit" for minor in (10, 11, 12)),
        "filter add parent 1: handle 7 fw flowid 1:11",
    )
    host.iptables(*"-t mangle -A POSTROUTING -p udp --dport 1010 -j CLASSIFY --set-class 1:10".split())
    host.iptables(*"-t mangle -A FORWARD -p udp --dport 1011 -j MARK --set-mark 7".split())
    try:
        with inside(site.noisy.netns):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            for sent, (dport, handle) in enumerate(((1010, "1:10"), (1011, "1:11"), (1012, "1:12"))):
                before = host.counted(port)
                for _ in range(sent + 3):
                    sock.sendto(b"x", (SERVER, dport))
                more = before[handle].packets + sent + 3
                wait_for(lambda more=more, handle=handle: host.counted(port)[handle].packets >= more, LIMIT_S, handle)
                after = host.counted(port)
                others = {"1:10", "1:11"} - {handle}  # what is not asked for, ARP say, comes to the default
                assert all(after[other].packets == before[other].packets for other in others)
    finally:
        host.iptables(*"-t mangle -F".split())
