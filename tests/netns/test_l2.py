"""Layer 2 on real devices: what guests send and what others of them see, byte for byte, through a running daemon."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root
from tests.switchboard import BROADCAST, ethernet, mac, station, tag
from tests.switchhost import SwitchHost
from tests.wire import WIRE_FRAME_BYTES, Wire, carries, transfer

ETH_P_IP, ETH_P_ARP, ETH_P_RARP, ETH_P_8021AD = 0x0800, 0x0806, 0x8035, 0x88A8
X, Y, Z = station(1), station(2), station(3)
FENCE = ethernet(BROADCAST, station(99), payload=b"fence")
TRANSFER_BYTES = 4 << 20


@pytest.fixture
def host(lab: Lab) -> SwitchHost:
    return SwitchHost(lab, "h")


def guests(host: SwitchHost, *ports: dict[str, object]) -> list[Wire]:
    """Start the daemon with a guest on each of `ports`; returns the guests' ends."""
    made = [host.guest(f"g{i}", **keys) for i, keys in enumerate(ports)]
    host.start()
    return [host.wire(guest) for guest in made]


def cable(host: SwitchHost, stem: str, **keys: object) -> Wire:
    """Have a netdev port on one end of a veth; returns the other end, in a namespace of its own."""
    netns = host.lab.namespace(f"{stem}n")
    near, far = host.lab.veth(stem, f"{stem}p", near_netns=host.netns, far_netns=netns)
    host.port(near, kind="netdev", **keys)
    wire = Wire(far, netns)
    host.lab.on_close(wire.close)
    return wire


def numbered(number: int, dst: str, src: str) -> bytes:
    return ethernet(dst, src, payload=struct.pack("!I", number))


def introduce(wire: Wire, source: str, *others: Wire) -> None:
    """Have a station speak, and all others hear it."""
    hello = ethernet(BROADCAST, source, payload=b"hello")
    wire.send(hello)
    for other in others:
        assert other.next() == hello


def arp(src: str, *, reverse: bool) -> bytes:
    """What announces a machine where it has arrived: its kernel's gratuitous ARP, or QEMU's RARP."""
    operation, address = (3, bytes(4)) if reverse else (1, bytes([10, 0, 0, 1]))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + (mac(src) + address) * 2
    return ethernet(BROADCAST, src, payload=body, ethertype=ETH_P_RARP if reverse else ETH_P_ARP)


# Live migration


@pytest.mark.parametrize("reverse", [False, True], ids=["gratuitous ARP", "RARP"])
def test_a_stream_follows_a_machine_that_migrates(host: SwitchHost, reverse: bool) -> None:
    old, new, peer = guests(host, {}, {}, {})
    introduce(old, X, new, peer)
    introduce(peer, Y, old, new)
    announcement = arp(X, reverse=reverse)
    stream = [numbered(i, X, Y) for i in range(400)]
    peer.send(*stream[:200])
    new.send(announcement)
    assert peer.next(carries(ETH_P_RARP if reverse else ETH_P_ARP)) == announcement
    peer.send(*stream[200:], FENCE)
    before, after = old.until(FENCE), new.until(FENCE)
    assert before + after == stream
    assert len(before) <= 200, "the stream went on to where the machine no longer was"
    assert host.port_of(X) == new.device
    assert host.bridge()["moves"] == 1


def test_a_machine_that_migrates_back_and_forth_is_counted_each_time(host: SwitchHost) -> None:
    left, right, peer = guests(host, {}, {}, {})
    introduce(left, X, right, peer)
    for moves in range(1, 6):
        here, there = (right, left) if moves % 2 else (left, right)
        introduce(here, X, there, peer)
        assert host.bridge()["moves"] == moves
        assert host.port_of(X) == here.device


# What is not forwarded


def test_isolated_ports_reach_only_others(host: SwitchHost) -> None:
    first, second, router = guests(host, {"isolated": True}, {"isolated": True}, {})
    introduce(first, X, router)
    introduce(second, Y, router)
    introduce(router, Z, first, second)
    aside, up, to_all = (ethernet(dst, X, payload=b"from X") for dst in (Y, Z, BROADCAST))
    first.send(aside, up, to_all)
    router.send(FENCE)
    assert router.next() == up
    assert router.next() == to_all
    assert second.until(FENCE) == []
    assert host.stats(first.device)["drops"] == {"isolated": 1}


def test_link_local_addresses_are_not_forwarded(host: SwitchHost) -> None:
    near, far = guests(host, {}, {})
    group = [f"01:80:c2:00:00:{low:02x}" for low in range(17)]
    near.send(*(ethernet(address, X) for address in group), FENCE)
    assert far.until(FENCE) == [ethernet(group[16], X)]
    assert host.stats(near.device)["drops"] == {"link_local": 16}


def test_storm_control_lets_its_rate_pass_and_counts_the_rest(host: SwitchHost) -> None:
    limits = {"broadcast": 100, "multicast": 200, "unknown_unicast": 400}
    near, far = guests(host, {"storm": limits}, {})
    introduce(far, Y, near)
    for reason, dst in (("broadcast", BROADCAST), ("multicast", "01:00:5e:00:00:01"), ("unknown_unicast", Z)):
        far_before = host.stats(far.device)["tx_frames"]
        started = time.monotonic()
        near.send(*(numbered(i, dst, X) for i in range(500)), ethernet(Y, X, payload=b"known"))
        passed = far.until(ethernet(Y, X, payload=b"known"))
        elapsed_s = time.monotonic() - started
        dropped = host.stats(near.device)["drops"][f"storm_{reason}"]
        assert len(passed) == 500 - dropped == host.stats(far.device)["tx_frames"] - far_before - 1
        assert 0 < len(passed) <= limits[reason] * (elapsed_s + 0.1) + 2  # 0.1: the tolerated burst


# Tags


PASSING = {
    "untagged": [],
    "802.1Q": [tag(10)],
    "802.1Q with priority and DEI": [tag(10, 0b1011)],
    "802.1ad": [tag(200, tpid=ETH_P_8021AD)],
    "802.1ad around 802.1Q, with priorities": [tag(200, 0b1101, tpid=ETH_P_8021AD), tag(4000, 0b0111)],
    "802.1Q around 802.1Q": [tag(10, 0b0010), tag(20, 0b1110)],
    "priority alone": [tag(0, 0b1100)],
}
# In by a port of one kind, out by one of the other: role in, tags in, role out, tags out or else the reason of the drop
# (None: not dropped, but not for this port either).
Crossing = tuple[str, list[bytes], str, list[bytes] | str | None]
CROSSING: dict[str, Crossing] = {
    "tagged at the edge": ("access", [], "trunk", [tag(10)]),
    "a priority tag's bits move to the VLAN's": ("access", [tag(0, 0b1011)], "trunk", [tag(10, 0b1011)]),
    "untagged at the edge": ("trunk", [tag(10, 0b1010)], "access", []),
    "a guest's own inner tag stays": ("trunk", [tag(10), tag(20, 0b0110)], "access", [tag(20, 0b0110)]),
    "a service tag is payload": (
        "access", [tag(200, 0b1000, tpid=ETH_P_8021AD)], "trunk", [tag(10), tag(200, 0b1000, tpid=ETH_P_8021AD)],
    ),
    "trunk to trunk with priority": ("trunk", [tag(20, 0b0111)], "trunk", [tag(20, 0b0111)]),
    "native to native": ("trunk", [], "trunk", []),
    "native, tagged all the same": ("trunk", [tag(1, 0b1110)], "trunk", []),
    "another VLAN of the trunk": ("trunk", [tag(20)], "access", None),
    "a VLAN that is not on the trunk": ("trunk", [tag(30)], "trunk", "tag_not_allowed"),
    "a tag on an access port": ("access", [tag(10)], "trunk", "tag_not_allowed"),
    "the reserved VLAN": ("trunk", [tag(4095)], "trunk", "vlan_reserved"),
}
ROLES: dict[str, dict[str, object]] = {"access": {"access": 10}, "trunk": {"trunk": [10, 20], "native": 1}}
IN_VLAN_10 = {"access": [], "trunk": [tag(10)]}
MARKS = (number.to_bytes(64, "big") for number in itertools.count(1))  # what tells a test's frames from another's


class Ports:
    """A tap and a cable (a netdev port on a veth) for each of some roles; `wires` has their far ends."""

    def __init__(self, lab: Lab, roles: dict[str, dict[str, object]]) -> None:
        self.host = SwitchHost(lab, "s")
        taps = {f"tap {role}": self.host.guest(f"t{role}", **keys) for role, keys in roles.items()}
        self.wires = {f"cable {role}": cable(self.host, f"c{role}", **keys) for role, keys in roles.items()}
        self.names = {f"cable {role}": lab.name(f"c{role}") for role in roles}
        self.names |= {name: guest.name for name, guest in taps.items()}
        self.host.start()
        self.wires |= {name: self.host.wire(guest) for name, guest in taps.items()}

    def drops(self, port: str) -> dict[str, int]:
        return self.host.stats(self.names[port])["drops"]


@pytest.fixture(scope="module")
def open_ports() -> Iterator[Ports]:
    require_root()
    with Lab() as lab:
        yield Ports(lab, {"a": {}, "b": {}})


@pytest.fixture(scope="module")
def edge_ports() -> Iterator[Ports]:
    require_root()
    with Lab() as lab:
        yield Ports(lab, ROLES)


@pytest.mark.parametrize("tags", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("source", ["tap a", "cable a"])
def test_tags_pass_as_they_are(open_ports: Ports, source: str, tags: list[bytes]) -> None:
    for length in (64, 1500 - 4 * len(tags)):
        frame = ethernet(BROADCAST, X, *tags, payload=bytes(i & 0xFF for i in range(length)))
        open_ports.wires[source].send(frame)
        assert [wire.next() for name, wire in open_ports.wires.items() if name != source] == [frame] * 3


@pytest.mark.parametrize("case", CROSSING.values(), ids=CROSSING)
@pytest.mark.parametrize(("kind_in", "kind_out"), [("tap", "cable"), ("cable", "tap")])
def test_tags_at_the_edge(edge_ports: Ports, kind_in: str, kind_out: str, case: Crossing) -> None:
    role_in, tags_in, role_out, outcome = case
    source, target = f"{kind_in} {role_in}", f"{kind_out} {role_out}"
    drops, mark = edge_ports.drops(source), next(MARKS)
    edge_ports.wires[source].send(marked(X, tags_in, mark), marked(Y, IN_VLAN_10[role_in], mark))
    last = marked(Y, IN_VLAN_10[role_out], mark)
    arrived = edge_ports.wires[target].until(last, lambda frame: frame.endswith(mark))
    assert arrived == ([marked(X, outcome, mark)] if isinstance(outcome, list) else [])
    if isinstance(outcome, str):
        assert edge_ports.drops(source)[outcome] == drops.get(outcome, 0) + 1


def marked(src: str, tags: list[bytes], mark: bytes) -> bytes:
    """A broadcast too long to need padding, with or without its tags."""
    return ethernet(BROADCAST, src, *tags, payload=mark)


# Super-frames


@pytest.mark.parametrize("off", [None, "near", "far"], ids=["offloads", "near end without", "far end without"])
def test_a_stream_leaves_a_tap_by_a_netdev_whole(host: SwitchHost, off: str | None) -> None:
    guest = host.guest("g", "10.0.0.1/24")
    far = cable(host, "c")
    host.start()
    near, far_netns = host.lab.name("c"), host.lab.name("cn")
    host.lab.address(far.device, "10.0.0.2/24", netns=far_netns)
    if off:
        device, netns = (near, host.netns) if off == "near" else (far.device, far_netns)
        host.lab.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", netns=netns)
    transfer(TRANSFER_BYTES, "10.0.0.2", sender=guest.netns, receiver=far_netns)
    longest = max(len(frame) for frame in far.waiting(carries(ETH_P_IP)))
    assert longest <= WIRE_FRAME_BYTES if off == "near" else longest > WIRE_FRAME_BYTES
    transfer(TRANSFER_BYTES, "10.0.0.1", sender=far_netns, receiver=guest.netns)
    assert host.stats(near)["drops"] == {}
