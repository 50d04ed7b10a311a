"""What the API needs of the switch, and the one way in which it changes it.

`Control` is the part of `vswitch.switch.Switch` that requests use, written down so that the API can be read and
tested without a switch. `Call` is one request on its way: where it goes and what it carries.

Everything here runs on the daemon's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..config.model import Bridge, Config, Port
from ..observe.report import (
    Events,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    PortStats,
    RouteReport,
    SwitchReport,
    Words,
)
from .errors import Refused, not_found
from .schema import Changes

RUN_TIME_SOURCE = "control socket"
Edit = Callable[[Config], Config]
Rules = tuple[str | None, str | None]  # texts in iptables-save form, IPv4's and IPv6's; None: stay as they are
KEPT: Rules = (None, None)


class Control(Protocol):
    """The running switch as the API sees it."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    async def change(
        self, edit: Edit, *, source: str, dry_run: bool = False, rules: Rules = KEPT, rejudge: bool = False
    ) -> list[str]:
        """Apply what `edit` makes of the configuration in force, all or nothing; the plan, one line a change.

        `rules` replace those in force. With `rejudge` live connections are judged as if they were new, and a line of
        the plan tells how many that ended.
        """

    def show(self) -> SwitchReport: ...

    def stats(self) -> list[PortStats]: ...

    def fdb(self, bridge: str | None) -> list[FdbEntry]: ...

    def routes(self) -> list[RouteReport]: ...

    def neighbours(self) -> list[NeighbourReport]: ...

    def leases(self) -> list[NetworkLease]: ...

    async def iptables(self, program: str, argv: list[str], stdin: str) -> Words:
        """Do what iptables or one of its kin would, to the rules of this switch."""

    async def tc(self, argv: list[str]) -> Words:
        """Do what tc would, to the queues of this switch's ports."""

    def saved(self) -> Config:
        """The configuration in force, with what ports have been given at run time that a file can say."""

    async def conntrack(self, argv: list[str]) -> Words:
        """List, count or end connections, as conntrack would."""

    def conntrack_events(self, after: int | None, argv: list[str]) -> Events:
        """Events, as the words of `conntrack -E` choose them, after a place in the stream; None: none, and its end."""

    async def fdb_del(self, bridge: str, mac: str, vlan: int) -> bool:
        """Forget one learned MAC; False when it was not known."""

    async def fdb_flush(self, bridge: str, *, port: str | None = None, vlan: int | None = None) -> int:
        """Forget learned MACs; how many."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `path` holds the parts named in the route, `query` and `body` the structs that it declares."""

    switch: Control
    path: Mapping[str, str]
    query: Any
    body: Any

    async def change(
        self,
        edit: Edit,
        source: str = RUN_TIME_SOURCE,
        dry_run: bool = False,
        rules: Rules = KEPT,
        rejudge: bool = False,
    ) -> Changes:
        """Apply what `edit` makes of the configuration in force. ConfigError or ApplyError: nothing changed."""
        lines = await self.switch.change(edit, source=source, dry_run=dry_run, rules=rules, rejudge=rejudge)
        return Changes(lines, dry_run)

    def bridge(self, name: str) -> Bridge:
        """The configured bridge, or 404."""
        found = self.switch.config.find_bridge(name)
        if found is None:
            raise not_found("bridge", name, [bridge.name for bridge in self.switch.config.bridge])
        return found

    def port(self, name: str) -> Port:
        """The configured port, or 404."""
        found = self.switch.config.find_port(name)
        if found is None:
            raise not_found("port", name, [port.name for port in self.switch.config.port])
        return found

    def free(self, name: str) -> None:
        """409 when a bridge or port of that name exists: both are named in one space, as devices are."""
        config = self.switch.config
        for kind, taken in (("bridge", config.find_bridge(name)), ("port", config.find_port(name))):
            if taken is not None:
                raise Refused(409, f"{kind} {name} exists already")
