"""What rules do to packets that real stacks send and receive: refused, marked, changed, put together from pieces.

    guest 10.0.0.2 ── 10.0.0.1 nat     203.0.113.2 ── 203.0.113.254 world
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, datagram, listening, probe, reach
from tests.switchhost import LIMIT_S

GATEWAY, GUEST, NEIGHBOUR, UPLINK, WORLD = "10.0.0.1", "10.0.0.2", "10.0.0.3", "203.0.113.2", "203.0.113.254"
TABLES = ("raw", "mangle", "nat", "filter")
IP_RECVTTL, IP_RECVTOS = 12, 13
LARGE = 8000  # a datagram of six fragments


class Site:
    """The switch, two guests and the world."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.guest = host.station("g", f"{GUEST}/24", gateway=GATEWAY)
        self.neighbour = host.station("n", f"{NEIGHBOUR}/24", gateway=GATEWAY)
        self.world = host.uplink("w", f"{UPLINK}/24", f"{WORLD}/24", gateway=WORLD)
        host.network("br0", f"{GATEWAY}/24", mode="nat")
        host.start()

    def fresh(self) -> None:
        """Neither rules nor connections."""
        self.host.rules("iptables-restore", "".join(f"*{table}\nCOMMIT\n" for table in TABLES))
        self.host.flush()


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture
def site(made: Site) -> Site:
    made.fresh()
    return made


def header_seen(site: Site, option: int) -> int:
    """Send a datagram to the world; returns the field of its header that a socket option tells."""
    with listening(site.world.netns, WORLD, socket.SOCK_DGRAM) as server, datagram(site.guest.netns) as client:
        server.setsockopt(socket.IPPROTO_IP, option, 1)
        client.sendto(b"hello", server.getsockname())
        _, ancillary, _, _ = server.recvmsg(64, 64)
        return int.from_bytes(ancillary[0][2], "little")


# Refused


@pytest.mark.parametrize("target", [WORLD, NEIGHBOUR], ids=["routed", "bridged"])
def test_a_connection_is_refused_by_a_reset(site: Site, target: str) -> None:
    site.host.iptables("-A", "FORWARD", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
    with pytest.raises(ConnectionRefusedError):
        reach(site.guest.netns, target, 80)


@pytest.mark.parametrize(("kind", "code"), [("icmp-admin-prohibited", 13), ("icmp-host-unreachable", 1)])
def test_a_datagram_is_refused_with_the_code_of_the_rule(site: Site, kind: str, code: int) -> None:
    site.host.iptables("-A", "FORWARD", "-p", "udp", "-j", "REJECT", "--reject-with", kind)
    complaint = probe(site.guest.netns, WORLD)
    assert (complaint.sender, complaint.error, complaint.kind, complaint.code) == (GATEWAY, errno.EHOSTUNREACH, 3, code)


def test_a_reset_ends_what_was_established(site: Site) -> None:
    with listening(site.world.netns, WORLD) as server, reach(site.guest.netns, *server.getsockname()) as client:
        with server.accept()[0]:
            site.host.iptables("-A", "FORWARD", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
            client.send(b"more")
            with pytest.raises(ConnectionResetError):
                client.recv(1)


# Changed


def test_the_ttl_is_set(site: Site) -> None:
    assert header_seen(site, IP_RECVTTL) == 63
    site.host.iptables("-t", "mangle", "-A", "POSTROUTING", "-j", "TTL", "--ttl-set", "77")
    assert header_seen(site, IP_RECVTTL) == 77


@pytest.mark.parametrize(("words", "tos"), [("DSCP --set-dscp-class EF", 0xB8), ("TOS --set-tos 0x10", 0x10)])
def test_the_class_is_set(site: Site, words: str, tos: int) -> None:
    site.host.iptables("-t", "mangle", "-A", "FORWARD", "-j", *words.split())
    assert header_seen(site, IP_RECVTOS) == tos


@pytest.mark.parametrize(("words", "segment"), [("--set-mss 1000", 1000), ("--clamp-mss-to-pmtu", 1260)])
def test_the_segment_size_is_clamped(site: Site, words: str, segment: int) -> None:
    uplink = site.host.name_of_uplink(site.world)
    if "clamp" in words:
        site.host.ctl("port", "set", uplink, "--mtu", "1300")
    rule = f"-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS {words}"
    site.host.iptables(*rule.split())
    with listening(site.world.netns, WORLD) as server, reach(site.guest.netns, *server.getsockname()) as client:
        accepted = server.accept()[0]
        with accepted:
            sizes = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) for sock in (accepted, client)]
    site.host.ctl("port", "set", uplink, "--clear", "mtu")
    assert max(sizes) <= segment and min(sizes) >= segment - 12, sizes  # 12: timestamps


def test_a_mark_chooses_rules_and_stays_with_the_connection(site: Site) -> None:
    for rule in (
        "-t mangle -A PREROUTING -p udp --dport 7000 -j MARK --set-mark 0x7",
        "-t mangle -A PREROUTING -m mark --mark 0x7 -j CONNMARK --save-mark",
        "-A FORWARD -m connmark --mark 0x7 -j DROP",
    ):
        site.host.iptables(*rule.split())
    with listening(site.world.netns, WORLD, socket.SOCK_DGRAM, 7001) as server, datagram(site.guest.netns) as client:
        client.sendto(b"dropped", (WORLD, 7000))
        client.sendto(b"passes", (WORLD, 7001))
        assert server.recv(64) == b"passes"
    assert site.host.packets("-A FORWARD -m connmark") == 1


def test_what_is_not_tracked_has_no_connection(site: Site) -> None:
    site.host.iptables("-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "CT", "--notrack")
    with listening(site.neighbour.netns, NEIGHBOUR, socket.SOCK_DGRAM) as server, datagram(site.guest.netns) as client:
        client.sendto(b"hello", server.getsockname())
        assert server.recv(64) == b"hello"
    assert not [line for line in site.host.connections("-p", "udp") if f"src={GUEST}" in line]


# Fragments


@pytest.mark.parametrize("where", ["routed", "bridged"])
def test_a_rule_about_ports_sees_a_datagram_whole(site: Site, where: str) -> None:
    """Every fragment of what is dropped is dropped, and what passes arrives as it was."""
    receiver, address = (site.world, WORLD) if where == "routed" else (site.neighbour, NEIGHBOUR)
    site.host.iptables("-A", "FORWARD", "-p", "udp", "--dport", "7000", "-j", "DROP")
    data = os.urandom(LARGE)
    with listening(receiver.netns, address, socket.SOCK_DGRAM, 7001) as server, datagram(site.guest.netns) as client:
        client.sendto(data, (address, 7000))
        client.sendto(data, (address, 7001))
        message, peer = server.recvfrom(LARGE)
        assert message == data
        server.sendto(data, peer)
        assert client.recv(LARGE) == data
    assert site.host.packets("-A FORWARD .*--dport 7000") == 1


def test_a_large_datagram_finds_a_server_inside(site: Site) -> None:
    site.host.iptables(*f"-t nat -A PREROUTING -d {UPLINK} -p udp --dport 53 -j DNAT --to {GUEST}:7000".split())
    data = os.urandom(LARGE)
    with listening(site.guest.netns, GUEST, socket.SOCK_DGRAM, 7000) as server, datagram(site.world.netns) as client:
        client.sendto(data, (UPLINK, 53))
        message, peer = server.recvfrom(LARGE)
        assert (message, peer[0]) == (data, WORLD)
        server.sendto(data, peer)
        assert client.recvfrom(LARGE) == (data, (UPLINK, 53))


# Limits


def test_a_port_opens_no_more_connections_than_its_share(site: Site) -> None:
    site.host.conntrack_keys["per_port"] = 10
    site.host.apply()
    with datagram(site.guest.netns) as one, datagram(site.neighbour.netns) as other:
        for port in range(7000, 7030):
            one.sendto(b"mine", (WORLD, port))
        wait_for(lambda: site.host.drops().get("conntrack_budget", 0) >= 20, LIMIT_S, "the drops")
        with listening(site.world.netns, WORLD, socket.SOCK_DGRAM, 7100) as server:
            other.sendto(b"others have room", (WORLD, 7100))
            assert server.recv(64) == b"others have room"
    assert len(site.host.connections("-s", GUEST)) == 10
    site.host.conntrack_keys.clear()
    site.host.apply()
    assert "Traceback" not in site.host.daemon.text()
