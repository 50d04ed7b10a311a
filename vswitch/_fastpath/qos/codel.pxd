"""CoDel, which keeps the time that frames wait short (RFC 8289; include/net/codel_impl.h).

A flow whose frames have waited longer than `target` for a whole `interval` loses one, and then the next ones sooner and
sooner: after interval / sqrt(count). Where the frame's sender knows ECN it is marked instead (RFC 3168).
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.native cimport count, load16be, store16be
from ..core.verdict cimport QDISC_CODEL
from .held cimport ECN_IP4, ECN_NONE, Held, held_frame, held_keep, size_bytes
from .queue cimport discard, queue_pop
from .state cimport Flow, QdiscState, Scheduler
from .tree cimport Qdisc, Tree

cdef enum:
    ECN_CE = 3

cdef inline uint32_t codel_pick(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, Flow *flow) noexcept nogil:
    """The flow's next frame that may live; 0: none is left."""
    cdef uint32_t number = codel_pop(s, flow)
    cdef bint above
    if number == 0:
        flow.dropping = False
        return 0
    above = codel_above(s, qdisc, state, flow, number)
    if flow.dropping:
        if not above:
            flow.dropping = False
        while flow.dropping and s.now_ns >= flow.drop_next_ns:
            flow.count += 1
            newton_step(flow)
            if marked(s, qdisc, state, number):
                flow.drop_next_ns = control_law(flow.drop_next_ns, qdisc.interval_ns, flow)
                break
            codel_drop(s, tree, qdisc, state, number)
            number = codel_pop(s, flow)
            if not codel_above(s, qdisc, state, flow, number):
                flow.dropping = False
            else:
                flow.drop_next_ns = control_law(flow.drop_next_ns, qdisc.interval_ns, flow)
    elif above:
        if not marked(s, qdisc, state, number):
            codel_drop(s, tree, qdisc, state, number)
            number = codel_pop(s, flow)
            codel_above(s, qdisc, state, flow, number)
        begin_dropping(s, qdisc, flow)
    if number and s.now_ns - s.pool.helds[number].since_ns > qdisc.ce_threshold_ns and set_ce(s, number):
        count(&state.ce_mark, 1)
    return number

cdef inline uint32_t codel_pop(Scheduler *s, Flow *flow) noexcept nogil:
    return queue_pop(s, &flow.queue)

cdef inline bint codel_above(Scheduler *s, const Qdisc *qdisc, QdiscState *state, Flow *flow, uint32_t number) noexcept nogil:
    """Whether waiting has been long for long enough (codel_should_drop)."""
    cdef const Held *held = &s.pool.helds[number]
    if number == 0:
        flow.first_above_ns = 0
        return False
    if held.wire > state.max_packet:
        state.max_packet = held.wire
    # The frame itself is out of the queue, if not out of the books.
    if s.now_ns - held.since_ns < qdisc.target_ns or state.backlog - held.wire <= state.mtu:
        flow.first_above_ns = 0
        return False
    if flow.first_above_ns == 0:
        flow.first_above_ns = s.now_ns + qdisc.interval_ns
        return False
    return s.now_ns > flow.first_above_ns

cdef inline void begin_dropping(Scheduler *s, const Qdisc *qdisc, Flow *flow) noexcept nogil:
    """If that is not long ago, at the rate that helped last time."""
    cdef uint32_t delta = flow.count - flow.last_count
    flow.dropping = True
    if delta > 1 and <int64_t>(s.now_ns - flow.drop_next_ns - 16 * qdisc.interval_ns) < 0:
        flow.count = delta
        newton_step(flow)
    else:
        flow.count = 1
        flow.inverse_sqrt = 0xffff
    flow.last_count = flow.count
    flow.drop_next_ns = control_law(s.now_ns, qdisc.interval_ns, flow)

cdef inline void codel_drop(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t number) noexcept nogil:
    state.memory -= size_bytes(s.pool.helds[number].size)
    discard(s, tree, qdisc, number, QDISC_CODEL)

cdef inline uint64_t control_law(uint64_t when_ns, uint64_t interval_ns, const Flow *flow) noexcept nogil:
    return when_ns + (interval_ns * flow.inverse_sqrt >> 16)

cdef inline void newton_step(Flow *flow) noexcept nogil:
    """A step towards 1 / sqrt(count): x' = x / 2 * (3 - count * x^2)."""
    cdef uint64_t x = <uint64_t>flow.inverse_sqrt << 16
    cdef uint64_t square = x * x >> 32
    cdef uint64_t value = (3ULL << 32) - flow.count * square
    flow.inverse_sqrt = <uint16_t>((value >> 2) * x >> 31 >> 16)


# Explicit congestion notification

cdef inline bint marked(Scheduler *s, const Qdisc *qdisc, QdiscState *state, uint32_t number) noexcept nogil:
    if not qdisc.ecn or not set_ce(s, number):
        return False
    count(&state.ecn_mark, 1)
    return True

cdef inline bint set_ce(Scheduler *s, uint32_t number) noexcept nogil:
    """Set CE in a copy of the frame's own; false: its sender does not know ECN."""
    cdef Held *held = &s.pool.helds[number]
    cdef uint8_t *ip
    cdef uint32_t check
    if held.ecn == ECN_NONE:
        return False
    held_keep(&s.pool, number)          # other copies of a flooded frame share the burst's memory
    ip = held_frame(held) + held.l3_off
    if held.ecn != ECN_IP4:
        ip[1] |= ECN_CE << 4
        return True
    check = ~load16be(ip + 10) & 0xffff
    check += (~load16be(ip) & 0xffff) + (load16be(ip) | ECN_CE)     # RFC 1624, equation 3
    check = (check & 0xffff) + (check >> 16)
    check = (check & 0xffff) + (check >> 16)
    store16be(ip + 10, <uint16_t>~check)
    ip[1] |= ECN_CE
    return True
