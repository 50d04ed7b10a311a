"""Policing: how much a port, or one of its VLANs, may send into the switch. What is more is dropped, or marked.

Two meters, of bytes on the wire and of frames, each one number: the time until which what has come is paid for at the rate
(GCRA, as in l2/storm.pxd). A frame may pass while that is no further ahead than the burst; so a super-frame larger than
the burst passes too, and the rate holds all the same, since it is paid for in full. Workers share a port's meters.
"""
from libc.stdint cimport uint32_t, uint64_t

from ..core.context cimport Context, drop
from ..core.frame cimport FRAME_TAGGED, VNET_LEN, Burst, Frame
from ..core.native cimport atomic_cas64, relaxed_load64
from ..core.snapshot cimport OFFLOAD_CSUM, Port
from ..core.verdict cimport POLICED
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..io.gso cimport gso_segments
from ..io.vnet cimport VNET_GSO, GsoInfo, VnetHdr, vnet_check, vnet_load
from .tree cimport POLICERS, Policer, PolicerMeter, shape_ns

cdef inline void police(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i, k
    cdef Frame *frame
    cdef const Port *port = burst.port
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict:
            continue
        for k in range(port.n_policers):
            if port.policers[k].any_vlan or port.policers[k].vlan == frame.vid:
                if not conforms(ctx, port, k, frame):
                    exceed(ctx, &port.policers[k], frame)
                break                   # the first one has the frame

cdef inline void exceed(Context *ctx, const Policer *policer, Frame *frame) noexcept nogil:
    if policer.marks:
        frame.mark = policer.mark
    else:
        drop(ctx, frame, POLICED)

cdef inline bint conforms(Context *ctx, const Port *port, uint32_t number, const Frame *frame) noexcept nogil:
    cdef const Policer *policer = &port.policers[number]
    cdef PolicerMeter *meter = &ctx.policers[port.id * POLICERS + number]
    cdef uint32_t segments = 1, wire
    wire = wire_bytes(frame, &segments)
    if policer.frame_ns and ahead(&meter.frames_ns, ctx.now_ns) > policer.frame_burst_ns:
        return False
    if policer.rate.mult and not pay(&meter.bytes_ns, shape_ns(&policer.rate, wire, segments), policer.burst_ns, ctx.now_ns):
        return False
    return not policer.frame_ns or pay(&meter.frames_ns, policer.frame_ns * segments, policer.frame_burst_ns, ctx.now_ns)

cdef inline uint64_t ahead(const uint64_t *paid_ns, uint64_t now_ns) noexcept nogil:
    cdef uint64_t paid = relaxed_load64(paid_ns)
    return paid - now_ns if paid > now_ns else 0

cdef inline bint pay(uint64_t *paid_ns, uint64_t cost_ns, uint64_t burst_ns, uint64_t now_ns) noexcept nogil:
    cdef uint64_t paid, start
    while True:
        paid = relaxed_load64(paid_ns)
        start = paid if paid > now_ns else now_ns
        if start - now_ns > burst_ns:
            return False
        if atomic_cas64(paid_ns, paid, start + cost_ns):
            return True

cdef inline uint32_t wire_bytes(const Frame *frame, uint32_t *segments) noexcept nogil:
    """What a frame is on the wire: of a super-frame, all segments with their headers."""
    cdef VnetHdr header
    cdef GsoInfo info
    cdef uint32_t n
    if not frame.needs & ~OFFLOAD_CSUM:
        return frame.len
    vnet_load(&header, frame.data - VNET_LEN)
    if vnet_check(&header, frame.data, frame.len, ETH_HLEN + (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0), &info) != VNET_GSO:
        return frame.len
    n = gso_segments(&info, frame.len - info.hdr_len)
    if n:
        segments[0] = n
    return frame.len + (segments[0] - 1) * info.hdr_len
