"""Networks of a running switch and the machines on them: who reaches whom, and what is said where nobody is reached.

One switch serves all tests. Router `main` has a network of each mode, an uplink by a cable, and one to the host behind
a tap; router `lone` has one network and knows nothing else.

    guest a  VLAN 10 ─┐ 10.0.10.1  routed     203.0.113.2 ── cable, MTU 1400 ── 203.0.113.254  world
    guest b  VLAN 20 ─┤ 10.0.20.1  routed   192.168.254.2 ── tap ──────────── 192.168.254.1  the host
    guest c  VLAN 30 ─┤ 10.0.30.1  isolated
    guest d  VLAN 40 ─┤ 10.0.40.1  nat
    guest l  VLAN 50 ─┘ 10.0.50.1  routed, router lone
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.lab import Lab, require_root
from tests.routerhost import RouterHost, datagram, listening, probe
from tests.switchhost import Guest
from tests.wire import carries, transfer

WORLD, WORLD6, HOST = "203.0.113.254", "2001:db8::fe", "192.168.254.1"
UPLINK, UPLINK6, UPLINK_MTU = "203.0.113.2", "2001:db8::2", 1400
BEHIND_B = "198.51.100.1"
TRANSFER_BYTES = 4 << 20
ETH_P_IP, ETH_P_ARP = 0x0800, 0x0806


class Site:
    """The switch, and the machines around it by their names."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.a = self._guest("a", 10)
        self.b = self._guest("b", 20)
        self.c = self._guest("c", 30)
        self.d = self._guest("d", 40)
        self.lone = self._guest("l", 50)
        self.trunk = host.guest("t", trunk=[10, 20])
        self.world = host.uplink(
            "w", [f"{UPLINK}/24", f"{UPLINK6}/64"], f"{WORLD}/24", f"{WORLD6}/64", mtu=UPLINK_MTU, gateway=WORLD
        )
        self.behind = self._host_behind_a_tap()
        for vlan, mode in ((10, "routed"), (20, "routed"), (30, "isolated"), (40, "nat")):
            host.network(f"br0.{vlan}", f"10.0.{vlan}.1/24", f"fd00:{vlan}::1/64", mode=mode)
        host.network("br0.50", "10.0.50.1/24", "fd00:50::1/64", router="lone")
        host.networks["br0.20", "main"]["address"] += ["10.0.21.1/24"]
        host.routes += [{"to": "198.51.100.0/24", "via": "10.0.20.2"}, {"to": "198.18.0.0/24", "via": HOST}]
        host.start()
        self._more_addresses()

    def _guest(self, stem: str, vlan: int) -> Guest:
        addresses = (f"10.0.{vlan}.2/24", f"fd00:{vlan}::2/64")
        return self.host.station(stem, *addresses, gateway=[f"10.0.{vlan}.1", f"fd00:{vlan}::1"], access=vlan)

    def _host_behind_a_tap(self) -> Guest:
        netns = self.lab.namespace("u")
        name = self.lab.name("u")
        self.host.ports[name] = {"kind": "tap", "netns": netns, "address": "192.168.254.2/30"}
        return Guest(name, netns)

    def _more_addresses(self) -> None:
        lab = self.lab
        lab.address(self.b.name, "10.0.21.2/24", netns=self.b.netns)
        lab.address("lo", f"{BEHIND_B}/32", netns=self.b.netns)
        lab.address(self.behind.name, f"{HOST}/30", netns=self.behind.netns)
        lab.address("lo", "198.18.0.1/32", netns=self.behind.netns)
        for vlan in (10, 20, 40):
            for far, via in ((f"10.0.{vlan}.0/24", UPLINK), (f"fd00:{vlan}::/64", UPLINK6)):
                lab.ip("route", "add", far, "via", via, netns=self.world.netns)
            lab.ip("route", "add", f"10.0.{vlan}.0/24", "via", "192.168.254.2", netns=self.behind.netns)

    def reaches(self, guest: Guest, address: str) -> bool:
        """Whether an address answers the guest's echo request, the first one: it waits while neighbours are sought."""
        return self.lab.ping(address, netns=guest.netns, limit_s=3)

    def hears_nothing(self, guest: Guest, address: str) -> bool:
        """Whether an echo request stays without answer for a while."""
        return not self.lab.ping(address, netns=guest.netns, limit_s=0.3)

    def gateway_mac(self, guest: Guest, address: str) -> str:
        """The MAC that the guest has learned for an address."""
        neighbours = self.lab.ip("neigh", "show", address, "dev", guest.name, netns=guest.netns)
        return re.search(r"lladdr (\S+)", neighbours)[1]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


# Reached


@pytest.mark.parametrize("address", ["10.0.20.1", "10.0.21.1", "fd00:20::1"])
def test_the_gateway_answers_at_each_of_its_addresses(site: Site, address: str) -> None:
    assert site.reaches(site.b, address)
    assert site.gateway_mac(site.b, address) == site.gateway_mac(site.b, "10.0.20.1")


def test_the_gateway_answers_at_its_link_local_address(site: Site) -> None:
    assert site.reaches(site.a, "fd00:10::1")
    mac = bytes.fromhex(site.gateway_mac(site.a, "fd00:10::1").replace(":", ""))
    words = struct.unpack("!4H", bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:])))
    assert site.reaches(site.a, "fe80::" + ":".join(f"{word:x}" for word in words) + f"%{site.a.name}")


@pytest.mark.parametrize("address", ["10.0.20.2", "10.0.21.2", "fd00:20::2", "10.0.20.1", BEHIND_B])
def test_routed_networks_reach_each_other(site: Site, address: str) -> None:
    assert site.reaches(site.a, address)


@pytest.mark.parametrize("address", [WORLD, WORLD6, HOST, "198.18.0.1"])
def test_a_routed_guest_reaches_out_by_either_uplink(site: Site, address: str) -> None:
    assert site.reaches(site.a, address)


@pytest.mark.parametrize("address", ["10.0.10.2", "fd00:10::2", "10.0.20.1"])
def test_the_world_reaches_a_routed_guest(site: Site, address: str) -> None:
    assert site.reaches(site.world, address)


def test_the_host_behind_the_tap_reaches_a_routed_guest(site: Site) -> None:
    assert site.reaches(site.behind, "10.0.10.2")
    assert site.reaches(site.behind, "192.168.254.2")


def test_a_hop_takes_one_from_the_ttl(site: Site) -> None:
    said = site.lab.run("ping", "-n", "-c", "1", "10.0.20.2", netns=site.a.netns).stdout
    assert "ttl=63" in said
    said = site.lab.run("ping", "-n", "-c", "1", "fd00:20::2", netns=site.a.netns).stdout
    assert "ttl=63" in said


# Not reached


@pytest.mark.parametrize("address", ["10.0.10.2", "fd00:10::2", WORLD, HOST, "10.0.40.2"])
def test_an_isolated_network_reaches_nobody_but_its_gateway(site: Site, address: str) -> None:
    assert site.reaches(site.c, "10.0.30.1") and site.reaches(site.c, "fd00:30::1")
    before = site.host.stats(site.c.name)["drops"].get("isolated_network", 0)
    assert site.hears_nothing(site.c, address)
    assert site.host.stats(site.c.name)["drops"]["isolated_network"] > before


@pytest.mark.parametrize("address", ["10.0.30.2", "fd00:30::2"])
def test_nobody_reaches_an_isolated_network(site: Site, address: str) -> None:
    assert site.hears_nothing(site.a, address)


@pytest.mark.parametrize("address", [WORLD, WORLD6, "10.0.20.2"])
def test_a_nat_network_reaches_the_world(site: Site, address: str) -> None:
    assert site.reaches(site.d, address)


@pytest.mark.parametrize(("address", "seen"), [(WORLD, UPLINK), (WORLD6, UPLINK6)])
def test_the_world_sees_the_uplinks_address(site: Site, address: str, seen: str) -> None:
    with listening(site.world.netns, address, socket.SOCK_DGRAM) as server:
        with datagram(site.d.netns, server.family) as client:
            client.sendto(b"hello", server.getsockname()[:2])
            message, peer = server.recvfrom(64)
            assert (message, peer[0]) == (b"hello", seen)
            server.sendto(b"and back", peer)
            assert client.recv(64) == b"and back"


@pytest.mark.parametrize("address", ["10.0.40.2", "fd00:40::2"])
def test_nobody_gets_into_a_nat_network(site: Site, address: str) -> None:
    before = site.host.drops().get("private_network", 0)
    assert site.hears_nothing(site.world, address)
    assert site.host.drops()["private_network"] > before
    assert site.hears_nothing(site.a, address)


# What is said instead


@pytest.mark.parametrize(("prefix", "kind"), [("10.0.{}.", 11), ("fd00:{}::", 3)], ids=["IPv4", "IPv6"])
def test_a_traceroute_sees_each_hop(site: Site, prefix: str, kind: int) -> None:
    target = prefix.format(20) + "2"
    first = probe(site.a.netns, target, ttl=1)
    assert (first.sender, first.error, first.kind, first.code) == (prefix.format(10) + "1", errno.EHOSTUNREACH, kind, 0)
    last = probe(site.a.netns, target, ttl=2)
    assert (last.sender, last.error) == (target, errno.ECONNREFUSED)


@pytest.mark.parametrize(("address", "kind", "code"), [(WORLD, 3, 0), ("2001:db8::fe", 1, 0)])
def test_where_no_route_leads_is_unreachable(site: Site, address: str, kind: int, code: int) -> None:
    complaint = probe(site.lone.netns, address)
    assert complaint.sender in ("10.0.50.1", "fd00:50::1")
    assert (complaint.error, complaint.kind, complaint.code) == (errno.ENETUNREACH, kind, code)


def test_a_neighbour_that_does_not_answer_is_unreachable(site: Site) -> None:
    """It is asked three times, a second apart, by both families at once here."""
    with ThreadPoolExecutor(2) as pool:
        four, six = pool.map(lambda address: probe(site.a.netns, address), ("10.0.20.99", "fd00:20::99"))
    assert (four.sender, four.error, four.kind, four.code) == ("10.0.10.1", errno.EHOSTUNREACH, 3, 1)
    assert (six.sender, six.error, six.kind, six.code) == ("fd00:10::1", errno.EHOSTUNREACH, 1, 3)


@pytest.mark.parametrize("address", [WORLD, WORLD6])
@pytest.mark.parametrize("who", ["a", "d"])
def test_what_does_not_fit_the_uplink_is_told(site: Site, who: str, address: str) -> None:
    guest: Guest = getattr(site, who)
    ping = ("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", address)
    said = site.lab.run(*ping, "-s", str(UPLINK_MTU), netns=guest.netns, check=False).stdout
    assert re.search(rf"mtu ?= ?{UPLINK_MTU}|mtu: {UPLINK_MTU}", said), said
    header = 48 if ":" in address else 28
    assert "2 received" in site.lab.run(*ping, "-s", str(UPLINK_MTU - header), netns=guest.netns).stdout


@pytest.mark.parametrize("who", ["a", "d"])
def test_what_may_be_cut_up_passes_whole(site: Site, who: str) -> None:
    guest: Guest = getattr(site, who)
    ping = ("ping", "-n", "-c", "1", "-W", "2", "-M", "dont", "-s", "8000", WORLD)
    assert "1 received" in site.lab.run(*ping, netns=guest.netns).stdout


@pytest.mark.parametrize("address", [WORLD, WORLD6])
@pytest.mark.parametrize("who", ["a", "d"])
def test_tcp_finds_the_way_through_the_narrow_uplink(site: Site, who: str, address: str) -> None:
    guest: Guest = getattr(site, who)
    transfer(TRANSFER_BYTES, address, sender=guest.netns, receiver=site.world.netns)


# VLANs and changes


@pytest.mark.parametrize("vlan", [10, 20])
def test_a_trunk_carries_each_network_with_its_tag(site: Site, vlan: int) -> None:
    source, station = f"10.0.{vlan}.77", "02:00:00:00:00:77"
    wire = site.host.wire(site.trunk)
    tagged = Ether(src=station, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=vlan)
    wire.send(bytes(tagged / ARP(op=1, hwsrc=station, psrc=source, pdst=f"10.0.{vlan}.1")))
    answer = Ether(wire.next(lambda frame: carries(ETH_P_ARP)(frame) and frame[24:26] == b"\0\2"))
    assert (answer[Dot1Q].vlan, answer[ARP].psrc) == (vlan, f"10.0.{vlan}.1")
    other = 30 - vlan
    to_gateway = Ether(src=station, dst=answer.src) / Dot1Q(vlan=vlan)
    wire.send(bytes(to_gateway / IP(src=source, dst=f"10.0.{other}.2") / ICMP()))
    echo = Ether(wire.next(lambda frame: carries(ETH_P_IP)(frame) and Ether(frame).haslayer(ICMP)))
    assert (echo[Dot1Q].vlan, echo[IP].src, echo[ICMP].type) == (vlan, f"10.0.{other}.2", 0)


def test_a_network_comes_and_goes_at_run_time(site: Site) -> None:
    host, late = site.host, site.host.guest("n", access=60)
    host.ctl("port", "add", late.name, "--bridge", "br0", "--netns", late.netns, "--access", "60")
    site.lab.address(late.name, "10.0.60.2/24", netns=late.netns)
    site.lab.ip("route", "add", "default", "via", "10.0.60.1", netns=late.netns)
    assert site.hears_nothing(late, "10.0.60.1")
    host.ctl("network", "add", "br0.60", "--address", "10.0.60.1/24")
    assert site.reaches(late, "10.0.60.1") and site.reaches(late, "10.0.10.2") and site.reaches(site.a, "10.0.60.2")
    host.ctl("network", "set", "br0.60", "--mode", "isolated")
    assert site.reaches(late, "10.0.60.1") and site.hears_nothing(late, "10.0.10.2")
    host.ctl("network", "del", "br0.60")
    assert site.hears_nothing(late, "10.0.60.1")
    host.ctl("port", "del", late.name)


def test_a_static_route_comes_and_goes_at_run_time(site: Site) -> None:
    site.lab.address("lo", "198.51.101.1/32", netns=site.b.netns)
    assert site.hears_nothing(site.a, "198.51.101.1")  # it goes to the world
    site.host.ctl("route", "add", "198.51.101.0/24", "--via", "10.0.20.2")
    assert site.reaches(site.a, "198.51.101.1")
    site.host.ctl("route", "del", "198.51.101.0/24")
    assert site.hears_nothing(site.a, "198.51.101.1")


def test_the_daemon_has_not_complained(site: Site) -> None:
    assert "Traceback" not in site.host.daemon.text()
