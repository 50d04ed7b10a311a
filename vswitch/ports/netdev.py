"""A `netdev` port: a network device that exists beside the switch - a veth, a physical NIC, the tap that QEMU has open.

The switch reads and writes the device by an AF_PACKET socket (`packet.py`) and keeps the host's own stack off its
frames (`hoststack.py`), the latter first, so that no frame is ever taken twice. The device is brought up if it is down,
made promiscuous, and given the port's MTU and MAC if there are any.

The port is known by its name. A device that goes is missed, and the next one of that name is taken back with all its
settings; the socket, and so the descriptor that the workers hold, stays the same. A device that is renamed is given up:
the configuration means another one by that name.

With `create` the device is a persistent tap, made for a virtual machine: QEMU opens it by its name (`-netdev
tap,ifname=NAME,script=no,downscript=no`) and until then it has no carrier. It bears an alias that says whose it is, so
a daemon that starts anew finds those of the last one: one in use it takes as it is, one that nobody uses it makes
afresh. The tap goes with its port; when the daemon stops, those in use stay, or a restart would cut off the machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import pwd
from collections.abc import Callable
from typing import TYPE_CHECKING

from vswitch.dataplane import Offload
from vswitch.ports import tun
from vswitch.ports.device import PortError
from vswitch.ports.follow import LinkedDevice
from vswitch.ports.ifreq import give_back, host_address, read, set_up
from vswitch.ports.links import Links
from vswitch.ports.netlink import Link
from vswitch.ports.packet import PacketSocket, packet_offloads
from vswitch.ports.pool import in_thread
from vswitch.ports.watch import LinkEvent

if TYPE_CHECKING:
    from vswitch.config.model import Port

log = logging.getLogger(__name__)

ALIAS = "made by vswitch"
MAX_ID = 2**31 - 1  # of a user or group: what fcntl.ioctl takes
GONE = "there is no device of that name; the port takes the next one"


class NetDev(LinkedDevice):
    """A device by AF_PACKET."""

    kind = "packet"
    netns = None

    def __init__(self, port: Port, links: Links) -> None:
        super().__init__(port.name)
        self._sock = PacketSocket()
        self.offloads = _offloads(port)
        self.fds = (self._sock.fileno(),)
        self._port = port
        self._links = links
        self._original: Link | None = None  # the device as it was before it was set up
        self._attached = 0  # the ifindex the socket is bound to
        self._attaching = asyncio.Lock()

    @classmethod
    async def open(cls, port: Port, links: Links) -> NetDev:
        """Find or make the device and take its frames. Raises PortError, and then leaves nothing behind."""
        if port.create:
            await _create(port, links)
        try:
            device = cls(port, links)
        except OSError as error:
            await _delete(port, links)
            right = f"cannot open a packet socket ({error.strerror}); it takes CAP_NET_RAW"
            raise PortError("name", port.name, right) from None
        try:
            await device._attach()
            device._following = await links.follow(port.name, device._on_event)
        except BaseException:
            await device.close()
            raise
        device._catch_up()
        return device

    @property
    def kernel_drops(self) -> int:
        """Frames dropped because the socket's buffer was full."""
        return self._sock.drops

    def no_carrier(self) -> str:
        """Why the device has no carrier."""
        return "no virtual machine has opened the tap" if self._port.create else super().no_carrier()

    async def adjust(self, port: Port) -> None:
        """Take over `mtu`, `mac` and `offloads`. Raises PortError, then unchanged."""
        if self.missing is None:
            await in_thread(set_up, self.name, port, self._original)
            await self._links.get(self.name)  # by when the news of it have come
        self._port, self.offloads = port, _offloads(port)

    async def close(self, *, stopping: bool = False) -> None:
        """Give the device back to the host as it was, or delete it if we made it, unless we are stopping and it is in use."""
        await self._stop_following()
        await in_thread(self._sock.close)
        if self._attached and not self._port.create:
            with contextlib.suppress(PortError):  # it has just gone
                await in_thread(give_back, self.name, self._port, self._original)
        await self._links.host_stack.release(self.name)
        await _delete(self._port, self._links, spare_used=stopping)

    async def _attach(self) -> None:
        """Keep the host's stack off the device, set it up, and take its frames. Raises PortError."""
        _refuse_unfit(self.name, await self._links.get(self.name))
        await self._links.host_stack.block(self.name)
        self._original = await in_thread(read, self.name)
        link = await in_thread(set_up, self.name, self._port, self._original, up=True)
        try:
            await in_thread(self._sock.attach, self.name, link.ifindex)
        except OSError as error:
            raise PortError("name", self.name, f"cannot take the device's frames: {error.strerror}") from None
        self._attached, self.unusable = link.ifindex, None
        self.take_link(link)
        if address := await in_thread(host_address, self.name):
            log.warning("port %s: the host has %s on this device, and is not reached by it any more", self.name, address)

    def _on_event(self, event: LinkEvent) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        """Be as the device of our name is; if it is another than before, take that one."""
        link = self._following.link
        if link is None:
            self._attached = 0
            self.lose_link(GONE)
        elif link.ifindex == self._attached:
            self.take_link(link)
        else:
            self._run_errand(self._take_back())

    async def _take_back(self) -> None:
        async with self._attaching:
            if self._following.link is None or self._following.link.ifindex == self._attached:
                return
            try:
                await self._attach()
            except PortError as error:
                if self._following.link is not None:
                    self.spoil(str(error))
            else:
                self._catch_up()


def _refuse_unfit(name: str, link: Link | None) -> None:
    if link is None:
        raise PortError("name", name, "no such device; `ip link` lists those there are")
    if not link.ethernet:
        raise PortError("name", name, "not an Ethernet device, so no port of a switch")
    if link.master:
        right = f"in use: it is a port of a bridge or bond of the kernel; `ip link set {name} nomaster` frees it"
        raise PortError("name", name, right)


def _offloads(port: Port) -> Offload:
    return packet_offloads() if port.offloads else Offload(0)


async def _create(port: Port, links: Links) -> None:
    """Make the persistent tap, unless it is there already and ours and in use, or not ours at all. Raises PortError."""
    owner, group = _user(port.owner), _group(port.group)
    link = await links.get(port.name)
    if link is not None:
        if link.kind != "tun":
            raise PortError("create", "true", f"{port.name} exists already, and it is not a tap")
        if link.alias != ALIAS or link.carrier:
            return
        await links.delete(link.ifindex)
    await in_thread(tun.make_persistent, port.name, owner=owner, group=group, multi_queue=_multi_queue(port))
    try:
        link = await links.get(port.name)
        await links.change(link.ifindex, alias=ALIAS)
        with contextlib.suppress(OSError):  # a kernel without IPv6
            await links.change(link.ifindex, ipv6=False)
    except BaseException:
        await in_thread(tun.end_persistence, port.name, multi_queue=_multi_queue(port))
        raise


async def _delete(port: Port, links: Links, *, spare_used: bool = False) -> None:
    """Delete the port's tap if it is one of ours."""
    link = await links.get(port.name) if port.create else None
    if link is None or link.alias != ALIAS:
        return
    if not link.carrier:  # not by netlink: the links thread would delete a hundred one after the other
        await in_thread(tun.end_persistence, port.name, multi_queue=_multi_queue(port))
    elif not spare_used:
        await links.delete(link.ifindex)


def _multi_queue(port: Port) -> bool:
    return (port.queues or 1) > 1


def _user(owner: str | None) -> int | None:
    return None if owner is None else _id("owner", owner, "user", lambda: pwd.getpwnam(owner).pw_uid)


def _group(group: str | None) -> int | None:
    return None if group is None else _id("group", group, "group", lambda: grp.getgrnam(group).gr_gid)


def _id(key: str, text: str, what: str, look_up: Callable[[], int]) -> int:
    try:
        number = int(text) if text.isdecimal() else look_up()
    except (KeyError, ValueError):  # ValueError: a NUL
        raise PortError(key, text, f"no such {what}; a name or a number of one") from None
    if number > MAX_ID:
        raise PortError(key, text, f"a {what}'s number is at most {MAX_ID}")
    return number
