"""Storm control: how many flooded frames a second a port may send into the bridge.

A meter is the generic cell rate algorithm (ITU-T I.371): one number, the time at which the next frame is due at the
limit's rate. A frame may come early by the burst tolerance, STORM_BURST_NS worth of frames, and at least one. Thread
safety: workers share a port's meters and swap the number atomically, so the limit holds for all of them together.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.native cimport atomic_cas64, relaxed_load64
from ..core.snapshot cimport Port
from ..core.verdict cimport *
from ..core.wire cimport mac_is_broadcast, mac_is_group

cdef enum:
    STORM_BURST_NS = 100000000

cdef inline bint storm_conforms(uint64_t *due_ns, uint64_t interval_ns, uint64_t now_ns) noexcept nogil:
    cdef uint64_t due, start
    while True:
        due = relaxed_load64(due_ns)
        start = due if due > now_ns else now_ns
        if start - now_ns > STORM_BURST_NS:
            return False
        if atomic_cas64(due_ns, due, start + interval_ns):
            return True

cdef inline bint storm_allows(Context *ctx, const Port *port, uint32_t kind) noexcept nogil:
    """Whether one more frame of the class (0 broadcast, 1 multicast, 2 unknown unicast) may be flooded now."""
    return (not port.storm_interval_ns[kind]
            or storm_conforms(&ctx.storm[port.id].due_ns[kind], port.storm_interval_ns[kind], ctx.now_ns))

cdef inline uint8_t storm_verdict(Context *ctx, const Port *port, const Frame *frame) noexcept nogil:
    """PENDING, or why a frame about to be flooded must not be."""
    cdef uint32_t kind = 2 if not mac_is_group(frame.dst) else 0 if mac_is_broadcast(frame.dst) else 1
    return PENDING if storm_allows(ctx, port, kind) else STORM_BROADCAST + kind
