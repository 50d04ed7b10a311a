"""A worker takes up the trees of a new snapshot.

What is named by its serial in both keeps its state: queues, tokens, counters. What is gone loses its frames, by name.
Places in line (rows, feeds, wake-up times) are not kept but made anew, for the trees that have changed: they follow from
who has frames waiting and how many tokens.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.counters cimport MAX_PORTS
from ..core.native cimport mix64
from ..core.snapshot cimport PORT_NONE, Snapshot
from ..core.verdict cimport QDISC_GONE
from .htb cimport htb_elapsed, htb_mode, htb_wait, leaf_active
from .queue cimport lose, queue_pop, queue_push
from .state cimport *
from .tree cimport *
from .wake cimport wake_forget


cdef void adopt_trees(Scheduler *s, const Snapshot *snapshot, uint32_t worker) noexcept nogil:
    cdef uint8_t changed[MAX_PORTS]
    cdef const Tree *tree
    cdef uint64_t generation
    cdef uint32_t id
    cdef bint any = False
    s.snapshot = snapshot
    s.adopted = snapshot.generation
    for id in range(MAX_PORTS):
        tree = own_tree(snapshot, id, worker)
        generation = tree.generation if tree != NULL else 0
        changed[id] = s.trees[id] != generation
        s.trees[id] = generation
        any |= changed[id]
    if not any:
        return
    for id in range(snapshot.n_ports):
        tree = own_tree(snapshot, id, worker)
        if tree != NULL:
            claim(s, tree)
    sweep(s)
    for id in range(snapshot.n_ports):
        tree = own_tree(snapshot, id, worker)
        if tree != NULL and changed[id]:
            settle_in(s, tree, id, snapshot.ports[id].mtu)
            line_up(s, tree)
            set_ready(s, id)

cdef const Tree *own_tree(const Snapshot *snapshot, uint32_t id, uint32_t worker) noexcept nogil:
    """The port's tree, if this worker is its home."""
    cdef const Tree *tree
    if id >= snapshot.n_ports or snapshot.ports[id].kind == PORT_NONE:
        return NULL
    tree = snapshot.ports[id].tree
    return tree if tree != NULL and tree.home == worker else NULL

cdef void claim(Scheduler *s, const Tree *tree) noexcept nogil:
    """Mark whose state is to live."""
    cdef uint32_t i
    for i in range(tree.n_qdiscs):
        if s.qdiscs[tree.qdiscs[i].slot].serial == tree.qdiscs[i].serial:
            s.qdiscs[tree.qdiscs[i].slot].seen = s.adopted
    for i in range(tree.n_classes):
        if s.classes[tree.classes[i].slot].serial == tree.classes[i].serial:
            s.classes[tree.classes[i].slot].seen = s.adopted

cdef void sweep(Scheduler *s) noexcept nogil:
    """End all other state."""
    cdef uint32_t i
    for i in range(1, s.used_qdiscs + 1):
        if s.qdiscs[i].serial and s.qdiscs[i].seen != s.adopted:
            purge(s, &s.qdiscs[i])
            wake_forget(s, CLASS_SLOTS + i)
            memset(&s.qdiscs[i], 0, sizeof(QdiscState))
    for i in range(1, s.used_classes + 1):
        if s.classes[i].serial and s.classes[i].seen != s.adopted:
            wake_forget(s, i)
            memset(&s.classes[i], 0, sizeof(ClassState))

cdef void purge(Scheduler *s, QdiscState *state) noexcept nogil:
    """All frames that a discipline itself holds."""
    cdef uint32_t i
    for i in range(FAST_BANDS):
        drain(s, &state.queues[i])
    drain(s, &state.again)
    if state.picked and not state.picked_from:
        lose(s, state.picked, QDISC_GONE)       # else it is some leaf's below
    for i in range(state.flow, state.flow + state.n_flow_slots):
        drain(s, &s.flows[i].queue)
        memset(&s.flows[i], 0, sizeof(Flow))

cdef void drain(Scheduler *s, Queue *queue) noexcept nogil:
    while queue.n:
        lose(s, queue_pop(s, queue), QDISC_GONE)


# Who is new, and where everybody is

cdef void settle_in(Scheduler *s, const Tree *tree, uint32_t port, uint32_t mtu) noexcept nogil:
    cdef uint32_t i
    for i in range(tree.n_qdiscs):
        settle_qdisc(s, &tree.qdiscs[i], i, port, mtu)
    for i in range(tree.n_classes):
        settle_class(s, &tree.classes[i], i, port)

cdef void settle_qdisc(Scheduler *s, const Qdisc *qdisc, uint32_t index, uint32_t port, uint32_t mtu) noexcept nogil:
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    if state.serial != qdisc.serial:
        state.serial = qdisc.serial
        state.seen = s.adopted
        state.kind = qdisc.kind
        state.charged_ns = s.now_ns
        state.tokens = qdisc.burst_ns
        state.ptokens = qdisc.mtu_ns
        s.seed = mix64(s.seed ^ s.now_ns, 0x9e3779b97f4a7c15ULL) | 1
        state.seed = s.seed
        state.flow = qdisc.flow
        state.n_flow_slots = qdisc.divisor if qdisc.kind == SFQ else qdisc.flows if qdisc.kind == FQ_CODEL else 0
    if qdisc.slot > s.used_qdiscs:
        s.used_qdiscs = qdisc.slot
    state.port = <uint16_t>port
    state.index = index
    state.mtu = mtu + 14

cdef void settle_class(Scheduler *s, const Class *cls, uint32_t index, uint32_t port) noexcept nogil:
    cdef ClassState *state = &s.classes[cls.slot]
    if state.serial != cls.serial:
        state.serial = cls.serial
        state.seen = s.adopted
        state.charged_ns = s.now_ns
        state.tokens = cls.burst_ns
        state.ctokens = cls.cburst_ns
    if cls.slot > s.used_classes:
        s.used_classes = cls.slot
    state.port = <uint16_t>port
    state.index = index


# Places in line

cdef void line_up(Scheduler *s, const Tree *tree) noexcept nogil:
    cdef uint32_t i
    memset(s.words + tree.words, 0, tree.n_words * sizeof(uint64_t))
    for i in range(tree.n_classes):
        step_out(s, &tree.classes[i])
    # Children come behind their parents, so from the end on all below a discipline is counted before it is.
    for i in range(tree.n_qdiscs - 1, -1, -1):
        recount(s, tree, &tree.qdiscs[i])
    for i in range(tree.n_classes):
        if tree.classes[i].leaf != NO_INDEX and s.qdiscs[tree.qdiscs[tree.classes[i].leaf].slot].qlen:
            leaf_active(s, tree, &tree.classes[i])

cdef void step_out(Scheduler *s, const Class *cls) noexcept nogil:
    """In no row and no feed, in the mode that its tokens allow."""
    cdef ClassState *state = &s.classes[cls.slot]
    cdef int64_t wait = 0
    memset(state.feeds, 0, sizeof(state.feeds))
    state.active = 0
    wake_forget(s, cls.slot)
    state.mode = htb_mode(state, htb_elapsed(s, state), &wait)
    if state.mode != CAN_SEND:
        htb_wait(s, cls, wait)

cdef void recount(Scheduler *s, const Tree *tree, const Qdisc *qdisc) noexcept nogil:
    """What waits below a discipline, now that some of it may be gone."""
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    cdef uint32_t i
    if qdisc.kind == HTB:
        memset(state.rows, 0, sizeof(state.rows))
        memset(state.row_mask, 0, sizeof(state.row_mask))
        state.turn = 0
        put_back_direct(s, state)
    if qdisc.kind == HTB or qdisc.kind == PRIO or qdisc.kind == TBF:
        state.qlen = state.queues[0].n + state.again.n
        state.backlog = state.queues[0].bytes + state.again.bytes
    for i in range(qdisc.first_child, qdisc.first_child + qdisc.n_children):
        add_below(s, state, &tree.qdiscs[tree.children[i]])
    if qdisc.kind == HTB:
        for i in range(tree.n_classes):
            if tree.classes[i].leaf != NO_INDEX and &tree.qdiscs[tree.classes[i].qdisc] == qdisc:
                add_below(s, state, &tree.qdiscs[tree.classes[i].leaf])

cdef void put_back_direct(Scheduler *s, QdiscState *state) noexcept nogil:
    """What was chosen to leave next is chosen anew. A class's frame is still its leaf's; one of nobody's goes first again."""
    cdef uint32_t number = state.picked
    state.picked = 0
    if not number or state.picked_from:
        return
    s.pool.helds[number].next = state.queues[0].head if state.queues[0].n else 0
    if not state.queues[0].n:
        state.queues[0].tail = number
    state.queues[0].head = number
    state.queues[0].n += 1
    state.queues[0].bytes += s.pool.helds[number].wire

cdef void add_below(Scheduler *s, QdiscState *state, const Qdisc *below) noexcept nogil:
    state.qlen += s.qdiscs[below.slot].qlen
    state.backlog += s.qdiscs[below.slot].backlog
