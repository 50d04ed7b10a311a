"""A real virtual machine on the switch: QEMU on a tap of the switch's making, a container on another port.

One machine serves all tests of the module; each takes the switch and the machine as it finds them and leaves both
running. Every transfer is compared byte by byte or by a hash that the machine itself works out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.interop.qemu import BUSYBOX, QEMU, VirtualMachine, debian_kernel, make_initramfs
from tests.lab import Lab, Running, exists, inside, require_root, wait_for

BIN = Path(sys.executable).parent
LIMIT_S = 30
MAC = "52:54:00:76:73:01"
VM_ADDRESS, GUEST_ADDRESS = "10.0.0.2", "10.0.0.1"
TRANSFER_BYTES = 8 << 20
CHUNK_BYTES = 64 << 10
ECHO_PORT = 7
WIRE_FRAME_BYTES = 1514  # Ethernet header and 1500 bytes: what is larger is a super-frame

# VIRTIO_NET_F_*: the bit that means "this may be left undone", by who may leave it and what
FEATURE_BITS = {
    "machine leaves checksums": 0,
    "switch leaves checksums": 1,
    "switch leaves TSO4": 7,
    "switch leaves TSO6": 8,
    "machine leaves TSO4": 11,
    "machine leaves TSO6": 12,
}

CONFIG = """
[switch]
run_dir = "{run_dir}"
[metrics]
listen = ""
[[bridge]]
name = "br0"
[[port]]
name = "{container}"
bridge = "br0"
kind = "tap"
netns = "{netns}"
"""

VM_PORT = """
[[port]]
name = "{name}"
bridge = "br0"
kind = "netdev"
create = true
queues = 1
"""


class Host:
    """A switch, a container on it, a virtual machine, and a second tap for the machine to migrate to."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.kernel = debian_kernel()
        self.image = make_initramfs(self.kernel, lab.path("initrd.gz"))
        self.netns = lab.namespace("c")
        self.taps = [lab.name("vm0"), lab.name("vm1")]
        self.switch = self.start_switch()
        self.vm = VirtualMachine(lab, self.kernel, self.image, nic=self.taps[0], mac=MAC)
        self.vm.wait_for_boot()
        self.vm.run(f"ip address add {VM_ADDRESS}/24 dev eth0")
        self.vm.run(f"nc -ll -p {ECHO_PORT} -e cat &")

    def start_switch(self) -> Running:
        """Start the daemon on its configuration and give the container its address."""
        config, run_dir, container = self.lab.path("vswitch.toml"), self.lab.path("run"), self.lab.name("c")
        text = CONFIG.format(run_dir=run_dir, container=container, netns=self.netns)
        config.write_text(text + "".join(VM_PORT.format(name=name) for name in self.taps))
        for name in self.taps:
            self.lab.forget_device(name)
        switch = self.lab.start(str(BIN / "vswitchd"), "--config", str(config))
        control = run_dir / "control.sock"
        wait_for(lambda: control.exists() or not switch.alive(), LIMIT_S, "the switch to start")
        assert switch.alive(), switch.text()
        self.lab.address(container, f"{GUEST_ADDRESS}/24", netns=self.netns)
        return switch

    def control(self, *words: str) -> Any:
        """Run vswitchctl and return the JSON value it prints."""
        command = [str(BIN / "vswitchctl"), "--run-dir", str(self.lab.path("run")), "-o", "json", *words]
        return json.loads(self.lab.run(*command).stdout or "null")

    def port(self, name: str) -> dict[str, Any]:
        """What the switch reports of a port."""
        return next(port for port in self.control("show")["ports"] if port["name"] == name)

    def port_of(self, mac: str) -> str | None:
        """The port where the bridge has learned a MAC."""
        return next((entry["port"] for entry in self.control("fdb", "br0") if entry["mac"] == mac), None)

    def is_reached(self) -> bool:
        """Whether the machine answers the container's ping."""
        return self.lab.ping(VM_ADDRESS, netns=self.netns)

    def connect(self, port: int) -> socket.socket:
        """Connect from the container to the machine, as soon as it listens."""

        def attempt() -> socket.socket | None:
            try:
                return socket.create_connection((VM_ADDRESS, port), LIMIT_S)
            except ConnectionRefusedError:
                return None

        with inside(self.netns):
            return wait_for(attempt, LIMIT_S, f"port {port} of the machine")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    require_root()
    for tool in (QEMU, str(BUSYBOX), "cpio"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian packages qemu-system-x86, busybox-static, cpio)")
    with Lab() as lab:
        yield Host(lab)


def card_counters(vm: VirtualMachine, direction: str) -> tuple[int, int]:
    """The bytes and the frames, super-frames counted once, that the machine's card has moved ("rx" or "tx")."""
    files = [f"/sys/class/net/eth0/statistics/{direction}_{unit}" for unit in ("bytes", "packets")]
    octets, frames = vm.run(f"cat {' '.join(files)}").split()
    return int(octets), int(frames)


def mean_size(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The mean size in bytes of the frames moved between two readings of the counters.

    How large super-frames grow is up to the pacing of a slow machine's TCP; a mean above one wire frame is all that is
    certain, and impossible without them.
    """
    return (after[0] - before[0]) / (after[1] - before[1])


def receive(peer: socket.socket, size: int | None = None) -> bytes:
    """Read `size` bytes, or to the end of the stream."""
    data = bytearray()
    while (size is None or len(data) < size) and (part := peer.recv(1 << 20)):
        data += part
    return bytes(data)


def converse(peer: socket.socket, over: threading.Event) -> int:
    """Send chunks and compare their echoes until `over`, and then once more; returns the number of chunks."""
    chunks, last = 0, False
    while not last:
        last = over.is_set()
        chunk = os.urandom(CHUNK_BYTES)
        peer.sendall(chunk)
        assert receive(peer, CHUNK_BYTES) == chunk
        chunks += 1
    return chunks


def test_the_card_has_negotiated_its_offloads(host: Host) -> None:
    bits = host.vm.run("cat /sys/class/net/eth0/device/features").strip()
    assert {name: bits[bit] for name, bit in FEATURE_BITS.items()} == dict.fromkeys(FEATURE_BITS, "1")


def test_the_tap_takes_super_frames_whole(host: Host) -> None:
    features = host.lab.run("ethtool", "-k", host.vm.nic).stdout
    for feature in ("tx-checksumming", "tx-tcp-segmentation", "tx-tcp6-segmentation"):
        assert re.search(rf"^\s*{feature}: on$", features, re.MULTILINE), features


def test_the_port_is_up_while_the_machine_runs(host: Host) -> None:
    port = host.port(host.vm.nic)
    assert (port["state"], port["kind"], port["queues"]) == ("up", "netdev", 1)


def test_tcp_into_the_machine_arrives_whole_in_super_frames(host: Host) -> None:
    data = os.urandom(TRANSFER_BYTES)
    host.vm.run("nc -l -p 5001 >/tmp/in &")
    before = card_counters(host.vm, "rx")
    with host.connect(5001) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        receive(peer)  # to the end: the machine has written the file
    assert mean_size(before, card_counters(host.vm, "rx")) > WIRE_FRAME_BYTES
    assert host.vm.run("sha256sum </tmp/in").split()[0] == hashlib.sha256(data).hexdigest()


def test_tcp_out_of_the_machine_arrives_whole_in_super_frames(host: Host) -> None:
    host.vm.run(f"dd if=/dev/urandom of=/tmp/out bs=1M count={TRANSFER_BYTES >> 20}")
    expected = host.vm.run("sha256sum </tmp/out").split()[0]
    host.vm.run("nc -l -p 5002 </tmp/out &")
    before = card_counters(host.vm, "tx")
    with host.connect(5002) as peer:
        data = receive(peer)
    assert mean_size(before, card_counters(host.vm, "tx")) > WIRE_FRAME_BYTES
    assert hashlib.sha256(data).hexdigest() == expected


def test_tcp_both_ways_at_once(host: Host) -> None:
    data = os.urandom(TRANSFER_BYTES)
    with host.connect(ECHO_PORT) as peer, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(peer.sendall, data)
        assert receive(peer, len(data)) == data
        sending.result()


def test_the_machine_outlives_a_restart_of_the_switch(host: Host) -> None:
    assert host.switch.stop() == 0
    assert exists(host.vm.nic), "a tap in use must stay"
    host.switch = host.start_switch()
    wait_for(host.is_reached, LIMIT_S, "the machine to be reached again")


def test_an_announcement_by_rarp_is_learned(host: Host) -> None:
    host.vm.run("ip link set eth0 down")  # the machine itself is silent
    host.control("fdb", "br0", "flush")
    assert host.port_of(MAC) is None
    host.vm.qmp("announce-self", initial=50, max=550, rounds=5, step=50)
    wait_for(lambda: host.port_of(MAC) == host.vm.nic, LIMIT_S, "the machine's MAC to be learned")
    host.vm.run("ip link set eth0 up")


def test_a_second_card_is_plugged_in_and_out(host: Host) -> None:
    tap, mac = host.lab.name("hot"), "52:54:00:76:73:02"
    host.lab.forget_device(tap)
    host.control("port", "add", tap, "--bridge", "br0", "--kind", "netdev", "--create", "--queues", "1")
    host.vm.qmp("netdev_add", type="tap", id="net1", ifname=tap, script="no", downscript="no", vhost=False)
    host.vm.qmp("device_add", driver="virtio-net-pci", id="nic1", netdev="net1", mac=mac)
    wait_for(lambda: mac in host.vm.run("ip link"), LIMIT_S, "the machine to find its card")
    host.vm.run("ip link set eth1 up; arping -q -c 1 -w 1 -I eth1 -U 10.0.0.3 || true")
    wait_for(lambda: host.port_of(mac) == tap, LIMIT_S, "the card's MAC to be learned")
    host.vm.qmp("device_del", id="nic1")
    wait_for(lambda: mac not in host.vm.run("ip link"), LIMIT_S, "the machine to release its card")
    host.vm.qmp("netdev_del", id="net1")
    host.control("port", "del", tap)
    assert not exists(tap)


def test_a_connection_outlives_a_live_migration(host: Host) -> None:
    old, target = host.vm, next(name for name in host.taps if name != host.vm.nic)
    uri = f"unix:{host.lab.path('migration')}"
    new = VirtualMachine(host.lab, host.kernel, host.image, nic=target, mac=MAC, incoming=uri)
    wait_for(lambda: host.port(target)["state"] == "up", LIMIT_S, "the port of the machine to be to come up")
    moves = host.control("show")["bridges"][0]["moves"]
    over = threading.Event()
    with host.connect(ECHO_PORT) as peer, ThreadPoolExecutor(1) as pool:
        talk = pool.submit(converse, peer, over)
        try:
            old.migrate(uri)
            wait_for(lambda: host.port_of(MAC) == target, LIMIT_S, "the machine's MAC to move")
        finally:
            over.set()
        assert talk.result(LIMIT_S) > 1
    host.vm = new
    old.stop()
    assert host.control("show")["bridges"][0]["moves"] > moves
    wait_for(lambda: host.port(old.nic)["state"] == "no carrier", LIMIT_S, "the old port to lose its carrier")
