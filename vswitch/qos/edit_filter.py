"""`tc filter add`, `change`, `replace` and `del`: what the kernel makes of them (cls_api.c and the classifiers).

Filters of one priority at one place are of one kind and one protocol. The first to match wins, in the order of
priorities, within one in the order of handles. What the fast path cannot do is refused here, before it is in the tree.
"""

from __future__ import annotations

from dataclasses import replace

from . import policing, units
from .complaint import EXISTS, INVALID, NO_ROOM, Refusal, denied, errno
from .draft import Draft, block_of
from .edit_qdisc import How
from .filter_words import Request
from .filters import CLASSIFIERS, Ask
from .filters.action import Gact
from .filters.u32 import FIRST_NODE, TOP_NODE
from .kinds import KINDS
from .model import FilterList, Node
from .words import INGRESS, MAJOR, MINOR, ROOT

AFTER = "We have an error talking to the kernel\n"
FIRST_PRIO = 0xC000
AUTO = 0x8000  # where a priority that is not given is looked for


def carry_out(draft: Draft, how: How, request: Request) -> None:
    try:
        block = _block(draft, request, how)
        if how is How.DELETE:
            _delete(draft, block, request)
        else:
            _set(draft, block, how, request)
    except Refusal as refusal:
        if refusal.code != 2:
            raise
        raise Refusal(refusal.text + AFTER, 2) from None


def _block(draft: Draft, request: Request, how: How) -> int:
    if not request.prio:
        if how is How.DELETE and (request.protocol or request.kind):
            raise denied("Cannot flush filters with protocol, handle or kind set")
        if How.CREATE not in how and how is not How.DELETE:
            raise denied("Invalid filter command with priority of zero")
    parent = request.parent
    if not parent:
        parent = draft.root.handle if draft.root else 0
    block = block_of(parent)
    if parent == ROOT:
        raise denied("Specified class doesn't exist" if draft.qdiscs else "Parent Qdisc doesn't exists")
    owner = draft.qdiscs.get(INGRESS) if block == INGRESS else draft.find(parent)
    if owner is None:
        raise denied("Parent Qdisc doesn't exists")
    if not KINDS[owner.kind].classful:
        raise denied("Qdisc not classful")
    if not KINDS[owner.kind].filters:
        raise denied("Class doesn't support blocks")
    if owner.kind in ("sfq", "fq_codel"):
        raise denied(f"the switch tells flows of {owner.kind} apart itself; put filters at prio or htb above it")
    if block != INGRESS and block & MINOR:
        if not draft.has_class(block):
            raise denied("Specified class doesn't exist")
        if owner.kind == "prio":
            raise errno(INVALID)
    return block


def _set(draft: Draft, block: int, how: How, request: Request) -> None:
    lists = draft.filters.get(block, ())
    found = _of_prio(lists, request)
    if found is None:
        found = _new_list(draft, block, how, request)
    elif request.kind and request.kind != found.kind:
        raise denied("Specified filter kind does not match existing one")
    ask = request.ask or Ask()
    node = _find(found, ask.handle)
    if node is None and How.CREATE not in how:
        raise denied("Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter")
    if node is not None and How.EXCLUSIVE in how:
        raise denied("Filter already exists")
    changed = _with(found, node, ask)
    _check(changed, block)
    rest = (other for other in lists if other.prio != found.prio)
    draft.filters[block] = tuple(sorted((*rest, changed), key=lambda one: one.prio))
    if block == INGRESS:
        policing.policers(draft.filters[block])


def _of_prio(lists: tuple[FilterList, ...], request: Request) -> FilterList | None:
    found = next((one for one in lists if one.prio == (request.prio or AUTO)), None)
    if found is not None and (not request.prio or request.protocol not in (None, 0, found.protocol)):
        raise denied("Protocol mismatch for filter with specified priority")
    return found


def _new_list(draft: Draft, block: int, how: How, request: Request) -> FilterList:
    if not request.kind or not request.protocol:
        raise denied("Filter kind and protocol must be specified")
    if How.CREATE not in how:
        raise denied("Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter")
    if request.kind not in CLASSIFIERS:
        raise denied("TC classifier not found")
    lists = draft.filters.get(block, ())
    after = next((one.prio for one in lists if one.prio > AUTO), FIRST_PRIO + 1)
    prio = request.prio or after - 1
    table = _free_table(draft, block) if request.kind == "u32" else 0
    return FilterList(block, prio, request.protocol, request.kind, table)


def _free_table(draft: Draft, block: int) -> int:
    """Tables of u32 are numbered from 800 on over a discipline and its classes."""
    taken = {
        one.table for other, lists in draft.filters.items() if other & MAJOR == block & MAJOR for one in lists
        if one.kind == "u32"
    }  # fmt: skip
    table = max(taken, default=0x7FF) + 1
    if table <= TOP_NODE:
        return table
    return next((number for number in range(0x800, TOP_NODE + 1) if number not in taken), 0x800)


def _find(filters: FilterList, handle: int) -> Node | None:
    if filters.kind == "u32":
        if handle >> 20 not in (filters.table, 0xFFF):
            return None
        handle &= TOP_NODE
    return next((node for node in filters.nodes if handle and node.handle == handle), None)


def _with(filters: FilterList, node: Node | None, ask: Ask) -> FilterList:
    """The list with the filter in it, which takes the place of `node` if that is given."""
    if not ask.options and (ask.handle or filters.kind != "u32"):
        raise errno(INVALID)
    if not ask.options:
        return filters  # a u32 that says nothing makes its hash table
    if filters.kind == "fw":
        filters = _masked(filters, ask)
    if node is not None:
        match = node.match if filters.kind == "u32" else ask.match  # the words of a u32 stay what they are
        new = Node(node.handle, node.classid if ask.classid is None else ask.classid, match, ask.action or node.action)
        return replace(filters, nodes=tuple(new if other is node else other for other in filters.nodes))
    new = Node(_new_handle(filters, ask), ask.classid, ask.match, ask.action)
    nodes = (*filters.nodes, new)
    if filters.kind == "fw":
        nodes = tuple(sorted((new, *filters.nodes), key=lambda one: one.handle & 0xFF))
    return replace(filters, nodes=tuple(sorted(nodes, key=lambda one: one.handle)) if filters.kind == "u32" else nodes)


def _masked(filters: FilterList, ask: Ask) -> FilterList:
    mask = units.TOP32 if ask.mask is None else ask.mask
    if not ask.handle or filters.nodes and filters.mask != mask:
        raise errno(INVALID)
    return replace(filters, mask=mask)


def _new_handle(filters: FilterList, ask: Ask) -> int:
    taken = {node.handle for node in filters.nodes}
    match filters.kind:
        case "u32":
            return _u32_handle(filters, ask, taken)
        case "matchall" if taken:
            raise errno(EXISTS)
        case "flower" if any(node.match == ask.match for node in filters.nodes):
            raise errno(EXISTS)
    return ask.handle or next(number for number in range(1, len(taken) + 2) if number not in taken)


def _u32_handle(filters: FilterList, ask: Ask, taken: set[int]) -> int:
    if ask.handle >> 20 not in (0, filters.table):
        raise denied("cls_u32: Handle specified hash table address mismatch")
    number = ask.handle & TOP_NODE
    if number in taken:
        raise errno(NO_ROOM)
    if ask.match is None:
        raise denied("cls_u32: Selector not specified")
    if not number:
        order = (*range(FIRST_NODE, TOP_NODE + 1), *range(1, FIRST_NODE))
        number = next((free for free in order if free not in taken), 0)
        if not number:
            raise errno(NO_ROOM)
    return number


def _check(filters: FilterList, block: int) -> None:
    """What the fast path does not have."""
    for node in filters.nodes:
        CLASSIFIERS[filters.kind].keys(filters, node)
        if block != INGRESS and node.action not in (None, Gact("pass")):
            raise denied("the switch polices and drops at ingress only")


def _delete(draft: Draft, block: int, request: Request) -> None:
    lists = draft.filters.get(block, ())
    if not request.prio:
        draft.filters.pop(block, None)
        return
    found = next((one for one in lists if one.prio == request.prio), None)
    if found is None or request.protocol not in (None, 0, found.protocol):
        raise denied("Filter with specified priority/protocol not found")
    if request.kind and request.kind != found.kind:
        raise denied("Specified filter kind does not match existing one")
    left = ()
    if request.ask and request.ask.handle:
        node = _find(found, request.ask.handle)
        if node is None:
            raise denied("Specified filter handle not found")
        left = tuple(other for other in found.nodes if other is not node)
    draft.filters[block] = tuple(
        replace(one, nodes=left) if one is found else one for one in lists if one is not found or left
    )
