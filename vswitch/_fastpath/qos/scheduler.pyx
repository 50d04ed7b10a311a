"""The scheduler: what ports with queueing disciplines are given waits here, and leaves when its discipline lets it.

    hold     the frames of a burst for one port: classified, queued or dropped
    serve    at the end of a burst, and when a time has come: whatever may leave leaves

`enqueue`, `pick` and `take` go down a port's tree. To pick is to choose the frame that leaves next, wherever below it
waits; it stays chosen until it is taken. To take is to account for it, or for the part of it that leaves. In between, each
discipline on the way says how many bytes may leave at once.

A frame in a scheduler is `queued` in the books of the port that it came from. All of it belongs to one worker.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.context cimport Context, PortIo
from ..core.native cimport atomic_store64, count
from ..core.snapshot cimport PORT_NONE, Port
from ..core.tx cimport TX_QUEUE, TxEntry
from ..core.verdict cimport MALFORMED_GSO, PENDING, QDISC_GONE, QDISC_LIMIT, QDISC_MEMORY, QDISC_OVERSIZED
from ..io.account cimport ended
from ..io.segment cimport finish
from ..io.send cimport send_now
from ..io.ring cimport Ring
from .fifo cimport fifo_enqueue, fifo_pick
from .fq_codel cimport fq_enqueue, fq_pick
from .handover cimport Handed, hand_over, next_handed, wake_home
from .held cimport Held, held_free, held_new, keep_lent
from .hold cimport describe, describe_held
from .htb cimport MAJOR, MINOR, htb_budget, htb_classify, htb_due, htb_sent, htb_turn, leaf_active, leaf_idle
from .offer cimport NO_CLASS, Offer, filtered, priority_of
from .peel cimport NO_LIMIT, PEEL_BLOCK, Part, part_of, peel
from .queue cimport book_loss, charge_bytes, delayed, lose, queue_pop, queue_push
from .sfq cimport sfq_enqueue, sfq_pick
from .state cimport CLASS_SLOTS, ClassState, QdiscState, Run, Scheduler, set_ready
from .tbf cimport tbf_charge, tbf_conforms
from .tree cimport *
from .wake cimport wake_forget, wake_set

cdef enum:
    RETRY_NS = 100000                   # before a device that took no more is asked again
    ROUNDS = 8                          # queuefuls for one port before it is another's turn


# Down the tree: in

cdef uint8_t enqueue(Scheduler *s, const Tree *tree, uint32_t index, const Offer *offer) noexcept nogil:
    """Queue the offer in a discipline, or below it. PENDING, or why not: then it is still the caller's."""
    cdef const Qdisc *qdisc = &tree.qdiscs[index]
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    cdef uint8_t verdict
    if qdisc.kind == HTB:
        verdict = enqueue_class(s, tree, qdisc, state, offer)
    elif qdisc.kind == PRIO:
        verdict = enqueue(s, tree, tree.children[qdisc.first_child + band_of(tree, qdisc, offer)], offer)
    elif qdisc.kind == TBF:
        verdict = enqueue_shaped(s, tree, qdisc, offer)
    else:
        return enqueue_leaf(s, tree, qdisc, state, offer)
    return entered(s, state, offer, verdict)

cdef inline uint8_t entered(Scheduler *s, QdiscState *state, const Offer *offer, uint8_t verdict) noexcept nogil:
    if verdict:
        count(&state.counts.drops, 1)
        return verdict
    state.qlen += 1
    state.backlog += s.pool.helds[offer.number].wire
    return PENDING

cdef inline uint8_t enqueue_leaf(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state,
                                 const Offer *offer) noexcept nogil:
    if qdisc.kind <= PFIFO_FAST:
        return entered(s, state, offer, fifo_enqueue(s, qdisc, state, offer))
    return entered(s, state, offer, enqueue_fair(s, tree, qdisc, state, offer))

cdef uint8_t enqueue_fair(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, const Offer *offer) noexcept nogil:
    if qdisc.kind == SFQ:
        return sfq_enqueue(s, tree, qdisc, state, offer, chosen_flow(tree, qdisc, offer))
    return fq_enqueue(s, tree, qdisc, state, offer, chosen_flow(tree, qdisc, offer))

cdef uint8_t enqueue_shaped(Scheduler *s, const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    cdef const Held *held = &s.pool.helds[offer.number]
    if (held.mss + held.hdr_len if held.mss else held.wire) > qdisc.max_size:
        return QDISC_OVERSIZED
    return enqueue(s, tree, tree.children[qdisc.first_child], offer)

cdef inline uint8_t enqueue_class(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state,
                                  const Offer *offer) noexcept nogil:
    cdef const Class *cls = htb_classify(tree, qdisc, offer)
    cdef const Qdisc *leaf
    cdef uint8_t verdict
    if cls == NULL:
        if state.queues[0].n >= qdisc.limit:
            return QDISC_LIMIT
        queue_push(s, &state.queues[0], offer.number)
        return PENDING
    leaf = &tree.qdiscs[cls.leaf]
    if is_leaf(leaf.kind):
        verdict = enqueue_leaf(s, tree, leaf, &s.qdiscs[leaf.slot], offer)
    else:
        verdict = enqueue(s, tree, cls.leaf, offer)
    if verdict:
        count(&s.classes[cls.slot].counts.drops, 1)
    else:
        leaf_active(s, tree, cls)
    return verdict

cdef inline bint is_leaf(uint8_t kind) noexcept nogil:
    """It has no disciplines below it."""
    return kind != HTB and kind != TBF and kind != PRIO

cdef inline uint32_t chosen_flow(const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    """The flow that CLASSIFY or a filter names, from 1 on; 0: the hash decides."""
    cdef uint32_t class_id = offer.class_id
    if qdisc.handle and class_id & MAJOR == qdisc.handle:
        return class_id & MINOR
    return filtered(tree, &qdisc.filters, offer) & MINOR if qdisc.filters.n else 0

cdef inline uint32_t band_of(const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    """prio_classify."""
    cdef uint32_t band = priority_of(offer)
    if band & MAJOR != qdisc.handle or not qdisc.handle:
        if qdisc.filters.n:
            band = filtered(tree, &qdisc.filters, offer)
        if not qdisc.filters.n or band == NO_CLASS:
            band = priority_of(offer)
            return qdisc.priomap[band & (PRIOMAP - 1) if not band & MAJOR else 0]
    band = (band & MINOR) - 1
    return band if band < qdisc.n_children else qdisc.priomap[0]


# ... and out

cdef uint32_t pick(Scheduler *s, const Tree *tree, uint32_t index, uint32_t *limit) noexcept nogil:
    """The number of the frame that leaves next, and at most how many bytes of it; 0: nothing may leave now."""
    cdef const Qdisc *qdisc = &tree.qdiscs[index]
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    if state.qlen == 0:
        return 0
    if qdisc.kind == HTB:
        return pick_class(s, tree, qdisc, state, limit)
    if qdisc.kind == PRIO:
        return pick_band(s, tree, qdisc, state, limit)
    if qdisc.kind == TBF:
        return pick_shaped(s, tree, qdisc, state, limit)
    return pick_leaf(s, tree, qdisc, state)

cdef inline uint32_t pick_leaf(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state) noexcept nogil:
    if qdisc.kind <= PFIFO_FAST:
        state.picked = fifo_pick(s, state)
    elif not state.picked:
        state.picked = pick_fair(s, tree, qdisc, state)
    return state.picked

cdef uint32_t pick_fair(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state) noexcept nogil:
    return sfq_pick(s, qdisc, state) if qdisc.kind == SFQ else fq_pick(s, tree, qdisc, state)

cdef inline uint32_t pick_band(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t *limit) noexcept nogil:
    cdef uint32_t band, number
    for band in range(qdisc.n_children):
        state.picked_from = tree.children[qdisc.first_child + band]
        number = pick(s, tree, state.picked_from, limit)
        if number:
            return number
    return 0

cdef inline uint32_t pick_shaped(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t *limit) noexcept nogil:
    cdef uint32_t number = pick(s, tree, tree.children[qdisc.first_child], limit)
    cdef Part part
    if number == 0:
        state.due_ns = 0                # nobody has been waiting for tokens
        return 0
    if qdisc.max_size < limit[0]:
        limit[0] = qdisc.max_size
    part = part_of(&s.pool.helds[number], limit[0])
    return number if tbf_conforms(s, qdisc, state, part.wire, part.segments) else 0

cdef inline uint32_t pick_class(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t *limit) noexcept nogil:
    """What goes unshaped first; then the class whose turn it is. A leaf that holds its frames back stands aside."""
    cdef const Class *cls
    cdef const Qdisc *leaf
    cdef QdiscState *below
    cdef uint32_t number
    if not state.picked and state.queues[0].n:
        state.picked = queue_pop(s, &state.queues[0])
        state.picked_from = 0
    if state.picked and not state.picked_from:
        return state.picked
    while True:
        if not state.picked:
            if not state.turn:
                run_end(s, tree)        # or the charge for what has left would come too late
            state.picked_from = htb_turn(s, tree, qdisc, state, &state.picked_level)
            if not state.picked_from:
                return 0
        cls = &tree.classes[s.classes[state.picked_from].index]
        leaf = &tree.qdiscs[cls.leaf]
        below = &s.qdiscs[leaf.slot]
        if is_leaf(leaf.kind):
            number = pick_leaf(s, tree, leaf, below) if below.qlen else 0
        else:
            number = pick(s, tree, cls.leaf, limit)
        if number:
            break
        state.picked = 0
        leaf_idle(s, tree, cls)
    state.picked = number
    if cls.peel < limit[0]:
        limit[0] = cls.peel
    return number

cdef void take(Scheduler *s, const Tree *tree, uint32_t index, uint32_t number, const Part *part) noexcept nogil:
    """The picked frame leaves, or a part of it."""
    cdef const Qdisc *qdisc = &tree.qdiscs[index]
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    if is_leaf(qdisc.kind):
        take_leaf(s, state, number, part)
        return
    taken(state, part)
    if qdisc.kind == HTB:
        take_class(s, tree, state, number, part)
    elif qdisc.kind == PRIO:
        take(s, tree, state.picked_from, number, part)
    else:
        tbf_charge(s, qdisc, state, part.wire, part.segments)
        take(s, tree, tree.children[qdisc.first_child], number, part)

cdef inline void taken(QdiscState *state, const Part *part) noexcept nogil:
    state.backlog -= part.wire
    state.qlen -= part.last
    charge_bytes(&state.counts, part.wire, part.segments)

cdef inline void take_leaf(Scheduler *s, QdiscState *state, uint32_t number, const Part *part) noexcept nogil:
    taken(state, part)
    if part.last:
        state.picked = 0
        delayed(s, state, &s.pool.helds[number])

cdef inline void take_class(Scheduler *s, const Tree *tree, QdiscState *state, uint32_t number, const Part *part) noexcept nogil:
    cdef const Class *cls
    cdef QdiscState *below
    if not state.picked_from:
        if part.last:                   # else the rest of it is still the next
            state.picked = 0
            delayed(s, state, &s.pool.helds[number])
        return
    state.picked = 0
    cls = &tree.classes[s.classes[state.picked_from].index]
    below = &s.qdiscs[tree.qdiscs[cls.leaf].slot]
    if is_leaf(below.kind):
        take_leaf(s, below, number, part)
    else:
        take(s, tree, cls.leaf, number, part)
    run_on(s, tree, cls, state.picked_level, part, below.qlen)


# Runs: several frames of one class, one after another at the same time, are charged for together

cdef inline void run_on(Scheduler *s, const Tree *tree, const Class *cls, uint32_t level, const Part *part,
                        uint32_t left) noexcept nogil:
    """Charge for what has left, or leave that for later while neither tokens nor the turn can be used up."""
    cdef Run *run = &s.run
    if run.cls == cls.slot:
        run.wire += part.wire
        run.segments += part.segments
        run.frames += 1
    else:
        run_end(s, tree)
        run.cls = cls.slot
        run.level = level
        run.wire = part.wire
        run.segments = part.segments
        run.frames = 1
        run.budget = htb_budget(s, tree, cls, level) if left else 0
    if run.wire > run.budget or not left:
        run_end(s, tree)

cdef inline void run_end(Scheduler *s, const Tree *tree) noexcept nogil:
    cdef Run *run = &s.run
    cdef const Class *cls
    if run.cls:
        cls = &tree.classes[s.classes[run.cls].index]
        run.cls = 0
        htb_sent(s, tree, cls, run, s.qdiscs[tree.qdiscs[cls.leaf].slot].qlen == 0)


# Times that have come

cdef inline const Tree *tree_of(Scheduler *s, uint32_t port) noexcept nogil:
    return s.snapshot.ports[port].tree

cdef void wake_due(Scheduler *s) noexcept nogil:
    """Whoever waited for a time up to now may do what it waited for."""
    cdef uint32_t item
    while s.n_wakes and s.wakes[0].due_ns <= s.now_ns:
        item = s.wakes[0].item
        if item < CLASS_SLOTS:
            wake_class(s, &s.classes[item])
        else:
            wake_forget(s, item)
            wake_qdisc(s, &s.qdiscs[item - CLASS_SLOTS])

cdef inline void wake_class(Scheduler *s, ClassState *state) noexcept nogil:
    cdef const Tree *tree = tree_of(s, state.port)
    cdef const Class *cls = &tree.classes[state.index]
    htb_due(s, tree, cls)
    wake_above(s, tree, cls.qdisc)
    if s.qdiscs[tree.qdiscs[cls.qdisc].slot].qlen:
        set_ready(s, state.port)

cdef inline void wake_qdisc(Scheduler *s, QdiscState *state) noexcept nogil:
    wake_above(s, tree_of(s, state.port), state.index)
    set_ready(s, state.port)

cdef inline void wake_above(Scheduler *s, const Tree *tree, uint32_t index) noexcept nogil:
    """Classes of htb above had stood aside for a discipline that held its frames back."""
    while index != NO_INDEX:
        if tree.qdiscs[index].cls != NO_INDEX and s.qdiscs[tree.qdiscs[index].slot].qlen:
            leaf_active(s, tree, &tree.classes[tree.qdiscs[index].cls])
        index = tree.qdiscs[index].parent


# Ports

cdef void hold(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    """Queue all entries that wait for the port; their memory may go when the burst has been served."""
    cdef Scheduler *s = ctx.scheduler
    cdef Offer offer
    cdef uint32_t i
    cdef uint8_t verdict
    cdef bint at_home = port.tree.home == ctx.worker
    s.now_ns = ctx.now_ns
    wake_due(s)                         # or who has been idle until now would be taken for one that had to wait
    for i in range(io.tx_n):
        describe(ctx, &io.tx[i], &offer)
        if not at_home:
            hand_over(ctx, port, &io.tx[i], &offer)
            continue
        verdict = hold_one(s, port, &io.tx[i], &offer, ctx.burst.port.id, ctx.burst.port.born)
        if verdict:
            ended(ctx, &io.tx[i], verdict)
        elif io.tx[i].counted:
            count(&ctx.origin.queued, 1)
    io.tx_n = 0
    if at_home:
        set_ready(s, port.id)
    else:
        wake_home(ctx, port)

cdef inline uint8_t hold_one(Scheduler *s, const Port *port, const TxEntry *entry, Offer *offer, uint16_t origin,
                             uint64_t serial) noexcept nogil:
    """PENDING: it is queued. Else why not; its books are the caller's."""
    cdef Held *held
    cdef uint8_t verdict
    offer.number = held_new(&s.pool, entry)
    if not offer.number:
        return QDISC_MEMORY
    held = &s.pool.helds[offer.number]
    describe_held(s, offer, entry.l2_len, entry.needs, held)
    held.origin = origin
    held.serial = serial
    verdict = enqueue(s, port.tree, 0, offer)
    if verdict:
        held_free(&s.pool, offer.number)
    return verdict

cdef void take_handed(Context *ctx) noexcept nogil:
    """Queue what other workers have handed over."""
    cdef Scheduler *s = ctx.scheduler
    cdef uint64_t head
    cdef uint32_t i
    s.now_ns = ctx.now_ns
    wake_due(s)
    for i in range(s.n_peers):
        head = s.inbox[i].head
        if take_inbox(s, &s.inbox[i], &head, ctx.worker):
            serve(ctx)                  # before the memory is another frame's
            atomic_store64(&s.inbox[i].head, head)

cdef bint take_inbox(Scheduler *s, const Ring *ring, uint64_t *head, uint32_t worker) noexcept nogil:
    cdef Handed handed
    cdef TxEntry entry
    cdef Offer offer
    cdef Held gone
    cdef const Port *port
    cdef uint8_t verdict
    cdef bint any = False
    while ring.bytes != NULL and next_handed(ring, head, &handed, &entry, &offer):
        any = True
        port = &s.snapshot.ports[handed.port] if handed.port < s.snapshot.n_ports else NULL
        if port == NULL or port.kind == PORT_NONE or port.tree == NULL or port.tree.home != worker:
            verdict = QDISC_GONE
        else:
            verdict = hold_one(s, port, &entry, &offer, handed.origin, handed.serial)
            set_ready(s, port.id)
        if verdict:
            gone.origin = handed.origin
            gone.serial = handed.serial
            gone.counted = handed.counted
            book_loss(s, &gone, verdict)
    return any

cdef void serve(Context *ctx) noexcept nogil:
    """Send what may leave by now; what stays gets memory of its own."""
    cdef Scheduler *s = ctx.scheduler
    cdef uint32_t i = 0, n, id
    s.now_ns = ctx.now_ns
    wake_due(s)
    n = s.n_ready
    for i in range(n):
        id = s.ready[i]
        s.is_ready[id] = 0
        serve_port(ctx, &s.snapshot.ports[id])
    # Those that are not through have come back behind the others.
    for i in range(s.n_ready - n):
        s.ready[i] = s.ready[n + i]
    s.n_ready -= n
    keep_lent(&s.pool)

cdef void serve_port(Context *ctx, const Port *port) noexcept nogil:
    cdef Scheduler *s = ctx.scheduler
    cdef PortIo *io = &ctx.io[port.id]
    cdef uint32_t rounds = 0
    if port.kind == PORT_NONE or port.tree == NULL or port.tree.home != ctx.worker:
        return
    while fill(ctx, port, io, TX_QUEUE):
        send_now(ctx, port, io)
        if s.sending.again.n:
            wake_set(s, CLASS_SLOTS + port.tree.qdiscs[0].slot, s.now_ns + RETRY_NS)
            return
        rounds += 1
        if rounds == ROUNDS:
            set_ready(s, port.id)
            return

cdef bint fill(Context *ctx, const Port *port, PortIo *io, uint32_t most) noexcept nogil:
    """A queueful of what may leave, at most so many; false: nothing may."""
    cdef Scheduler *s = ctx.scheduler
    cdef uint32_t number, limit
    cdef Part part
    io.tx_n = 0
    s.sending = &s.qdiscs[port.tree.qdiscs[0].slot]
    while io.tx_n < most and s.sending.again.n:
        number = queue_pop(s, &s.sending.again)
        s.sending.qlen -= 1
        s.sending.backlog -= s.pool.helds[number].wire
        put_whole(ctx, port, io, number)
    while io.tx_n < most:
        limit = NO_LIMIT
        number = pick(s, port.tree, 0, &limit)
        if not number:
            break
        part = part_of(&s.pool.helds[number], limit)
        take(s, port.tree, 0, number, &part)
        if part.last and not s.pool.helds[number].gone:
            put_whole(ctx, port, io, number)
            if s.run.cls:
                follow(ctx, port, io, most)
        else:
            put_part(ctx, port, io, number, &part)
    run_end(s, port.tree)
    return io.tx_n

cdef inline void follow(Context *ctx, const Port *port, PortIo *io, uint32_t most) noexcept nogil:
    """More frames of the class whose run it is, straight from its fifo: what pick and take would do, the run being on."""
    cdef Scheduler *s = ctx.scheduler
    cdef const Class *cls = &port.tree.classes[s.classes[s.run.cls].index]
    cdef QdiscState *below = &s.qdiscs[port.tree.qdiscs[cls.leaf].slot]
    cdef const Held *held
    cdef uint32_t number
    cdef Part part
    if cls.qdisc or below.kind > BFIFO:
        return                          # there are others to ask first
    while s.run.cls and io.tx_n < most:
        held = &s.pool.helds[below.queues[0].head]
        if held.wire > cls.peel and held.segments > 1:
            return
        number = queue_pop(s, &below.queues[0])
        part = Part(held.wire, held.segments, True)
        taken(s.sending, &part)
        take_leaf(s, below, number, &part)
        run_on(s, port.tree, cls, s.run.level, &part, below.qlen)
        put_whole(ctx, port, io, number)

cdef inline void put_whole(Context *ctx, const Port *port, PortIo *io, uint32_t number) noexcept nogil:
    cdef const Held *held = &ctx.scheduler.pool.helds[number]
    cdef TxEntry *entry = &io.tx[io.tx_n]
    entry.head = held.head
    entry.head_len = held.head_len
    entry.body = held.body
    entry.body_len = held.body_len
    entry.counted = held.counted
    entry.held = number
    entry.last = True
    if held.needs & ~port.offloads:
        finish(ctx, port, entry, held.l2_len)
    else:
        io.tx_n += 1

cdef inline void put_part(Context *ctx, const Port *port, PortIo *io, uint32_t number, const Part *part) noexcept nogil:
    cdef Scheduler *s = ctx.scheduler
    cdef TxEntry *entry = &io.tx[io.tx_n]
    cdef uint32_t l2_len = s.pool.helds[number].l2_len
    if not peel(&s.pool, number, part[0], s.blocks + io.tx_n * PEEL_BLOCK, entry):
        if part.last:
            lose(s, number, MALFORMED_GSO)
        return
    entry.counted = s.pool.helds[number].counted if part.last else 0
    entry.held = number
    entry.last = part.last
    if s.pool.helds[number].needs & ~port.offloads:
        finish(ctx, port, entry, l2_len)
    else:
        io.tx_n += 1
