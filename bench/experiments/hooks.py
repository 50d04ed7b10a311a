"""The cost of rules, connections and NAT between memory ports: see bench/hooked.py.

As in experiments/memory.py, nanoseconds are the best of several tries, and the best round counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from bench.contenders.vswitch import Vswitch
from bench.experiments.base import Experiment, Field, Metric, Sample
from bench.flows import SYN, flows
from bench.hooked import GUESTS, KNOWN, SERVERS, TEN_RULES, Bridged, Hooked, Routed, known_connections

FRAMES, TRIES = 20_000, 25  # short enough to fit between two interruptions
MANY_RULES = 10_000
MANY_CONNECTIONS, MANY_TRIES = 1_000_000, 3
SWEPT = 40_000
"""Entries that a sweep, the daemon's of every second, puts into huge pages."""
OPENED, OPEN_TRIES = 200_000, 3
SMALL_TABLE, OPENED_MORE = 65_536, 500_000
"""So many are opened in a row that few of a table's worth are left when their turn comes again."""


class HookCost(Experiment):
    key = "hooks"
    metrics = (Metric("hooks-bridged", "all hooks, 1,000 connections", "ns"),
               Metric("hooks-nat", "routed, with NAT", "ns"),
               Metric("rules-0", "bridged, no rules", "ns"),
               Metric("rules-10000", "bridged, 10,000 rules", "ns"))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for metric, switch in self._switches.items():
            yield _sample(metric, both_ways(switch, FRAMES, TRIES))
            switch.check()

    @cached_property
    def _switches(self) -> dict[str, Hooked]:
        return {"hooks-bridged": known_connections(Bridged), "hooks-nat": known_connections(Routed),
                "rules-0": known_connections(Bridged, 0),
                "rules-10000": known_connections(Bridged, MANY_RULES)}


class ManyConnections(Experiment):
    """The same frames in the same order of chance, between few connections and many."""

    key = "connections"
    metrics = (Metric("connections-1000", "1,000 connections (a ring of 1,000,000 frames)", "ns"),
               Metric("connections-1000000", "1,000,000 connections (the same)", "ns"),
               Metric("connection-bytes", "memory of a connection", "B"))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for metric, switch in self._switches.items():
            yield _sample(metric, both_ways(switch, MANY_CONNECTIONS, MANY_TRIES))
            switch.check()
        yield _sample("connection-bytes", self._bytes)

    @cached_property
    def _switches(self) -> dict[str, Hooked]:
        few = known_connections(Bridged, loop=MANY_CONNECTIONS)
        many = Bridged(connections=MANY_CONNECTIONS, frames=MANY_CONNECTIONS)
        known = flows(MANY_CONNECTIONS, GUESTS, SERVERS)
        before = _mapped("conntrack")
        many.establish(known)
        self._bytes = (_mapped("conntrack") - before) / MANY_CONNECTIONS
        for _ in range(MANY_CONNECTIONS // SWEPT):
            many.plane.connections.sweep()
        many.loop(known)
        return {"connections-1000": few, "connections-1000000": many}


class NewConnections(Experiment):
    """A SYN each, and no two of the same connection as long as the table remembers."""

    key = "new"
    metrics = (Metric("new", "new connections, 10 rules", "k/s", more_is_better=True),
               Metric("new-full", "the same, the table full", "k/s", more_is_better=True))

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        yield _sample("new", max(self._opened(self._roomy, flush=True) for _ in range(OPEN_TRIES)))
        yield _sample("new-full", max(self._opened(self._full) for _ in range(OPEN_TRIES)))

    def _opened(self, switch: Hooked, *, flush: bool = False) -> float:
        """Thousands a second; a frame that meets a connection that there was takes its time and is not counted."""
        if flush:
            switch.plane.connections.flush()
        before = switch.plane.connections.counters().insert
        took = switch.replay(0, OPENED) * OPENED
        return (switch.plane.connections.counters().insert - before) / took * 1e6

    @cached_property
    def _roomy(self) -> Hooked:
        return _opening(2 * OPENED, OPENED)

    @cached_property
    def _full(self) -> Hooked:
        switch = _opening(SMALL_TABLE, OPENED_MORE)
        switch.replay(0, OPENED_MORE)
        return switch


def both_ways(switch: Hooked, count: int, tries: int) -> float:
    """ns a frame: the mean of both directions, each the best of its tries."""
    return sum(min(switch.replay(port, count) for _ in range(tries)) for port in (0, 1)) / 2


def _opening(table: int, count: int) -> Hooked:
    """A switch whose port 0 loops over so many SYNs; its stations are known."""
    switch = Bridged(TEN_RULES, connections=table, frames=count)
    opened = flows(count, GUESTS, SERVERS)
    switch.establish(opened[:KNOWN])
    switch.plane.connections.flush()
    switch.load(0, [switch.out(flow, SYN) for flow in opened])
    return switch


def _mapped(name: str) -> int:
    """Resident bytes of the arenas of that name."""
    mappings = re.findall(rf"memfd:vswitch-{name} .*?Rss: +(\d+) kB",
                          Path("/proc/self/smaps").read_text(), re.S)
    return sum(int(kilobytes) * 1024 for kilobytes in mappings)


def _sample(metric: str, value: float) -> Sample:
    return Sample(metric, Vswitch.key, value)
