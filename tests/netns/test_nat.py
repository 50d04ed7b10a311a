"""NAT by rules on real devices: what each end sees of a connection, and that the answers find their way back.

One switch serves all tests; each begins without rules and connections.

    guest  10.0.0.2 ─┐ 10.0.0.1 nat        203.0.113.2 ── 203.0.113.254 world ── MTU 1300 ── 198.18.0.2 far
    server 10.0.0.5 ─┘
    plain  10.0.1.2 ── 10.0.1.1 routed     the world sends 198.51.100.0/24 to the switch
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, datagram, listening, probe, reach
from tests.switchhost import LIMIT_S, Guest
from tests.udhcpc import ask
from tests.wire import transfer

GATEWAY, UPLINK, WORLD, FAR = "10.0.0.1", "203.0.113.2", "203.0.113.254", "198.18.0.2"
GUEST, SERVER, PLAIN = "10.0.0.2", "10.0.0.5", "10.0.1.2"
GUEST6, SERVER6, UPLINK6, WORLD6 = "fd00::2", "fd00::5", "2001:db8::2", "2001:db8::fe"
PUBLIC = "198.51.100.10"
NARROW_MTU = 1300
TRANSFER_BYTES = 2 << 20


class Site:
    """The switch and its machines."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.guest = host.station("g", f"{GUEST}/24", f"{GUEST6}/64", gateway=[GATEWAY, "fd00::1"], access=10)
        self.server = host.station("s", f"{SERVER}/24", f"{SERVER6}/64", gateway=[GATEWAY, "fd00::1"], access=10)
        self.plain = host.station("p", f"{PLAIN}/24", gateway="10.0.1.1", access=20)
        self.world = host.uplink(
            "w", [f"{UPLINK}/24", f"{UPLINK6}/64"], f"{WORLD}/24", f"{WORLD6}/64", gateway=WORLD
        )
        self.uplink = host.name_of_uplink(self.world)
        hosts = [{"name": "printer", "address": "10.0.0.9"}]
        host.network("br0.10", f"{GATEWAY}/24", "fd00::1/64", mode="nat", dns={"hosts": hosts})
        host.network("br0.20", "10.0.1.1/24")
        host.start()
        self.far = self._far()
        lab.ip("route", "add", "198.51.100.0/24", "via", UPLINK, netns=self.world.netns)

    def _far(self) -> Guest:
        """A machine behind the world, by a link of a smaller MTU."""
        lab = self.lab
        netns = lab.namespace("f")
        near, far = lab.veth("wf", "f", near_netns=self.world.netns, far_netns=netns)
        for device, address, place in ((near, "198.18.0.1/30", self.world.netns), (far, f"{FAR}/30", netns)):
            lab.ip("link", "set", device, "mtu", str(NARROW_MTU), netns=place)
            lab.address(device, address, netns=place)
        lab.ip("route", "add", "default", "via", "198.18.0.1", netns=netns)
        lab.sysctl("net/ipv4/ip_forward", 1, netns=self.world.netns)
        return Guest(far, netns)

    def fresh(self) -> None:
        """Neither rules nor connections."""
        for program in ("iptables-restore", "ip6tables-restore"):
            self.host.rules(program, "*nat\nCOMMIT\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\nCOMMIT\n")
        self.host.flush()

    def translate(self, *words: str) -> None:
        """A rule of the table nat."""
        self.host.iptables("-t", "nat", *words)


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture
def site(made: Site) -> Site:
    made.fresh()
    return made


def seen_by(server: str, address: str, client: str, target: tuple[str, int] | None = None) -> tuple[str, int]:
    """Send a datagram from one namespace to another, and an answer back; returns whom the server saw."""
    with listening(server, address, socket.SOCK_DGRAM) as listener, datagram(client, listener.family) as sock:
        port = listener.getsockname()[1]
        sock.sendto(b"hello", target or (address, port))
        message, peer = listener.recvfrom(64)
        assert message == b"hello"
        listener.sendto(b"and back", peer)
        answer, source = sock.recvfrom(64)
        assert (answer, source[:2]) == (b"and back", target or (address, port))
        return peer[:2]


def greet(server: str, address: str, port: int, client: str, target: tuple[str, int]) -> str:
    """Connect by TCP to `target`, which leads to a server in another namespace; returns whom the server saw."""
    with listening(server, address, port=port) as listener, reach(client, *target) as sock:
        accepted, peer = listener.accept()
        with accepted:
            accepted.sendall(b"welcome")
            assert sock.recv(64) == b"welcome"
            assert sock.getpeername()[:2] == target
        return peer[0]


# Source


def test_masquerade_by_a_rule(site: Site) -> None:
    site.lab.ip("route", "replace", "10.0.1.0/24", "via", UPLINK, netns=site.world.netns)
    assert seen_by(site.world.netns, WORLD, site.plain.netns)[0] == PLAIN
    site.translate("-A", "POSTROUTING", "-o", site.uplink, "-j", "MASQUERADE")
    assert seen_by(site.world.netns, WORLD, site.plain.netns)[0] == UPLINK


def test_masquerade_of_ipv6(site: Site) -> None:
    assert seen_by(site.world.netns, WORLD6, site.guest.netns)[0] == UPLINK6


def test_snat_to_a_range_of_addresses(site: Site) -> None:
    site.translate("-A", "POSTROUTING", "-s", "10.0.0.0/24", "-j", "SNAT", "--to-source", f"{PUBLIC}-198.51.100.12")
    assert seen_by(site.world.netns, WORLD, site.guest.netns)[0] in {PUBLIC, "198.51.100.11", "198.51.100.12"}


def test_ports_of_a_range_are_used_up_and_told(site: Site) -> None:
    site.translate("-A", "POSTROUTING", "-p", "udp", "-j", "SNAT", "--to-source", f"{PUBLIC}:4000-4003")
    with listening(site.world.netns, WORLD, socket.SOCK_DGRAM) as server, ExitStack() as stack:
        senders = [stack.enter_context(datagram(site.guest.netns)) for _ in range(5)]
        for sock in senders[:4]:
            sock.sendto(b"hello", server.getsockname())
        assert sorted(server.recvfrom(64)[1] for _ in range(4)) == [(PUBLIC, port) for port in range(4000, 4004)]
        before = site.host.drops().get("nat_exhausted", 0)
        senders[4].sendto(b"one too many", server.getsockname())
        wait_for(lambda: site.host.drops().get("nat_exhausted", 0) > before, LIMIT_S, "the drop")


def test_masquerade_follows_the_uplinks_address(site: Site) -> None:
    assert seen_by(site.world.netns, WORLD, site.guest.netns)[0] == UPLINK
    assert site.host.connections("-p", "udp")
    port = site.host.ports[site.uplink]
    was = port["address"]
    port["address"] = ["203.0.113.9/24", f"{UPLINK6}/64"]
    site.host.apply()
    assert not [line for line in site.host.connections("-p", "udp") if f"dst={UPLINK}" in line]
    assert seen_by(site.world.netns, WORLD, site.guest.netns)[0] == "203.0.113.9"
    port["address"] = was
    site.host.apply()
    assert seen_by(site.world.netns, WORLD, site.guest.netns)[0] == UPLINK


# Destination


@pytest.mark.parametrize("target", [(UPLINK, 80), (UPLINK, 8080), (PUBLIC, 80)], ids=str)
def test_dnat_leads_to_a_server_inside(site: Site, target: tuple[str, int]) -> None:
    address, port = target
    site.translate("-A", "PREROUTING", "-d", address, "-p", "tcp", "--dport", str(port), "-j", "DNAT",
                   "--to-destination", f"{SERVER}:80")  # fmt: skip
    assert greet(site.server.netns, SERVER, 80, site.world.netns, target) == WORLD
    shown = site.host.connections("-p", "tcp")
    assert any(f"dst={address} " in line and f"src={SERVER}" in line for line in shown), shown


def test_dnat_of_ipv6(site: Site) -> None:
    rule = ("-A", "PREROUTING", "-d", UPLINK6, "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to", f"[{SERVER6}]:8000")
    site.host.iptables("-t", "nat", *rule, program="ip6tables")
    assert greet(site.server.netns, SERVER6, 8000, site.world.netns, (UPLINK6, 80)) == WORLD6


@pytest.mark.parametrize("who", ["guest", "server"])
def test_hairpin(site: Site, who: str) -> None:
    """A guest, and the server itself, by the public address."""
    client: Guest = getattr(site, who)
    site.translate(*f"-A PREROUTING -d {UPLINK} -p tcp --dport 80 -j DNAT --to {SERVER}:8000".split())
    site.translate("-A", "POSTROUTING", "-s", "10.0.0.0/24", "-d", SERVER, "-p", "tcp", "-j", "MASQUERADE")
    assert greet(site.server.netns, SERVER, 8000, client.netns, (UPLINK, 80)) == GATEWAY


def test_redirect_to_the_switch_itself(site: Site) -> None:
    site.translate("-A", "PREROUTING", "-i", "br0.10", "-p", "udp", "--dport", "53", "-j", "REDIRECT")
    assert ask(site.guest.netns, "192.0.2.99", "printer") == (0, bytes((10, 0, 0, 9)))


def test_netmap_both_ways(site: Site) -> None:
    site.translate("-A", "PREROUTING", "-d", "198.51.100.0/24", "-j", "NETMAP", "--to", "10.0.0.0/24")
    site.translate(*f"-A POSTROUTING -s 10.0.0.0/24 -o {site.uplink} -j NETMAP --to 198.51.100.0/24".split())
    assert greet(site.server.netns, SERVER, 80, site.world.netns, ("198.51.100.5", 80)) == WORLD
    assert seen_by(site.world.netns, WORLD, site.guest.netns)[0] == "198.51.100.2"


# Errors


def test_errors_find_the_guest(site: Site) -> None:
    complaint = probe(site.guest.netns, WORLD)
    assert (complaint.sender, complaint.error) == (WORLD, errno.ECONNREFUSED)
    assert probe(site.guest.netns, FAR, ttl=2).sender == WORLD
    assert probe(site.guest.netns, WORLD6).sender == WORLD6


def test_errors_of_a_server_inside_bear_the_public_address(site: Site) -> None:
    site.translate("-A", "PREROUTING", "-d", UPLINK, "-p", "udp", "-j", "DNAT", "--to-destination", SERVER)
    complaint = probe(site.world.netns, UPLINK)
    assert (complaint.sender, complaint.error) == (UPLINK, errno.ECONNREFUSED)


def test_the_narrow_link_is_found_through_nat(site: Site) -> None:
    ping = ("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1372", FAR)
    said = site.lab.run(*ping, netns=site.guest.netns, check=False).stdout
    assert f"mtu = {NARROW_MTU}" in said or f"mtu={NARROW_MTU}" in said, said
    transfer(TRANSFER_BYTES, FAR, sender=site.guest.netns, receiver=site.far.netns)


def test_the_narrow_link_is_found_by_a_server_inside(site: Site) -> None:
    site.translate("-A", "PREROUTING", "-d", UPLINK, "-p", "tcp", "-j", "DNAT", "--to-destination", SERVER)
    server, far = site.server.netns, site.far.netns
    transfer(TRANSFER_BYTES, SERVER, sender=server, receiver=far, through=(UPLINK, 5001), download=True)


# The words that started it all


def test_the_seeds_words(site: Site) -> None:
    words = site.host.words
    words(*"iptables -t filter -A INPUT -s 0.0.0.0/0.0.0.0 -d".split(), GATEWAY, "-j", "DROP")
    assert not site.lab.ping(GATEWAY, netns=site.guest.netns, limit_s=0.3)
    with pytest.raises(TimeoutError):
        reach(site.guest.netns, GATEWAY, 22, limit_s=0.3)
    words(*"iptables -I INPUT -s 10.0.0.0/24 -p tcp --dport 22 -j ACCEPT".split())
    with pytest.raises(ConnectionRefusedError):  # it is let in to where nothing serves
        reach(site.guest.netns, GATEWAY, 22)
    words(*f"iptables -t nat -A POSTROUTING -s {SERVER} -j SNAT --to-source {PUBLIC}".split())
    words(*f"iptables -t nat -A PREROUTING -d {PUBLIC} -j DNAT --to-destination {SERVER}".split())
    assert seen_by(site.world.netns, WORLD, site.server.netns)[0] == PUBLIC
    assert greet(site.server.netns, SERVER, 22, site.world.netns, (PUBLIC, 22)) == WORLD
    assert site.lab.ping(PUBLIC, netns=site.world.netns)
    assert re.search(rf"-A PREROUTING -d {PUBLIC}/32 -j DNAT --to-destination {SERVER}\n", words("iptables-save"))
    assert "Traceback" not in site.host.daemon.text()
