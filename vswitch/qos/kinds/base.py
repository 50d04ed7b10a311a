"""What every kind of discipline brings along: its grammar, its defaults, how it is printed and compiled.

`parse` reads the words of one command into what was given, or None if tc would send no options at all; `make` turns
that into the options of a new discipline, with the defaults that the kernel has; `change` into those of one that goes
on. `slots` are the places inside it for other disciplines, by minor number, each with what is there unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..complaint import wrong
from ..model import Link
from ..printer import Printer
from ..view import Kind as ViewKind
from ..view import QdiscStats
from ..words import Words

Given = Any  # what a kind's `parse` has read, for its own `make` and `change`
Unasked = tuple[str, Any]  # kind and options of a discipline that nobody asked for


def no_options(name: str, words: Words) -> None:
    """The reader of a kind that has no options."""
    if words:
        raise wrong(f"qdisc '{name}' does not support option parsing")


def no_slots(options: Any, link: Link) -> Mapping[int, Unasked]:
    return {}


def no_statistics(out: Printer, stats: QdiscStats) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `change` is None where the kernel cannot change one; `fixed` is what no change may touch."""

    name: str
    parse: Callable[[str, Words], Given | None]
    make: Callable[[Given | None, Link], Any]
    show: Callable[[Any, Printer], None]
    words: Callable[[Any], str]  # the options that make such a one
    change: Callable[[Any, Given, Link], Any] | None = None
    compile: Callable[[Any], tuple[ViewKind, Any]] | None = None
    slots: Callable[[Any, Link], Mapping[int, Unasked]] = no_slots
    show_stats: Callable[[Printer, QdiscStats], bool] = no_statistics
    fixed: Callable[[Any], Any] = lambda options: None
    classful: bool = False  # has classes, or places for other disciplines
    filters: bool = False  # the kernel lets filters choose within it
