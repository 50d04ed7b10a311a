"""fw: matches the packet's mark, which is the filter's handle, under a mask that all of one priority share."""

from __future__ import annotations

from .. import units
from ..complaint import illegal
from ..model import FilterList, Node
from ..printer import Printer
from ..view import Base, KeyView
from ..words import Words, matches, written
from . import action
from .base import Ask, Classifier, common, protocol_key

_USAGE = "Usage: ... handle MARK[/MASK] fw [ classid CLASSID ] [ action ACTION ] [ police POLICE ]"


def _parse(handle: str | None, protocol: int, words: Words) -> Ask:
    ask = Ask(options=bool(words))
    if handle:
        mark, slash, mask = handle.partition("/")
        ask.handle = _number(mark, 'Illegal "handle"')
        ask.mask = _number(mask, 'Illegal "handle" mask') if slash else None
    while words:
        if matches(words.next, "police"):
            words.take()
            ask.action = action.parse_police(words, old=True)
        else:
            common(words, ask, _USAGE)
    return ask


def _number(text: str, complaint: str) -> int:
    try:
        return units.whole(text)
    except ValueError:
        raise illegal(complaint) from None


def _keys(filters: FilterList, node: Node) -> tuple[KeyView, ...]:
    mark = KeyView(Base.MARK, 0, node.handle & filters.mask, filters.mask)
    return (*protocol_key(filters.protocol), mark)


def _show(filters: FilterList, node: Node, out: Printer) -> None:
    with out.object("fw"):
        out.put("mark", "handle {}", f"{node.handle:#x}")
        if filters.mask != units.TOP32:
            out.put("mask", "/{}", f"{filters.mask:#x}")
        else:
            out.json("mask", f"{filters.mask:#x}")
        out.text(" ")
    if node.classid is not None:
        out.put("classid", "classid {} ", written(node.classid))
    action.show(node.action, out)


def _words(filters: FilterList, node: Node) -> tuple[str, str]:
    return f"{node.handle:#x}/{filters.mask:#x}", ""


FW = Classifier("fw", _parse, _show, _keys, _words)
