"""Queues of held frames, and what becomes of a frame that is not to leave: the pieces that all disciplines share."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.counters cimport SELF_PORT, PortCounters
from ..core.native cimport count
from ..core.snapshot cimport PORT_NONE
from ..core.tx cimport TxEntry
from .held cimport Held, held_free
from .state cimport DELAYS, Counts, QdiscState, Queue, Scheduler
from .tree cimport NO_INDEX, Qdisc, Tree

cdef inline void queue_push(Scheduler *s, Queue *queue, uint32_t number) noexcept nogil:
    s.pool.helds[number].next = 0
    if queue.n:
        s.pool.helds[queue.tail].next = number
    else:
        queue.head = number
    queue.tail = number
    queue.n += 1
    queue.bytes += s.pool.helds[number].wire

cdef inline void queue_unshift(Scheduler *s, Queue *queue, uint32_t number) noexcept nogil:
    """Back to the head."""
    s.pool.helds[number].next = queue.head
    if not queue.n:
        queue.tail = number
    queue.head = number
    queue.n += 1
    queue.bytes += s.pool.helds[number].wire

cdef inline uint32_t queue_pop(Scheduler *s, Queue *queue) noexcept nogil:
    """The first; 0: there is none."""
    cdef uint32_t number = queue.head
    if queue.n == 0:
        return 0
    queue.n -= 1
    queue.bytes -= s.pool.helds[number].wire
    queue.head = s.pool.helds[number].next if queue.n else 0
    return number

cdef inline uint32_t queue_pop_last(Scheduler *s, Queue *queue) noexcept nogil:
    """The last, which costs a walk."""
    cdef uint32_t number = queue.tail, at = queue.head
    if queue.n < 2:
        return queue_pop(s, queue)
    while s.pool.helds[at].next != number:
        at = s.pool.helds[at].next
    queue.tail = at
    queue.n -= 1
    queue.bytes -= s.pool.helds[number].wire
    return number


# Books

cdef inline PortCounters *account_of(Scheduler *s, const Held *held) noexcept nogil:
    """The books that a held frame is in: of the port that it came from, or the switch's own if that has gone."""
    cdef uint32_t id = held.origin
    if id != SELF_PORT and (id >= s.snapshot.n_ports or s.snapshot.ports[id].kind == PORT_NONE
                            or s.snapshot.ports[id].born != held.serial):
        count(&s.counters[SELF_PORT].generated, held.counted != 0)
        return &s.counters[SELF_PORT]
    if held.counted:
        count(&s.counters[id].queued, <uint64_t>-1)
    return &s.counters[id]

cdef inline void lose(Scheduler *s, uint32_t number, uint8_t reason) noexcept nogil:
    """A held frame ends here."""
    book_loss(s, &s.pool.helds[number], reason)
    held_free(&s.pool, number)

cdef inline void book_loss(Scheduler *s, const Held *held, uint8_t reason) noexcept nogil:
    cdef PortCounters *account = account_of(s, held)
    if held.counted:
        count(&account.drops[reason], 1)
    else:
        count(&account.segments_lost, 1)

cdef inline void release(Scheduler *s, uint32_t number) noexcept nogil:
    """A held frame has left."""
    cdef const Held *held = &s.pool.helds[number]
    count(&account_of(s, held).delivered, held.counted != 0)
    held_free(&s.pool, number)

cdef inline bint put_back(Scheduler *s, const TxEntry *entry) noexcept nogil:
    """The device takes no more: the frame stays at the head of its root, if all of it still is there."""
    cdef Held *held = &s.pool.helds[entry.held]
    if not entry.last or entry.head != held.head or held.gone:
        return False
    queue_push(s, &s.sending.again, entry.held)
    s.sending.qlen += 1
    s.sending.backlog += held.wire
    count(&s.sending.counts.requeues, 1)
    return True

cdef inline void charge_bytes(Counts *counts, uint32_t wire, uint32_t segments) noexcept nogil:
    count(&counts.bytes, wire)
    count(&counts.packets, segments)

cdef inline void delayed(Scheduler *s, QdiscState *state, const Held *held) noexcept nogil:
    """Note how long a frame has waited."""
    cdef uint64_t us = (s.now_ns - held.since_ns) // 1000 if held.since_ns != s.now_ns else 0
    cdef uint32_t place = 0
    while us and place < DELAYS - 1:
        us >>= 1
        place += 1
    count(&state.delays[place], 1)

cdef inline void forget_above(Scheduler *s, const Tree *tree, const Qdisc *qdisc, uint32_t wire, bint dropped) noexcept nogil:
    """What waited below these disciplines does so no more (qdisc_tree_reduce_backlog)."""
    cdef uint32_t index = qdisc.parent
    cdef QdiscState *state
    while index != NO_INDEX:
        state = &s.qdiscs[tree.qdiscs[index].slot]
        state.qlen -= 1
        state.backlog -= wire
        count(&state.counts.drops, dropped)
        index = tree.qdiscs[index].parent

cdef inline void discard(Scheduler *s, const Tree *tree, const Qdisc *qdisc, uint32_t number, uint8_t reason) noexcept nogil:
    """A frame that the discipline has queued, and taken out of its queue, ends here."""
    cdef QdiscState *state = &s.qdiscs[qdisc.slot]
    cdef uint32_t wire = s.pool.helds[number].wire
    state.qlen -= 1
    state.backlog -= wire
    count(&state.counts.drops, 1)
    forget_above(s, tree, qdisc, wire, True)
    lose(s, number, reason)
