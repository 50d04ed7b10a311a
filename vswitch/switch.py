"""The running switch: the configuration in force, its devices, and the one door by which either changes.

Whatever wants a change says what the whole `Config` should be: the file at start and at SIGHUP by `apply`, a command
by an edit of the configuration in force, to `change`. It is checked, the way there is planned and gone, all or nothing.
Changes are made one at a time, edits included, so none undoes another's. A change under way is finished even if whoever
asked for it has hung up; what still waits when the switch stops is refused.

A configuration that names a device that is not there is refused at start and by `apply`. A device that vanishes later
leaves its port missing: that, and whatever else devices do of their own accord, is `caretaker`'s business.

The switch does not start the data plane, the links service or the metrics: who made them does. All methods belong to
the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from . import __version__, describe
from .caretaker import Caretaker
from .config import check
from .config.apply import Applier, ApplyError, MetricsService, close_devices
from .config.model import Bridge, Config, Port
from .config.picture import Picture
from .config.plan import diff
from .dataplane import CYTHON_VERSION, Dataplane
from .observe.report import BridgeReport, FdbEntry, PortStats, SwitchReport
from .ports import Device, Links, open_device

log = logging.getLogger("vswitch")

OpenDevice = Callable[[Port, int, Links, Dataplane], Awaitable[Device]]
Edit = Callable[[Config], Config]
T = TypeVar("T")


class Switch:
    """One switch. `open_device` is how it comes by devices, so that tests can give it others."""

    def __init__(self, dataplane: Dataplane, links: Links, *, open_device: OpenDevice = open_device) -> None:
        self._plane = dataplane
        self._links = links
        self._open_device = open_device
        self._applier = Applier(dataplane, self._open)
        self._lock = asyncio.Lock()
        self._caretaker = Caretaker(self._applier, self._lock)
        self._changes: set[asyncio.Task[Any]] = set()  # under way; the loop alone would not keep them
        self._followers: list[Callable[[Config], None]] = []
        self._started = time.monotonic()
        self._source = ""
        self._generation = 0
        self._applied_at = 0.0
        self._apply_failed = False
        self._stopping = False

    # Life

    async def start(self, config: Config, source: str) -> None:
        """Bring the first configuration about. Raises ConfigError or ApplyError; then no device is open."""
        self._applier.picture = Picture(Config(switch=config.switch, metrics=config.metrics))
        await self.apply(config, source=source)
        self._caretaker.start()

    async def stop(self) -> None:
        """Withdraw everything from the workers and close all devices. Harmless if nothing was started."""
        self._stopping = True
        await self._caretaker.stop()
        async with self._lock:
            devices = self._applier.picture.devices.values()
            await self._applier.publish(Picture())
            await close_devices(devices, stopping=True)

    # The one door

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._applier.picture.config

    async def apply(self, config: Config, *, source: str, dry_run: bool = False) -> list[str]:
        """Bring a configuration about, all or nothing; returns the plan, a line a step.

        With `dry_run` only the plan. Raises ConfigError if the configuration is wrong in itself, ApplyError if it
        cannot be had on this machine or not without a restart; `source` names it in their lines.
        """
        return await self.change(lambda _: config, source=source, dry_run=dry_run)

    async def change(self, edit: Edit, *, source: str, dry_run: bool = False) -> list[str]:
        """`apply` what `edit` makes of the configuration in force when its turn comes. Also raises what `edit` does."""
        return await self._finished(self._change(edit, source, dry_run))

    async def _change(self, edit: Edit, source: str, dry_run: bool) -> list[str]:
        async with self._lock:
            if self._stopping:
                raise ApplyError([f"{source}: the switch is stopping"])
            config = check.checked(edit(self.config), source)
            plan = diff(self.config, config)
            if plan.restart:
                raise ApplyError(f"{source}: {line}" for line in plan.restart)
            if dry_run:
                return plan.lines
            try:
                await self._applier.apply(config, plan, source)
            except BaseException:
                self._apply_failed = True
                raise
            self._in_force(source, plan.lines)
            return plan.lines

    def _in_force(self, source: str, lines: list[str]) -> None:
        self._apply_failed = False
        self._source = source
        self._generation += 1
        self._applied_at = time.time()
        for line in lines:
            log.info("%s: %s", source, line)
        for follower in self._followers:
            follower(self.config)
        self._caretaker.remake(self._caretaker.orphans())

    def refused(self) -> None:
        """The file was to be read again and is no good: until something is applied, file and switch differ."""
        self._apply_failed = True

    def on_config(self, follower: Callable[[Config], None]) -> None:
        """Have every configuration told that comes into force from now on."""
        self._followers.append(follower)

    def serve_metrics(self, service: MetricsService) -> None:
        """Have this service's address follow the configuration: a change of it is part of `apply`."""
        self._applier.metrics = service

    async def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller is cancelled: half a change is worse than an unwanted one."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _open(self, port: Port) -> Device:
        device = await self._open_device(port, self.config.switch.workers, self._links, self._plane)
        device.on_change = self._caretaker.device_changed
        return device

    # What is there

    @property
    def drop_reasons(self) -> tuple[str, ...]:
        """Every reason for which a frame can be dropped."""
        return self._plane.drop_reasons

    def show(self) -> SwitchReport:
        """The whole switch, as `vswitchctl show` prints it."""
        picture, now_ns = self._applier.picture, time.monotonic_ns()
        metrics = self._applier.metrics
        return SwitchReport(
            version=__version__,
            cython=CYTHON_VERSION,
            pid=os.getpid(),
            loop="uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio",
            uptime_s=time.monotonic() - self._started,
            config_file=self._source,
            generation=self._generation,
            applied_at=self._applied_at,
            apply_failed=self._apply_failed,
            metrics_listen=metrics.address if metrics else None,
            bridges=[self._bridge_report(bridge) for bridge in picture.config.bridge],
            ports=[describe.port_report(picture, port) for port in picture.config.port],
            workers=[describe.worker_report(i, c, now_ns) for i, c in enumerate(self._plane.worker_counters())],
        )

    def _bridge_report(self, bridge: Bridge) -> BridgeReport:
        ports = [port.name for port in self.config.ports_of(bridge.name)]
        return describe.bridge_report(bridge, ports, self._plane.fdb_counters(self._plane.bridge_ids.get(bridge.name)))

    def stats(self) -> list[PortStats]:
        """Every port's counters."""
        devices, plane = self._applier.picture.devices, self._plane
        return [
            describe.port_stats(port, devices.get(port.name), plane.port_counters(plane.port_ids.get(port.name)))
            for port in self.config.port
        ]

    def fdb(self, bridge: str | None = None) -> list[FdbEntry]:
        """A bridge's FDB, or all of them. Raises KeyError for a bridge that is not there."""
        ports = {number: name for name, number in self._plane.port_ids}
        names = [bridge] if bridge is not None else [entry.name for entry in self.config.bridge]
        rows = (row for name in names for row in self._plane.fdb_entries(self._bridge_id(name)))
        return [describe.fdb_entry(row, ports) for row in rows]

    async def fdb_del(self, bridge: str, mac: str, vlan: int) -> bool:
        """Forget one learned MAC; False when it was not known. Static ones belong to the configuration."""
        return self._plane.fdb_remove(self._bridge_id(bridge), mac, vlan)

    async def fdb_flush(self, bridge: str, *, port: str | None = None, vlan: int | None = None) -> int:
        """Forget a bridge's learned MACs, those behind one port or in one VLAN only if named; how many."""
        number = None if port is None else self._plane.port_ids.get(port)
        return self._plane.fdb_flush(self._bridge_id(bridge), port=number, vlan=vlan)

    def _bridge_id(self, name: str) -> int:
        number = self._plane.bridge_ids.get(name)
        if number is None:
            raise KeyError(name)
        return number
