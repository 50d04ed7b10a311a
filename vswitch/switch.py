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
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from . import __version__, describe, describe_queues, describe_router
from .caretaker import Caretaker
from .config import check
from .config.apply import Applier, ApplyError, MetricsService, close_devices
from .config.model import Bridge, Config, Port
from .config.picture import Picture, device_views, queued
from .config.plan import diff
from .dataplane import CYTHON_VERSION, Dataplane
from .filter import iptables
from .filter.control import FilterControl
from .filter.logbook import LogBook
from .filter.model import Ruleset, Rulesets
from .filter.queue import Queues
from .l3.services import Services
from .observe.queueing import QueueingReport
from .observe.report import (
    BridgeReport,
    Events,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    PortStats,
    RouteReport,
    SwitchReport,
    Words,
)
from .observe.router import RouterReport
from .own import Own
from .ports import Device, Links, open_device
from .qos.control import QosControl, saved
from .qos.model import NOTHING, TrafficControl

log = logging.getLogger("vswitch")

OpenDevice = Callable[[Port, int, Links, Dataplane], Awaitable[Device]]
Edit = Callable[[Config], Config]
Rules = tuple[str | None, str | None]  # texts in iptables-save form, IPv4's and IPv6's; None: stay as they are
KEPT: Rules = (None, None)
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
        self._services = Services(dataplane, self._port_name, lambda name: self.config.find_port(name) is not None)
        self._applier.services = self._services
        self._filter = FilterControl(self._applier.firewall, dataplane.connections, lambda: self._applier.picture.rulesets,
                                     self._change_rules)
        self._qos = QosControl(dataplane, lambda: self._applier.picture, self._change_queues)
        self.queues = Queues(dataplane, dataplane.port_ids.name, dataplane.device_ids.name)
        self._logbook = LogBook(dataplane, self._applier.firewall)
        self._caretaker.chores = (dataplane.tick, self._services.tick, self._filter.tick, self.queues.tick, self._logbook.tick)
        self._changes: set[asyncio.Task[Any]] = set()  # under way; the loop alone would not keep them
        self._followers: list[Callable[[Config], None]] = []
        self._started = time.monotonic()
        self._source = ""
        self._pace = describe_queues.Pace()
        self._generation = 0
        self._applied_at = 0.0
        self._apply_failed = False
        self._stopping = False

    # Life

    async def start(self, config: Config, source: str, rules: Rules = KEPT) -> None:
        """Bring the first configuration about. Raises ConfigError or ApplyError; then no device is open."""
        self._applier.picture = Picture(Config(switch=config.switch, metrics=config.metrics))
        asyncio.get_running_loop().add_reader(self._plane.own.fileno(), self._take_own)
        await self.apply(config, source=source, rules=rules)
        self._caretaker.start()

    async def stop(self) -> None:
        """Withdraw everything from the workers and close all devices. Harmless if nothing was started."""
        self._stopping = True
        await self._caretaker.stop()
        await self._services.stop()
        self.queues.stop()
        asyncio.get_running_loop().remove_reader(self._plane.own.fileno())
        async with self._lock:
            devices = self._applier.picture.devices.values()
            await self._applier.publish(Picture())
            await close_devices(devices, stopping=True)

    # The one door

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._applier.picture.config

    async def apply(self, config: Config, *, source: str, dry_run: bool = False, rules: Rules = KEPT) -> list[str]:
        """Bring a configuration about, all or nothing; returns the plan, a line a step.

        With `dry_run` only the plan. Raises ConfigError if the configuration is wrong in itself, ApplyError if it
        cannot be had on this machine or not without a restart; `source` names it in their lines.
        """
        return await self.change(lambda _: config, source=source, dry_run=dry_run, rules=rules)

    async def change(
        self, edit: Edit, *, source: str, dry_run: bool = False, rules: Rules = KEPT, rejudge: bool = False
    ) -> list[str]:
        """`apply` what `edit` makes of the configuration in force when its turn comes. Also raises what `edit` does.

        `rules` are texts in iptables-save form, IPv4's and IPv6's, that replace the rules in force; None keeps them. With
        `rejudge` live connections are judged as if they were new, and a line of the plan tells how many that ended.
        """
        lines = await self._finished(self._change(edit, source, dry_run, rules))
        if rejudge and not dry_run:
            judged, ended = await asyncio.to_thread(self._plane.rejudge)
            lines.append(f"rejudge: {judged} connections judged, {ended} ended")
            log.info("%s: %s", source, lines[-1])
        return lines

    async def _change(self, edit: Edit, source: str, dry_run: bool, rules: Rules) -> list[str]:
        async with self._lock:
            if self._stopping:
                raise ApplyError([f"{source}: the switch is stopping"])
            config = check.checked(edit(self.config), source)
            plan = diff(self.config, config)
            if plan.restart:
                raise ApplyError(f"{source}: {line}" for line in plan.restart)
            rulesets = restored(self._applier.picture.rulesets, rules, source)
            lines = plan.lines + ["load the rules of firewall.rules"] * (rulesets is not self._applier.picture.rulesets)
            lines += [f"queues of port {name} as its section has them" for name in self._strayed(config)]
            if dry_run:
                return lines
            try:
                await self._applier.apply(config, plan, source, rulesets)
            except BaseException:
                self._apply_failed = True
                raise
            self._in_force(source, lines)
            return lines

    async def _change_rules(self, edit: Callable[[Rulesets], Awaitable[Rulesets]]) -> None:
        """Put the rules in force that `edit` makes of those of the moment. Raises what `edit` does, and ValueError."""

        async def work() -> None:
            async with self._lock:
                if self._stopping:
                    raise ValueError("the switch is stopping")
                picture = self._applier.picture
                rulesets = await edit(picture.rulesets)
                if rulesets is not picture.rulesets:
                    await self._applier.publish(replace(picture, rulesets=rulesets))

        await self._finished(work())

    def _strayed(self, config: Config) -> list[str]:
        """Ports whose section stays, but whose queues tc has changed since: they are put right."""
        old = self._applier.picture
        controls = queued(replace(old, config=config), old).controls
        stays = (port for port in config.port if port in old.config.port)
        return [p.name for p in stays if controls.get(p.name, NOTHING) is not old.controls.get(p.name, NOTHING)]

    async def _change_queues(self, edit: Callable[[], tuple[str, TrafficControl] | None]) -> None:
        """Give the port that `edit` names the queues that it has made of those of the moment. Raises ValueError."""

        async def work() -> None:
            async with self._lock:
                if self._stopping:
                    raise ValueError("the switch is stopping")
                changed = edit()
                if changed is not None:
                    await self._applier.publish(self._applier.picture.controlled(*changed))

        await self._finished(work())

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

    # What workers hand over

    def _take_own(self) -> None:
        for punt in self._plane.own.take():
            if punt.kind is Own.SERVICE:
                self._services.receive(punt)
            elif punt.kind is Own.QUEUE:
                self.queues.receive(punt)

    def _port_name(self, id: int) -> str:
        return self._plane.port_ids.name(id) or "?"

    # What is there

    @property
    def drop_reasons(self) -> tuple[str, ...]:
        """Every reason for which a frame can be dropped."""
        return self._plane.drop_reasons

    def show(self) -> SwitchReport:
        """The whole switch, as `vswitchctl show` prints it."""
        picture, now_ns = self._applier.picture, time.monotonic_ns()
        layer3 = device_views(picture, self._plane)
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
            networks=describe_router.networks(picture.config, layer3),
            uplinks=describe_router.uplinks(picture, layer3),
            connections=describe_router.connections(self._plane),
        )

    def census(self) -> Any:
        """A look at every connection, for `routing`; the one method that any thread may call."""
        return self._plane.census()

    def routing(self, census: Any) -> RouterReport:
        """All above layer 2: connections, rules, neighbours, services."""
        picture = self._applier.picture
        devices = device_views(picture, self._plane)
        return describe_router.router_report(picture, self._plane, devices, self._services.reports(), census)

    def queueing(self) -> QueueingReport:
        """Disciplines and classes of all ports. To look ends an interval of achieved rates, unless it just began."""
        plane, controls = self._plane, self._applier.picture.controls
        stats = {name: plane.qdisc_stats(plane.port_ids.get(name)) for name in controls}
        return describe_queues.queueing_report(controls, stats, plane.queue_memory(), self._pace)

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

    def routes(self) -> list[RouteReport]:
        """Every route of every router."""
        return describe.routes(device_views(self._applier.picture, self._plane), self._applier.routes(), self._plane.router_ids)

    def neighbours(self) -> list[NeighbourReport]:
        """Who is known on the networks and uplinks."""
        names = {number: name for name, number in self._plane.device_ids}
        return [describe.neighbour(row, names) for row in self._plane.neighbours.rows()]

    def leases(self) -> list[NetworkLease]:
        """What DHCP has given out."""
        return [describe.lease(network, lease) for network, lease in self._services.leases()]

    async def iptables(self, program: str, argv: list[str], stdin: str) -> Words:
        """Do what iptables or one of its kin would, to the rules of this switch."""
        return await self._filter.iptables(program, argv, stdin)

    async def tc(self, argv: list[str]) -> Words:
        """Do what tc would, to the queues of this switch's ports."""
        return await self._qos.tc(argv)

    def saved(self) -> Config:
        """The configuration in force, with the queues that ports have been given at run time."""
        picture = self._applier.picture
        links = {port.name: picture.link(port.name) for port in picture.config.port}
        ports = tuple(
            saved(port, picture.controls.get(port.name, NOTHING), links[port.name]) for port in picture.config.port
        )
        return msgspec.structs.replace(picture.config, port=ports)

    async def conntrack(self, argv: list[str]) -> Words:
        """List, count or end connections, as conntrack would."""
        return self._filter.conntrack(argv)

    def conntrack_events(self, after: int | None, argv: list[str]) -> Events:
        """What has become of connections."""
        return self._filter.events(after, argv)

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


def restored(rulesets: Rulesets, rules: Rules, source: str) -> Rulesets:
    """The rules of these texts in place of those there are. Raises ApplyError naming the line."""
    for program, key, text in zip(("iptables-restore", "ip6tables-restore"), ("rules", "rules6"), rules, strict=True):
        if text is None:
            continue
        emptied = _without(rulesets, 4 if key == "rules" else 6)
        outcome = iptables.run(program, [], text, emptied)
        if outcome.code:
            raise ApplyError([f"{source}: firewall.{key}: {outcome.stderr.strip().splitlines()[0]}"])
        if _text(outcome.rulesets, program) != _text(rulesets, program):  # else counters go on
            rulesets = outcome.rulesets
    return rulesets


def _text(rulesets: Rulesets, program: str) -> str:
    return iptables.run(program.replace("restore", "save"), [], "", rulesets).stdout


def _without(rulesets: Rulesets, family: int) -> Rulesets:
    """Without any rule of the family: a file says all that there is to be."""
    if family == 4:
        return msgspec.structs.replace(rulesets, ipv4=Ruleset(4))
    return msgspec.structs.replace(rulesets, ipv6=Ruleset(6))
