"""A real virtual machine behind the router: a lease by DHCP, the world through MASQUERADE, a server by DNAT."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from tests.interop.qemu import BUSYBOX, QEMU, VirtualMachine, debian_kernel, make_initramfs
from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, listening, reach
from tests.switchhost import LIMIT_S

MAC, LEASE = "52:54:00:76:73:05", "10.0.0.100"
GATEWAY, UPLINK, WORLD = "10.0.0.1", "203.0.113.2", "203.0.113.254"
TRANSFER_BYTES = 8 << 20

# What busybox's client in the machine does with a lease, in one line of shell.
SCRIPT = (
    'case $1 in bound|renew) ip address replace $ip/$mask dev $interface; '
    'ip route replace default via $router; echo nameserver $dns >/etc/resolv.conf;; esac'
)


class Site:
    """The switch with its uplink, and a machine that has a card and nothing else."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.world = host.uplink("w", f"{UPLINK}/24", f"{WORLD}/24", gateway=WORLD)
        self.nic = host.port(lab.name("vm"), kind="netdev", create=True, queues=1)
        dhcp = {"range": [LEASE, "10.0.0.109"], "domain": "lab.example"}
        host.network("br0", f"{GATEWAY}/24", mode="nat", dhcp=dhcp, dns={})
        host.start()
        kernel = debian_kernel()
        image = make_initramfs(kernel, lab.path("initrd.gz"))
        self.vm = VirtualMachine(lab, kernel, image, nic=self.nic, mac=MAC, netns=host.netns)
        self.vm.wait_for_boot()
        self.vm.run("mkdir -p /etc")
        self.vm.run(f"printf '#!/bin/sh\\n%s\\n' '{SCRIPT}' >/tmp/lease; chmod +x /tmp/lease")
        self.vm.run("udhcpc -i eth0 -s /tmp/lease -x hostname:vm -q -n -t 10 -T 1")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    require_root()
    for tool in (QEMU, str(BUSYBOX), "cpio"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian packages qemu-system-x86, busybox-static, cpio)")
    with Lab() as lab:
        yield Site(lab)


def test_the_machine_has_a_lease(site: Site) -> None:
    (lease,) = site.host.get("leases")
    assert (lease["address"], lease["mac"], lease["name"], lease["port"]) == (LEASE, MAC, "vm", site.nic)
    assert f"inet {LEASE}/24" in site.vm.run("ip address show eth0")


def test_the_machine_asks_for_names(site: Site) -> None:
    assert LEASE in site.vm.run("nslookup vm.lab.example")


def test_the_machine_reaches_the_world(site: Site) -> None:
    site.vm.run(f"ping -c 1 -W 2 {WORLD}")
    with listening(site.world.netns, WORLD) as server:
        site.vm.run(f"dd if=/dev/urandom of=/tmp/out bs=1M count={TRANSFER_BYTES >> 20} 2>/dev/null")
        site.vm.run(f"nc {WORLD} {server.getsockname()[1]} </tmp/out >/tmp/back &")
        connection, peer = server.accept()
        with connection:
            assert peer[0] == UPLINK
            data = connection.makefile("rb").read(TRANSFER_BYTES)
    assert hashlib.sha256(data).hexdigest() == site.vm.run("sha256sum </tmp/out").split()[0]


def test_the_world_reaches_a_server_in_the_machine(site: Site) -> None:
    site.host.iptables("-t", "nat", "-A", "PREROUTING", "-d", UPLINK, "-p", "tcp", "--dport", "8080", "-j", "DNAT",
                       "--to-destination", f"{LEASE}:80")  # fmt: skip
    site.vm.run("nc -l -p 80 >/tmp/in &")
    data = os.urandom(TRANSFER_BYTES)
    with wait_for(lambda: _connect(site), LIMIT_S, "the machine to listen") as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""  # to the end: the machine has written the file
    assert site.vm.run("sha256sum </tmp/in").split()[0] == hashlib.sha256(data).hexdigest()


def _connect(site: Site) -> socket.socket | None:
    try:
        return reach(site.world.netns, UPLINK, 8080)
    except ConnectionRefusedError:
        return None
