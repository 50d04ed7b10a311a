"""Shaping on every kind of port and with several workers, and what each discipline does to TCP.

With two workers a tap has a queue for each, so what is to leave by a port comes to its home from either.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root
from tests.qoshost import QosHost, flood
from tests.switchhost import Guest
from tests.wire import transfer

ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "n": "10.0.0.3", "m": "10.0.0.4"}
TAPS, DEVICES = "ab", "nm"
MBIT = 1_000_000
TRANSFER = 4 << 20
PINGS = 10
CLASS = "class add parent 1: classid 1:1 htb rate 200mbit"
DISCIPLINES = {
    "pfifo": ["qdisc add root handle 1: pfifo limit 200"],
    "bfifo": ["qdisc add root handle 1: bfifo limit 1mb"],
    "pfifo_fast": ["qdisc add root handle 1: pfifo_fast"],
    "prio": ["qdisc add root handle 1: prio"],
    "sfq": ["qdisc add root handle 1: sfq perturb 1"],
    "fq_codel": ["qdisc add root handle 1: fq_codel"],
    "tbf": ["qdisc add root handle 1: tbf rate 200mbit burst 64kb latency 50ms"],
    "tbf, small burst": ["qdisc add root handle 1: tbf rate 200mbit burst 4kb latency 50ms"],
    "htb": ["qdisc add root handle 1: htb default 1", CLASS],
    "htb, nobody's class": ["qdisc add root handle 1: htb", CLASS],
    "htb, sfq": ["qdisc add root handle 1: htb default 1", CLASS, "qdisc add parent 1:1 handle 10: sfq"],
    "htb, fq_codel": ["qdisc add root handle 1: htb default 1", CLASS, "qdisc add parent 1:1 handle 10: fq_codel"],
    "htb, prio, tbf": [
        "qdisc add root handle 1: htb default 1",
        CLASS,
        "qdisc add parent 1:1 handle 10: prio bands 2 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "qdisc add parent 10:2 handle 20: tbf rate 150mbit burst 64kb latency 50ms",
    ],
}


class Site:
    """Guests on taps, and others on the far ends of veth pairs."""

    def __init__(self, lab: Lab, workers: int) -> None:
        self.lab = lab
        self.host = QosHost(lab, "h", workers=workers)
        self.guests = {stem: self.host.guest(stem, f"{ADDRESSES[stem]}/24") for stem in TAPS}
        self.ports = {stem: guest.name for stem, guest in self.guests.items()}
        for stem in DEVICES:
            self._plug(stem)
        self.host.start()
        self._acquaint()

    def _acquaint(self) -> None:
        """Have all know each other's MAC: an ARP request is not urgent, and would be lost behind a flood."""
        for other, guest in self.guests.items():
            mac = self._ip(other, "-br", "link", "show", "dev", guest.name).split()[2]
            for stem in ADDRESSES.keys() - {other}:
                device = self.guests[stem].name
                known = ["lladdr", mac, "dev", device, "nud", "permanent"]
                self._ip(stem, "neigh", "replace", ADDRESSES[other], *known)

    def _ip(self, stem: str, *words: str) -> str:
        return self.lab.ip(*words, netns=self.guests[stem].netns)

    def _plug(self, stem: str) -> None:
        netns = self.lab.namespace(stem)
        near, far = self.lab.veth(f"{stem}0", stem, near_netns=self.host.netns, far_netns=netns)
        self.lab.address(far, f"{ADDRESSES[stem]}/24", netns=netns)
        self.guests[stem] = Guest(far, netns)
        self.ports[stem] = self.host.port(near, kind="netdev")

    def send(self, sender: str, receiver: str) -> None:
        transfer(TRANSFER, ADDRESSES[receiver], sender=self.guests[sender].netns, receiver=self.guests[receiver].netns)

    def shape(self, stem: str, lines: list[str]) -> str:
        self.host.tc(self.ports[stem], *lines)
        return self.ports[stem]

    def reset(self) -> None:
        for port in self.ports.values():
            if "qdisc" in self.host.tc(port, "qdisc show"):
                self.host.post("tc", {"argv": ["qdisc", "del", "dev", port, "root"]})
        self.host.wait_for_rest()


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def shared_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab, request.param)


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.reset()
    assert shared_site.host.daemon.alive() and "Traceback" not in shared_site.host.daemon.text()


@pytest.mark.parametrize("name", DISCIPLINES)
def test_tcp_through_a_discipline(site: Site, name: str) -> None:
    for sender, receiver in (("a", "b"), ("a", "n")):
        port = site.shape(receiver, DISCIPLINES[name])
        site.send(sender, receiver)
        site.host.wait_for_rest()
        counters = site.host.counted(port)["1:"]
        assert counters.sent > TRANSFER and not counters.waiting
        assert counters.packets > TRANSFER // 1514


def test_every_port_shaped_and_everybody_talking(site: Site) -> None:
    """Whichever worker a port is home to, and wherever what leaves by it came in."""
    for stem in ADDRESSES:
        site.shape(stem, DISCIPLINES["htb, fq_codel"])
    for sender in ADDRESSES:
        for receiver in ADDRESSES:
            if sender != receiver:
                site.send(sender, receiver)
    site.host.wait_for_rest()
    assert not any("handover_full" in port["drops"] for port in site.host.get("stats"))


@pytest.mark.parametrize("receiver", ["b", "n"])
def test_the_rate_holds_whoever_sends(site: Site, receiver: str) -> None:
    port = site.shape(receiver, ["qdisc add root handle 1: tbf rate 16mbit burst 16kb latency 50ms"])
    with flood(site.guests["a"].netns, ADDRESSES[receiver]), flood(site.guests["m"].netns, ADDRESSES[receiver]):
        assert 4 * MBIT < site.host.wait_for_bytes(port, "1:", 4 * MBIT) < 32 * MBIT
    assert site.host.counted(port)["1:"].dropped


@pytest.mark.parametrize("queue", ["pfifo_fast", "prio"])
def test_the_more_urgent_goes_first(site: Site, queue: str) -> None:
    """What TOS says is urgent passes by a queue that would not let it in."""
    port = site.shape("b", ["qdisc add root handle 1: htb default 1", "class add parent 1: classid 1:1 htb rate 4mbit"])
    site.host.tc(port, f"qdisc add parent 1:1 handle 10: {queue}")
    with flood(site.guests["m"].netns, ADDRESSES["b"]):
        site.host.wait_for_waiting(port, "10:", 900)
        ping = ["ping", "-n", "-q", "-Q", "0x10", "-i", "0.05", "-c", str(PINGS), "-W", "1", ADDRESSES["b"]]
        told = site.lab.run(*ping, netns=site.guests["a"].netns).stdout
    assert f"{PINGS} received" in told, told


@pytest.mark.parametrize("queue", ["sfq", "fq_codel"])
def test_a_thin_flow_passes_a_fat_one(site: Site, queue: str) -> None:
    port = site.shape("b", ["qdisc add root handle 1: htb default 1", "class add parent 1: classid 1:1 htb rate 4mbit"])
    site.host.tc(port, f"qdisc add parent 1:1 handle 10: {queue}")
    with flood(site.guests["m"].netns, ADDRESSES["b"]):
        site.host.wait_for_waiting(port, "10:", 50)
        ping = ["ping", "-n", "-q", "-i", "0.05", "-c", str(PINGS), "-W", "1", ADDRESSES["b"]]
        told = site.lab.run(*ping, netns=site.guests["a"].netns).stdout
    assert f"{PINGS} received" in told, told
    assert site.host.counted(port)["10:"].dropped
