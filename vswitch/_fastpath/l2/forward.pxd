"""Forward: hand each frame to the transmit queue of the port it goes to, or of every port of its VLAN.

The books: a frame that leaves through n ports was copied n - 1 times, and each copy is delivered or dropped by itself,
charged to the port that the frame came from.
"""
from libc.stdint cimport uint8_t, uint32_t

from ..core.context cimport Context, charge, drop
from ..core.frame cimport FRAME_CUT, FRAME_FLOOD, FRAME_TAGGED, Burst, Frame
from ..core.native cimport count
from ..core.snapshot cimport OFFLOAD_CSUM, PORT_HAIRPIN, PORT_ISOLATED, PORT_UP, Bridge, Port
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..io.vnet cimport skip_tags
from .egress cimport enqueue
from .storm cimport storm_verdict
from .vlan cimport carries

cdef inline void forward(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t verdict
    cdef Frame *frame
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict:
            continue
        if frame.flags & FRAME_FLOOD:
            flood(ctx, burst.port, frame)
            continue
        verdict = unicast(ctx, burst.port, &ctx.snapshot.ports[frame.out], frame)
        if verdict:
            drop(ctx, frame, verdict)

cdef inline uint8_t unicast(Context *ctx, const Port *source, const Port *port, Frame *frame) noexcept nogil:
    if port.id == source.id and not port.flags & PORT_HAIRPIN:
        return HAIRPIN
    if port.flags & source.flags & PORT_ISOLATED:
        return ISOLATED
    if not carries(port, frame.vid):
        return EGRESS_VLAN
    if not port.flags & PORT_UP:
        return PORT_DOWN
    if exceeds_mtu(port, frame):
        return EXCEEDS_MTU
    enqueue(ctx, port, frame)
    return PENDING

cdef inline bint exceeds_mtu(const Port *port, const Frame *frame) noexcept nogil:
    """Tags within are payload, but do not count: a full-sized frame passes with an 802.1ad tag and the customer's."""
    cdef uint32_t l3_off
    if frame.l3_len <= port.mtu or frame.flags & FRAME_CUT:
        return False
    if frame.needs & ~OFFLOAD_CSUM:
        return True                     # of a super-frame's segments it is known exactly
    l3_off = ETH_HLEN + (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0)
    return frame.len - skip_tags(frame.data, frame.len, l3_off) > port.mtu

cdef inline void flood(Context *ctx, const Port *source, Frame *frame) noexcept nogil:
    cdef const Bridge *bridge = source.bridge
    cdef uint32_t copies = 0, first = 0, members = 0, i, id
    cdef uint8_t verdict = storm_verdict(ctx, source, frame)
    if verdict:
        drop(ctx, frame, verdict)
        return
    if bridge.rows != NULL:
        first = bridge.rows[frame.vid]
        members = bridge.rows[frame.vid + 1] - first
    for i in range(bridge.n_transparent + members):
        id = bridge.transparent[i] if i < bridge.n_transparent else bridge.members[first + i - bridge.n_transparent]
        copies += flood_to(ctx, source, &ctx.snapshot.ports[id], frame)
    if not copies:
        drop(ctx, frame, NO_DESTINATION)
    else:
        count(&ctx.origin.copied, copies - 1)

cdef inline bint flood_to(Context *ctx, const Port *source, const Port *port, Frame *frame) noexcept nogil:
    """Whether the port gets a copy; one too long for it is a copy too, and dropped."""
    if (not port.flags & PORT_UP or port.flags & source.flags & PORT_ISOLATED
            or (port.id == source.id and not port.flags & PORT_HAIRPIN)):
        return False
    if exceeds_mtu(port, frame):
        charge(ctx, EXCEEDS_MTU)
    else:
        enqueue(ctx, port, frame)
    return True
