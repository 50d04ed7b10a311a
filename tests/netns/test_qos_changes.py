"""Queues that change and go while frames wait: every frame meets a fate that has a name, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab import Lab, require_root
from tests.qoshost import QosHost, floods
from tests.stream import Stream
from tests.switchboard import ethernet
from tests.wire import Wire

ADDRESS = "10.0.0.3"
FRAMES = 40
SLOW = (
    "qdisc add root handle 1: htb default 10",
    "class add parent 1: classid 1:1 htb rate 8kbit burst 1600 cburst 1600",
    "class add parent 1:1 classid 1:10 htb rate 8kbit burst 1600 cburst 1600",
    "class add parent 1:1 classid 1:20 htb rate 8mbit",
    "qdisc add parent 1:10 handle 10: pfifo limit 100",
)
FASTER = ("class change classid 1:1 htb rate 8mbit", "class change classid 1:10 htb rate 8mbit")


class Site:
    """A guest that sends, and one that is sent to by a port that is shaped."""

    def __init__(self, lab: Lab, workers: int = 1) -> None:
        self.lab = lab
        self.host = QosHost(lab, "h", workers=workers)
        self.sender, self.shaped = self.host.guest("a"), self.host.guest("b", f"{ADDRESS}/24")
        self.host.start()
        self.near, self.far = self.host.wire(self.sender), self.host.wire(self.shaped)
        for guest in (self.sender, self.shaped):
            self.host.wait_for_state(guest.name, "up")
        self.far.send(ethernet(self.near.mac, self.far.mac))
        self.near.next()

    def fill(self) -> None:
        """Have frames wait at the port."""
        self.near.send(*[ethernet(self.far.mac, self.near.mac, payload=bytes(1400))] * FRAMES)
        self.host.wait_for_waiting(self.shaped.name, "10:", FRAMES // 2)
        assert self.host.stats(self.sender.name)["queued"] >= FRAMES // 2

    def drops(self) -> dict[str, int]:
        return self.host.stats(self.sender.name)["drops"]


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab, request.param)


def without_the_qdisc(site: Site) -> None:
    site.host.tc(site.shaped.name, "qdisc del root")


def without_the_leaf(site: Site) -> None:
    site.host.tc(site.shaped.name, "qdisc del parent 1:10 handle 10:")


def without_the_class(site: Site) -> None:
    site.host.tc(site.shaped.name, "class del classid 1:10")


def without_the_port(site: Site) -> None:
    del site.host.ports[site.shaped.name]
    site.host.apply()


def replaced(site: Site) -> None:
    site.host.tc(site.shaped.name, "qdisc replace root handle 2: tbf rate 10mbit burst 16kb latency 50ms")


def without_the_sender(site: Site) -> None:
    del site.host.ports[site.sender.name]
    site.host.apply()


GOING = [without_the_qdisc, without_the_leaf, without_the_class, without_the_port, replaced]


@pytest.mark.parametrize("change", GOING, ids=lambda change: change.__name__)
def test_the_books_balance_when_queues_go(site: Site, change: Callable[[Site], None]) -> None:
    site.host.tc(site.shaped.name, *SLOW)
    site.fill()
    change(site)
    site.host.wait_for_rest()
    assert site.drops().get("qdisc_gone", 0) >= FRAMES // 2, site.drops()


def test_the_books_balance_when_the_sender_goes(site: Site) -> None:
    """Whoever sent them, they leave: faster now."""
    site.host.tc(site.shaped.name, *SLOW)
    site.fill()
    without_the_sender(site)
    site.host.tc(site.shaped.name, *FASTER)
    for _ in range(FRAMES):
        site.far.next()
    site.host.wait_for_rest()
    assert site.host.counted(site.shaped.name)["1:"].waiting == 0


def test_what_waits_stays_when_its_class_is_changed(site: Site) -> None:
    site.host.tc(site.shaped.name, *SLOW)
    numbers = [number.to_bytes(2, "big") for number in range(FRAMES)]
    site.near.send(*[ethernet(site.far.mac, site.near.mac, payload=number) for number in numbers])
    site.host.wait_for_waiting(site.shaped.name, "10:", 1)
    site.host.tc(site.shaped.name, *FASTER)
    assert [site.far.next()[14:16] for _ in range(FRAMES)] == numbers
    site.host.wait_for_rest()


def test_an_apply_under_traffic_loses_nothing_of_others(lab: Lab) -> None:
    host = QosHost(lab, "h")
    guests = [host.guest(stem) for stem in "ab"]
    shaped = host.guest("c", f"{ADDRESS}/24")
    loud = host.guest("d", "10.0.0.4/24")
    host.start()
    sender, receiver = (host.wire(guest) for guest in guests)
    introduce(sender, receiver)
    plain = host.ports[shaped.name]
    with floods(loud.netns, ADDRESS, 10, 20), Stream(sender, receiver) as stream:
        stream.goes_on()
        for section in sections():
            host.ports[shaped.name] = plain | section
            host.apply()
            stream.goes_on()
    assert stream.lost() == []
    host.wait_for_rest()


def sections() -> Iterator[dict[str, object]]:
    """What a port may have, one after the other."""
    tree = ["qdisc add root handle 1: htb default 10", "class add parent 1: classid 1:1 htb rate 20mbit"]
    tree += [f"class add parent 1:1 classid 1:{minor} htb rate 5mbit ceil 20mbit" for minor in (10, 20)]
    tree += ["filter add parent 1: protocol ip prio 1 u32 match ip dport 20 0xffff flowid 1:20"]
    yield {"limit": {"egress": "20mbit", "ingress": "50mbit"}}
    yield {"limit": {"egress": "10mbit"}}
    yield {"tc": tree}
    yield {"tc": [*tree, "qdisc add parent 1:10 handle 10: sfq perturb 1", "qdisc add parent 1:20 handle 20: fq_codel"]}
    yield {"tc": tree[:-2] + ["qdisc add parent 1:10 handle 10: prio"]}
    yield {"tc": ["qdisc add root handle 1: tbf rate 10mbit burst 16kb latency 50ms"]}
    yield {"tc": []}


def introduce(sender: Wire, receiver: Wire) -> None:
    """Have each known to the bridge."""
    for one, other in ((sender, receiver), (receiver, sender)):
        one.send(ethernet(other.mac, one.mac))
        other.next()


@pytest.fixture
def lab() -> Iterator[Lab]:
    require_root()
    with Lab() as lab:
        yield lab
