"""How a refusal travels: an HTTP status and one JSON object.

`{"error": "one line", "problems": ["one line each"]}`. `error` alone is enough to show to a person; `problems` has
every finding when a configuration had several. 400: the request is wrong in itself; 403: not this peer; 404: it names
something that is not there; 409: it is well formed but the switch, as it stands, cannot do it; nothing was changed.
"""

from __future__ import annotations

import msgspec


class Error(msgspec.Struct, frozen=True):
    """What every refused request is answered with."""

    error: str
    problems: list[str] = []


class Refused(Exception):
    """A request that the switch does not carry out."""

    def __init__(self, status: int, error: str, problems: list[str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = Error(error, problems or [error])


def not_found(kind: str, name: str, known: list[str]) -> Refused:
    """404, naming what does exist."""
    there = ", ".join(known) if known else "none"
    return Refused(404, f"{kind} '{name}' does not exist (there are: {there})")
