"""`tc class add`, `change`, `replace` and `del`: the classes of HTB, the only discipline here whose classes are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .complaint import EXISTS, INVALID, NO_ENTRY, Refusal, denied, errno, illegal, wrong
from .draft import Draft
from .edit_qdisc import How, once, read
from .kinds import KINDS
from .kinds.htb import make_class, parse_class
from .model import HtbClass, Qdisc, new_serial
from .words import MAJOR, MINOR, ROOT, Words, class_id, matches

DEEPEST = 8  # classes on the way from the root down to a leaf
_USAGE = """Usage: tc class { add | del | change | replace } dev STRING classid CLASSID [ root | parent CLASSID ]
          [ KIND OPTIONS ]
       tc class show [ dev STRING ] [ root | parent CLASSID ] [ qdisc HANDLE ] [ classid CLASSID ]"""
COMMANDS = {
    "add": How.CREATE | How.EXCLUSIVE, "change": How.CHANGE, "replace": How.CREATE, "delete": How.DELETE
}  # fmt: skip


@dataclass(slots=True)
class Request:
    device: str = ""
    id: int = 0
    parent: int = 0
    kind: str = ""
    given: dict[str, Any] | None = None


def parse(words: Words) -> Request:
    request = Request()
    while words:
        word = words.take()
        match word:
            case "dev":
                request.device = once("dev", request.device, words.take())
            case "classid":
                text = words.take()
                if request.id:
                    raise wrong(f'Error: duplicate "classid": "{text}" is the second value.')
                request.id = read(class_id, text, "invalid class ID")
            case "handle":
                raise wrong('Error: try "classid" instead of "handle"')
            case "root":
                if request.parent:
                    raise wrong('Error: "root" is duplicate parent ID.')
                request.parent = ROOT
            case "parent":
                text = words.take()
                if request.parent:
                    raise wrong(f'Error: duplicate "parent": "{text}" is the second value.')
                request.parent = read(class_id, text, "invalid parent ID")
            case "estimator":
                raise Refusal("Error: estimator: the switch has no such thing; its metrics tell rates.\n", 2)
            case _ if matches(word, "help"):
                raise wrong(_USAGE)
            case _:
                return _kind(request, word, words)
    return request


def _kind(request: Request, name: str, words: Words) -> Request:
    request.kind = name
    if name == "htb":
        request.given = parse_class(words)
    elif name in KINDS:
        raise illegal(f'Error: Qdisc "{name}" is classless.')
    elif words:
        raise wrong(f'Unknown qdisc "{name}", hence option "{words.next}" is unparsable')
    return request


# Carrying out


def carry_out(draft: Draft, how: How, request: Request) -> None:
    qdisc, id, parent = _placed(draft, request)
    cls = draft.classes.get(id)
    if how is How.DELETE:
        _delete(draft, qdisc, cls)
    elif cls is None and How.CREATE not in how:
        raise errno(NO_ENTRY)
    elif cls is not None and How.EXCLUSIVE in how:
        raise errno(EXISTS)
    elif qdisc.kind != "htb":
        raise errno("Operation not supported")
    elif request.given is None:
        raise errno(INVALID)
    elif cls is None:
        _add(draft, qdisc, id, parent, request.given)
    else:
        _change(draft, qdisc, cls, request.given)


def _placed(draft: Draft, request: Request) -> tuple[Qdisc, int, int]:
    """The discipline, the whole id of the class and of its parent: what one of them lacks is taken from another."""
    major, parent = request.id & MAJOR, request.parent
    if parent not in (ROOT, 0):
        if major and parent & MAJOR and major != parent & MAJOR:
            raise errno(INVALID)
        major = major or parent & MAJOR
    if not major and draft.root is not None:
        major = draft.root.handle
    qdisc = draft.find(major)
    if qdisc is None:
        raise errno(NO_ENTRY)
    if not KINDS[qdisc.kind].classful:
        raise errno(INVALID)
    parent = ROOT if parent in (ROOT, 0, qdisc.handle) else major | parent & MINOR
    return qdisc, major | request.id & MINOR, ROOT if parent == qdisc.handle else parent


def _add(draft: Draft, qdisc: Qdisc, id: int, parent: int, given: dict[str, Any]) -> None:
    """The kernel puts a class under a missing parent at the root; here that is refused, since nobody means it."""
    if not id & MINOR:
        raise errno(INVALID)
    above = draft.classes.get(parent)
    if above is None and parent != ROOT:
        raise denied("Specified class not found")
    if above is not None and draft.depth(above) >= DEEPEST - 1:
        raise denied("sch_htb: tree is too deep")
    if above is not None:
        draft.clear(parent)  # it is a leaf no longer
    cls, warning = make_class(given, qdisc.options, new_serial(), id, parent)
    draft.classes[id] = cls
    draft.warnings += warning
    draft.fill(id)


def _change(draft: Draft, qdisc: Qdisc, cls: HtbClass, given: dict[str, Any]) -> None:
    changed, warning = make_class(given, qdisc.options, cls.serial, cls.id, cls.parent)
    if cls.id not in draft.qdiscs:  # quantum and priority are those of a leaf
        changed, warning = replace(changed, prio=cls.prio, quantum=cls.quantum), ""
    draft.classes[cls.id] = changed
    draft.warnings += warning


def _delete(draft: Draft, qdisc: Qdisc, cls: HtbClass | None) -> None:
    if cls is None:
        raise errno(NO_ENTRY)
    if cls.id not in draft.qdiscs or _chosen(draft, cls.id):
        raise denied("HTB class in use")
    draft.clear(cls.id)
    draft.filters.pop(cls.id, None)
    del draft.classes[cls.id]
    if cls.parent != ROOT and not any(other.parent == cls.parent for other in draft.classes.values()):
        draft.fill(cls.parent)


def _chosen(draft: Draft, id: int) -> bool:
    """Whether a filter sends packets there."""
    blocks = (lists for block, lists in draft.filters.items() if block & MAJOR == id & MAJOR)
    return any(node.classid == id for lists in blocks for one in lists for node in one.nodes)
