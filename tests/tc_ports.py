"""Ports without a switch, for tests of tc's words: what they have is kept, what is refused changes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from vswitch.qos.model import NOTHING, Link, TrafficControl
from vswitch.qos.tc import Outcome, run
from vswitch.qos.view import QdiscStats


class TcPorts:
    """Ports by name. `tc` says one command to them."""

    def __init__(self, *names: str) -> None:
        self.links = {name: Link(name) for name in names}
        self.controls: dict[str, TrafficControl] = {}
        self.statistics: dict[int, QdiscStats] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.links)

    def link(self, name: str) -> Link | None:
        return self.links.get(name)

    def control(self, name: str) -> TrafficControl:
        return self.controls.get(name, NOTHING)

    def stats(self, name: str) -> Mapping[int, QdiscStats]:
        return self.statistics

    def tc(self, line: str) -> Outcome:
        outcome = run(shlex.split(line), self)
        if not outcome.code and outcome.port:
            self.controls[outcome.port] = outcome.control
        return outcome

    def do(self, *lines: str) -> str:
        """Commands that are taken; what the last one printed."""
        text = ""
        for line in lines:
            outcome = self.tc(line)
            assert not outcome.code, (line, outcome.stderr)
            text = outcome.stdout
        return text
