"""pfifo, bfifo and pfifo_fast: queues in order, the last of them three by priority (sch_fifo.c, sch_generic.c)."""
from libc.stdint cimport uint8_t, uint32_t

from ..core.verdict cimport PENDING, QDISC_LIMIT
from .held cimport Held
from .offer cimport Offer, priority_of
from .queue cimport queue_pop, queue_push
from .state cimport QdiscState, Queue, Scheduler
from .tree cimport BFIFO, FAST_BANDS, PFIFO_FAST, Qdisc

cdef inline uint32_t fast_band(uint32_t priority) noexcept nogil:
    """The kernel's default priomap: 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1."""
    if priority == 6 or priority == 7:
        return 0
    return 2 if priority == 5 or 1 <= priority <= 3 else 1

cdef inline uint8_t fifo_enqueue(Scheduler *s, const Qdisc *qdisc, QdiscState *state, const Offer *offer) noexcept nogil:
    cdef Held *held = &s.pool.helds[offer.number]
    cdef Queue *queue = &state.queues[0]
    if qdisc.kind == BFIFO:
        if state.backlog + held.wire > qdisc.limit:
            return QDISC_LIMIT
    else:
        if qdisc.kind == PFIFO_FAST:
            queue = &state.queues[fast_band(priority_of(offer) & 15)]
        if queue.n >= qdisc.limit:
            return QDISC_LIMIT
    queue_push(s, queue, offer.number)
    return PENDING

cdef inline uint32_t fifo_pick(Scheduler *s, QdiscState *state) noexcept nogil:
    cdef uint32_t band
    for band in range(FAST_BANDS):
        if state.queues[band].n:
            return queue_pop(s, &state.queues[band])
    return 0
