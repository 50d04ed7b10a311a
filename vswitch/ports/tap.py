"""A `tap` port: the switch holds the descriptors, the other end is a network device for the host or a guest.

The descriptor is the truth. A tap may be renamed or moved to another namespace after it was made (container runtimes do
both); to netlink that looks like its end, but the descriptor answers and frames go on. So when the link disappears from
where it was, the descriptor is asked what the device is called and where it is, and it is followed there. Only when the
descriptor says so (EBADFD) is the tap gone.

With `netns` the tap is made in that namespace and brought up there. Two things follow from that. Entering a namespace
takes CAP_SYS_ADMIN; a daemon without it makes the tap here and moves it, which leaves it down until whoever owns the
namespace brings it up. And a tap holds the namespace it was made in, so that `ip netns del` does not end it; `state`
notices that the name now means another namespace, or none, and calls the tap missing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from vswitch.dataplane import Offload
from vswitch.ports import tun
from vswitch.ports.device import PortError, State
from vswitch.ports.follow import LinkedDevice
from vswitch.ports.ifreq import read, set_up
from vswitch.ports.links import Following, Links
from vswitch.ports.netlink import Link
from vswitch.ports.netns import identity, inside, open_namespace, path_of
from vswitch.ports.pool import in_thread
from vswitch.ports.watch import LinkEvent

if TYPE_CHECKING:
    from vswitch.config.model import Port

log = logging.getLogger(__name__)

GONE = "the device was deleted"
FIND_ATTEMPTS = 8


class Made(NamedTuple):
    """A tap fresh from the kernel."""

    queues: list[tun.Queue]
    offloads: Offload
    original: Link  # as it was before it was set up
    link: Link


class Tap(LinkedDevice):
    """A tap and its queues."""

    kind = "tap"

    def __init__(self, port: Port, links: Links, made: Made) -> None:
        super().__init__(port.name)
        self.netns = port.netns
        self.offloads = made.offloads
        self.fds = tuple(queue.fileno() for queue in made.queues)
        self._queues = made.queues
        self._original = made.original
        self._links = links
        self._place = None if port.netns is None else identity(path_of(port.netns))
        self._drops = 0
        self._finding = asyncio.Lock()

    @classmethod
    async def open(cls, port: Port, workers: int, links: Links) -> Tap:
        """Make or open the tap, set it up, and follow it. Raises PortError, and then leaves nothing behind."""
        namespace = None if port.netns is None else open_namespace(port.netns)
        try:
            return await cls._open_in(namespace, port, workers, links)
        finally:
            if namespace is not None:
                os.close(namespace)

    @classmethod
    async def _open_in(cls, namespace: int | None, port: Port, workers: int, links: Links) -> Tap:
        move = False
        try:
            made = await in_thread(_make, port, workers, namespace)
        except PermissionError:
            made = await in_thread(_make, port, workers, None)
            move = True
        tap = cls(port, links, made)
        try:
            tap.take_link(made.link)
            if move:
                await tap._move(namespace)
            await tap._follow()
        except BaseException:
            await tap.close()
            raise
        return tap

    @property
    def kernel_drops(self) -> int:
        """Frames dropped because the tap's ring was full, since the device was made."""
        if self._following is not None and (drops := self._following.drops()) is not None:
            self._drops = max(self._drops, drops)
        return self._drops

    def state(self) -> State:
        """Its state in words. Asking is how it finds out what no news tell."""
        if self.missing is None:
            if self._place is not None and identity(path_of(self.netns)) != self._place:
                self.lose_link(f"the network namespace {self.netns} it was made for is gone")
            elif self._following is None and tun.device_name(self.fds[0]) is None:
                self.lose_link(GONE)
        return super().state()

    async def adjust(self, port: Port) -> None:
        """Take over `mtu`, `mac` and `offloads`, wherever the device is. Raises PortError, then unchanged."""
        self.offloads, link = await in_thread(_adjust, self._queues[0], port, self._original)
        self.take_link(link)

    async def close(self, *, stopping: bool = False) -> None:
        """Close the queues; the device goes with them unless it is persistent."""
        await self._stop_following()
        await in_thread(tun.close_queues, self._queues)

    async def _move(self, namespace: int) -> None:
        try:
            await self._links.change(self.ifindex, namespace=namespace)
        except OSError as error:
            raise PortError("netns", self.netns, f"cannot move {self.name} there: {error.strerror}") from None
        log.info(
            "port %s: moved to %s, and down; entering a namespace takes CAP_SYS_ADMIN, so bring it up there",
            self.name, self.netns,
        )

    def _on_event(self, event: LinkEvent) -> None:
        if event.gone or event.link.ifindex != self.ifindex:
            self._run_errand(self._follow())
        elif self.missing is None:
            self.take_link(event.link)

    async def _follow(self) -> None:
        """Find the device and follow it where it is. It may move meanwhile; one that is lost stays lost."""
        async with self._finding:
            for _ in range(FIND_ATTEMPTS):
                place = None if self.missing else await in_thread(_locate, self.fds[0])
                if place is None:
                    return self.lose_link(self.missing or GONE)
                if await self._follow_at(*place):
                    return
            log.warning("port %s: cannot keep up with its moves; what happens to it is not heard", self.name)
            self._set_following(None)

    async def _follow_at(self, name: str, namespace: int) -> bool:
        """Follow the device by the name and in the namespace it had; returns False when it is not there any more."""
        try:
            following = await self._links.follow(name, self._on_event, namespace)
        except OSError as error:
            log.info("port %s: what happens to it in its namespace is not heard: %s", self.name, error.strerror)
            following = None
        finally:
            os.close(namespace)
        self._set_following(following)
        if following is not None and following.link is not None:
            self.take_link(following.link)
        return following is None or following.link is not None

    def _set_following(self, following: Following | None) -> None:
        if self._following is not None:
            self._following.cancel()
        self._following = following


def _locate(fd: int) -> tuple[str, int] | None:
    """The device's name and a descriptor of its namespace, the caller's to close; None when the device is no more."""
    if (name := tun.device_name(fd)) is None or (namespace := tun.device_namespace(fd)) is None:
        return None
    return name, namespace


def _make(port: Port, workers: int, namespace: int | None) -> Made:
    """Open and set up the tap in a namespace. Raises PortError; PermissionError if the namespace may not be entered."""
    with inside(namespace):
        queues = tun.open_queues(port.name, workers)
        try:
            original = read(port.name)
            link = set_up(port.name, port, original, up=True)
            return Made(queues, _set_offloads(queues[0], port), original, link)
        except BaseException:
            tun.close_queues(queues)
            raise


def _adjust(queue: tun.Queue, port: Port, original: Link) -> tuple[Offload, Link]:
    place = _locate(queue.fileno())
    if place is None:
        raise PortError("name", port.name, GONE)
    name, namespace = place
    try:
        with inside(namespace):
            link = set_up(name, port, original)
            return _set_offloads(queue, port), link
    except PermissionError as error:
        raise PortError("netns", port.netns, str(error)) from None
    finally:
        os.close(namespace)


def _set_offloads(queue: tun.Queue, port: Port) -> Offload:
    if not port.offloads:
        return tun.set_offloads(queue, Offload(0))
    offloads = tun.set_offloads(queue, tun.ALL)
    if missing := tun.ALL & ~offloads:
        log.info("port %s: this kernel's taps lack %s", port.name, ", ".join(flag.name for flag in missing))
    return offloads
