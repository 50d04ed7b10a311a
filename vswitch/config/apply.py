"""Brings a configuration about with the traffic running, all or nothing.

Three phases, and an undo stack that is thrown away only when the last thing that may fail has been done:

    prepare   open what is new, set what a netlink request sets; nothing that runs is touched
    publish   one picture to the workers; ports that did not change keep their devices and never notice
    retire    close what is gone, after every worker has passed; nothing here can take the change back

A port that is opened anew under its own name is the one exception to "nothing that runs is touched": two devices
cannot hold one name. It is prepared last, when all else has succeeded: the workers let go of the old device, it is
closed, the new one is opened. Should that fail, the old one is opened again; if even that fails, the port is missing,
is said to be, and is taken back as soon as its device can be opened.

One change at a time, on the loop's thread: the caller (`Switch`) holds the lock. `Applier.picture` is what the
workers know now, whatever happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol

from msgspec import structs

from ..dataplane import Dataplane
from ..filter.firewall import Firewall
from ..filter.model import Rulesets
from ..ports import Device, PortError
from ..qos import compile as qos
from ..qos.model import NOTHING, TrafficControl
from ..views import DeviceView, RouteView
from . import check
from .errors import ApplyError, Problem
from .model import Config, Port, StaticMac
from .picture import Picture, bridge_views, layer3_view, port_views, queued, route_views
from .plan import ADJUSTED, Action, Plan

log = logging.getLogger("vswitch")

class Services(Protocol):
    """Who serves the networks (`l3.services.Services`)."""

    async def follow(self, config: Config, views: Iterable[DeviceView]) -> None:
        """Serve the networks of this configuration from now on."""


OpenDevice = Callable[[Port], Awaitable[Device]]


class MetricsService(Protocol):
    """Who serves the metrics (`observe.metrics.MetricsServer`)."""

    @property
    def address(self) -> str | None:
        """Where they are served now; None: nowhere."""

    async def start(self, listen: str) -> str | None:
        """Serve on `listen` from now on. On failure stay where it was and raise what says why."""


class Applier:
    """Keeps the picture in force and exchanges it for another."""

    def __init__(self, dataplane: Dataplane, open_device: OpenDevice) -> None:
        self.dataplane = dataplane
        self.firewall = Firewall(dataplane)
        self.services: Services | None = None
        self.open_device = open_device
        self.metrics: MetricsService | None = None
        self.picture = Picture()
        self._told: dict[str, TrafficControl] = {}  # what the data plane has been told of ports' queues

    async def publish(self, picture: Picture) -> None:
        """Make it what the workers know; returns when they all do."""
        plane = self.dataplane
        layer3 = layer3_view(picture, plane, self.firewall)
        self._tell_queues(picture.controls)
        await plane.publish(list(bridge_views(picture.config, plane)), list(port_views(picture, plane)), layer3)
        self.firewall.settle()
        self.picture = picture
        if self.services:
            await self.services.follow(picture.config, layer3.devices)

    def _tell_queues(self, controls: Mapping[str, TrafficControl]) -> None:
        """Of ports whose queues differ from what the data plane knows; what is the same object has not changed."""
        for name in [*self._told, *controls]:
            control, id = controls.get(name, NOTHING), self.dataplane.port_ids.get(name)
            if control is not self._told.get(name, NOTHING) and id is not None:
                self.dataplane.set_qdiscs(id, qos.tree(control), qos.ingress(control))
                self._told[name] = control
        self._told = {name: control for name, control in self._told.items() if name in controls}

    def routes(self) -> tuple[tuple[RouteView, ...], ...]:
        """The routes in force, by router."""
        return route_views(self.picture, self.dataplane)

    async def apply(self, config: Config, plan: Plan, source: str, rulesets: Rulesets | None = None) -> None:
        """Carry out the plan from the present picture to `config`, and put `rulesets`, if given, in force with it. Raises
        ApplyError; then nothing changed."""
        async with AsyncExitStack() as undo:
            change = _Change(self, config, plan, source, undo, rulesets or self.picture.rulesets)
            await change.prepare()
            await change.publish()
            undo.pop_all()
        self.track(config)
        await change.retire()

    def track(self, config: Config) -> None:
        """Settings of connection tracking that may change while it goes on."""
        named = structs.asdict(config.conntrack.timeouts) if config.conntrack.timeouts else {}
        timeouts = {sysctl(name): seconds for name, seconds in named.items() if seconds is not None}
        self.dataplane.track(config.conntrack.per_port, timeouts)

    def place_statics(self, entries: Iterable[StaticMac]) -> None:
        """Put static entries into their bridges' FDBs, where they may be already."""
        plane = self.dataplane
        for entry in entries:
            bridge, port = plane.bridge_ids.get(entry.bridge), plane.port_ids.get(entry.port)
            plane.fdb_add_static(bridge, entry.mac, entry.vlan, port)


class _Change:
    """One change under way: what it has opened and closed, and how to put that back."""

    def __init__(self, applier: Applier, config: Config, plan: Plan, source: str, undo: AsyncExitStack,
                 rulesets: Rulesets) -> None:
        self._applier = applier
        self._plane = applier.dataplane
        self._old = applier.picture
        self._config = config
        self._rulesets = rulesets
        self._plan = plan
        self._source = source
        self._undo = undo
        self._opened: dict[str, Device] = {}
        self._released: set[str] = set()  # ports whose old device we closed to make way
        self._published = False  # the workers may have been told something

    async def prepare(self) -> None:
        """Everything that may fail, what interrupts a port last."""
        self._on_failure(self._put_back)  # the last of all undoing: publishes what the rest has restored
        self._allocate_ids()
        await self._open(self._plan.names("port", Action.ADD))
        await self._adjust()
        await self._move_metrics()
        await self._replace(self._plan.names("port", Action.REPLACE))

    async def publish(self) -> None:
        """The workers get the new picture, the FDBs their static entries."""
        self._on_failure(self._applier.publish, self._applier.picture)  # the first: nothing is closed that they see
        with self._publication():
            await self._applier.publish(self._new_picture())
            self._remove_statics(self._old.config, self._config)
            self._applier.place_statics(self._statics_to_place())

    async def retire(self) -> None:
        """Close and forget what the new picture no longer has. Errors are logged: the change stands."""
        gone = self._plan.names("port", Action.REMOVE)
        await close_devices(self._old.devices[name] for name in gone if name in self._old.devices)
        for name in gone:
            self._plane.port_ids.release(name)
        for name in self._plan.names("bridge", Action.REMOVE):
            self._plane.bridge_ids.release(name)

    # Steps of prepare

    def _allocate_ids(self) -> None:
        for table, ids in (("bridge", self._plane.bridge_ids), ("port", self._plane.port_ids)):
            for name in self._plan.names(table, Action.ADD):
                try:
                    ids.allocate(name)
                except (ValueError, OSError) as error:
                    raise ApplyError([f'{self._source}: {table} "{name}": {error}']) from error
                self._on_failure(ids.release, name)

    async def _open(self, names: list[str]) -> None:
        """Open devices at the same time; all refusals are told, not the first one only."""
        ports = [_named_port(self._config, name) for name in names]
        results = await asyncio.gather(*map(self._applier.open_device, ports), return_exceptions=True)
        outcome = dict(zip(names, results, strict=True))
        opened = {name: result for name, result in outcome.items() if not isinstance(result, BaseException)}
        self._opened |= opened
        # As if stopping: a machine's tap that was found in use was so before us, and is so after.
        self._on_failure(partial(close_devices, stopping=True), list(opened.values()))
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, PortError):
                raise result
        refusals = [self._at_port(name, error) for name, error in outcome.items() if isinstance(error, PortError)]
        if refusals:
            raise ApplyError(refusals)

    async def _adjust(self) -> None:
        for name in self._plan.names("port", Action.CHANGE):
            before, after = _named_port(self._old.config, name), _named_port(self._config, name)
            device = self._old.devices.get(name)
            if device is None or all(getattr(before, key) == getattr(after, key) for key in ADJUSTED):
                continue
            self._on_failure(device.adjust, before)
            try:
                await device.adjust(after)
            except PortError as error:
                raise ApplyError([self._at_port(name, error)]) from error

    async def _move_metrics(self) -> None:
        service, before, after = self._applier.metrics, self._old.config.metrics, self._config.metrics
        if service is None or before == after:
            return
        self._on_failure(service.start, before.listen)
        try:
            await service.start(after.listen)
        except Exception as error:  # whatever keeps a server from listening is a reason to change nothing
            raise ApplyError([f"{self._source}: {error}"]) from error

    async def _replace(self, names: list[str]) -> None:
        held = {name: self._old.devices[name] for name in names if name in self._old.devices}
        if held:
            with self._publication():
                await self._applier.publish(self._old.without(dict.fromkeys(held, "it is being replaced")))
            self._released |= held.keys()
            await close_devices(held.values())
        await self._open(names)

    @contextmanager
    def _publication(self) -> Iterator[None]:
        """No memory, no descriptor or no room left in a table: a reason to change nothing."""
        self._published = True
        try:
            yield
        except (OSError, ValueError, MemoryError) as error:
            raise ApplyError([f"{self._source}: the data plane cannot take it: {error}"]) from error

    # The way back

    def _on_failure(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Undo with this, before what is already on the stack. A step that fails does not keep the others back."""

        async def step() -> None:
            try:
                result = action(*arguments)
                if isawaitable(result):
                    await result
            except Exception:
                log.exception("%s: not everything could be put back", self._source)

        self._undo.push_async_callback(step)

    async def _put_back(self) -> None:
        """The old picture again, with the devices that made way opened anew."""
        if not self._published:
            return
        picture = self._old
        for name in self._released:
            try:
                device = await self._applier.open_device(_named_port(picture.config, name))
            except PortError as error:
                log.error("port %s is lost with the change that failed: %s", name, error)
                picture = picture.without({name: str(error)})
            else:
                picture = picture.having(name, device)
        await self._applier.publish(picture)
        self._remove_statics(self._config, self._old.config)
        self._applier.place_statics(self._old.config.fdb)

    # Parts of the new picture

    def _new_picture(self) -> Picture:
        names = {port.name for port in self._config.port}
        devices = {name: device for name, device in (self._old.devices | self._opened).items() if name in names}
        missing = {name: why for name, why in self._old.missing.items() if name in names and name not in devices}
        return queued(Picture(self._config, devices, missing, self._rulesets), self._old)

    def _remove_statics(self, old: Config, new: Config) -> None:
        """Take the entries of `old` that `new` lacks out of the bridges that `new` has."""
        for entry in old.fdb:
            if entry not in new.fdb and new.find_bridge(entry.bridge):
                self._plane.fdb_remove(self._plane.bridge_ids.get(entry.bridge), entry.mac, entry.vlan)

    def _statics_to_place(self) -> list[StaticMac]:
        """New entries, and those that went with a port or a bridge that was made anew."""
        plan, old = self._plan, set(self._old.config.fdb)
        ports = {*plan.names("port", Action.ADD, Action.CHANGE, Action.REPLACE)}
        bridges = {*plan.names("bridge", Action.ADD, Action.CHANGE)}
        return [e for e in self._config.fdb if e not in old or e.port in ports or e.bridge in bridges]

    def _at_port(self, name: str, error: PortError) -> str:
        index = [port.name for port in self._config.port].index(name)
        path = f"{check.place('port', index, name)}.{error.key}"
        return Problem(path, error.right, error.value).line(self._source)


def sysctl(name: str) -> str:
    """The kernel's name of a timeout: tcp_established is nf_conntrack_tcp_timeout_established."""
    protocol, _, state = name.partition("_")
    return f"nf_conntrack_{protocol}_timeout_{state}" if state else f"nf_conntrack_{protocol}_timeout"


def _named_port(config: Config, name: str) -> Port:
    port = config.find_port(name)
    assert port is not None
    return port


async def close_devices(devices: Iterable[Device], *, stopping: bool = False) -> None:
    """Close devices that no worker looks at any more, all at once: the kernel takes 20 ms a tap."""
    doomed = list(devices)
    results = await asyncio.gather(*(device.close(stopping=stopping) for device in doomed), return_exceptions=True)
    for device, error in zip(doomed, results, strict=True):
        if isinstance(error, BaseException):
            log.warning("port %s: closing its device: %s", device.name, error)
