"""The frames of a netdev port are the switch's alone: the host that has the device neither answers nor counts them.

Host and guest are two namespaces joined by a veth; the host has an address on its end, which it would answer for.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, Running, inside, wait_for

LIMIT_S = 10.0
HOST, GUEST = "10.9.0.1", "10.9.0.2"
ARP = "0806"


class Pair:
    """A host and a guest that reach each other, until the host's end becomes a port."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host, self.guest = lab.namespace("h"), lab.namespace("g")
        self.near, self.far = lab.veth("n", "f", near_netns=self.host, far_netns=self.guest)
        lab.address(self.near, f"{HOST}/24", netns=self.host)
        lab.address(self.far, f"{GUEST}/24", netns=self.guest)

    def ping(self) -> bool:
        self.lab.ip("neigh", "flush", "all", netns=self.guest)
        return self.lab.ping(HOST, netns=self.guest, limit_s=0.3)

    def take(self) -> Running:
        """Make the host's end a port."""
        process = self.lab.start(sys.executable, "-m", "tests.porthost", self.near, netns=self.host)
        wait_for(lambda: "ready" in process.text() or not process.alive(), LIMIT_S, "the port")
        assert process.alive(), process.text()
        return process

    def frames(self, process: Running, ethertype: str = ARP) -> int:
        return process.text().count(f"frame {self.near} {ethertype}")

    def packets_in(self) -> int:
        """What the host's IP has received: InReceives of /proc/net/snmp."""
        with inside(self.host):
            header, values = [line for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                              if line.startswith("Ip:")]
        return dict(zip(header.split(), values.split(), strict=True))["InReceives"]


@pytest.fixture
def pair(lab: Lab) -> Pair:
    pair = Pair(lab)
    assert pair.ping()
    return pair


def test_the_host_neither_answers_nor_counts_and_the_port_receives(pair: Pair) -> None:
    port, before = pair.take(), pair.packets_in()
    assert not pair.ping()
    # An echo request to the host's own MAC, which needs no ARP: it too is the port's alone.
    mac = pair.lab.run("cat", f"/sys/class/net/{pair.near}/address", netns=pair.host).stdout.strip()
    pair.lab.ip("neigh", "replace", HOST, "lladdr", mac, "dev", pair.far, netns=pair.guest)
    assert not pair.lab.ping(HOST, netns=pair.guest, limit_s=0.3)
    wait_for(lambda: pair.frames(port) and pair.frames(port, "0800"), LIMIT_S, "the port to receive both")
    assert pair.packets_in() == before


def test_flushing_the_ruleset_opens_no_door(pair: Pair) -> None:
    port = pair.take()
    pair.lab.run("nft", "flush", "ruleset", netns=pair.host)
    assert not pair.ping()
    delete = ("nft", "delete", "table", "netdev", f"vswitch_{port.pid}")
    assert pair.lab.run(*delete, netns=pair.host, check=False).returncode != 0
    assert not pair.ping()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_host_has_its_device_back_when_the_port_goes_or_its_daemon_dies(pair: Pair, ending: int) -> None:
    port = pair.take()
    assert not pair.ping()
    port.stop(ending)
    wait_for(pair.ping, LIMIT_S, "the host to answer again")
    assert "vswitch" not in pair.lab.run("nft", "list", "ruleset", netns=pair.host).stdout


def test_a_device_that_returns_is_blocked_again_and_heard(pair: Pair) -> None:
    port, lab = pair.take(), pair.lab
    lab.ip("link", "del", pair.near, netns=pair.host)
    wait_for(lambda: f"state {pair.near} missing" in port.text(), LIMIT_S, "it to be missed")
    lab.veth("n", "f", near_netns=pair.host, far_netns=pair.guest)
    lab.address(pair.far, f"{GUEST}/24", netns=pair.guest)
    wait_for(lambda: f"state {pair.near} up" in port.text(), LIMIT_S, "it to be taken back")
    lab.address(pair.near, f"{HOST}/24", netns=pair.host)
    heard = pair.frames(port)
    assert not pair.ping()
    wait_for(lambda: pair.frames(port) > heard, LIMIT_S, "the port to receive again")


def test_a_device_that_was_away_and_returns_with_its_index_is_heard_again(pair: Pair) -> None:
    port, lab = pair.take(), pair.lab
    elsewhere = lab.namespace("e")
    lab.ip("link", "set", pair.near, "netns", elsewhere, netns=pair.host)
    wait_for(lambda: f"state {pair.near} missing" in port.text(), LIMIT_S, "it to be missed")
    lab.ip("link", "set", pair.near, "netns", pair.host, netns=elsewhere)
    wait_for(lambda: f"state {pair.near} up" in port.text(), LIMIT_S, "it to be taken back")
    lab.address(pair.near, f"{HOST}/24", netns=pair.host)
    heard = pair.frames(port)
    assert not pair.ping()
    wait_for(lambda: pair.frames(port) > heard, LIMIT_S, "the port to receive again")
