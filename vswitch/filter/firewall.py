"""The rules in force: compiled for the workers, counted, changed by the words of iptables.

`Firewall` keeps what belongs to the rules while they come and go: the places of their counters, and the last compiled form,
which is made anew only when the rules, or what their interfaces' names stand for, have changed. `Plane` is what it needs of
the data plane. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..views import DeviceKind, DeviceView
from .compile import compile_rules
from .interfaces import InterfaceNames
from .model import Chain, Rule, Rulesets
from .slots import CounterSlots
from .targets import Log, Verdict
from .view import AddressView
from .view import DeviceView as RuleDevice

MAX_RULES = 65_536  # and policies; those before a change keep their places through it


class Plane(Protocol):
    """The data plane, as far as rules go."""

    def compile(self, ipv4: list[Any], ipv6: list[Any], devices: list[RuleDevice], addresses: list[AddressView]) -> Any:
        """The compiled form of the rules. Raises ValueError."""

    def rule_counters(self) -> Any:
        """`RuleCounters` of the fast path."""


@dataclass(frozen=True, slots=True)
class Names:
    """What names in rules stand for: ports and their ids, the devices, and the names of bridges by id."""

    ports: tuple[tuple[str, int], ...]
    devices: tuple[DeviceView, ...]
    bridges: tuple[tuple[int, str], ...]


class Firewall:
    """The workers' rules and their counters."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._slots = CounterSlots(MAX_RULES)
        self._key: tuple[Rulesets, Names] | None = None
        self._compiled: Any = None
        self._logs: list[dict[int, Log]] = [{}, {}]  # by place, of the rules in force and of those before

    def compiled(self, rulesets: Rulesets, names: Names) -> Any:
        """What a snapshot is to have; None where no rule is and every policy is ACCEPT. Raises ValueError."""
        if not anything(rulesets):
            return None
        key = (rulesets, names)
        if self._key is None or self._key[0] is not rulesets or self._key[1] != names:
            self._compiled = self._compile(rulesets, names)
            self._key = key
        return self._compiled

    def _compile(self, rulesets: Rulesets, names: Names) -> Any:
        counters = self._plane.rule_counters()
        for slot in self._slots.assign(rulesets):
            counters.recycle(slot)
        self._logs = [{self._slots[rule.id]: target for rule, target in _logging(rulesets)}, self._logs[0]]
        bridges = dict(names.bridges)
        last = max((view.id for view in names.devices), default=-1)
        placed: list[tuple[str, str | None]] = [("", None)] * (last + 1)
        devices = [RuleDevice(1500, 0, False)] * (last + 1)
        for view in names.devices:
            placed[view.id] = view.name, None if view.bridge is None else bridges[view.bridge]
            devices[view.id] = RuleDevice(view.mtu, view.router, view.kind is DeviceKind.UPLINK)
        views = compile_rules(rulesets, InterfaceNames(dict(names.ports), placed), self._slots)
        return self._plane.compile(*views, devices, list(_addresses(names.devices)))

    def settle(self) -> None:
        """No worker counts for the rules of before any more."""
        self._slots.settle()

    def log_at(self, slot: int) -> Log | None:
        """The LOG that counts there, or did so before the last change: workers may have met it a moment ago."""
        return self._logs[0].get(slot) or self._logs[1].get(slot)

    # Counters

    def counters(self) -> Mapping[int, tuple[int, int]]:
        """Packets and bytes by id, read as they are asked for."""
        return _Counters(self._slots, self._plane.rule_counters())

    def set_counters(self, zero: frozenset[int], values: Mapping[int, tuple[int, int]]) -> None:
        """Zero these ids' counters, then set those."""
        counters = self._plane.rule_counters()
        for id in zero:
            if (slot := self._slots.get(id)) is not None:
                counters.set(slot)
        for id, (packets, octets) in values.items():
            if (slot := self._slots.get(id)) is not None:
                counters.set(slot, packets, octets)


class _Counters(Mapping[int, tuple[int, int]]):
    def __init__(self, slots: CounterSlots, counters: Any) -> None:
        self._slots, self._counters = slots, counters

    def __getitem__(self, id: int) -> tuple[int, int]:
        slot = self._slots.get(id)
        if slot is None or not id:
            raise KeyError(id)
        return self._counters.get(slot)

    def __iter__(self) -> Iterator[int]:
        raise TypeError("counters are asked for by id")

    def __len__(self) -> int:
        return MAX_RULES


def anything(rulesets: Rulesets) -> bool:
    """Whether the rules do anything: there is one, or a policy that is not ACCEPT."""
    return any(_does_something(chain) for chain in _chains(rulesets))


def _does_something(chain: Chain) -> bool:
    return bool(chain.rules) or chain.policy not in (None, Verdict.ACCEPT)


def _logging(rulesets: Rulesets) -> Iterator[tuple[Rule, Log]]:
    for chain in _chains(rulesets):
        for rule in chain.rules:
            if isinstance(rule.spec.target, Log):
                yield rule, rule.spec.target


def translates(rulesets: Rulesets) -> bool:
    """Whether table nat has a rule."""
    return any(
        chain.rules
        for family in (rulesets.ipv4, rulesets.ipv6)
        if "nat" in family.tables
        for chain in family.tables["nat"].chains.values()
    )


def _chains(rulesets: Rulesets) -> Iterator[Chain]:
    for family in (rulesets.ipv4, rulesets.ipv6):
        for table in family.tables.values():
            yield from table.chains.values()


def _addresses(devices: tuple[DeviceView, ...]) -> Iterator[AddressView]:
    """Ours, and what IPv4 networks call everybody: what addrtype asks for."""
    for view in devices:
        for interface in view.addresses:
            yield AddressView(packed(interface.ip), view.id, view.router)
            if interface.version == 4 and interface.network.prefixlen < 31:
                yield AddressView(packed(interface.network.broadcast_address), view.id, view.router, True)


def packed(address: Any) -> bytes:
    """An address in the 16 bytes of the fast path."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
