"""Bridged mode: two hosts, a switch on each, their NICs joined by a cable that carries the VLANs.

Guests in VLANs 10 and 20 on both hosts, each host on the bridge itself by a tap of its own in VLAN 1, which crosses the
cable untagged, and a guest beside them. All have addresses in one subnet, so that what keeps them apart is their VLAN.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.switchboard import BROADCAST, ethernet, mac, station, tag
from tests.switchhost import LIMIT_S, SwitchHost
from tests.wire import WIRE_FRAME_BYTES, Wire, carries, transfer

ETH_P_ARP, ETH_P_RARP = 0x0806, 0x8035
HOST_VLAN = 1
TRANSFER_BYTES = 8 << 20
ARP_ROUNDS = 5
# Which host, VLAN, last byte of the address
STATIONS = {
    "a10": ("A", 10, 11), "a10b": ("A", 10, 13), "b10": ("B", 10, 12),
    "a20": ("A", 20, 21), "b20": ("B", 20, 22),
    "b1": ("B", HOST_VLAN, 3),
}
HOSTS = {"A": 1, "B": 2}
PAIRS = [("a10", "b10"), ("b10", "a10b"), ("a20", "b20"), ("A", "B"), ("A", "b1"), ("b1", "A"), ("B", "b1")]
MARKS = (number.to_bytes(50, "big") for number in itertools.count(1))  # what tells one frame from another


class Site:
    """The two hosts. A station is a guest by its name, or a host itself ("A", "B")."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hosts = {name: SwitchHost(lab, name) for name in HOSTS}
        netns_a, netns_b = (host.netns for host in self.hosts.values())
        nics = lab.veth("nicA", "nicB", near_netns=netns_a, far_netns=netns_b)
        self.nics = dict(zip(HOSTS, nics, strict=True))
        self.netns = {name: host.netns for name, host in self.hosts.items()}
        self.devices: dict[str, str] = {}
        for name, host in self.hosts.items():
            host.port(self.nics[name], kind="netdev", trunk=[10, 20], native=HOST_VLAN)
            self.devices[name] = host.port(lab.name(f"own{name}"), access=HOST_VLAN)
        for name, (place, vlan, _) in STATIONS.items():
            guest = self.hosts[place].guest(name, f"{self.address(name)}/24", access=vlan)
            self.devices[name], self.netns[name] = guest.name, guest.netns
        for name, host in self.hosts.items():
            host.start()
            lab.address(self.devices[name], f"{self.address(name)}/24", netns=host.netns)
        self.wires = {name: self.wire(self.devices[name], netns) for name, netns in self.netns.items()}

    @staticmethod
    def address(name: str) -> str:
        return f"10.0.0.{HOSTS[name] if name in HOSTS else STATIONS[name][2]}"

    @staticmethod
    def vlan(name: str) -> int:
        return HOST_VLAN if name in HOSTS else STATIONS[name][1]

    def wire(self, device: str, netns: str) -> Wire:
        wire = Wire(device, netns)
        self.lab.on_close(wire.close)
        return wire

    def introduce(self, name: str, source: str) -> None:
        """Have `source` speak at a station, and all others of its VLAN hear it."""
        mark = next(MARKS)
        self.wires[name].send(ethernet(BROADCAST, source, payload=mark))
        for other, wire in self.wires.items():
            if other != name and self.vlan(other) == self.vlan(name):
                wire.next(lambda frame: frame.endswith(mark))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


# VLANs across hosts


@pytest.mark.parametrize(("near", "far"), PAIRS)
def test_within_a_vlan_all_reach_each_other(site: Site, near: str, far: str) -> None:
    assert site.lab.ping(site.address(far), netns=site.netns[near], limit_s=LIMIT_S)


def test_nothing_crosses_to_another_vlan(site: Site) -> None:
    """Each hears exactly its own VLAN, in order; what was said first would have leaked before what is said last."""
    heard = {name: [] for name in site.wires}
    said = set()
    for speaker in [*site.wires, *site.wires]:
        said.add(mark := next(MARKS))
        site.wires[speaker].send(ethernet(BROADCAST, site.wires[speaker].mac, payload=mark))
        for name, wire in site.wires.items():
            if name != speaker and site.vlan(name) == site.vlan(speaker):
                assert wire.next(lambda frame: frame[14:] in said)[14:] == mark
    for name, wire in site.wires.items():
        assert list(wire.waiting(lambda frame: frame[14:] in said)) == [], name


def test_another_vlan_does_not_answer(site: Site) -> None:
    assert not site.lab.ping(site.address("b20"), netns=site.netns["a10"])
    assert not site.lab.ping(site.address("B"), netns=site.netns["a10"])


# What is on the cable


@pytest.mark.parametrize(
    ("name", "tags_in", "on_cable"),
    [
        ("a10", [], [tag(10)]),
        ("a20", [], [tag(20)]),
        ("A", [], []),
        ("a10", [tag(0, 0b1011)], [tag(10, 0b1011)]),
        ("a20", [tag(0, 0b0110)], [tag(20, 0b0110)]),
    ],
    ids=["VLAN 10", "VLAN 20", "native", "priority and DEI", "priority"],
)
def test_the_cable_carries_the_tag(site: Site, name: str, tags_in: list[bytes], on_cable: list[bytes]) -> None:
    mark = next(MARKS)
    far = next(other for other, (place, vlan, _) in STATIONS.items() if place == "B" and vlan == site.vlan(name))
    with Wire(site.nics["B"], site.netns["B"]) as cable:
        site.wires[name].send(ethernet(BROADCAST, station(1), *tags_in, payload=mark))
        assert cable.next(lambda frame: mark in frame) == ethernet(BROADCAST, station(1), *on_cable, payload=mark)
    assert site.wires[far].next(lambda frame: mark in frame) == ethernet(BROADCAST, station(1), payload=mark)


@pytest.mark.parametrize(("near", "far"), [("a10", "b10"), ("b20", "a20"), ("A", "B"), ("b1", "A")])
def test_streams_cross_as_super_frames(site: Site, near: str, far: str) -> None:
    here, there = (STATIONS[name][0] if name in STATIONS else name for name in (near, far))
    nic = site.nics[there]
    before = site.hosts[there].stats(nic)
    transfer(TRANSFER_BYTES, site.address(far), sender=site.netns[near], receiver=site.netns[far])
    after = site.hosts[there].stats(nic)
    frames, size = (after[key] - before[key] for key in ("rx_frames", "rx_bytes"))
    if here != there:
        assert size > frames * WIRE_FRAME_BYTES


# The host itself


def test_the_nic_has_no_address_and_the_host_is_there_once(site: Site) -> None:
    assert "inet" not in site.lab.ip("address", "show", "dev", site.nics["A"], netns=site.netns["A"])
    words = ["ping", "-n", "-c", "5", "-i", "0.05", "-W", str(LIMIT_S), site.address("A")]
    said = site.lab.run(*words, netns=site.netns["b1"]).stdout
    assert "DUP!" not in said and " 5 received" in said


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_answers_arp_once(site: Site, host: str) -> None:
    """The NIC would answer too, with its own MAC, if the kernel saw what comes in by it."""
    asker = site.wire(site.devices["b1"], site.netns["b1"])
    address = bytes([10, 0, 0, HOSTS[host]])
    question = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac(station(7)), bytes(4), bytes(6), address)
    for _ in range(ARP_ROUNDS):
        asker.send(ethernet(BROADCAST, station(7), payload=question, ethertype=ETH_P_ARP))
        answer = asker.next(lambda frame: frame[:6] == mac(station(7)))
        assert answer[6:12] == mac(site.wires[host].mac)
    assert list(asker.waiting(lambda frame: frame[:6] == mac(station(7)))) == []


# Live migration from host to host


def test_a_stream_follows_a_machine_to_the_other_host(site: Site) -> None:
    moving, peer = station(5), station(6)
    old, new, sender = site.wires["a10"], site.wires["b10"], site.wires["a10b"]
    site.introduce("a10", moving)
    site.introduce("a10b", peer)
    moves = {name: host.bridge()["moves"] for name, host in site.hosts.items()}
    stream = [ethernet(moving, peer, payload=number.to_bytes(50, "big")) for number in range(400)]
    fence = ethernet(BROADCAST, peer, payload=next(MARKS))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + (mac(moving) + bytes(4)) * 2
    sender.send(*stream[:200])
    new.send(ethernet(BROADCAST, moving, payload=body, ethertype=ETH_P_RARP))
    sender.next(carries(ETH_P_RARP))
    sender.send(*stream[200:], fence)
    before, after = old.until(fence), new.until(fence)
    assert before + after == stream
    assert len(before) <= 200, "the stream went on to where the machine no longer was"
    assert site.hosts["A"].port_of(moving, 10) == site.nics["A"]
    assert site.hosts["B"].port_of(moving, 10) == site.devices["b10"]
    assert {name: host.bridge()["moves"] - moves[name] for name, host in site.hosts.items()} == {"A": 1, "B": 1}


def test_the_cable_is_pulled_and_put_back(site: Site) -> None:
    host, nic = site.hosts["A"], site.nics["A"]
    site.lab.ip("link", "set", site.nics["B"], "down", netns=site.netns["B"])
    host.wait_for_state(nic, "no carrier")
    wait_for(lambda: host.port_of(site.wires["b10"].mac, 10) is None, LIMIT_S, "what was behind it to be forgotten")
    assert site.lab.ping(site.address("a10b"), netns=site.netns["a10"], limit_s=LIMIT_S)
    site.lab.ip("link", "set", site.nics["B"], "up", netns=site.netns["B"])
    host.wait_for_state(nic, "up")
    site.hosts["B"].wait_for_state(site.nics["B"], "up")
    assert site.lab.ping(site.address("b10"), netns=site.netns["a10"], limit_s=LIMIT_S)
