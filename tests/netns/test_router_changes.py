"""A router whose surroundings change while it is used: settings, connections forgotten, cables; and odd packets.

    guest 10.0.0.2 ── 10.0.0.1 nat, by uplink w only     203.0.113.2 ── 203.0.113.254 world
                                                         198.51.100.2 ── 198.51.100.254 other
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, datagram, listening, reach, repeating
from tests.switchhost import LIMIT_S
from tests.wire import transfer

GATEWAY, GUEST, UPLINK, WORLD, OTHER = "10.0.0.1", "10.0.0.2", "203.0.113.2", "203.0.113.254", "198.51.100.254"
WORLD6 = "2001:db8::fe"
TRANSFER_BYTES = 64 << 20
UDP_SEGMENT = 103  # linux/udp.h
SEGMENT, SEGMENTS = 1000, 20


class Site:
    """The switch, a guest, and a machine at the end of each uplink."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.guest = host.station("g", f"{GUEST}/24", "fd00::2/64", gateway=[GATEWAY, "fd00::1"])
        far = f"{WORLD}/24", f"{WORLD6}/64"
        self.world = host.uplink("w", [f"{UPLINK}/24", "2001:db8::2/64"], *far, gateway=WORLD)
        self.other = host.uplink("o", "198.51.100.2/24", f"{OTHER}/24")
        host.network("br0", f"{GATEWAY}/24", "fd00::1/64", mode="nat", uplink=host.name_of_uplink(self.world))
        host.start()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


def test_a_nat_network_goes_out_by_its_uplink_only(site: Site) -> None:
    assert site.lab.ping(WORLD, netns=site.guest.netns)
    assert not site.lab.ping(OTHER, netns=site.guest.netns, limit_s=0.3)


def test_a_transfer_does_not_notice_what_is_applied(site: Site) -> None:
    host = site.host

    def change(number: int) -> None:
        if number % 2:
            host.networks.pop(("br0.77", "main"))
        else:
            host.network("br0.77", "10.7.0.1/24", mode="nat")
        host.write()
        host.post("apply", {"text": host.file.read_text(), "source": "test"})

    with repeating(change) as changes:
        transfer(TRANSFER_BYTES, WORLD, sender=site.guest.netns, receiver=site.world.netns)
        transfer(TRANSFER_BYTES, WORLD, sender=site.world.netns, receiver=site.guest.netns, download=True)
    assert len(changes) > 1
    host.networks.pop(("br0.77", "main"), None)
    host.apply()


def test_a_connection_that_is_forgotten_goes_on(site: Site) -> None:
    """It is picked up in the middle, and finds the port that it had."""
    with listening(site.world.netns, WORLD) as server, reach(site.guest.netns, *server.getsockname()) as client:
        accepted, peer = server.accept()
        with accepted:
            accepted.settimeout(LIMIT_S)
            for message in (b"before", b"after", b"again"):
                client.sendall(message)
                assert accepted.recv(64) == message
                accepted.sendall(message)
                assert client.recv(64) == message
                site.host.flush()
            client.sendall(b"end")
            assert accepted.recv(64) == b"end"
            (shown,) = site.host.connections("-p", "tcp")
            assert f"dport={peer[1]} " in shown and "ESTABLISHED" in shown


def test_an_uplink_that_was_unplugged_is_used_again(site: Site) -> None:
    assert site.lab.ping(WORLD, netns=site.guest.netns)
    site.lab.ip("link", "set", site.world.name, "down", netns=site.world.netns)
    site.host.wait_for_state(site.host.name_of_uplink(site.world), "no carrier")
    assert not site.lab.ping(WORLD, netns=site.guest.netns, limit_s=0.3)
    site.lab.address(site.world.name, f"{WORLD6}/64", netns=site.world.netns)  # IPv6 addresses went with the cable
    site.host.wait_for_state(site.host.name_of_uplink(site.world), "up")
    wait_for(lambda: site.lab.ping(WORLD, netns=site.guest.netns), LIMIT_S, "the world to answer again")


@pytest.mark.parametrize("address", [GATEWAY, WORLD, "fd00::1"])
def test_an_echo_of_many_fragments(site: Site, address: str) -> None:
    said = site.lab.run("ping", "-n", "-c", "1", "-W", "2", "-s", "20000", address, netns=site.guest.netns).stdout
    assert "20008 bytes from" in said


@pytest.mark.parametrize("address", [WORLD, WORLD6])
def test_datagrams_in_super_frames_arrive_one_by_one(site: Site, address: str) -> None:
    data = [os.urandom(SEGMENT) for _ in range(SEGMENTS)]
    listener = listening(site.world.netns, address, socket.SOCK_DGRAM)
    with listener as server, datagram(site.guest.netns, server.family) as client:
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
        client.sendto(b"".join(data), server.getsockname()[:2])
        assert [server.recv(2 * SEGMENT) for _ in data] == data


def test_nothing_was_said(site: Site) -> None:
    assert "Traceback" not in site.host.daemon.text()
