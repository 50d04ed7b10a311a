"""Netdev ports on real devices: frames both ways, devices that go and return, and taps made for virtual machines."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pwd
import select
import socket
import struct

import pytest
import pytun
import uvloop

from tests.lab import Lab, exists, inside, wait_until
from vswitch.config.model import Port
from vswitch.dataplane import Offload
from vswitch.ports import Device, Links, PortError, open_device, packet, tun

LIMIT_S = 5.0
LOOP_FACTORIES = {"uvloop": uvloop.new_event_loop}
ETHERTYPE = 0x88B5
FRAME = bytes(6 * [0xFF]) + bytes.fromhex("020000000001") + struct.pack("!H", ETHERTYPE) + bytes(46)
TO_SOMEBODY_ELSE = bytes.fromhex("02000000dead") + FRAME[6:]
VLAN_FRAME = FRAME[:12] + struct.pack("!HH", 0x8100, 10) + FRAME[12:]


class Guest:
    """The far end of a veth, in a namespace, as a plain packet socket."""

    def __init__(self, lab: Lab) -> None:
        self.netns = lab.namespace("g")
        self.near, self.far = lab.veth("n", "f", far_netns=self.netns)
        with inside(self.netns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
            self.sock.bind((self.far, ETHERTYPE))
        self.sock.settimeout(LIMIT_S)
        lab.on_close(self.sock.close)


@pytest.fixture
def guest(lab: Lab) -> Guest:
    return Guest(lab)


@pytest.fixture
async def opened(links: Links):
    """Opens devices that are closed with the test."""
    devices: list[Device] = []

    async def open_port(**port: object) -> Device:
        device = await open_device(Port(kind="netdev", **port), 2, links)
        devices.append(device)
        return device

    yield open_port
    for device in devices:
        await device.close()


async def received(device: Device) -> tuple[bytes, int | None]:
    """The next frame of our EtherType, without its header, and its VLAN tag if one came beside it."""
    sock = socket.socket(fileno=os.dup(device.fds[0]))
    try:
        while True:
            await wait_until(lambda: _readable(device), LIMIT_S, "a frame")
            try:
                frame, ancillary, *_ = sock.recvmsg(1 << 17, 64)
            except OSError as error:
                assert error.errno == errno.ENETDOWN  # told once, after the device was down
                continue
            status, tci = struct.unpack_from("=I12xH", ancillary[0][2])
            if struct.pack("!H", ETHERTYPE) in frame[:30]:
                return frame[packet.VNET_HDR_LEN:], tci if status & 0x10 else None
    finally:
        sock.close()


def _readable(device: Device) -> bool:
    return bool(select.select([device.fds[0]], [], [], 0)[0])


async def test_frames_go_both_ways_whoever_they_are_for(guest: Guest, opened) -> None:
    port = await opened(name=guest.near)
    assert (port.kind, port.state().name, len(port.fds)) == ("packet", "up", 1)
    assert not os.get_inheritable(port.fds[0]) and not os.get_blocking(port.fds[0])
    guest.sock.send(TO_SOMEBODY_ELSE)
    assert await received(port) == (TO_SOMEBODY_ELSE, None)
    os.write(port.fds[0], bytes(packet.VNET_HDR_LEN) + FRAME)
    assert guest.sock.recv(2048) == FRAME


async def test_a_vlan_tag_comes_beside_the_frame(guest: Guest, opened) -> None:
    port = await opened(name=guest.near)
    guest.sock.send(VLAN_FRAME)
    assert await received(port) == (FRAME, 10)


async def test_what_we_send_is_not_heard_again_nor_what_others_hear(lab: Lab, guest: Guest, opened) -> None:
    other, _ = lab.veth("o", "p")
    port = await opened(name=guest.near)
    os.write(port.fds[0], bytes(packet.VNET_HDR_LEN) + FRAME)
    stranger = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    stranger.bind((lab.name("p"), 0))
    stranger.send(FRAME)
    stranger.close()
    guest.sock.send(TO_SOMEBODY_ELSE)
    assert (await received(port))[0] == TO_SOMEBODY_ELSE


async def test_a_device_that_is_down_is_brought_up(lab: Lab, guest: Guest, opened) -> None:
    lab.ip("link", "set", guest.near, "down")
    port = await opened(name=guest.near, mtu=9000)
    await wait_until(lambda: port.ready, LIMIT_S, "carrier")
    assert port.mtu == 9000
    lab.ip("link", "set", guest.far, "down", netns=guest.netns)
    await wait_until(lambda: port.state().name == "no carrier", LIMIT_S, "carrier to go")
    lab.ip("link", "set", guest.near, "down", "mtu", "1400")
    await wait_until(lambda: port.state().name == "down" and port.mtu == 1400, LIMIT_S, "it to be down")


async def test_a_device_that_returns_is_taken_back_with_its_settings(lab: Lab, guest: Guest, opened) -> None:
    port = await opened(name=guest.near, mtu=1400)
    told: list[str] = []
    port.on_change = lambda device: told.append(device.state().name)
    before, fds, mac = port.ifindex, port.fds, "02:00:00:00:00:99"
    lab.ip("link", "del", guest.near)
    await wait_until(lambda: port.state().name == "missing", LIMIT_S, "it to be missed")
    lab.ip("link", "add", guest.near, "address", mac, "type", "veth", "peer", "name", guest.far, "netns", guest.netns)
    lab.ip("link", "set", guest.far, "up", netns=guest.netns)
    await wait_until(lambda: port.ready, LIMIT_S, "it to be taken back")
    assert port.ifindex != before and port.fds == fds and (port.mtu, port.mac) == (1400, mac)
    assert "missing" in told and told[-1] == "up"


async def test_a_renamed_device_is_given_up_until_it_has_its_name_back(lab: Lab, guest: Guest, opened) -> None:
    port = await opened(name=guest.near)
    lab.ip("link", "set", guest.near, "down")
    lab.ip("link", "set", guest.near, "name", lab.name("x"))
    await wait_until(lambda: port.state().name == "missing", LIMIT_S, "it to be missed")
    lab.ip("link", "set", lab.name("x"), "name", guest.near)
    await wait_until(lambda: port.ready, LIMIT_S, "it to be taken back")
    await wait_until(lambda: "state UP" in lab.ip("link", "show", guest.far, netns=guest.netns), LIMIT_S, "the far end")
    guest.sock.send(FRAME)
    assert (await received(port))[0] == FRAME


async def test_adjusting_goes_back_to_what_the_device_had(guest: Guest, opened) -> None:
    port = await opened(name=guest.near)
    mac = port.mac
    await port.adjust(Port(name=guest.near, kind="netdev", mtu=1280, mac="02:00:00:00:00:cc", offloads=False))
    assert (port.mtu, port.mac, port.offloads) == (1280, "02:00:00:00:00:cc", Offload(0))
    await port.adjust(Port(name=guest.near, kind="netdev"))
    assert (port.mtu, port.mac) == (1500, mac) and Offload.TSO4 in port.offloads


async def test_the_host_gets_its_device_back_as_it_was(lab: Lab, guest: Guest, links: Links) -> None:
    def link() -> tuple[str, int]:
        (shown,) = json.loads(lab.ip("-j", "link", "show", guest.near))
        return shown["address"], shown["mtu"]

    before = link()
    port = Port(name=guest.near, kind="netdev", mtu=1280, mac="02:00:00:00:00:cc")
    device = await open_device(port, 1, links)
    assert link() == ("02:00:00:00:00:cc", 1280)
    await device.close()
    assert link() == before
    device = await open_device(Port(name=guest.near, kind="netdev"), 1, links)
    lab.ip("link", "set", guest.near, "mtu", "1400")
    await device.close()
    assert link() == (before[0], 1400)


async def test_the_log_tells_which_of_the_hosts_addresses_is_cut_off(
    lab: Lab, guest: Guest, opened, caplog: pytest.LogCaptureFixture
) -> None:
    lab.address(guest.near, "192.0.2.7/24")
    await opened(name=guest.near)
    assert f"port {guest.near}: the host has 192.0.2.7 on this device" in caplog.text


async def test_what_the_kernel_drops_before_we_read_is_counted_once(guest: Guest, opened) -> None:
    port = await opened(name=guest.near)
    sock = socket.socket(fileno=os.dup(port.fds[0]))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.close()
    for _ in range(64):
        guest.sock.send(FRAME)
    drops = await wait_until(lambda: port.kernel_drops, LIMIT_S, "drops")
    assert 0 < drops <= 64 and port.kernel_drops == drops


async def test_a_tap_for_a_machine_has_no_carrier_until_it_is_opened(lab: Lab, opened) -> None:
    name = lab.name("q")
    port = await opened(name=name, create=True, queues=1, owner="nobody", group="0")
    assert port.state() == ("no carrier", "no virtual machine has opened the tap") and not port.ready
    assert f"user {pwd.getpwnam('nobody').pw_uid}" in _tuntap(lab, name) and "group 0" in _tuntap(lab, name)
    assert "multi_queue" not in _tuntap(lab, name)
    machine = pytun.TunTapDevice(name=name, flags=pytun.IFF_TAP | pytun.IFF_NO_PI | tun.IFF_VNET_HDR)
    await wait_until(lambda: port.ready, LIMIT_S, "the machine")
    os.write(machine.fileno(), bytes(10) + FRAME)
    assert (await received(port))[0] == FRAME
    machine.close()
    await wait_until(lambda: port.state().name == "no carrier", LIMIT_S, "the machine to end")


def _tuntap(lab: Lab, name: str) -> str:
    return next(line for line in lab.run("ip", "tuntap", "show").stdout.splitlines() if line.startswith(f"{name}:"))


async def test_a_tap_of_neither_owner_nor_group_is_open_to_root_only(lab: Lab, opened) -> None:
    nobodys, of_a_group = lab.name("q"), lab.name("g")
    await opened(name=nobodys, create=True)
    await opened(name=of_a_group, create=True, group="0")
    assert "user 0" in _tuntap(lab, nobodys) and "group" not in _tuntap(lab, nobodys)
    assert "group 0" in _tuntap(lab, of_a_group) and "user" not in _tuntap(lab, of_a_group)


async def test_a_tap_of_one_queue_unless_asked_for_more(lab: Lab, opened) -> None:
    name, plain = lab.name("q"), lab.name("p")
    await opened(name=plain, create=True)
    assert "multi_queue" not in _tuntap(lab, plain)
    await opened(name=name, create=True, queues=2)
    assert "multi_queue" in _tuntap(lab, name)
    flags = pytun.IFF_TAP | pytun.IFF_NO_PI | tun.IFF_VNET_HDR | pytun.IFF_MULTI_QUEUE
    for queue in [pytun.TunTapDevice(name=name, flags=flags) for _ in range(2)]:
        queue.close()


async def test_the_tap_we_made_goes_with_its_port_and_no_other(lab: Lab, links: Links) -> None:
    ours, theirs = lab.name("q"), lab.tap("p")
    for name in (ours, theirs):
        port = await open_device(Port(name=name, kind="netdev", create=True), 1, links)
        assert exists(name)
        await port.close()
    assert not exists(ours) and exists(theirs)


async def test_a_machine_keeps_its_tap_when_the_daemon_is_replaced(lab: Lab, links: Links) -> None:
    used, idle = (Port(name=lab.name(stem), kind="netdev", create=True, queues=1) for stem in "ui")
    lab.forget_device(used.name)
    first = [await open_device(port, 1, links) for port in (used, idle)]
    machine = pytun.TunTapDevice(name=used.name, flags=pytun.IFF_TAP | pytun.IFF_NO_PI | tun.IFF_VNET_HDR)
    await wait_until(lambda: first[0].ready, LIMIT_S, "the machine")
    for port in first:
        await port.close(stopping=True)
    assert exists(used.name) and not exists(idle.name)
    second = await open_device(used, 1, links)
    assert second.ready
    await second.close()
    assert not exists(used.name)
    machine.close()


async def test_a_tap_that_a_killed_daemon_left_is_made_afresh(lab: Lab, links: Links) -> None:
    name = lab.name("q")
    lab.forget_device(name)
    left = await open_device(Port(name=name, kind="netdev", create=True, queues=1), 1, links)
    port = await open_device(Port(name=name, kind="netdev", create=True, owner="nobody", queues=2), 1, links)
    assert "multi_queue" in _tuntap(lab, name) and "user" in _tuntap(lab, name)
    await port.close()
    assert not exists(name)
    await left.close()


async def test_no_address_of_the_host_on_a_machines_tap(lab: Lab, opened) -> None:
    port = await opened(name=lab.name("q"), create=True, queues=1)
    machine = pytun.TunTapDevice(name=port.name, flags=pytun.IFF_TAP | pytun.IFF_NO_PI | tun.IFF_VNET_HDR)
    await wait_until(lambda: port.ready, LIMIT_S, "the machine")
    assert "inet6" not in lab.ip("address", "show", port.name)
    machine.close()


async def test_refusals_say_what_is_wrong_and_leave_nothing(
    lab: Lab, guest: Guest, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    mastered, _ = lab.veth("m", "mf")
    lab.bridge("kb", mastered)
    tunnel = lab.name("l3")
    lab.ip("tuntap", "add", "dev", tunnel, "mode", "tun")
    lab.on_close(lab.ip, "link", "del", tunnel)
    cases = [
        (dict(name=lab.name("t")), "name", "no such device"),
        (dict(name=mastered), "name", f"`ip link set {mastered} nomaster`"),
        (dict(name="lo"), "name", "not an Ethernet device"),
        (dict(name=tunnel), "name", "not an Ethernet device"),
        (dict(name=lab.name("t"), create=True, owner="99999999999"), "owner", "at most 2147483647"),
        (dict(name=lab.name("t"), create=True, group="a\0b"), "group", "no such group"),
        (dict(name=guest.near, mtu=1 << 20), "mtu", "refuses that"),
        (dict(name=guest.near, create=True), "create", "not a tap"),
        (dict(name=lab.name("t"), create=True, owner="no-such-user"), "owner", "no such user"),
        (dict(name=lab.name("t"), create=True, group="no-such-group"), "group", "no such group"),
    ]
    for port, key, words in cases:
        with pytest.raises(PortError) as refusal:
            await open_device(Port(kind="netdev", **port), 1, links)
        assert refusal.value.key == key and words in str(refusal.value) and "\n" not in str(refusal.value)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(packet.socket, "socket", refuse)
    with pytest.raises(PortError, match="CAP_NET_RAW"):
        await open_device(Port(kind="netdev", name=lab.name("t"), create=True), 1, links)
    assert not exists(lab.name("t"))
    assert links.host_stack._chains == {}


async def test_fifty_devices_at_once(lab: Lab, links: Links) -> None:
    ports = [Port(name=lab.name(f"q{number}"), kind="netdev", create=True) for number in range(50)]
    devices = await asyncio.gather(*(open_device(port, 1, links) for port in ports))
    await asyncio.gather(*(device.close() for device in devices))
    assert not any(exists(port.name) for port in ports)
