"""Follows what devices do of their own accord, and does what falls due once a second.

A device tells when its state, MTU or MAC has changed (and logs it); what the workers know is then published anew. One
that has vanished is followed no further than that: a netdev port takes the next device of its name by itself. But a
device that is the daemon's own to make (a tap, a netdev with `create`) would never return. It is made again when it has
been missing for a second or two, so that whoever deleted it can see that he did. So is one that was lost when a change
failed and could not be put back.

Everything happens under the lock of `Switch`, between changes of configuration, and in one task: callbacks only note
what is to be done and wake it. All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from .config.apply import Applier, close_devices
from .config.model import Port
from .ports import Device, PortError

log = logging.getLogger("vswitch")

HOUSEKEEPING_S = 1.0


class Caretaker:
    """Looks after the devices of the applier's picture; `lock` keeps changes of configuration out meanwhile."""

    def __init__(self, applier: Applier, lock: asyncio.Lock) -> None:
        self._applier = applier
        self._lock = lock
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._wanted: set[str] = set()  # ports whose device is to be opened anew
        self.chores: tuple[Callable[[], object], ...] = ()  # of others, once a second

    def start(self) -> None:
        """Begin to look after devices."""
        self._tasks = [asyncio.create_task(self._attend()), asyncio.create_task(self._keep_house())]

    async def stop(self) -> None:
        """Leave the devices alone from now on. Harmless if not started."""
        async with self._lock:  # not in the middle of something
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def device_changed(self, device: Device) -> None:
        """`Device.on_change` of every device."""
        self._news.set()

    def remake(self, names: set[str]) -> None:
        """Open the devices of these ports anew, as soon as may be."""
        if names:
            self._wanted |= names
            self._news.set()

    def orphans(self) -> set[str]:
        """The ports that are missing, and that nobody would take back.

        Asking is also how a tap in a namespace of which no news can be heard finds out that it is gone.
        """
        picture = self._applier.picture
        return {port.name for port in picture.config.port if _is_orphan(port, picture.devices.get(port.name))}

    async def _attend(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._lock:
                try:
                    await self._follow_devices()
                except Exception:
                    log.exception("a device changed, and the switch could not follow it")

    async def _follow_devices(self) -> None:
        wanted, self._wanted = self._wanted & self.orphans(), set()
        await self._applier.publish(self._applier.picture)
        for name in sorted(wanted):
            await self._open_anew(name)

    async def _open_anew(self, name: str) -> None:
        """Give a missing port another device; the workers have long let go of the old one."""
        old = self._applier.picture
        picture = old.without({name: old.missing.get(name, "it is being opened anew")})
        await self._applier.publish(picture)
        await close_devices([old.devices[name]] if name in old.devices else [])
        try:
            device = await self._applier.open_device(picture.port(name))
        except PortError as error:
            self._applier.picture = picture.without({name: str(error)})
            return
        try:
            await self._applier.publish(picture.having(name, device))
        except BaseException:
            await close_devices([device])
            raise
        log.info("port %s: its device has been made again", name)

    async def _keep_house(self) -> None:
        orphans: set[str] = set()
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            orphans = self._do_chores(orphans)

    def _do_chores(self, orphans_before: set[str]) -> set[str]:
        """Age the FDBs; see about the ports that were orphans the last time too. Returns today's."""
        self._applier.dataplane.age()
        for chore in self.chores:
            chore()
        orphans = self.orphans()
        self.remake(orphans & orphans_before)
        return orphans


def _is_orphan(port: Port, device: Device | None) -> bool:
    if device is None:
        return True
    ours = port.kind == "tap" or port.create
    return ours and device.state().name == "missing"
