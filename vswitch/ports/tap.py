"""A `tap` port: the switch holds the descriptors, the other end is a network device for the host or a guest.

The descriptor is the truth. A tap may be renamed or moved to another namespace after it was made (container runtimes do
both); to netlink that looks like its end, but the descriptor answers and frames go on. So when the link disappears from
where it was, the descriptor is asked what the device is called and where it is, and it is followed there. Only when the
descriptor says so (EBADFD) is the tap gone.

With `netns` the tap is made in that namespace and brought up there. A daemon without CAP_SYS_ADMIN cannot enter one: then
the tap is made here and moved, comes out down, and is brought up by whoever owns the namespace; what happens to it there
cannot be heard, and it counts as up.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from vswitch.dataplane import Offload
from vswitch.ports import netlink, tun
from vswitch.ports.device import PortError, State
from vswitch.ports.follow import LinkedDevice
from vswitch.ports.links import Links
from vswitch.ports.linksetup import set_up
from vswitch.ports.netlink import Link
from vswitch.ports.netns import inside, open_namespace
from vswitch.ports.watch import LinkEvent

if TYPE_CHECKING:
    from vswitch.config.model import Port

log = logging.getLogger(__name__)

GONE = "the device was deleted"


class Tap(LinkedDevice):
    """A tap and its queues."""

    kind = "tap"

    def __init__(self, port: Port, links: Links, queues: list[tun.Queue], offloads: Offload) -> None:
        super().__init__(port.name)
        self.netns = port.netns
        self.offloads = offloads
        self.fds = tuple(queue.fileno() for queue in queues)
        self._queues = queues
        self._links = links
        self._drops = 0
        self._finding = asyncio.Lock()

    @classmethod
    async def open(cls, port: Port, workers: int, links: Links) -> Tap:
        """Make or open the tap, set it up, and follow it. Raises PortError, and then leaves nothing behind."""
        queues, offloads, link = await asyncio.to_thread(_open, port, workers)
        tap = cls(port, links, queues, offloads)
        try:
            tap.take_link(link)
            await tap._follow()
        except BaseException:
            await tap.close()
            raise
        _tell_missing_offloads(port, offloads)
        return tap

    @property
    def kernel_drops(self) -> int:
        """Frames dropped because the tap's ring was full, since the device was made."""
        if (following := self._following) is not None:
            self._drops = max(self._drops, following.drops.get(following.name))
        return self._drops

    def state(self) -> State:
        """Its state in words; where no news can be heard, the descriptor is asked."""
        if self._following is None and self.missing is None and tun.device_name(self.fds[0]) is None:
            self.lose_link(GONE)
        return super().state()

    async def adjust(self, port: Port) -> None:
        """Take over `mtu`, `mac` and `offloads`, wherever the device is. Raises PortError, then unchanged."""
        self.offloads, link = await asyncio.to_thread(_adjust, self._queues[0], port)
        self.take_link(link)

    async def close(self, *, stopping: bool = False) -> None:
        """Close the queues; the device goes with them unless it is persistent."""
        await self._stop_following()
        await asyncio.to_thread(tun.close_queues, self._queues)

    def _on_event(self, event: LinkEvent) -> None:
        if event.gone or event.link.ifindex != self.ifindex:
            self._run_errand(self._follow())
        else:
            self.take_link(event.link)

    async def _follow(self) -> None:
        """Find the device and follow it where it is, as often as it takes."""
        async with self._finding:
            while (place := await asyncio.to_thread(_locate, self.fds[0])) is not None:
                if await self._follow_at(*place):
                    return
            self.lose_link(GONE)

    async def _follow_at(self, name: str, namespace: int) -> bool:
        """Follow the device by the name and in the namespace it had; returns False when it is not there any more."""
        try:
            following = await self._links.follow(name, self._on_event, namespace)
        except PermissionError as error:
            log.info("port %s: what happens to it in its namespace cannot be heard: %s", self.name, error)
            following = None
        finally:
            os.close(namespace)
        if self._following is not None:
            self._following.cancel()
        self._following = following
        if following is None:
            return True
        if following.link is None:
            return False
        self.take_link(following.link)
        return True


def _locate(fd: int) -> tuple[str, int] | None:
    """The device's name and a descriptor of its namespace, the caller's to close; None when the device is no more."""
    if (name := tun.device_name(fd)) is None or (namespace := tun.device_namespace(fd)) is None:
        return None
    return name, namespace


def _open(port: Port, workers: int) -> tuple[list[tun.Queue], Offload, Link]:
    """Open and set up the tap where it belongs; returns queues, offloads, and the link as it is now."""
    if port.netns is None:
        return _open_here(port, workers)
    namespace = open_namespace(port.netns)
    try:
        with inside(namespace):
            return _open_here(port, workers)
    except PermissionError:
        return _open_and_move(port, workers, namespace)
    finally:
        os.close(namespace)


def _open_here(port: Port, workers: int) -> tuple[list[tun.Queue], Offload, Link]:
    queues = tun.open_queues(port.name, workers)
    try:
        offloads = tun.set_offloads(queues[0], tun.ALL if port.offloads else Offload(0))
        return queues, offloads, set_up(port.name, port, up=True)
    except BaseException:
        tun.close_queues(queues)
        raise


def _open_and_move(port: Port, workers: int, namespace: int) -> tuple[list[tun.Queue], Offload, Link]:
    queues, offloads, link = _open_here(port, workers)
    try:
        netlink.change_link(link.ifindex, net_ns_fd=namespace)
    except OSError as error:
        tun.close_queues(queues)
        raise PortError("netns", port.netns, f"cannot move {port.name} there: {error.strerror}") from None
    log.info("port %s: moved to %s, and down; bring it up there: `ip link set %s up`", port.name, port.netns, port.name)
    return queues, offloads, link


def _adjust(queue: tun.Queue, port: Port) -> tuple[Offload, Link]:
    place = _locate(queue.fileno())
    if place is None:
        raise PortError("name", port.name, GONE)
    name, namespace = place
    try:
        with inside(namespace):
            link = set_up(name, port, up=False)
    except PermissionError as error:
        raise PortError("netns", port.netns, str(error)) from None
    finally:
        os.close(namespace)
    return tun.set_offloads(queue, tun.ALL if port.offloads else Offload(0)), link


def _tell_missing_offloads(port: Port, offloads: Offload) -> None:
    missing = tun.ALL & ~offloads
    if port.offloads and missing:
        log.info("port %s: this kernel's taps lack %s", port.name, ", ".join(flag.name for flag in missing))
