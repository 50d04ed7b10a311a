"""The kernel as the oracle of segmentation: one super-frame through it and through gso.pxd, compared byte for byte.

A super-frame with its virtio-net header is written into one tap of a kernel bridge; the bridge sends it out of another
tap that was not given TSO or USO, so the kernel segments it on the way. The two agree in every byte, IPv4
identifications included. The kernel also takes every header that vnet_check believes, or frames would be lost at the
last step; and what its own sockets send with UDP_SEGMENT is believed.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import struct
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from tests.gso_model import (
    ETHER, IP6, NEEDS_CSUM, TCP_DATA, UDP_DATA, VLAN, SuperFrame, payload, super_frame, vnet,
)
from tests.lab import Lab, inside

probe = pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_ALL = 0x01, 0x67  # CSUM, TSO4, TSO6, USO4, USO6
UDP_SEGMENT = 103
SOURCE = bytes(ETHER)[6:12]
LIMIT_S = 5.0


@dataclass(frozen=True)
class Tap:
    """The switch's end of a tap: frames with a virtio-net header of 12 bytes."""

    name: str
    fd: int

    def read(self) -> tuple[bytes, bytes]:
        """The next frame from SOURCE and its header; frames of others are noise."""
        while True:
            if not select.select([self.fd], [], [], LIMIT_S)[0]:
                pytest.fail(f"no frame from {self.name} in {LIMIT_S:g} s")
            read = os.read(self.fd, 70000)
            if read[12 + 6 : 12 + 12] == SOURCE:
                return read[:12], read[12:]

    def silent(self) -> bool:
        """Whether nothing waits to be read."""
        return not select.select([self.fd], [], [], 0)[0]


def open_tap(lab: Lab, stem: str, netns: str, offloads: int) -> Tap:
    """A tap in a namespace, up, whose reader takes these offloads."""
    name = lab.name(stem)
    with inside(netns):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        lab.on_close(os.close, fd)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", 12))
    fcntl.ioctl(fd, TUNSETOFFLOAD, offloads)
    lab.ip("link", "set", name, "mtu", "9000", "up", netns=netns)
    return Tap(name, fd)


def bridged(lab: Lab, offloads: int) -> tuple[Tap, Tap]:
    """Two taps joined by a kernel bridge; what is written to the first is read from the second."""
    netns = lab.namespace("n")
    near = open_tap(lab, "near", netns, TUN_F_ALL)
    far = open_tap(lab, "far", netns, offloads)
    lab.bridge("br", near.name, far.name, netns=netns)
    return near, far


CWR_FIN = TCP(sport=40000, dport=40001, seq=0xFFFFFF00, flags="FPCA", window=500)
OPTIONS = IP(src="10.0.0.1", dst="10.0.0.2", id=0xFFFF, options=[b"\x94\x04\0\0"])
CASES = [
    ("TCP over IPv4", super_frame(payload(20000), 1448)),
    ("TCP over IPv6", super_frame(payload(20001), 1427, ip=IP6)),
    ("UDP over IPv4", super_frame(payload(20000), 1400, l4=UDP_DATA)),
    ("UDP over IPv6", super_frame(payload(20001), 1401, ip=IP6, l4=UDP_DATA)),
    ("FIN, PSH, CWR, numbers that wrap", super_frame(payload(5000), 1000, ip=OPTIONS, l4=CWR_FIN)),
    ("extension headers", super_frame(payload(5000), 1000, ip=IP6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt())),
    ("802.1Q", super_frame(payload(5000), 1000, tags=(VLAN,))),
    ("802.1Q, UDP over IPv6", super_frame(payload(5000), 1000, ip=IP6, l4=UDP_DATA, tags=(VLAN,))),
    ("a small MSS", super_frame(payload(1000), 16)),
    ("one segment", super_frame(payload(100), 1448, l4=CWR_FIN)),
]
IDS = [case[0] for case in CASES]


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=IDS)
def test_the_kernel_makes_the_same_segments(lab: Lab, whole: SuperFrame) -> None:
    near, far = bridged(lab, 0)
    os.write(near.fd, whole.vnet + whole.frame)
    for _, frame in probe.segment(whole.vnet, whole.frame):
        assert far.read()[1] == frame
    assert far.silent()


@pytest.mark.parametrize("whole", [case[1] for case in CASES], ids=IDS)
def test_the_kernel_leaves_the_same_checksums_to_the_port(lab: Lab, whole: SuperFrame) -> None:
    near, far = bridged(lab, TUN_F_CSUM)
    os.write(near.fd, whole.vnet + whole.frame)
    for expected in probe.segment(whole.vnet, whole.frame, leave_checksum=True):
        assert far.read() == expected
    assert far.silent()


def test_the_kernel_too_takes_tcp_with_a_complete_checksum(lab: Lab) -> None:
    near, far = bridged(lab, 0)
    whole = super_frame(payload(5000), 1000, l4=TCP_DATA)
    merged = vnet(0, whole.vnet[1], 0, whole.mss)
    os.write(near.fd, merged + whole.frame)
    assert [far.read()[1] for _ in range(5)] == [frame for _, frame in probe.segment(merged, whole.frame)]


def test_the_kernel_takes_every_header_that_is_believed(lab: Lab) -> None:
    tap = open_tap(lab, "t", lab.namespace("n"), 0)
    chance = random.Random(20240229)
    believed = [probe.PLAIN, probe.PARTIAL, probe.GSO]
    for _ in range(20000):
        header, frame = damaged(chance, chance.choice(CASES)[1])
        if probe.check(header, frame)[0] in believed:
            os.write(tap.fd, header + frame)  # OSError: refused


def damaged(chance: random.Random, whole: SuperFrame) -> tuple[bytes, bytes]:
    """A super-frame, or the start of one as an ordinary frame, with a few bytes of its headers changed."""
    header, frame = bytearray(whole.vnet), bytearray(whole.frame)
    if chance.random() < 0.3:
        header[:] = vnet(chance.choice([0, NEEDS_CSUM]), 0, 0, 0, whole.l4_off, whole.csum_at - whole.l4_off)
        del frame[whole.hdr_len + 10 :]
    for _ in range(chance.randint(1, 3)):
        part = header if chance.random() < 0.7 else frame
        at = chance.randrange(min(len(part), whole.hdr_len))
        part[at] = chance.choice([0, 1, 255, part[at] ^ 1 << chance.randrange(8), chance.randrange(256)])
    return bytes(header), bytes(frame)


@pytest.mark.parametrize(
    ("family", "here", "there"),
    [(socket.AF_INET, "10.0.0.1", "10.0.0.2"), (socket.AF_INET6, "fd00::1", "fd00::2")],
    ids=["IPv4", "IPv6"],
)
def test_what_the_kernel_sends_is_believed(lab: Lab, family: int, here: str, there: str) -> None:
    netns = lab.namespace("n", ipv6=family == socket.AF_INET6)
    tap = open_tap(lab, "t", netns, TUN_F_ALL)
    lab.ip("link", "set", tap.name, "address", SOURCE.hex(":"), netns=netns)
    lab.address(tap.name, here + ("/64" if ":" in here else "/24"), netns=netns)
    lab.ip("neigh", "add", there, "lladdr", "02:00:00:00:00:02", "dev", tap.name, netns=netns)
    with inside(netns), socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1200)
        sender.sendto(payload(10000), (there, 40001))
    assert_believed(tap)


def assert_believed(tap: Tap) -> None:
    """The tap's next unicast frame is a super-frame of ours, 9 segments long."""
    header, frame = tap.read()
    while frame[0] & 1:
        header, frame = tap.read()
    kind, info = probe.check(header, frame)
    assert kind == probe.GSO and info["is_udp"] and info["mss"] == 1200
    segments = probe.segment(header, frame)
    assert b"".join(segment[info["hdr_len"] :] for _, segment in segments) == payload(10000)
