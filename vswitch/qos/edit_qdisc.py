"""`tc qdisc add`, `change`, `replace`, `link` and `del`: what the kernel makes of them.

The rules are the kernel's own (sch_api.c): what a handle, a parent and the flags of the command mean together is
decided step by step, and each step that fails has words of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag
from typing import Any

from .complaint import INVALID, NO_ENTRY, Refusal, denied, errno, wrong
from .draft import Draft
from .kinds import KINDS, Kind
from .model import Qdisc
from .words import INGRESS, MAJOR, MINOR, ROOT, Words, class_id, matches, qdisc_handle

_USAGE = """Usage: tc qdisc { add | del | replace | change | link } dev STRING [ handle HANDLE ]
          { root | ingress | clsact | parent CLASSID } [ KIND OPTIONS ]
       tc qdisc { show | list } [ dev STRING ] [ root | ingress | parent CLASSID | handle HANDLE ] [ invisible ]"""


class How(Flag):
    """The kernel's NLM_F_ flags."""

    CHANGE = 0
    CREATE = 1
    EXCLUSIVE = 2
    REPLACE = 4
    DELETE = 8


COMMANDS = {
    "add": How.CREATE | How.EXCLUSIVE, "change": How.CHANGE, "replace": How.CREATE | How.REPLACE, "link": How.REPLACE,
    "delete": How.DELETE,
}  # fmt: skip


@dataclass(slots=True)
class Request:
    device: str = ""
    handle: int = 0
    parent: int = 0
    kind: str = ""
    given: Any = None


def parse(words: Words) -> Request:
    request = Request()
    while words:
        word = words.take()
        match word:
            case "dev":
                request.device = once("dev", request.device, words.take())
            case "handle":
                if request.handle:
                    raise wrong(f'Error: duplicate "handle": "{word}" is the second value.')
                request.handle = read(qdisc_handle, words.take(), "invalid qdisc ID")
            case "root":
                request.parent = _only_parent(request.parent, ROOT, '"root" is duplicate parent ID')
            case "ingress" | "clsact":
                request.parent = _only_parent(request.parent, INGRESS, f'"{word}" is a duplicate parent ID')
                request.handle = INGRESS & MAJOR
                return _kind(request, word, words)
            case "parent":
                text = words.take()
                if request.parent:
                    raise wrong(f'Error: duplicate "parent": "{text}" is the second value.')
                request.parent = read(class_id, text, "invalid parent ID")
            case "estimator" | "stab" | "ingress_block" | "egress_block":
                raise Refusal(f"Error: {word}: the switch has no such thing.\n", 2)
            case _ if matches(word, "help"):
                raise wrong(_USAGE)
            case _:
                return _kind(request, word, words)
    return request


def once(name: str, before: str, value: str) -> str:
    if before:
        raise wrong(f'Error: duplicate "{name}": "{value}" is the second value.')
    return value


def read(reader: Callable[[str], int], text: str, what: str) -> int:
    try:
        return reader(text)
    except ValueError:
        raise wrong(f'Error: argument "{text}" is wrong: {what}') from None


def _only_parent(before: int, parent: int, complaint: str) -> int:
    if before:
        raise wrong(f"Error: {complaint}")
    return parent


def _kind(request: Request, name: str, words: Words) -> Request:
    request.kind = name
    if name in KINDS:
        request.given = KINDS[name].parse(name, words)
    elif words:
        raise wrong(f"Unknown qdisc \"{name}\", hence option \"{words.next}\" is unparsable")
    return request


# Carrying out


def carry_out(draft: Draft, how: How, request: Request) -> None:
    if how is How.DELETE:
        _delete(draft, request)
        return
    if request.kind and request.kind not in KINDS:
        raise denied("Specified qdisc kind is unknown")
    if not request.parent:
        if not request.handle:
            raise denied("Handle cannot be zero")
        _change(draft, draft.find(request.handle), how, request)
        return
    place = draft.place(request.parent, "Failed to find specified qdisc")
    there = draft.qdiscs.get(place)
    if there is None and place not in (ROOT, INGRESS):
        raise errno(INVALID)  # a class with children
    there = there if there is not None and there.handle else None
    if _creates(draft, place, there, how, request):
        _create(draft, place, how, request)
    else:
        _change(draft, there, how, request)


def _creates(draft: Draft, place: int, there: Qdisc | None, how: How, request: Request) -> bool:
    """Whether the command wants another discipline in the place, not this one to change."""
    if request.handle and (there is None or there.handle != request.handle):
        if there is not None and How.REPLACE not in how:
            raise denied("NLM_F_REPLACE needed to override")
        if request.handle & MINOR:
            raise denied("Invalid minor handle")
        if draft.find(request.handle) is not None:
            raise denied("Cannot move an existing qdisc to a different parent")
        return True
    if there is None:
        return True
    another = bool(request.kind) and request.kind != there.kind
    return not request.handle and How.CREATE in how and How.REPLACE in how and another


def _create(draft: Draft, place: int, how: How, request: Request) -> None:
    if How.CREATE not in how:
        raise denied("Qdisc not found. To create specify NLM_F_CREATE flag")
    if not request.kind:
        raise errno(NO_ENTRY)
    if (place == INGRESS) != (request.kind in ("ingress", "clsact")):
        raise errno(INVALID)
    kind = KINDS[request.kind]
    options = kind.make(request.given, draft.link)
    handle = INGRESS & MAJOR if place == INGRESS else request.handle or draft.new_handle()
    draft.put(place, handle, kind.name, options)


def _change(draft: Draft, qdisc: Qdisc | None, how: How, request: Request) -> None:
    if qdisc is None:
        raise denied("Specified qdisc not found")
    if How.EXCLUSIVE in how:
        raise denied("Exclusivity flag on, cannot modify")
    if request.kind and request.kind != qdisc.kind:
        raise denied("Invalid qdisc name: must match existing qdisc")
    if request.given is None:
        return
    kind: Kind = KINDS[qdisc.kind]
    if kind.change is None:
        raise denied("Change operation not supported by specified qdisc")
    draft.change(qdisc, kind.change(qdisc.options, request.given, draft.link))


def _delete(draft: Draft, request: Request) -> None:
    qdisc = _doomed(draft, request)
    if qdisc is not None and request.kind not in ("", qdisc.kind):
        raise denied("Invalid qdisc name: must match existing qdisc")
    if not request.parent:
        raise denied("Classid cannot be zero")
    if qdisc is None or not qdisc.handle:
        raise denied("Cannot delete qdisc with handle of zero")
    place = qdisc.parent
    draft.clear(place)
    if place not in (ROOT, INGRESS):
        draft.fill(place)


def _doomed(draft: Draft, request: Request) -> Qdisc | None:
    if not request.parent:
        qdisc = draft.find(request.handle)
        if qdisc is None:
            raise denied("Failed to find qdisc with specified handle")
        return qdisc
    qdisc = draft.qdiscs.get(draft.place(request.parent, "Failed to find qdisc with specified classid"))
    if qdisc is None and request.parent != ROOT:
        raise denied("Cannot find specified qdisc on specified device")
    if request.handle and request.handle != (qdisc.handle if qdisc else 0):
        raise denied("Invalid handle")
    return qdisc


