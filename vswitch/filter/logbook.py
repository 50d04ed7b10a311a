"""What LOG has seen, written to the daemon's log once a second.

Workers note packets in small rings (_fastpath/filter/log.pxd); 256 of each worker's are kept from one second to the next, and
what was lost beyond that is said. A line carries the rule's prefix, and goes out at its --log-level.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from .logline import Place, line
from .targets import Log

log = logging.getLogger("vswitch.packets")

# By syslog's level: emerg, alert, crit, err, warning, notice, info, debug
LEVELS = (*(logging.CRITICAL,) * 3, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)


class Names(Protocol):
    """A registry of the data plane."""

    def name(self, id: int) -> str | None: ...


class Plane(Protocol):
    """What the log needs of the data plane."""

    port_ids: Names
    device_ids: Names

    def logged(self) -> tuple[list[dict[str, Any]], int]: ...


class Rules(Protocol):
    """Which LOG is meant (`Firewall`)."""

    def log_at(self, slot: int) -> Log | None: ...


class LogBook:
    """Turns records into lines."""

    def __init__(self, plane: Plane, rules: Rules) -> None:
        self._plane, self._rules = plane, rules
        self._lost = 0

    def tick(self) -> None:
        """Write what there is."""
        records, lost = self._plane.logged()
        for record in records:
            target = self._rules.log_at(record["rule"]) or Log()
            log.log(LEVELS[target.level & 7], "%s", line(record, target, self._place(record, "in"), self._place(record, "out")))
        if lost > self._lost:
            log.warning("LOG: %d packets came too fast to be written down", lost - self._lost)
            self._lost = lost

    def _place(self, record: dict[str, Any], way: str) -> Place:
        device = self._plane.device_ids.name(record[f"{way}_dev"])
        return Place(device or "", self._plane.port_ids.name(record[f"{way}_port"]) or "")
