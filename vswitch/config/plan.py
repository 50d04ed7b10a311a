"""What it takes to get from one configuration to another: a pure diff, as steps that people and `apply` both read.

A port changes warm where the fast path or the open device can do it with frames flowing: bridge, VLANs, isolated,
hairpin, limits, MTU, MAC, offloads. It is replaced where the device must be opened anew: kind, namespace, queues and
whatever makes a persistent tap. What no step mentions is not touched, which is the promise that no frame is lost on a
port that did not change.

Networks and routes are nothing but what the workers are told, and always change warm. So do bridges, but for
`mac_limit`, which sizes the FDB: its learned MACs are forgotten and learned again. [switch] sizes threads and names
files for the life of the daemon, [conntrack] a table; `Plan.restart` lists what of it differs and cannot be had
without a restart. `apply` refuses such a plan whole.

Both configurations must have passed `check.checked`: names are unique and spellings normal, so that equal means
unchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .check import vlan_text
from .model import MAIN_ROUTER, Bridge, Config, Network, Port, StaticMac, Storm, Table
from .save import inline

REPLACING = ("kind", "netns", "create", "owner", "group", "queues")
ADJUSTED = ("mac", "mtu", "offloads")  # by the device itself, with frames flowing
WARM = ("isolated", "hairpin", "mac_limit", *ADJUSTED, "address", "gateway", "router", "limit")
NETWORK = ("address", "mode", "uplink", "mac", "mtu", "router", "dhcp", "dns", "ra")
LIVE_SETTINGS = ("switch.group", "switch.log_level", "conntrack.per_port", "conntrack.timeouts", "firewall.rules", "firewall.rules6")
RESTART_SETTINGS = ("switch.run_dir", "switch.state_dir", "switch.workers", "switch.busy_poll_us", "switch.queue_memory_mb",
                    "conntrack.max")

Named = TypeVar("Named", Bridge, Port, Network)


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
    table: str  # "switch", "metrics", ... or "bridge" | "port" | "fdb" | "network" | "route"
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
        *_routes(Action.REMOVE, old, new),
        *_removed("network", old.network, new.network),
        *_removed("port", old.port, new.port),
        *_removed("bridge", old.bridge, new.bridge),
        *_bridges(old, new),
        *_ports(old, new),
        *_networks(old, new),
        *_routes(Action.ADD, new, old),
        *_statics(Action.ADD, new, old),
    )
    return Plan(steps, tuple(_restarts(old, new)))


def _settings(old: Config, new: Config) -> Iterator[Step]:
    for path in LIVE_SETTINGS:
        before, after = _setting(old, path), _setting(new, path)
        if before != after:
            table, _, key = path.partition(".")
            yield Step(Action.CHANGE, table, key, f"{path}: {_shown(before)} -> {_shown(after)}")
    before, after = old.metrics.listen, new.metrics.listen
    if before != after:
        yield Step(Action.CHANGE, "metrics", "listen", f"metrics.listen: {before or 'off'} -> {after or 'off'}")


def _restarts(old: Config, new: Config) -> Iterator[str]:
    for path in RESTART_SETTINGS:
        before, after = _setting(old, path), _setting(new, path)
        if before != after:
            yield f"{path}: {_shown(after)}: takes a restart of the daemon; it runs with {_shown(before)}"


def _setting(config: Config, path: str) -> Any:
    """The value of "SECTION.KEY"."""
    section, _, key = path.partition(".")
    return getattr(getattr(config, section), key)


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
            changes = "; ".join(_changes(before, bridge, ("ageing_s", "mac_limit", "hooks")))
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
    if before.tc != port.tc:
        yield f"tc {_lines_changed(before.tc, port.tc)}"
    storms = before.storm or Storm(), port.storm or Storm()
    yield from (f"storm.{change}" for change in _changes(*storms, Storm.__struct_fields__))


def _lines_changed(before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> str:
    """Between two lists of lines each line that comes or goes, the first few; else how many there are."""
    if not before or not after:
        counts = ("none" if one is None else f"{len(one)} line{'s' * (len(one) != 1)}" for one in (before, after))
        return " -> ".join(counts)
    changed = [f'- "{line}"' for line in before if line not in after]
    changed += [f'+ "{line}"' for line in after if line not in before]
    more = f", {len(changed) - 4} more" if len(changed) > 4 else ""
    return ", ".join(map(_cut, changed[:4])) + more if changed else "in another order"


def _networks(old: Config, new: Config) -> Iterator[Step]:
    known = _by_name(old.network)
    for network in new.network:
        before = known.get(network.name)
        if before is None:
            yield Step(Action.ADD, "network", network.name, _title(network))
        elif before != network:
            changes = "; ".join(_changes(before, network, NETWORK))
            yield Step(Action.CHANGE, "network", network.name, f"network {network.name}: {changes}")


def _routes(action: Action, these: Config, others: Config) -> Iterator[Step]:
    rest = set(others.route)
    for route in these.route:
        if route not in rest:
            router = "" if route.router == MAIN_ROUTER else f" on router {route.router}"
            yield Step(action, "route", route.to, f"route {route.to} via {route.via}{router}")


def _statics(action: Action, these: Config, others: Config) -> Iterator[Step]:
    rest = set(others.fdb)
    for entry in these.fdb:
        if entry not in rest:
            yield Step(action, "fdb", entry.mac, _static_title(entry))


def _changes(before: Any, after: Any, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        old, new = getattr(before, key), getattr(after, key)
        if old == new:
            continue
        if isinstance(old, Table) and isinstance(new, Table):
            yield from (f"{key}.{change}" for change in _changes(old, new, old.__struct_fields__))
        else:
            yield f"{key} {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    """A value for people: one line, cut where it would be a long one."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return _cut(", ".join(map(_shown, value)))
    if isinstance(value, Table):
        return _cut(inline(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cut(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _title(entry: Bridge | Port | Network) -> str:
    match entry:
        case Bridge():
            return f"bridge {entry.name}"
        case Network():
            return f"network {entry.name} ({entry.mode}) {_shown(entry.address)}"
    return f"port {entry.name} ({entry.kind})"


def _static_title(entry: StaticMac) -> str:
    vlan = f" vlan {entry.vlan}" if entry.vlan else ""
    return f"static {entry.mac}{vlan} on {entry.bridge} behind {entry.port}"


def _by_name(entries: tuple[Named, ...]) -> Mapping[str, Named]:
    return {entry.name: entry for entry in entries}
