"""What every classifier brings along: its grammar, what it looks at, how it is printed.

`parse` reads a command into an `Ask`; what it means to the filters that are there is `edit_filter`'s. `keys` is what
the fast path looks at, and raises Refusal for what it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..complaint import illegal
from ..model import FilterList, Node
from ..printer import Printer
from ..view import Base, KeyView
from ..words import ALL, PROTOCOLS, Words, class_id, matches
from .action import parse_action

VLAN_TAGGED = (PROTOCOLS["802.1Q"], PROTOCOLS["802.1ad"])


@dataclass(slots=True)
class Ask:
    """What a command says of a filter. `options`: it says anything behind the filter's kind."""

    handle: int = 0
    classid: int | None = None
    match: Any = None
    action: Any = None
    mask: int | None = None
    options: bool = False


@dataclass(frozen=True, slots=True)
class Classifier:
    """One kind of filter."""

    name: str
    parse: Callable[[str | None, int, Words], Ask]
    show: Callable[[FilterList, Node, Printer], None]
    keys: Callable[[FilterList, Node], tuple[KeyView, ...]]
    words: Callable[[FilterList, Node], tuple[str, str]]  # its handle, and its own options, to make such a one


def common(words: Words, ask: Ask, usage: str) -> None:
    """The options that all have: class, action."""
    word = words.take()
    if matches(word, "classid") or word == "flowid":
        try:
            ask.classid = class_id(words.take())
        except ValueError:
            raise illegal('Illegal "classid"') from None
    elif matches(word, "action"):
        ask.action = parse_action(words)
    elif word == "skip_sw":
        raise illegal("skip_sw: the switch is software")
    elif word != "skip_hw":
        raise illegal(usage if word == "help" else f'What is "{word}"?\n{usage}')


def protocol_key(protocol: int) -> tuple[KeyView, ...]:
    """What the filter's protocol asks."""
    if protocol == ALL or protocol in VLAN_TAGGED:
        return ()
    return (KeyView(Base.PROTOCOL, 0, protocol, 0xFFFF),)
