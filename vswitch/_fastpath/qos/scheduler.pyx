"""The scheduler: what ports with queueing disciplines are given waits here, and leaves when its discipline lets it.

    hold     the frames of a burst for one port: classified, queued or dropped
    serve    at the end of a burst, and when a time has come: whatever may leave leaves

`enqueue`, `pick` and `take` go down a port's tree. To pick is to choose the frame that leaves next, wherever below it
waits; it stays chosen until it is taken. To take is to account for it, or for the part of it that leaves. In between, each
discipline on the way says how many bytes may leave at once.

A frame in a scheduler is `queued` in the books of the port that it came from. All of it belongs to one worker.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, PortIo
from ..core.native cimport atomic_store64, count
from ..core.snapshot cimport PORT_NONE, Port
from ..core.tx cimport TX_QUEUE, TxEntry
from ..core.verdict cimport MALFORMED_GSO, PENDING, QDISC_GONE, QDISC_LIMIT, QDISC_MEMORY, QDISC_OVERSIZED
from ..io.account cimport ended
from ..io.segment cimport finish
from ..io.send cimport send_now
from ..io.ring cimport Ring
from .classify cimport band_of, chosen_flow
from .due cimport wake_due
from .fifo cimport fifo_enqueue, fifo_pick
from .fq_codel cimport fq_enqueue, fq_pick
from .handover cimport Handed, hand_over, next_handed, wake_home
from .held cimport Held, held_free, held_new, keep_lent
from .hold cimport describe, describe_held
from .htb cimport htb_classify, htb_turn, leaf_active, leaf_idle
from .offer cimport Offer
from .peel cimport NO_LIMIT, PEEL_BLOCK, Part, part_of, peel
from .queue cimport book_loss, delayed, lose, queue_pop, queue_push
from .run cimport follow, run_end, run_on, take_leaf, taken
from .sfq cimport sfq_enqueue, sfq_pick
from .state cimport CLASS_SLOTS, QdiscState, Scheduler, set_ready
from .tbf cimport tbf_charge, tbf_conforms
from .tree cimport *
from .wake cimport wake_set

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

cdef inline void take_class(Scheduler *s, const Tree *tree, QdiscState *state, uint32_t number, const Part *part) noexcept nogil:
    cdef const Class *cls
    cdef QdiscState *below
    if not state.picked_from:
        count(&state.direct, part.segments)
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
            while number:
                put_whole(ctx, port, io, number)
                number = follow(s, port.tree) if io.tx_n < most else 0
        else:
            put_part(ctx, port, io, number, &part)
    run_end(s, port.tree)
    return io.tx_n

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
