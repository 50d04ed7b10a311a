"""From any worker to the one that is home to the port: frames by single-producer rings, one a pair of workers.

Whoever puts a frame in wakes the other if that one sleeps. Both store first and load after, sequentially consistent: either
the sender sees that the other is about to sleep, or that one sees the frame. A full ring drops by name, HANDOVER_FULL.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.context cimport Context, charge
from ..core.frame cimport VNET_LEN
from ..core.native cimport atomic_load64, atomic_load64_seq, count, load16be, memory_fence, write
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from ..core.verdict cimport HANDOVER_FULL
from ..io.ring cimport Ring, ring_at, ring_commit, ring_reserve
from ..io.vnet cimport skip_tags
from .hold cimport tos_of
from .offer cimport Offer
from .state cimport Scheduler

cdef struct Handed:
    uint64_t serial                     # of the port that it came from, and its id
    uint16_t origin
    uint16_t port                       # that it leaves by
    uint16_t tci
    uint8_t l2_len
    uint8_t needs
    uint32_t counted
    uint32_t mark
    uint32_t class_id
    uint32_t pad

cdef inline void hand_over(Context *ctx, const Port *port, const TxEntry *entry, const Offer *offer) noexcept nogil:
    cdef Scheduler *home = ctx.scheduler.peers[port.tree.home].scheduler
    cdef Ring *ring = &home.inbox[ctx.worker]
    cdef uint64_t size = sizeof(Handed) + entry.head_len + entry.body_len
    cdef uint8_t *room = ring_reserve(ring, size) if ring.bytes != NULL else NULL
    cdef Handed handed
    if room == NULL:
        if entry.counted:
            charge(ctx, HANDOVER_FULL)
        else:
            count(&ctx.origin.segments_lost, 1)
        return
    handed.serial = ctx.burst.port.born
    handed.origin = ctx.burst.port.id
    handed.port = port.id
    handed.tci = offer.tci
    handed.l2_len = entry.l2_len
    handed.needs = entry.needs
    handed.counted = entry.counted
    handed.mark = offer.mark
    handed.class_id = offer.class_id
    handed.pad = 0
    memcpy(room, &handed, sizeof(Handed))
    memcpy(room + sizeof(Handed), entry.head, entry.head_len)
    if entry.body_len:
        memcpy(room + sizeof(Handed) + entry.head_len, entry.body, entry.body_len)
    ring_commit(ring, size)
    if entry.counted:
        count(&ctx.origin.queued, 1)

cdef inline void wake_home(Context *ctx, const Port *port) noexcept nogil:
    """After the last frame of several."""
    cdef uint64_t one = 1
    memory_fence()
    if atomic_load64_seq(ctx.scheduler.peers[port.tree.home].parked):
        write(ctx.scheduler.peers[port.tree.home].wakefd, &one, sizeof(one))

cdef inline bint inbox_waits(const Scheduler *s) noexcept nogil:
    cdef uint32_t i
    for i in range(s.n_peers):
        if s.inbox[i].bytes != NULL and atomic_load64(&s.inbox[i].tail) != s.inbox[i].head:
            return True
    return False

cdef inline bint next_handed(const Ring *ring, uint64_t *head, Handed *handed, TxEntry *entry, Offer *offer) noexcept nogil:
    """The frame of an inbox at *head, which moves past it; the frame stays where it is until `ring.head` moves on. False:
    there is none."""
    cdef uint64_t length = 0
    cdef const uint8_t *record = ring_at(ring, head, &length)
    if record == NULL:
        return False
    memcpy(handed, record, sizeof(Handed))
    entry.head = record + sizeof(Handed)
    entry.head_len = <uint32_t>(length - sizeof(Handed))
    entry.body = NULL
    entry.body_len = 0
    entry.counted = handed.counted
    entry.l2_len = handed.l2_len
    entry.needs = handed.needs
    offer.frame = entry.head + VNET_LEN
    offer.length = entry.head_len - VNET_LEN
    offer.l3_off = skip_tags(offer.frame, offer.length, handed.l2_len)
    offer.ethertype = load16be(offer.frame + offer.l3_off - 2)
    offer.tci = handed.tci
    offer.mark = handed.mark
    offer.class_id = handed.class_id
    offer.tos = tos_of(offer)
    return True
