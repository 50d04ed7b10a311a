"""iptables and conntrack, said to the running switch.

A reply is what the real program would print and end with. Rules change like everything else: one change at a time, under
the switch's lock, published whole; what cannot be is refused, and nothing changed. Reading takes no lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Protocol

from ..observe.report import Events, Words
from . import connections, iptables
from .connections import Command, ConntrackError
from .firewall import Firewall
from .model import Rulesets

EVENTS_KEPT = 4096
LISTEN_S = 5.0  # events are noted for so long after somebody last asked
RESTORE = ("iptables-restore", "ip6tables-restore")


Event = tuple[int, Any, float]  # kind, the connection, wall-clock time


class Tracked(Protocol):
    """The table of connections (`ConnectionTable` of the fast path)."""

    def __iter__(self): ...
    def counters(self): ...
    def delete(self, index: int, serial: int) -> bool: ...
    def flush(self) -> int: ...
    def listen(self, on: bool) -> None: ...
    def events(self, most: int = 256) -> list: ...


class FilterControl:
    """`rulesets` tells the rules in force, `change` brings others about, under the lock that `change` takes."""

    def __init__(self, firewall: Firewall, tracked: Tracked, rulesets: Callable[[], Rulesets],
                 change: Callable[[Callable[[Rulesets], Awaitable[Rulesets]]], Awaitable[None]]) -> None:
        self._firewall, self._tracked = firewall, tracked
        self._rulesets, self._change = rulesets, change
        self._events_kept: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT)
        self._next_event = 1
        self._listening_until = 0.0

    async def iptables(self, program: str, argv: list[str], stdin: str) -> Words:
        """One command of iptables or its kin."""
        said: list[iptables.Outcome] = []

        async def edit(before: Rulesets) -> Rulesets:
            said.append(await self._run(program, argv, stdin, before))
            return said[0].rulesets

        if program.endswith("-save"):
            return _words(await self._run(program, argv, stdin, self._rulesets()))
        try:
            await self._change(edit)
        except (ValueError, OSError, MemoryError) as error:
            return Words(stderr=f"{program}: {error}.\n", code=4)
        self._firewall.set_counters(said[0].zero, said[0].set_counters)
        return _words(said[0])

    async def _run(self, program: str, argv: list[str], stdin: str, before: Rulesets) -> iptables.Outcome:
        date = time.strftime("%a %b %d %H:%M:%S %Y")
        arguments = (program, argv, stdin, before, self._firewall.counters(), date)
        if program in RESTORE:  # ten thousand rules take a good part of a second, which others shall not wait
            return await asyncio.to_thread(iptables.run, *arguments)
        return iptables.run(*arguments)

    # Connections

    def conntrack(self, argv: list[str]) -> Words:
        """One command of conntrack, but for -E."""
        try:
            command = connections.parse(argv)
        except ConntrackError as error:
            return Words(stderr=str(error), code=2)
        return getattr(self, f"_{command.action}")(command)

    def _list(self, command: Command) -> Words:
        rows = [row for row in self._tracked if command.accepts(row)]
        text = "".join(connections.line(row, frozenset(command.output)) + "\n" for row in rows)
        return Words(stdout=text, stderr=connections.shown(len(rows)))

    def _count(self, command: Command) -> Words:
        return Words(stdout=f"{self._tracked.counters().entries}\n")

    def _delete(self, command: Command) -> Words:
        rows = [row for row in self._tracked if command.accepts(row)]
        gone = [row for row in rows if self._tracked.delete(row.index, row.serial)]
        text = "".join(connections.line(row, frozenset(command.output)) + "\n" for row in gone)
        message, code = connections.deleted(len(gone))
        return Words(stdout=text, stderr=message, code=code)

    def _flush(self, command: Command) -> Words:
        self._tracked.flush()
        return Words(stderr=connections.emptied())

    def _events(self, command: Command) -> Words:
        return Words(stderr="conntrack: events are told by `vswitchctl conntrack -E`\n", code=2)

    def events(self, after: int | None, argv: list[str]) -> Events:
        """What has happened after a place in the stream, as `conntrack -E` tells it; None: begin to listen here."""
        try:
            command = connections.parse(argv)
        except ConntrackError as error:
            return Events(lines=[], next=0, stderr=str(error), code=2)
        self._listening_until = time.monotonic() + LISTEN_S
        self._tracked.listen(True)
        self._gather()
        last = self._next_event - 1
        if after is None:
            return Events(lines=[], next=last)
        oldest = self._events_kept[0][0] if self._events_kept else self._next_event
        missed = f"conntrack: {oldest - after - 1} events came too fast\n" if oldest > after + 1 else ""
        kept = (event for number, event in self._events_kept if number > after)
        return Events(lines=list(self._told(command, kept)), next=last, stderr=missed)

    @staticmethod
    def _told(command: Command, events: Iterable[Event]) -> Iterator[str]:
        for kind, row, when in events:
            if kind & command.events and command.accepts(row):
                yield connections.line(row, frozenset(command.output), kind, when=when)

    def tick(self) -> None:
        """Once a second: gather events while somebody listens, and stop when nobody has for a while."""
        if not self._listening_until:
            return
        self._gather()
        if time.monotonic() > self._listening_until:
            self._listening_until = 0.0
            self._tracked.listen(False)
            self._events_kept.clear()

    def _gather(self) -> None:
        for event in self._tracked.events(EVENTS_KEPT):
            self._events_kept.append((self._next_event, (event.kind, event.connection, time.time())))
            self._next_event += 1


def _words(outcome: iptables.Outcome) -> Words:
    return Words(stdout=outcome.stdout, stderr=outcome.stderr, code=outcome.code)
