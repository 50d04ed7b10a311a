"""What filters at ingress come to: policers of the whole port or of one VLAN.

The kernel can ask anything of a packet before it polices. The fast path has a bucket a port and one a VLAN; so a filter
that polices matches everything, or one VLAN, and none that lets packets pass may stand before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .complaint import denied
from .filters import CLASSIFIERS
from .filters.action import Gact, Police
from .model import FilterList, Node
from .view import Base, PolicerView

_EXEMPT = "the switch polices a whole port or a VLAN: no filter that lets packets pass may come before one that polices"
_NARROW = "the switch polices a whole port (matchall) or a VLAN (protocol 802.1Q flower vlan_id), nothing narrower"


def policers(lists: Iterable[FilterList]) -> tuple[PolicerView, ...]:
    """In the order in which they are asked; the first that a frame falls to has it. Raises Refusal."""
    views: list[PolicerView] = []
    passing = False
    for filters in lists:
        for node in filters.nodes:
            if not isinstance(node.action, Police):
                _check_passing(node)
                passing = True
                continue
            if passing:
                raise denied(_EXEMPT)
            views.append(_policer(filters, node, node.action))
    return tuple(views)


def _check_passing(node: Node) -> None:
    if isinstance(node.action, Gact) and node.action.control != "pass":
        raise denied(f"the switch has no action {node.action.control} at ingress; police, or drop by iptables")


def _policer(filters: FilterList, node: Node, police: Police) -> PolicerView:
    if police.exceed not in ("drop", "reclassify") and police.mark is None:
        raise denied(f"the switch drops or marks what exceeds; {police.exceed} would do nothing")
    if police.conform not in (None, "pass", "continue", "pipe"):
        raise denied(f"the switch lets pass what conforms; {police.conform} is none of it")
    return PolicerView(_vlan(filters, node), police.rate, police.burst, police.frames, police.frame_burst, police.mark)


def _vlan(filters: FilterList, node: Node) -> int | None:
    keys = CLASSIFIERS[filters.kind].keys(filters, node)
    if not keys:
        return None
    if len(keys) == 1 and keys[0].base is Base.VLAN and keys[0].mask == 0xFFF:
        return keys[0].value
    raise denied(_NARROW)
