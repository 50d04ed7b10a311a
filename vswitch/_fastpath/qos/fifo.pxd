"""pfifo, bfifo and pfifo_fast: queues in order, the last of them three by priority (sch_fifo.c, sch_generic.c)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.verdict cimport PENDING, QDISC_LIMIT
from .held cimport Held
from .offer cimport Offer, priority_of
from .queue cimport queue_pop, queue_push
from .state cimport QdiscState, Scheduler
from .tree cimport BFIFO, FAST_BANDS, PFIFO_FAST, Qdisc

cdef inline uint32_t fast_band(uint32_t priority) noexcept nogil:
    """The kernel's default priomap: 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1."""
    if priority == 6 or priority == 7:
        return 0
    return 2 if priority == 5 or 1 <= priority <= 3 else 1

cdef inline uint8_t fifo_enqueue(Scheduler *s, const Qdisc *qdisc, QdiscState *state, const Offer *offer) noexcept nogil:
    """A frame that is picked, or gone in parts, still counts as one that waits."""
    cdef Held *held = &s.pool.helds[offer.number]
    cdef uint64_t waiting = state.qlen
    held.band = 0
    if qdisc.kind == BFIFO:
        waiting = state.backlog + held.wire - 1
    elif qdisc.kind == PFIFO_FAST:
        held.band = <uint8_t>fast_band(priority_of(offer) & 15)
        waiting = state.queues[held.band].n
        if state.picked and s.pool.helds[state.picked].band == held.band:
            waiting += 1
    if waiting >= qdisc.limit:
        return QDISC_LIMIT
    queue_push(s, &state.queues[held.band], offer.number)
    return PENDING

cdef inline uint32_t fifo_pick(Scheduler *s, QdiscState *state) noexcept nogil:
    cdef uint32_t band
    for band in range(FAST_BANDS):
        if state.queues[band].n:
            return queue_pop(s, &state.queues[band])
    return 0
