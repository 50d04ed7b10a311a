"""A configuration file's text to the model, or every fault in it as a line each.

Three layers judge a file: tomllib its syntax, msgspec the keys and types of each table, `check` what the values
mean. A syntax error stops the reading. Keys and types are judged table by table, and within a table key by key:
msgspec stops at its first finding, so the key it names is set aside and the rest judged again. What lies between
tables (names, references) is judged only when every table could be read, for half a file would accuse the innocent.

`parse` is pure: the daemon and the API, whose clients send text, share it. `load` only reads the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from . import check, rulefile
from .errors import ConfigError, Problem
from ..l3 import networks
from .model import (
    KINDS,
    MODES,
    Bridge,
    Config,
    Conntrack,
    Firewall,
    Metrics,
    Network,
    Port,
    Route,
    StaticMac,
    Switch,
    Table,
)

SECTIONS: dict[str, type[Table]] = {
    "switch": Switch, "metrics": Metrics, "firewall": Firewall, "conntrack": Conntrack
}  # fmt: skip
LISTS: dict[str, type[Table]] = {"bridge": Bridge, "port": Port, "fdb": StaticMac, "network": Network, "route": Route}
LATER_KEYS = ("vni", "local", "remote", "remotes", "key", "device")
NOT_YET = "not supported yet"

_AT = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXPECTED = re.compile(r"Expected `([^`]*)`.*")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")

_TYPES = {
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}

T = TypeVar("T", bound=Table)


def load(path: str | Path) -> Config:
    """Read and judge a file. Raises ConfigError with a line for every fault, or one if it cannot be read."""
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start}: TOML is UTF-8 text"]) from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Config:
    """Judge a file's text; `source` names it in the lines of the ConfigError that says what is wrong."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{source}: {error}"]) from error
    reader = _Reader()
    config = reader.config(raw)
    if reader.problems:
        raise ConfigError(problem.line(source) for problem in reader.problems)
    return check.normal(config)


def rules_text(config: Config, directory: str | Path) -> tuple[str | None, str | None]:
    """The texts of the files that [firewall] names, IPv4's and IPv6's; a relative name starts at `directory`.

    Raises ConfigError with a line for each that cannot be read.
    """
    texts = rulefile.read({key: getattr(config.firewall, key) for key in rulefile.KEYS}, directory)
    return texts.get("rules"), texts.get("rules6")


class _Reader:
    """Turns raw tables into structs and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._whole = True  # every table could be read

    def config(self, raw: dict[str, Any]) -> Config:
        """The configuration; of value only if no problem was found."""
        self.problems += [_unknown_section(name) for name in raw if name not in SECTIONS | LISTS]
        sections = {name: self._section(name, raw[name]) for name in SECTIONS if name in raw}
        lists = {name: self._list(name, raw[name]) for name in LISTS if name in raw}
        config = Config(**sections, **lists)
        if self._whole:
            self.problems += check.between_problems(config)
        return config

    def _section(self, name: str, raw: Any) -> Table:
        if not isinstance(raw, dict):
            self._unreadable(Problem(name, f"a table, written [{name}]", raw))
            return SECTIONS[name]()
        return self._judged(raw, SECTIONS[name], name) or SECTIONS[name]()

    def _list(self, name: str, raw: Any) -> tuple[Table, ...]:
        if not isinstance(raw, list):
            self._unreadable(Problem(name, f"a list of tables, each written [[{name}]]", raw))
            return ()
        tables = (self._entry(name, index, entry) for index, entry in enumerate(raw))
        return tuple(table for table in tables if table is not None)

    def _entry(self, name: str, index: int, raw: Any) -> Table | None:
        if not isinstance(raw, dict):
            self._unreadable(Problem(check.place(name, index), f"a table, written [[{name}]]", raw))
            return None
        path = check.place(name, index, raw.get("name"))
        kind = raw.get("kind")
        if name == "port" and kind in check.LATER_KINDS:
            self._unreadable(check.kind_problem(path, kind))
            return None
        return self._judged(raw, LISTS[name], path)

    def _judged(self, raw: dict[str, Any], table: type[T], path: str) -> T | None:
        """The table as a struct, or None; either way with all that is wrong in it noted."""
        found = list(_structural(raw, table, path))
        if found:
            self._unreadable(*found)
            return None
        struct = msgspec.convert(raw, table)
        self.problems += _semantic(struct, path)
        return struct

    def _unreadable(self, *found: Problem) -> None:
        self.problems += found
        self._whole = False


def _structural(raw: dict[str, Any], table: type[Table], path: str) -> Iterator[Problem]:
    """Unknown keys, missing keys and wrong types."""
    rest, set_aside = dict(raw), set[str]()
    while True:
        try:
            msgspec.convert(rest, table)
            return
        except msgspec.ValidationError as error:
            problem, key = _explained(str(error), rest, table, path)
        if key in set_aside:
            return  # a key we took away is now missing
        yield problem
        if key not in rest:
            return
        set_aside.add(key)
        del rest[key]


def _explained(message: str, raw: dict[str, Any], table: type[Table], path: str) -> tuple[Problem, str]:
    """Msgspec's words in ours, and the table's own key that is to blame."""
    match = _AT.fullmatch(message)
    what, steps = match["what"], list(_steps(match["path"] or ""))
    place, value = path + (match["path"] or ""), _at(raw, steps)
    if unknown := _UNKNOWN.fullmatch(what):
        key = unknown[1]
        return Problem(f"{place}.{key}", _unknown_key(key, _fields(table, steps))), str(steps[0] if steps else key)
    if missing := _MISSING.fullmatch(what):
        return Problem(f"{place}.{missing[1]}", _needed(missing[1])), missing[1]
    expected = _EXPECTED.fullmatch(what)
    return Problem(place, _type_words(expected[1]) if expected else what, value), str(steps[0])


def _semantic(struct: Table, path: str) -> Iterator[Problem]:
    match struct:
        case Switch():
            return check.switch_problems(struct)
        case Metrics():
            return check.metrics_problems(struct)
        case Bridge():
            return check.bridge_problems(struct, path)
        case Port():
            return check.port_problems(struct, path)
        case StaticMac():
            return check.static_problems(struct, path)
        case Network():
            return networks.network_problems(struct, path, MODES)
        case Route():
            return networks.route_problems(struct, path)
        case Conntrack():
            return check.conntrack_problems(struct)
        case Firewall():
            return iter(())
    raise TypeError(f"no rules for {type(struct).__name__}")


def _steps(path: str) -> Iterator[str | int]:
    for match in _STEP.finditer(path):
        yield match[1] if match[1] is not None else int(match[2])


def _at(raw: Any, steps: list[str | int]) -> Any:
    for step in steps:
        raw = raw[step]
    return raw


def _fields(table: type[Table], steps: list[str | int]) -> tuple[str, ...]:
    """The keys that may stand where the steps lead: through tables within tables, and lists of them."""
    hint: Any = msgspec.inspect.type_info(table)
    for step in steps:
        if isinstance(step, str):
            hint = next(field.type for field in hint.fields if field.name == step)
        hint = _table_within(hint)
    return hint.cls.__struct_fields__


def _table_within(hint: Any) -> Any:
    """The table, or the list's table, that a key's type allows."""
    kinds = hint.types if isinstance(hint, msgspec.inspect.UnionType) else (hint,)
    for kind in kinds:
        if isinstance(kind, msgspec.inspect.VarTupleType):
            return _table_within(kind.item_type)
        if isinstance(kind, msgspec.inspect.StructType):
            return kind
    return hint


def _unknown_section(name: str) -> Problem:
    return Problem(name, _near(name, (*SECTIONS, *LISTS), "section"))


def _unknown_key(key: str, known: tuple[str, ...]) -> str:
    return NOT_YET if key in LATER_KEYS else _near(key, known, "key")


def _near(word: str, known: tuple[str, ...], what: str) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'unknown {what}; did you mean "{near[0]}"?' if near else f"unknown {what}; right: {', '.join(known)}"


def _needed(key: str) -> str:
    return f"missing; right: {check.one_of(KINDS)}" if key == "kind" else "missing, and needed"


def _type_words(expected: str) -> str:
    names = [name for name in expected.split(" | ") if name != "null"]
    return " or ".join(_TYPES.get(name, name) for name in names)
