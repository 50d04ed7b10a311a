"""Much through NAT: long transfers compared byte by byte, with offloads and without; ten thousand short connections.

VSWITCH_TRANSFER_BYTES makes the transfers larger.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root
from tests.routerhost import RouterHost
from tests.webserver import require_web_tools, short_connections, start_nginx
from tests.wire import transfer

TRANSFER_BYTES = int(os.environ.get("VSWITCH_TRANSFER_BYTES", 64 << 20))
CONNECTIONS = 10_000
GATEWAY, UPLINK, WORLD, SERVER = "10.0.0.1", "203.0.113.2", "203.0.113.254", "10.0.0.2"
OFFLOADS = ("tx", "rx", "sg", "tso", "gso", "gro")


class Site:
    """A guest behind NAT, which is a server too, and the world."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.guest = host.station("g", f"{SERVER}/24", gateway=GATEWAY)
        self.world = host.uplink("w", f"{UPLINK}/24", f"{WORLD}/24", gateway=WORLD)
        host.network("br0", f"{GATEWAY}/24", mode="nat")
        host.start()
        for port, target in ((8000, f"{SERVER}:80"), (5001, SERVER)):
            host.iptables(*f"-t nat -A PREROUTING -d {UPLINK} -p tcp --dport {port} -j DNAT --to {target}".split())

    def offload(self, state: str) -> None:
        """Turn the offloads of both machines, and of the uplink, on or off."""
        words = [word for feature in OFFLOADS for word in (feature, state)]
        for machine in (self.guest, self.world):
            self.lab.run("ethtool", "-K", machine.name, *words, netns=machine.netns)
        self.lab.run("ethtool", "-K", self.host.name_of_uplink(self.world), *words, netns=self.host.netns)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture(params=["on", "off"])
def offloads(request: pytest.FixtureRequest, site: Site) -> Iterator[None]:
    site.offload(request.param)
    yield
    site.offload("on")


@pytest.mark.parametrize("download", [False, True], ids=["up", "down"])
def test_a_transfer_through_masquerade(site: Site, offloads: None, download: bool) -> None:
    sender, receiver = (site.world, site.guest) if download else (site.guest, site.world)
    transfer(TRANSFER_BYTES, WORLD, sender=sender.netns, receiver=receiver.netns, download=download)


@pytest.mark.parametrize("download", [False, True], ids=["up", "down"])
def test_a_transfer_through_dnat(site: Site, offloads: None, download: bool) -> None:
    sender, receiver = (site.guest, site.world) if download else (site.world, site.guest)
    transfer(
        TRANSFER_BYTES, SERVER, sender=sender.netns, receiver=receiver.netns, through=(UPLINK, 5001), download=download
    )


def test_short_connections_through_masquerade(site: Site) -> None:
    require_web_tools()
    start_nginx(site.lab, site.world.netns, WORLD, 80)
    assert short_connections(site.lab, site.guest.netns, f"http://{WORLD}/", CONNECTIONS) >= CONNECTIONS


def test_short_connections_through_dnat(site: Site) -> None:
    require_web_tools()
    start_nginx(site.lab, site.guest.netns, SERVER, 80)
    assert short_connections(site.lab, site.world.netns, f"http://{UPLINK}:8000/", CONNECTIONS) >= CONNECTIONS


def test_nothing_was_lost_on_the_way(site: Site) -> None:
    drops = site.host.drops()
    assert not drops.keys() & {"nat_exhausted", "nat_malformed", "conntrack_full", "conntrack_clash", "exceeds_mtu"}, drops
    assert "Traceback" not in site.host.daemon.text()
