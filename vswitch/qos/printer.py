"""Output in both of tc's forms at once: what is text in one is a key and a value in the other.

Printers of disciplines and filters say everything to a `Printer` once. JSON is kept as pairs, not as a dictionary, and
is written by a writer of our own, because tc gives a key as often as there is a match, and spaces its lines its own
way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import units

INDENT = "    "


class Pairs(list[tuple[str, Any]]):
    """A JSON object."""


class Printer:
    """Text, or a list of JSON objects."""

    def __init__(self, json: bool = False, pretty: bool = False, stats: bool = False, details: bool = False) -> None:
        self.is_json, self.pretty, self.stats, self.details = json, pretty, stats, details
        self.direct = 0  # packets that left an HTB unshaped: it is printed among its options
        self._text: list[str] = []
        self._top: list[Pairs] = []
        self._open: list[Pairs] = []

    # What is printed

    def put(self, key: str, form: str, value: Any) -> None:
        """A value under its key; in text as `form` has it."""
        if self.is_json:
            self._open[-1].append((key, value))
        else:
            self._text.append(form.format(value) if "{" in form else form)

    def text(self, text: str) -> None:
        """Text only."""
        if not self.is_json:
            self._text.append(text)

    def json(self, key: str, value: Any) -> None:
        """JSON only."""
        if self.is_json:
            self._open[-1].append((key, value))

    def rate(self, key: str, form: str, rate: int) -> None:
        self.put(key, form, rate if self.is_json else units.rate_text(rate))

    def size(self, key: str, form: str, size: int) -> None:
        self.put(key, form, size if self.is_json else units.size_text(size))

    def time(self, key: str, form: str, us: int) -> None:
        self.put(key, form, us if self.is_json else units.time_text(us))

    @contextmanager
    def object(self, key: str | None = None) -> Iterator[None]:
        """Whatever is printed meanwhile is an object: under a key of the one around, or in the list."""
        pairs = Pairs()
        if key is None:
            self._top.append(pairs)
        else:
            self.json(key, pairs)
        self._open.append(pairs)
        yield
        self._open.pop()

    @contextmanager
    def element(self, key: str) -> Iterator[None]:
        """The same, in a list under the key."""
        if self.is_json:
            if not self._open[-1] or self._open[-1][-1][0] != key:
                self._open[-1].append((key, []))
            self._open[-1][-1][1].append(Pairs())
            self._open.append(self._open[-1][-1][1][-1])
        yield
        if self.is_json:
            self._open.pop()

    # The result

    def result(self) -> str:
        if not self.is_json:
            return "".join(self._text)
        return (_pretty(self._top, 0) if self.pretty else _compact(self._top)) + "\n"


def _compact(value: Any) -> str:
    match value:
        case Pairs():
            return "{" + ",".join(f"{json.dumps(key)}:{_compact(item)}" for key, item in value) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value)


def _pretty(value: Any, depth: int) -> str:
    match value:
        case Pairs():
            if not value:
                return "{}"
            inner = INDENT * (depth + 1)
            lines = (f"{inner}{json.dumps(key)}: {_pretty(item, depth + 1)}" for key, item in value)
            return "{\n" + ",\n".join(lines) + "\n" + INDENT * depth + "}"
        case list() | tuple():
            return "[ " + ",".join(_pretty(item, depth + 1) for item in value) + (" ]" if value else "]")
    return json.dumps(value)
