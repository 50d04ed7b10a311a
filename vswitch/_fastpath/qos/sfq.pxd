"""Stochastic fairness queueing: flows by hash take turns, a quantum each (sch_sfq.c, without RED).

A flow's slot is the hash's bucket itself; `flows` bounds how many are active at once, `depth` what one may hold. A full
queue drops from the longest flow. When the hash gets another seed what waits is sorted anew, so no flow is reordered.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.native cimport mix64
from ..core.verdict cimport PENDING, QDISC_LIMIT
from .held cimport Held
from .offer cimport Offer, flow_bucket, flow_hash
from .queue cimport discard, queue_pop, queue_pop_last, queue_push
from .state cimport Flow, QdiscState, Queue, Scheduler
from .tree cimport Qdisc, Tree

cdef inline uint32_t sfq_bucket(const Qdisc *qdisc, const QdiscState *state, uint64_t hash, uint32_t chosen) noexcept nogil:
    """The flow's slot; `chosen`: what a filter says, from 1 on."""
    if 0 < chosen <= qdisc.divisor:
        return qdisc.flow + chosen - 1
    return qdisc.flow + flow_bucket(hash, state.seed, qdisc.divisor)

cdef inline uint8_t sfq_enqueue(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, const Offer *offer,
                                uint32_t chosen) noexcept nogil:
    """The books of a frame that takes another's place are right when the caller has counted it in."""
    cdef Held *held = &s.pool.helds[offer.number]
    cdef Flow *flow
    cdef uint32_t number
    held.hash = flow_hash(offer)
    sfq_perturb(s, qdisc, state)
    number = sfq_bucket(qdisc, state, held.hash, chosen)
    flow = &s.flows[number]
    if not flow.active and state.n_flows >= qdisc.flows:
        return QDISC_LIMIT
    if flow.queue.n >= qdisc.depth:
        if not qdisc.headdrop or flow.queue.n == 0:
            return QDISC_LIMIT
        discard(s, tree, qdisc, queue_pop(s, &flow.queue), QDISC_LIMIT)
    sfq_push(s, qdisc, state, number, offer.number)
    if state.qlen >= qdisc.limit:       # it is not counted in yet
        if sfq_drop(s, tree, qdisc, state, offer.number):
            return QDISC_LIMIT
    return PENDING

cdef inline void sfq_push(Scheduler *s, const Qdisc *qdisc, QdiscState *state, uint32_t number, uint32_t held) noexcept nogil:
    cdef Flow *flow = &s.flows[number]
    queue_push(s, &flow.queue, held)
    if flow.active:
        return
    flow.active = True
    flow.deficit = qdisc.quantum
    state.n_flows += 1
    if state.ring:
        flow.next = s.flows[state.ring].next
        s.flows[state.ring].next = number
    else:
        flow.next = number
    state.ring = number

cdef inline bint sfq_drop(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t newest) noexcept nogil:
    """Drop from the longest flow; true: it was the newest frame, which is out of the queue and the caller's to end."""
    cdef uint32_t at = s.flows[state.ring].next, previous = state.ring, longest = at, before = previous, victim, i
    for i in range(state.n_flows):
        if s.flows[at].queue.n > s.flows[longest].queue.n:
            longest, before = at, previous
        previous = at
        at = s.flows[at].next
    if qdisc.headdrop:
        victim = queue_pop(s, &s.flows[longest].queue)
    else:
        victim = queue_pop_last(s, &s.flows[longest].queue)
    if s.flows[longest].queue.n == 0:
        sfq_leave(s, state, longest, before)
    if victim == newest:
        return True
    discard(s, tree, qdisc, victim, QDISC_LIMIT)
    return False

cdef inline void sfq_leave(Scheduler *s, QdiscState *state, uint32_t number, uint32_t before) noexcept nogil:
    """An empty flow leaves the ring."""
    s.flows[number].active = False
    state.n_flows -= 1
    if number == before:
        state.ring = 0
        return
    s.flows[before].next = s.flows[number].next
    if state.ring == number:
        state.ring = before

cdef inline uint32_t sfq_pick(Scheduler *s, const Qdisc *qdisc, QdiscState *state) noexcept nogil:
    cdef uint32_t number, held
    cdef Flow *flow
    if state.ring == 0:
        return 0
    while True:
        number = s.flows[state.ring].next
        flow = &s.flows[number]
        if flow.deficit > 0:
            break
        flow.deficit += qdisc.quantum
        state.ring = number
    held = queue_pop(s, &flow.queue)
    if flow.queue.n == 0:
        sfq_leave(s, state, number, state.ring)
    else:
        flow.deficit -= s.pool.helds[held].wire
    return held

cdef inline void sfq_perturb(Scheduler *s, const Qdisc *qdisc, QdiscState *state) noexcept nogil:
    """Another seed when its time has come, and what waits in flows by it."""
    cdef Queue all
    cdef uint32_t number
    if not qdisc.perturb_ns or s.now_ns < state.perturb_ns:
        return
    if state.perturb_ns:
        state.seed = mix64(state.seed ^ s.now_ns, 0x9e3779b97f4a7c15ULL)
        all.n = 0
        all.bytes = 0
        while state.ring:
            number = s.flows[state.ring].next
            while s.flows[number].queue.n:
                queue_push(s, &all, queue_pop(s, &s.flows[number].queue))
            sfq_leave(s, state, number, state.ring)
        while all.n:
            number = queue_pop(s, &all)
            sfq_push(s, qdisc, state, sfq_bucket(qdisc, state, s.pool.helds[number].hash, 0), number)
    state.perturb_ns = s.now_ns + qdisc.perturb_ns
