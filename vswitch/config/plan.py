"""What it takes to get from one configuration to another: a pure diff, as steps that people and `apply` both read.

A port changes warm where the fast path or the open device can do it with frames flowing: bridge, VLANs, isolated,
hairpin, limits, MTU, MAC, offloads. It is replaced where the device must be opened anew: kind, namespace, queues and
whatever makes a persistent tap. What no step mentions is not touched, which is the promise that no frame is lost on a
port that did not change.

Bridges change warm too, but for `mac_limit`, which sizes the FDB: its learned MACs are forgotten and learned again.
[switch] sizes threads and names files for the life of the daemon; `Plan.restart` lists what of it differs and cannot
be had without a restart. `apply` refuses such a plan whole.

Both configurations must have passed `check.checked`: names are unique and spellings normal, so that equal means
unchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .check import vlan_text
from .model import Bridge, Config, Port, StaticMac, Storm

REPLACING = ("kind", "netns", "create", "owner", "group", "queues")
ADJUSTED = ("mac", "mtu", "offloads")  # by the device itself, with frames flowing
WARM = ("isolated", "hairpin", "mac_limit", *ADJUSTED)
LIVE_SETTINGS = ("group", "log_level")
RESTART_SETTINGS = ("run_dir", "workers", "busy_poll_us")

Named = TypeVar("Named", Bridge, Port)


class Action(enum.Enum):
    """What happens to the thing a step names."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; `text` is all that a person sees of it."""

    action: Action
    table: str  # "switch" | "metrics" | "bridge" | "port" | "fdb"
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.action.value} {self.text}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order in which they come to pass, and the settings that only a restart can change."""

    steps: tuple[Step, ...]
    restart: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What `--dry-run` prints."""
        return [str(step) for step in self.steps]

    def names(self, table: str, *actions: Action) -> list[str]:
        """The names in one table that these actions befall, in order."""
        return [step.name for step in self.steps if step.table == table and step.action in actions]


def diff(old: Config, new: Config) -> Plan:
    """The plan from `old` to `new`: what goes first goes, bridges come before the ports on them."""
    steps = (
        *_settings(old, new),
        *_statics(Action.REMOVE, old, new),
        *_removed("port", old.port, new.port),
        *_removed("bridge", old.bridge, new.bridge),
        *_bridges(old, new),
        *_ports(old, new),
        *_statics(Action.ADD, new, old),
    )
    return Plan(steps, tuple(_restarts(old, new)))


def _settings(old: Config, new: Config) -> Iterator[Step]:
    for key in LIVE_SETTINGS:
        before, after = getattr(old.switch, key), getattr(new.switch, key)
        if before != after:
            yield Step(Action.CHANGE, "switch", key, f"switch.{key}: {_shown(before)} -> {_shown(after)}")
    before, after = old.metrics.listen, new.metrics.listen
    if before != after:
        yield Step(Action.CHANGE, "metrics", "listen", f"metrics.listen: {before or 'off'} -> {after or 'off'}")


def _restarts(old: Config, new: Config) -> Iterator[str]:
    for key in RESTART_SETTINGS:
        before, after = getattr(old.switch, key), getattr(new.switch, key)
        if before != after:
            yield f"switch.{key}: {_shown(after)}: takes a restart of the daemon; it runs with {_shown(before)}"


def _removed(table: str, old: tuple[Named, ...], new: tuple[Named, ...]) -> Iterator[Step]:
    kept = _by_name(new)
    for entry in old:
        if entry.name not in kept:
            yield Step(Action.REMOVE, table, entry.name, _title(entry))


def _bridges(old: Config, new: Config) -> Iterator[Step]:
    known = _by_name(old.bridge)
    for bridge in new.bridge:
        before = known.get(bridge.name)
        if before is None:
            yield Step(Action.ADD, "bridge", bridge.name, _title(bridge))
        elif before != bridge:
            changes = "; ".join(_changes(before, bridge, ("ageing_s", "mac_limit")))
            yield Step(Action.CHANGE, "bridge", bridge.name, f"bridge {bridge.name}: {changes}")


def _ports(old: Config, new: Config) -> Iterator[Step]:
    known = _by_name(old.port)
    for port in new.port:
        before = known.get(port.name)
        if before is None:
            place = f" to {port.bridge}" if port.bridge else ", on no bridge"
            yield Step(Action.ADD, "port", port.name, _title(port) + place)
        elif before != port:
            yield _changed_port(before, port)


def _changed_port(before: Port, port: Port) -> Step:
    cold = list(_changes(before, port, REPLACING))
    changes = "; ".join([*cold, *_warm_changes(before, port)])
    action = Action.REPLACE if cold else Action.CHANGE
    return Step(action, "port", port.name, f"{_title(before)}: {changes}")


def _warm_changes(before: Port, port: Port) -> Iterator[str]:
    yield from _changes(before, port, ("bridge",))
    if (before.access, before.trunk, before.native) != (port.access, port.trunk, port.native):
        yield f"vlan {vlan_text(before)} -> {vlan_text(port)}"
    yield from _changes(before, port, WARM)
    storms = before.storm or Storm(), port.storm or Storm()
    yield from (f"storm.{change}" for change in _changes(*storms, Storm.__struct_fields__))


def _statics(action: Action, these: Config, others: Config) -> Iterator[Step]:
    rest = set(others.fdb)
    for entry in these.fdb:
        if entry not in rest:
            yield Step(action, "fdb", entry.mac, _static_title(entry))


def _changes(before: Any, after: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        values = getattr(before, key), getattr(after, key)
        if values[0] != values[1]:
            yield f"{key} {_shown(values[0])} -> {_shown(values[1])}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _title(entry: Bridge | Port) -> str:
    return f"bridge {entry.name}" if isinstance(entry, Bridge) else f"port {entry.name} ({entry.kind})"


def _static_title(entry: StaticMac) -> str:
    vlan = f" vlan {entry.vlan}" if entry.vlan else ""
    return f"static {entry.mac}{vlan} on {entry.bridge} behind {entry.port}"


def _by_name(entries: tuple[Named, ...]) -> Mapping[str, Named]:
    return {entry.name: entry for entry in entries}
