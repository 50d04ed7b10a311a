"""tc, said to the running switch.

A reply is what the real program would print and end with. What tc changes is changed like everything else: one change
at a time, under the switch's lock, given to the workers whole; what cannot be is refused, and nothing changed. Reading
takes no lock. What the file says of a port stands until the next `apply`, whatever tc has made of it meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from ..observe.report import Words
from .lines import lines
from .model import NOTHING, Link, TrafficControl
from .section import wanted
from .tc import Outcome, run
from .view import PolicerView, QdiscStats, TreeView


class Plane(Protocol):
    """The data plane, as far as queues go."""

    port_ids: Any

    def set_qdiscs(self, port: int, tree: TreeView | None, policers: tuple[PolicerView, ...]) -> None:
        """What a port is to have from the next publication on. Raises ValueError where there is no room for it."""

    def qdisc_stats(self, port: int) -> Mapping[int, QdiscStats]:
        """What its disciplines and classes have done, by serial number."""


class State(Protocol):
    """What is in force (`config.picture.Picture`)."""

    config: Any
    controls: Mapping[str, TrafficControl]

    def link(self, name: str) -> Link | None: ...


class Ports:
    """The ports of a picture, as `tc.run` asks for them."""

    def __init__(self, state: State, plane: Plane) -> None:
        self._state, self._plane = state, plane

    def __iter__(self) -> Iterator[str]:
        return (port.name for port in self._state.config.port)

    def link(self, name: str) -> Link | None:
        return self._state.link(name)

    def control(self, name: str) -> TrafficControl:
        return self._state.controls.get(name, NOTHING)

    def stats(self, name: str) -> Mapping[int, QdiscStats]:
        """Nothing is counted where nothing is."""
        if name not in self._state.controls:
            return {}
        return self._plane.qdisc_stats(self._plane.port_ids.get(name))


class QosControl:
    """`state` tells what is in force, `change` gives a port another traffic control, under the lock that it takes."""

    def __init__(self, plane: Plane, state: Callable[[], State],
                 change: Callable[[Callable[[], tuple[str, TrafficControl] | None]], Awaitable[None]]) -> None:
        self._plane, self._state, self._change = plane, state, change

    async def tc(self, argv: list[str]) -> Words:
        """One command of tc."""
        outcome = self._run(argv)
        if outcome.port or outcome.code:
            outcome = await self._changed(argv)
        return Words(stdout=outcome.stdout, stderr=outcome.stderr, code=outcome.code)

    async def _changed(self, argv: list[str]) -> Outcome:
        """Again, from what is there when its turn has come."""
        said: list[Outcome] = []

        def edit() -> tuple[str, TrafficControl] | None:
            said.append(self._run(argv))
            return (said[0].port, said[0].control) if said[0].port and not said[0].code else None

        try:
            await self._change(edit)
        except (ValueError, OSError, MemoryError) as error:
            return Outcome(stderr=f"Error: {error}.\n", code=2)
        return said[0]

    def _run(self, argv: list[str]) -> Outcome:
        return run(argv, Ports(self._state(), self._plane))


def saved(port: Any, control: TrafficControl, link: Link) -> Any:
    """The port with the section that makes what it has: its own if it still does, else one in tc's words."""
    own = wanted(port, link)
    if control.shape == (own or NOTHING).shape:
        return port
    return msgspec.structs.replace(port, limit=None, tc=tuple(lines(control)))
