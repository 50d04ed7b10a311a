"""The model as TOML text: what `vswitchctl save` writes, and what `load.parse` reads back to an equal model.

A writer of our own, because the schema is flat (scalars, lists, inline tables) and the general writers
fold short tables into one-line lists, which nobody wants to edit. What equals its default is left out, except the
names that make a table what it is: the file says what the administrator decided, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .model import Config, Table

SECTIONS = ("switch", "metrics", "firewall", "conntrack")
LISTS = ("bridge", "port", "fdb", "network", "route")
LONGEST = 120


def dumps(config: Config) -> str:
    """The configuration as a file's text. Tables come in the model's order, keys in their declaration's."""
    headed = [(f"[{name}]", getattr(config, name)) for name in SECTIONS]
    headed += [(f"[[{name}]]", table) for name in LISTS for table in getattr(config, name)]
    told = ((head, _decided(table)) for head, table in headed)
    blocks = ("\n".join([head, *map(_folded, keys)]) for head, keys in told if keys or head[1] == "[")
    return "".join(f"{block}\n\n" for block in blocks).rstrip("\n") + "\n"


def _folded(pair: tuple[str, Any]) -> str:
    """A key and its value, a list that is long an item a line."""
    key, value = pair
    line = f"{key} = {inline(value)}"
    if len(line) <= LONGEST or not isinstance(value, tuple):
        return line
    return f"{key} = [\n" + "".join(f"    {inline(item)},\n" for item in value) + "]"


def _lines(table: Table) -> Iterator[str]:
    for key, value in _decided(table):
        yield f"{key} = {inline(value)}"


def _decided(table: Table) -> list[tuple[str, Any]]:
    """The keys that differ from their defaults. A required key has no default, so nothing equals it."""
    fields = table.__struct_fields__
    defaults = (None,) * (len(fields) - len(table.__struct_defaults__)) + table.__struct_defaults__
    pairs = ((key, getattr(table, key), default) for key, default in zip(fields, defaults, strict=True))
    return [(key, value) for key, value, default in pairs if value != default]


def inline(value: Any) -> str:
    """A value as it stands behind its key."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _string(value)
        case tuple():
            return "[" + ", ".join(inline(item) for item in value) + "]"
        case Table():
            return "{ " + ", ".join(_lines(value)) + " }" if _decided(value) else "{}"
    raise TypeError(f"TOML has no {type(value).__name__} here")


def _string(text: str) -> str:
    """A basic string: JSON's escapes are TOML's too, but DEL must be escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
