"""Tap ports on the real /dev/net/tun: made, moved, changed, deleted behind our back, and refused in one line each."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
import sys

import pytest
import uvloop

from tests.lab import Lab, exists, wait_for, wait_until
from vswitch.config.model import Port
from vswitch.dataplane import Offload
from vswitch.ports import Device, Links, PortError, netns, open_device, tun

LIMIT_S = 5.0
TUNGETVNETHDRSZ = 0x800454D7
BROADCAST = bytes(6 * [0xFF]) + bytes.fromhex("020000000001") + struct.pack("!H", 0x88B5) + bytes(46)
LOOP_FACTORIES = {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def opened(lab: Lab, links: Links):
    """Opens devices that are closed with the test."""
    devices: list[Device] = []

    async def open_port(workers: int = 1, **port: object) -> Device:
        device = await open_device(Port(kind="tap", **port), workers, links)
        devices.append(device)
        return device

    yield open_port
    for device in devices:
        await device.close()


async def test_a_tap_is_up_when_opened_and_gone_when_closed(lab: Lab, links: Links) -> None:
    name = lab.name("t")
    tap = await open_device(Port(name=name, kind="tap", mac="02:00:00:00:00:AA", mtu=9000), 1, links)
    try:
        assert (tap.state().name, tap.ready, tap.mtu, tap.mac) == ("up", True, 9000, "02:00:00:00:00:aa")
        assert "LOWER_UP" in lab.ip("link", "show", name)
        assert tap.offloads == ~Offload(0)
    finally:
        await tap.close()
    assert not exists(name)


async def test_queues_one_a_worker_and_no_descriptor_leaks_into_children(lab: Lab, opened) -> None:
    tap = await opened(workers=3, name=lab.name("t"))
    assert len(tap.fds) == 3
    for fd in tap.fds:
        size = struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))[0]
        assert (os.get_inheritable(fd), os.get_blocking(fd), size) == (False, False, tun.VNET_HDR_LEN)


ATTACH_AS = """
import fcntl, os, struct, sys
request = struct.pack("16sH22x", sys.argv[1].encode(), 0x5102)      # IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE | IFF_VNET_HDR
tun = open("/dev/net/tun", "r+b", 0)
os.setuid(int(sys.argv[2]))
fcntl.ioctl(tun, 0x400454CA, request)                               # TUNSETIFF
"""


async def test_no_stranger_adds_a_queue(lab: Lab, opened) -> None:
    """/dev/net/tun is open to everybody on most machines, and a tap of several queues that is nobody's would be too."""
    tap = await opened(workers=2, name=lab.name("t"))
    python = [sys.executable, "-c", ATTACH_AS, tap.name]
    assert b"PermissionError" in subprocess.run([*python, "65534"], capture_output=True).stderr
    assert subprocess.run([*python, "0"], capture_output=True).returncode == 0, "the attempt itself is a good one"


async def test_in_a_namespace_it_is_made_there_and_up(lab: Lab, opened) -> None:
    guest, name = lab.namespace("g"), lab.name("t")
    tap = await opened(name=name, netns=guest)
    assert exists(name, netns=guest) and not exists(name)
    lab.ip("link", "set", name, "mtu", "1400", netns=guest)
    await wait_until(lambda: tap.mtu == 1400, LIMIT_S, "the guest's MTU to be followed")
    lab.ip("link", "set", name, "down", netns=guest)
    await wait_until(lambda: tap.state().name == "down" and not tap.ready, LIMIT_S, "it to be down")


async def test_it_goes_on_working_wherever_it_is_moved_and_whatever_it_is_called(lab: Lab, opened) -> None:
    name, first, second = lab.name("t"), lab.namespace("a"), lab.namespace("b")
    tap = await opened(name=name)
    lab.ip("link", "set", name, "netns", first)
    await wait_until(lambda: tap.state().name == "down", LIMIT_S, "it to be followed, down as the kernel leaves it")
    lab.ip("link", "set", name, "name", "eth0", netns=first)
    lab.ip("link", "set", "eth0", "up", "mtu", "1300", netns=first)
    await wait_until(lambda: tap.ready and tap.mtu == 1300, LIMIT_S, "it to be followed by its new name")
    lab.ip("link", "set", "eth0", "netns", second, netns=first)
    lab.ip("link", "set", "eth0", "up", netns=second)
    await wait_until(lambda: tap.ready and tap.state().name == "up", LIMIT_S, "it to be followed on")
    assert tap.name == name
    capture = lab.start("tcpdump", "-l", "-n", "-i", "eth0", "-c", "1", "ether proto 0x88b5", netns=second)
    wait_for(lambda: "listening" in capture.text(), LIMIT_S, "tcpdump")
    os.write(tap.fds[0], bytes(tun.VNET_HDR_LEN) + BROADCAST)
    assert capture.wait(LIMIT_S) == 0


async def test_it_is_missing_when_deleted_or_when_its_namespace_dies(lab: Lab, opened) -> None:
    doomed, moved = await opened(name=lab.name("d")), await opened(name=lab.name("m"))
    told: list[Device] = []
    doomed.on_change = moved.on_change = told.append
    guest = lab.namespace("g")
    lab.ip("link", "set", moved.name, "netns", guest)
    await wait_until(lambda: moved in told, LIMIT_S, "the move")
    lab.ip("link", "del", doomed.name)
    lab.ip("netns", "del", guest)
    await wait_until(lambda: doomed.state().name == moved.state().name == "missing", LIMIT_S, "both to be missing")
    assert doomed in told and not doomed.ready and not moved.ready


async def test_a_namespace_that_was_deleted_and_made_again_is_another(lab: Lab, links: Links) -> None:
    guest, name = lab.namespace("g"), lab.name("t")
    port = Port(name=name, kind="tap", netns=guest)
    tap = await open_device(port, 1, links)
    lab.ip("netns", "del", guest)
    assert tap.state().name == "missing" and guest in tap.state().reason
    lab.ip("netns", "add", guest)
    assert tap.state().name == "missing"
    await tap.close()
    tap = await open_device(port, 1, links)
    assert tap.state().name == "up" and exists(name, netns=guest)
    await tap.close()


async def test_adjusting_reaches_it_wherever_it_is_and_goes_back(lab: Lab, opened) -> None:
    name, guest = lab.name("t"), lab.namespace("g")
    tap = await opened(name=name)
    mac = tap.mac
    lab.ip("link", "set", name, "netns", guest)
    lab.ip("link", "set", name, "up", netns=guest)
    await wait_until(lambda: tap.ready, LIMIT_S, "it to be up there")
    await tap.adjust(Port(name=name, kind="tap", mtu=1600, mac="02:00:00:00:00:bb", offloads=False))
    assert (tap.mtu, tap.mac, tap.offloads, tap.fds) == (1600, "02:00:00:00:00:bb", Offload(0), tap.fds)
    await tap.adjust(Port(name=name, kind="tap"))
    assert (tap.mtu, tap.mac, tap.offloads) == (1500, mac, ~Offload(0))


async def test_an_adjustment_that_is_refused_changes_nothing(lab: Lab, opened) -> None:
    tap = await opened(name=lab.name("t"), mtu=1400)
    before = tap.mtu, tap.mac
    with pytest.raises(PortError, match="mtu: 70000: .* refuses that"):
        await tap.adjust(Port(name=tap.name, kind="tap", mac="02:00:00:00:00:cc", mtu=70000))
    assert (tap.mtu, lab.ip("link", "show", tap.name).split("link/ether ")[1][:17]) == before


async def test_what_the_kernel_drops_before_we_read_is_counted(lab: Lab, opened) -> None:
    guest, name = lab.namespace("g"), lab.name("t")
    tap = await opened(name=name, netns=guest)
    assert tap.kernel_drops == 0
    lab.ip("link", "set", name, "txqueuelen", "2", netns=guest)
    lab.address(name, "10.1.0.1/24", netns=guest)
    lab.run("ping", "-b", "-q", "-w", "1", "-i", "0.01", "10.1.0.255", netns=guest, check=False)
    assert tap.kernel_drops > 0


async def test_without_offloads_the_guest_segments(lab: Lab, opened) -> None:
    tap = await opened(name=lab.name("t"), offloads=False)
    assert tap.offloads == Offload(0)
    assert "tcp-segmentation-offload: off" in lab.run("ethtool", "-k", tap.name).stdout


async def test_older_kernels_get_the_offloads_they_know(lab: Lab, opened, monkeypatch: pytest.MonkeyPatch) -> None:
    tap = await opened(name=lab.name("t"))
    real = fcntl.ioctl

    def without_uso(fd: int, request: int, argument: object) -> object:
        if request == tun.TUNSETOFFLOAD and argument & 0x60:
            raise OSError(22, "Invalid argument")
        return real(fd, request, argument)

    monkeypatch.setattr(tun.fcntl, "ioctl", without_uso)
    assert tun.set_offloads(tap._queues[0], tun.ALL) == Offload.CSUM | Offload.TSO4 | Offload.TSO6


async def test_a_persistent_tap_is_used_and_left(lab: Lab, links: Links) -> None:
    name = lab.tap("p")
    tap = await open_device(Port(name=name, kind="tap"), 1, links)
    assert tap.state().name == "up"
    await tap.close()
    assert exists(name)


async def test_refusals_say_what_is_wrong(lab: Lab, opened, links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    near, _ = lab.veth("v", "w")
    busy = await opened(name=lab.name("b"))
    cases = [
        (dict(name=near), "name", "exists already, and it is not a tap"),
        (dict(name=busy.name), "name", "in use by another process"),
        (dict(name=lab.name("t"), netns="no-such-namespace"), "netns", "ip netns add no-such-namespace"),
        (dict(name=lab.name("t"), mtu=70000), "mtu", "refuses that"),
        (dict(name=lab.name("t"), mac="01:00:00:00:00:01"), "mac", "refuses that"),
    ]
    for port, key, words in cases:
        with pytest.raises(PortError) as refusal:
            await open_device(Port(kind="tap", **port), 1, links)
        assert refusal.value.key == key and words in str(refusal.value) and "\n" not in str(refusal.value)
    assert not exists(lab.name("t"))
    for number, words in ((2, "there is no /dev/net/tun"), (1, "CAP_NET_ADMIN"), (13, "CAP_NET_ADMIN")):
        monkeypatch.setattr(tun, "Queue", _failing(number))
        with pytest.raises(PortError, match=words):
            await open_device(Port(kind="tap", name=lab.name("t")), 1, links)


def _failing(number: int):
    def make(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    return make


async def test_who_may_not_enter_a_namespace_moves_the_tap_there(
    lab: Lab, links: Links, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(namespace: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(netns, "_enter", refuse)
    caplog.set_level("INFO")
    guest, name = lab.namespace("g"), lab.name("t")
    device = await open_device(Port(name=name, kind="tap", netns=guest), 1, links)
    assert device.state().name == "down" and "bring it up there" in caplog.text
    lab.ip("link", "set", name, "up", netns=guest)
    await wait_until(lambda: device.ready, LIMIT_S, "the owner of the namespace to bring it up")
    await device.close()
    assert not exists(name, netns=guest)


async def test_who_may_not_hear_other_namespaces_asks_the_descriptor(lab: Lab, links: Links) -> None:
    links._watch.everywhere = False
    guest, name = lab.namespace("g"), lab.name("t")
    device = await open_device(Port(name=name, kind="tap", netns=guest), 1, links)
    assert device.state().name == "up" and device.ready
    lab.ip("link", "del", name, netns=guest)
    await wait_until(lambda: device.state().name == "missing", LIMIT_S, "the descriptor to tell")
    await device.close()


async def test_a_hundred_taps_at_once(lab: Lab, links: Links) -> None:
    ports = [Port(name=lab.name(f"t{number}"), kind="tap") for number in range(100)]
    devices = await asyncio.gather(*(open_device(port, 1, links) for port in ports))
    assert all(device.ready for device in devices)
    await asyncio.gather(*(device.close() for device in devices))
    assert not any(exists(port.name) for port in ports)
