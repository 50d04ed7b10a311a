"""matchall: every packet of the filter's protocol."""

from __future__ import annotations

from .. import units
from ..complaint import illegal
from ..model import FilterList, Node
from ..printer import Printer
from ..view import KeyView
from ..words import Words, written
from . import action
from .base import Ask, Classifier, common, protocol_key

_USAGE = "Usage: ... matchall [ classid CLASSID ] [ action ACTION ]"


def _parse(handle: str | None, protocol: int, words: Words) -> Ask:
    ask = Ask(options=bool(words))
    try:
        ask.handle = units.whole(handle) if handle else 0
    except ValueError:
        raise illegal(f'Illegal handle "{handle}", must be numeric.') from None
    while words:
        common(words, ask, _USAGE)
    return ask


def _keys(filters: FilterList, node: Node) -> tuple[KeyView, ...]:
    return protocol_key(filters.protocol)


def _show(filters: FilterList, node: Node, out: Printer) -> None:
    out.put("handle", "handle {:#x} ", node.handle)
    if node.classid is not None:
        out.put("flowid", "flowid {} ", written(node.classid))
    out.put("not_in_hw", "\n  not_in_hw", True)
    action.show(node.action, out)


MATCHALL = Classifier("matchall", _parse, _show, _keys, lambda filters, node: (f"{node.handle:#x}", ""))
