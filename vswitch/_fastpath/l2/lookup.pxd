"""Learn and look up: where each frame of a burst goes.

Two loops with prefetches between them, since with many addresses the wait for the table's memory is what a frame costs:
hash all and ask for the buckets, then probe. Sources are learned before destinations are looked up, so a frame to an
address that has just moved follows it within the same burst.
"""
from libc.stdint cimport uint32_t, uint64_t

from ..core.context cimport Context, drop
from ..core.frame cimport FRAME_FLOOD, FRAME_ROUTED, FRAME_TO_US, Burst, Frame
from ..core.native cimport prefetch
from ..core.packet cimport NO_PORT
from ..core.snapshot cimport Port
from ..core.verdict cimport NO_DESTINATION
from ..core.wire cimport mac_is_group
from .fdb cimport FDB_PORT_MASK, Fdb, fdb_find, fdb_first, fdb_hash, fdb_key, fdb_learn

cdef inline void lookup(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    cdef Frame *frame
    cdef const Port *port = burst.port
    if port.bridge == NULL:
        return
    if ctx.resume and ctx.came_back.out != NO_PORT and not burst.frames[0].flags & FRAME_TO_US:
        go_on(ctx, port, &burst.frames[0])
        return
    for i in range(burst.n):
        frame = &burst.frames[i]
        if not frame.verdict and not frame.flags & FRAME_ROUTED:
            hash_and_prefetch(port.bridge.fdb, frame)
    for i in range(burst.n):
        frame = &burst.frames[i]
        if not frame.verdict and not frame.flags & FRAME_ROUTED:
            fdb_learn(port.bridge.fdb, frame.src_key, frame.src_hash, port.id, port.mac_limit, ctx.now_s)
            if not frame.flags & FRAME_TO_US:
                decide(ctx, port, frame)

cdef inline void go_on(Context *ctx, const Port *port, Frame *frame) noexcept nogil:
    """A user's process has let it pass: it was learned, and on its way to one port, when it was queued."""
    if frame.verdict:
        return
    frame.out = ctx.came_back.out
    if frame.out >= ctx.snapshot.n_ports or ctx.snapshot.ports[frame.out].bridge != port.bridge:
        drop(ctx, frame, NO_DESTINATION)    # the port has gone meanwhile

cdef inline void hash_and_prefetch(const Fdb *fdb, Frame *frame) noexcept nogil:
    frame.src_key = fdb_key(frame.src, frame.vid)
    frame.src_hash = fdb_hash(fdb, frame.src_key)
    prefetch(fdb_first(fdb, frame.src_hash))
    frame.dst_key = fdb_key(frame.dst, frame.vid)
    frame.dst_hash = fdb_hash(fdb, frame.dst_key)
    prefetch(fdb_first(fdb, frame.dst_hash))

cdef inline void decide(Context *ctx, const Port *port, Frame *frame) noexcept nogil:
    """One port, or all of the VLAN. Port ids that the snapshot does not know any more count as unknown."""
    cdef uint64_t value
    if (not mac_is_group(frame.dst) and fdb_find(port.bridge.fdb, frame.dst_key, frame.dst_hash, ctx.now_s, &value)
            and value & FDB_PORT_MASK < ctx.snapshot.n_ports
            and ctx.snapshot.ports[value & FDB_PORT_MASK].bridge == port.bridge):
        frame.out = value & FDB_PORT_MASK
    else:
        frame.flags |= FRAME_FLOOD
