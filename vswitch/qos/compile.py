"""From the model to what the fast path takes: a tree of indices, and policers.

Nothing is made up here: the model has every discipline, those unasked included. A classifier that the fast path cannot
carry out was refused when it was added.
"""

from __future__ import annotations

from .filters import CLASSIFIERS
from .kinds import KINDS
from .model import HtbClass, Qdisc, TrafficControl
from .policing import policers
from .units import TICK_NS
from .view import ClassView, FilterView, PolicerView, QdiscView, Shape, TreeView
from .words import INGRESS, MAJOR, MINOR, ROOT


def tree(control: TrafficControl) -> TreeView | None:
    """What leaves by the port; None: nothing waits."""
    root = control.root
    if root is None:
        return None
    inner: dict[int, list[Qdisc]] = {}
    for qdisc in control.qdiscs.values():
        if qdisc.parent not in (ROOT, INGRESS):
            inner.setdefault(qdisc.parent & MAJOR, []).append(qdisc)
    order = [root]
    for qdisc in order:  # grows while it is walked
        if qdisc.handle:
            order += sorted(inner.get(qdisc.handle, ()), key=lambda child: child.parent & MINOR)
    index = {qdisc.parent: number for number, qdisc in enumerate(order)}
    children = {handle: tuple(sorted(index[child.parent] for child in some)) for handle, some in inner.items()}
    return TreeView(tuple(_qdisc(control, qdisc, index, children) for qdisc in order))


def ingress(control: TrafficControl) -> tuple[PolicerView, ...]:
    """What comes in by the port."""
    return policers(control.of(INGRESS))


def _qdisc(
    control: TrafficControl, qdisc: Qdisc, index: dict[int, int], children: dict[int, tuple[int, ...]]
) -> QdiscView:
    compiled = KINDS[qdisc.kind].compile
    assert compiled is not None, qdisc.kind
    kind, parameters = compiled(qdisc.options)
    classes = tuple(control.classes_of(qdisc.handle)) if qdisc.kind == "htb" else ()
    places = {cls.id: number for number, cls in enumerate(classes)}
    return QdiscView(
        qdisc.serial, qdisc.handle, kind, parameters,
        children.get(qdisc.handle, ()) if qdisc.handle and qdisc.kind != "htb" else (),
        tuple(_class(control, cls, places, index) for cls in classes), filters(control, qdisc.handle),
    )  # fmt: skip


def _class(control: TrafficControl, cls: HtbClass, places: dict[int, int], index: dict[int, int]) -> ClassView:
    return ClassView(
        cls.serial, cls.id, places.get(cls.parent), index.get(cls.id), Shape(cls.rate, cls.overhead, cls.mpu),
        Shape(cls.ceil, cls.overhead, cls.mpu), cls.burst * TICK_NS, cls.cburst * TICK_NS, cls.prio, cls.quantum,
        filters(control, cls.id),
    )  # fmt: skip


def filters(control: TrafficControl, block: int) -> tuple[FilterView, ...]:
    """The filters of one place, in the order in which they are asked.

    One without a class ends the search with class 0, which is none; but u32 without class and action goes on."""
    if not block:
        return ()
    return tuple(
        FilterView(CLASSIFIERS[one.kind].keys(one, node), _whole(node.classid or 0, block))
        for one in control.of(block)
        for node in one.nodes
        if node.classid is not None or node.action is not None or one.kind != "u32"
    )


def _whole(classid: int, block: int) -> int:
    """A class id without its major number is one of the discipline's own."""
    return classid if classid & MAJOR or not classid else block & MAJOR | classid
