"""What of the ports needs neither root nor devices."""

from __future__ import annotations

import os

import pytest

from vswitch.config.model import Port
from vswitch.dataplane import Dataplane, Offload
from vswitch.ports import Links, PortError, netns, open_device, packet
from vswitch.ports.drops import tx_dropped
from vswitch.ports.follow import LinkedDevice
from vswitch.ports.netlink import Link, change_request, get_request

LINK = Link("eth1", 7, up=True, carrier=True, mtu=1500, mac="02:00:00:00:00:01")


async def test_a_memory_port_is_always_up() -> None:
    dataplane = Dataplane(workers=1, busy_poll_us=0)
    port = Port(name="m0", kind="memory")
    device = await open_device(port, 1, Links(), dataplane)
    assert (device.kind, device.fds, device.state().name, device.ready, device.mtu) == ("memory", (), "up", True, 1500)
    assert device.offloads == ~Offload(0)
    await device.adjust(Port(name="m0", kind="memory", mtu=9000, offloads=False))
    assert (device.mtu, device.offloads) == (9000, Offload(0))
    await device.close()


async def test_a_kind_there_is_not() -> None:
    with pytest.raises(PortError, match="^kind: vxlan: .*right: tap, netdev or memory$"):
        await open_device(Port(name="x", kind="vxlan"), 1, Links())


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, "up", None),
        ({"up": False}, "down", "ip link set eth1 up"),
        ({"up": False, "carrier": False}, "down", "administrator"),
        ({"carrier": False}, "no carrier", "other end"),
        ({"carrier": False, "unusable": "busy"}, "unusable", "busy"),
        ({"missing": "deleted", "unusable": "busy", "up": False}, "missing", "deleted"),
    ],
)
def test_states_in_words(changes: dict[str, object], state: str, reason: str | None) -> None:
    device = LinkedDevice("eth1")
    device.take_link(LINK)
    for key, value in changes.items():
        setattr(device, key, value)
    assert device.state().name == state and device.ready == (state == "up")
    assert (reason or "") in (device.state().reason or "")


def test_a_change_is_told_once() -> None:
    device, told = LinkedDevice("eth1"), []
    device.take_link(LINK)
    device.on_change = told.append
    device.take_link(LINK)
    assert told == []
    device.lose_link("gone")
    device.lose_link("gone")
    assert told == [device]


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "5.10.0"])
def test_kernels_before_6_2_cannot_send_udp_super_frames(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uname = list(os.uname())
    uname[2] = release
    monkeypatch.setattr(packet.os, "uname", lambda: os.uname_result(uname))
    assert packet.packet_offloads() == Offload.CSUM | Offload.TSO4 | Offload.TSO6


def test_a_namespace_by_name_and_by_path() -> None:
    assert str(netns.path_of("blue")) == "/run/netns/blue"
    assert str(netns.path_of("/proc/7/ns/net")) == "/proc/7/ns/net"
    with pytest.raises(PortError, match="^netns: no-such: no such network namespace; `ip netns add no-such`"):
        netns.open_namespace("no-such")


def test_the_drop_counter_is_found_in_a_message_and_nowhere_else() -> None:
    message = get_request(None, name="eth1")
    message["header"]["type"] = 16  # RTM_NEWLINK
    message["attrs"].append(("IFLA_STATS64", {"tx_dropped": 41}))
    message.encode()
    assert tx_dropped(bytes(message.data)) == 41
    without = change_request(7, alias="a")
    without.encode()
    assert tx_dropped(bytes(without.data)) is None
    error = get_request(None, name="eth1")
    error.encode()
    assert tx_dropped(bytes(error.data)) is None
