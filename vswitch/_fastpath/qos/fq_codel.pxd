"""fq_codel (RFC 8290; sch_fq_codel.c): flows by hash take turns, new ones first, each with a CoDel of its own."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.native cimport count
from ..core.verdict cimport PENDING, QDISC_LIMIT
from .codel cimport codel_pick
from .held cimport Held, size_bytes
from .offer cimport Offer, flow_bucket, flow_hash
from .queue cimport discard, queue_pop, queue_push
from .state cimport Flow, FlowList, QdiscState, Scheduler
from .tree cimport Qdisc, Tree

cdef inline void flows_append(Scheduler *s, FlowList *flows, uint32_t number) noexcept nogil:
    s.flows[number].next = 0
    if flows.n:
        s.flows[flows.last].next = number
    else:
        flows.first = number
    flows.last = number
    flows.n += 1

cdef inline uint32_t flows_shift(Scheduler *s, FlowList *flows) noexcept nogil:
    cdef uint32_t number = flows.first
    flows.first = s.flows[number].next
    flows.n -= 1
    return number

cdef inline uint8_t fq_enqueue(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, const Offer *offer,
                               uint32_t chosen) noexcept nogil:
    """`chosen`: what a filter says, from 1 on."""
    cdef Held *held = &s.pool.helds[offer.number]
    cdef Flow *flow
    cdef uint32_t number
    cdef bint fat
    held.hash = flow_hash(offer)
    number = qdisc.flow + (chosen - 1 if 0 < chosen <= qdisc.flows else flow_bucket(held.hash, state.seed, qdisc.flows))
    flow = &s.flows[number]
    queue_push(s, &flow.queue, offer.number)
    if not flow.active:
        flow.active = True
        flow.deficit = qdisc.quantum
        flows_append(s, &state.news, number)
        count(&state.new_flow_count, 1)
    state.memory += size_bytes(held.size)
    fat = state.memory > qdisc.memory_limit
    if state.qlen < qdisc.limit and not fat:
        return PENDING
    return fq_drop(s, tree, qdisc, state, offer.number, fat)

cdef inline uint8_t fq_drop(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t newest,
                            bint fat) noexcept nogil:
    """Half of the fattest flow goes, a batch at most. The newest frame is its tail; if that goes, it is the caller's to end."""
    cdef uint32_t i, number, fattest = qdisc.flow, n = 0
    cdef uint64_t dropped = 0, half
    cdef uint8_t verdict = PENDING
    cdef Flow *flow
    for i in range(qdisc.flow, qdisc.flow + qdisc.flows):
        if s.flows[i].queue.bytes > s.flows[fattest].queue.bytes:
            fattest = i
    flow = &s.flows[fattest]
    half = flow.queue.bytes >> 1
    while True:
        number = queue_pop(s, &flow.queue)
        if number == 0:
            break
        n += 1
        dropped += s.pool.helds[number].wire
        state.memory -= size_bytes(s.pool.helds[number].size)
        if number == newest:
            verdict = QDISC_LIMIT
        else:
            discard(s, tree, qdisc, number, QDISC_LIMIT)
        if n >= qdisc.drop_batch or dropped >= half:
            break
    flow.count += n                     # CoDel is to press harder too
    count(&state.drop_overlimit, n)
    if fat:
        count(&state.drop_overmemory, n)
    return verdict

cdef inline uint32_t fq_pick(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state) noexcept nogil:
    cdef FlowList *flows
    cdef Flow *flow
    cdef uint32_t number, held
    while True:
        flows = &state.news if state.news.n else &state.olds
        if flows.n == 0:
            return 0
        number = flows.first
        flow = &s.flows[number]
        if flow.deficit <= 0:
            flow.deficit += qdisc.quantum
            flows_append(s, &state.olds, flows_shift(s, flows))
            continue
        held = codel_pick(s, tree, qdisc, state, flow)
        if held:
            flow.deficit -= s.pool.helds[held].wire
            state.memory -= size_bytes(s.pool.helds[held].size)
            return held
        flows_shift(s, flows)
        if flows == &state.news and state.olds.n:
            flows_append(s, &state.olds, number)    # once through the old ones, that nobody starves
        else:
            flow.active = False
