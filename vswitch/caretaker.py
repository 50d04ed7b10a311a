"""Follows what devices do of their own accord, and does what falls due once a second.

A device that loses carrier or changes its MTU is published as it is now. One that vanishes leaves its port missing
and the rest of the switch alone. A missing port is taken back

- when a link of its name appears: a NIC, a veth, a tap that QEMU's host made again;
- after a second or two, if the device is the daemon's own to make (a tap, a netdev with `create`): nobody else would.

Everything happens under the lock of `Switch`, between changes of configuration, and in one task: callbacks only note
what is to be looked at and wake it. Every change of a port's state is logged once.

All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from . import describe
from .config.apply import Applier, close_devices
from .ports import Device, Links, PortError, State
from .ports.device import UP
from .ports.watch import LinkEvent

log = logging.getLogger("vswitch")

HOUSEKEEPING_S = 1.0


class Caretaker:
    """Looks after the devices of the applier's picture; `lock` keeps changes of configuration out meanwhile."""

    def __init__(self, applier: Applier, lock: asyncio.Lock) -> None:
        self._applier = applier
        self._lock = lock
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] | None = None
        self._news = asyncio.Event()
        self._wanted: set[str] = set()  # missing ports whose device may be there again
        self._logged: dict[str, State] = {}

    def start(self, links: Links) -> None:
        """Begin to look after devices."""
        self._unsubscribe = links.subscribe(self._link_changed)
        self._tasks = [asyncio.create_task(self._attend()), asyncio.create_task(self._keep_house())]

    async def stop(self) -> None:
        """Leave the devices alone from now on. Harmless if not started."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        async with self._lock:  # not in the middle of something
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look_at_all(self) -> None:
        """The configuration has changed: see about every missing port, and log what state ports are in."""
        self._wanted.update(self._applier.picture.missing)
        self._news.set()

    def device_changed(self, device: Device) -> None:
        """`Device.on_change` of every device."""
        self._news.set()

    def _link_changed(self, event: LinkEvent) -> None:
        if not event.gone:
            self._look_for([event.link.name])

    def _look_for(self, names: Iterable[str]) -> None:
        found = self._applier.picture.missing.keys() & set(names)
        if found:
            self._wanted |= found
            self._news.set()

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
        """Publish the devices as they are now; let go of those that are gone, take back those that returned."""
        lost = await self._let_go()
        self._log_states()
        # A NIC may have returned before its port was found missing: then nobody tells again.
        wanted = self._wanted | {name for name in lost if not self._is_ours(name)}
        self._wanted = set()
        for name in sorted(wanted & self._applier.picture.missing.keys()):
            await self._take_back(name)
        self._log_states()

    async def _let_go(self) -> list[str]:
        picture = self._applier.picture
        states = {name: device.state() for name, device in picture.devices.items()}
        lost = {name: state.reason or "" for name, state in states.items() if state.name == "missing"}
        await self._applier.publish(picture.without(lost))
        await close_devices(picture.devices[name] for name in lost)
        return list(lost)

    async def _take_back(self, name: str) -> None:
        picture = self._applier.picture
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

    def _is_ours(self, name: str) -> bool:
        """Whether the daemon makes the device of that port, rather than finding it."""
        port = self._applier.picture.port(name)
        return port.kind != "netdev" or port.create

    def _log_states(self) -> None:
        picture = self._applier.picture
        states = {port.name: describe.port_state(picture, port.name) for port in picture.config.port}
        for name, state in states.items():
            if state.name != self._logged.get(name, UP).name:
                level = logging.INFO if state == UP else logging.WARNING
                log.log(level, "port %s: %s%s", name, state.name, f": {state.reason}" if state.reason else "")
        self._logged = states

    async def _keep_house(self) -> None:
        missing: set[str] = set()
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            missing = self._do_chores(missing)

    def _do_chores(self, missing_before: set[str]) -> set[str]:
        """Age the FDBs; make own devices again that were missing the last time too. Returns what is missing now."""
        self._applier.dataplane.age()
        picture = self._applier.picture
        for device in picture.devices.values():
            device.state()  # one of which no news can be heard notices its end only when asked
        missing = set(picture.missing)
        self._look_for(name for name in missing_before & missing if self._is_ours(name))
        return missing
