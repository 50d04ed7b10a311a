"""Looking ahead: have memory fetch what connection tracking will want of a burst's packets.

A table of a million connections lies in no cache. A packet needs a bucket of the index and then two lines of the entry
that the bucket names, 100 to 200 ns each if one waits for them. A processor has some twenty lines on their way at once
and stands still when it is asked for more; so they are asked for one packet's at a time, while others are dissected, and
not all together:

    dissect, packet i       the bucket of packet i, the entry of packet i - LAG
    prerouting, before all  the entries of the last LAG packets
"""
from libc.stdint cimport uint32_t

from ..core.context cimport Context
from ..core.frame cimport FRAME_IP, Burst
from .conntrack cimport ct_candidate, ct_hash, ct_prefetch

cdef enum:
    LAG = 8                             # packets that a bucket has time to arrive


cdef inline void ahead_bucket(Context *ctx, Burst *burst, uint32_t i) noexcept nogil:
    """Sets the packet's hash, too."""
    if burst.frames[i].flags & FRAME_IP:
        burst.packets[i].hash = ct_hash(ctx.ct, &burst.packets[i].tuple)
        ct_prefetch(ctx.ct, burst.packets[i].hash)

cdef inline void ahead_entry(Context *ctx, Burst *burst, uint32_t i) noexcept nogil:
    if not burst.frames[i].verdict and burst.frames[i].flags & FRAME_IP:
        ct_candidate(ctx.ct, burst.packets[i].hash, ctx.snapshot.nat)

cdef inline void ahead_rest(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    for i in range(burst.n - min(burst.n, <uint32_t>LAG), burst.n):
        ahead_entry(ctx, burst, i)
