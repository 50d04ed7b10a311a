"""Token bucket filter (sch_tbf.c): what its child has leaves at a rate, a burst at once, and at no more than the peak rate.

Tokens are nanoseconds. What waited for tokens is not charged for the scheduler's coming late: up to LATE_NS, the bucket
may hold more than the burst then.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from ..core.native cimport count
from .state cimport CLASS_SLOTS, LATE_NS, MBUFFER_NS, QdiscState, Scheduler
from .tree cimport Qdisc, shape_ns
from .wake cimport wake_forget, wake_set

cdef inline int64_t tbf_tokens(Scheduler *s, const Qdisc *qdisc, const QdiscState *state, int64_t *ptokens) noexcept nogil:
    """What there is now, at the rate and at the peak rate."""
    cdef uint64_t elapsed = s.now_ns - state.charged_ns
    cdef int64_t limit = qdisc.burst_ns + state.slack, tokens
    if state.due_ns and s.now_ns > state.due_ns:
        limit += s.now_ns - state.due_ns if s.now_ns - state.due_ns < LATE_NS else LATE_NS
    if elapsed > MBUFFER_NS:
        elapsed = MBUFFER_NS
    ptokens[0] = state.ptokens + <int64_t>elapsed
    if ptokens[0] > qdisc.mtu_ns:
        ptokens[0] = qdisc.mtu_ns
    tokens = state.tokens + <int64_t>elapsed
    return limit if tokens > limit else tokens

cdef inline bint tbf_conforms(Scheduler *s, const Qdisc *qdisc, QdiscState *state, uint32_t wire, uint32_t segments) noexcept nogil:
    """Whether so much may leave now; if not, there is a time to look again."""
    cdef int64_t ptokens = 0, tokens = tbf_tokens(s, qdisc, state, &ptokens), wait
    tokens -= shape_ns(&qdisc.rate, wire, segments)
    ptokens = ptokens - <int64_t>shape_ns(&qdisc.peak, wire, segments) if qdisc.has_peak else 0
    if tokens >= 0 and ptokens >= 0:
        return True
    wait = -tokens if -tokens > -ptokens else -ptokens
    count(&state.counts.overlimits, 1)
    state.due_ns = s.now_ns + wait
    wake_set(s, CLASS_SLOTS + qdisc.slot, state.due_ns)
    return False

cdef inline void tbf_charge(Scheduler *s, const Qdisc *qdisc, QdiscState *state, uint32_t wire, uint32_t segments) noexcept nogil:
    cdef int64_t ptokens = 0, tokens = tbf_tokens(s, qdisc, state, &ptokens)
    state.tokens = tokens - <int64_t>shape_ns(&qdisc.rate, wire, segments)
    if qdisc.has_peak:
        state.ptokens = ptokens - <int64_t>shape_ns(&qdisc.peak, wire, segments)
    state.slack = state.tokens - qdisc.burst_ns if state.tokens > qdisc.burst_ns else 0
    state.charged_ns = s.now_ns
    state.due_ns = 0
    wake_forget(s, CLASS_SLOTS + qdisc.slot)
