"""How an extension of iptables is described: its options, what they read into, and how it is printed back.

An `Option` reads words into one field of the extension's struct and writes that field back; so most extensions are no
more than a table of options. `Extension.make` turns the fields read into a struct where more is to be thought of.
Readers get the words and `Asked`, which says for whom they read: the family, and the names for a complaint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..values import NONE
from .complaint import Complaint


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose option is being read."""

    family: int
    extension: str
    option: str

    def bad(self, high: int | None = None, low: int = 0) -> Complaint:
        if high is None:
            return Complaint(f'{self.extension}: bad integer value for option "{self.option}", or out of range.\n')
        return Complaint(f'{self.extension}: bad value for option "{self.option}", or out of range ({low}-{high}).\n')


Reader = Callable[[Any, Asked], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One option. Without a reader it is a flag. One that is not `printed` is another way to say the same field."""

    name: str
    field: str
    read: Reader | None = None
    write: Callable[[Any], str] = str
    also: tuple[str, ...] = ()
    words: int = 1  # how many it takes; a reader of two gets a tuple, a flag has no reader
    invert: bool = False
    required: bool = False
    printed: bool = True
    once: str = ""  # the complaint when it comes twice, where it is not the usual one


@dataclass(slots=True)
class Fields:
    """What has been read for one extension of one rule."""

    family: int
    values: dict[str, Any] = field(default_factory=dict)
    inverted: set[str] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)  # by field, the option that set it
    protocol: int = 0  # the rule's own; 0 also when inverted


@dataclass(frozen=True, slots=True)
class Demands:
    """Where the kernel takes it: tables, chains, protocols of the rule; `further` tells what else is wrong, or None."""

    tables: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    protocols: tuple[int, ...] = ()
    further: Callable[[Any, Any, frozenset[str]], str | None] | None = None


NO_DEMANDS = Demands()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A match or a target. `show` gives its part of a listing; `save` its options, by default as the table has them."""

    name: str
    struct: type
    options: tuple[Option, ...] = ()
    show: Callable[[Any, bool], str]
    save: Callable[[Any], str] | None = None
    make: Callable[[Fields], Any] | None = None
    missing: str = ""  # the complaint when no option at all was given
    families: tuple[int, ...] = (4, 6)
    demands: Demands = NO_DEMANDS
    also: tuple[str, ...] = ()  # other names for the same
    listed: str = ""  # its name in a listing, where that is another
    by_name: dict[str, Option] = field(init=False)
    asked: dict[int, dict[str, Asked]] = field(init=False)

    def __post_init__(self) -> None:
        by_name = {name: option for option in self.options for name in (option.name, *option.also)}
        asked = {family: {o.name: Asked(family, self.name, o.name) for o in self.options} for family in (4, 6)}
        object.__setattr__(self, "by_name", by_name)
        object.__setattr__(self, "asked", asked)


def take(extension: Extension, fields: Fields, option: Option, words: Any, inverted: bool) -> None:
    """Read one option into the fields."""
    if option.field in fields.values:
        _refuse_twice(extension, fields, option)
    if inverted:
        if not option.invert:
            raise Complaint(f'{extension.name}: option "{option.name}" cannot be inverted.\n')
        fields.inverted.add(option.field)
    read = option.read
    fields.values[option.field] = True if read is None else read(words, extension.asked[fields.family][option.name])
    fields.said[option.field] = option.name


def _refuse_twice(extension: Extension, fields: Fields, option: Option) -> None:
    first = fields.said[option.field]
    if option.once:
        raise Complaint(option.once)
    if first == option.name:
        raise Complaint(f'{extension.name}: option "{option.name}" can only be used once.\n')
    raise Complaint(f'{extension.name}: option "{option.name}" cannot be used together with "{first}".\n')


def finish(extension: Extension, fields: Fields) -> Any:
    """The struct, once all words of the rule have been read."""
    if not fields.values and extension.missing:
        raise Complaint(extension.missing)
    for option in extension.options:
        if option.required and option.field not in fields.values:
            raise Complaint(f'{extension.name}: option "{option.name}" must be specified\n')
    if extension.make is not None:
        return extension.make(fields)
    if fields.inverted:
        return extension.struct(**fields.values, inverted=frozenset(fields.inverted))
    return extension.struct(**fields.values)


def written(extension: Extension, value: Any) -> str:
    """The options as they are saved, each with a blank before it."""
    if extension.save is not None:
        return extension.save(value)
    inverted = getattr(value, "inverted", NONE)
    words = []
    for option in extension.options:
        held = getattr(value, option.field) if option.printed else None
        if held is None or held is False:
            continue
        words.append(" ! " if option.field in inverted else " ")
        words.append(option.name if option.read is None else f"{option.name} {option.write(held)}")
    return "".join(words)
