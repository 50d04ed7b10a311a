"""Traffic control as lines of tc without `dev`, in an order in which they make it: how a file has it, and `save` writes
it.

What is unasked is not said. Handles are, those that were given out as well, so that the lines make the same tree.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from .draft import Draft
from .filters import CLASSIFIERS
from .filters import action as actions
from .kinds import KINDS
from .kinds.htb import class_words
from .model import NOTHING, FilterList, Link, Qdisc, TrafficControl
from .tc import edit
from .words import INGRESS, ROOT, protocol_text, written


def built(lines: Iterable[str], link: Link) -> TrafficControl:
    """What the lines make of nothing. Raises Refusal or ValueError (a quote that is not closed)."""
    draft = Draft(NOTHING, link)
    for line in lines:
        edit(draft, shlex.split(line))
    return draft.freeze()


def lines(control: TrafficControl) -> list[str]:
    """The lines that make it."""
    return [*_tree(control), *(line for lists in control.filters.values() for one in lists for line in _filters(one))]


def _tree(control: TrafficControl) -> Iterator[str]:
    waiting = [place for place in (ROOT, INGRESS) if place in control.qdiscs]
    inner: dict[int, list[int]] = {}
    for place in control.qdiscs:
        if place not in (ROOT, INGRESS):
            inner.setdefault(place & 0xFFFF0000, []).append(place)
    for place in waiting:  # grows while it is walked
        qdisc = control.qdiscs[place]
        if not qdisc.handle:
            continue
        yield _qdisc(qdisc)
        if qdisc.kind == "htb":
            yield from _classes(control, qdisc)
        waiting += inner.get(qdisc.handle, ())


def _qdisc(qdisc: Qdisc) -> str:
    if qdisc.parent == INGRESS:
        return f"qdisc add {qdisc.kind}"
    where = "root" if qdisc.parent == ROOT else f"parent {written(qdisc.parent)}"
    own = KINDS[qdisc.kind].words(qdisc.options)
    return f"qdisc add {where} handle {written(qdisc.handle)} {qdisc.kind} {own}".rstrip()


def _classes(control: TrafficControl, qdisc: Qdisc) -> Iterator[str]:
    for cls in control.classes_of(qdisc.handle):
        parent = written(qdisc.handle if cls.parent == ROOT else cls.parent)
        yield f"class add parent {parent} classid {written(cls.id)} htb {class_words(cls, qdisc.options)}"


def _filters(one: FilterList) -> Iterator[str]:
    where = "ingress" if one.block == INGRESS else f"parent {written(one.block)}"
    text = protocol_text(one.protocol)
    protocol = f"{one.protocol:#x}" if text.startswith("[") else text
    for node in one.nodes:
        handle, own = CLASSIFIERS[one.kind].words(one, node)
        said = (own, "" if node.classid is None else f"classid {written(node.classid)}", actions.words(node.action))
        head = f"filter add {where} protocol {protocol} pref {one.prio} handle {handle} {one.kind}"
        yield " ".join(filter(None, (head, *said)))
