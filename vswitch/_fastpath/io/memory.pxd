"""Frames from and to a memory port's rings (io/ring.pxd)."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.context cimport Context, PortIo
from ..core.frame cimport BURST, BURST_BYTES, FRAME_MAX, FRAME_TAIL, HEADROOM, VNET_LEN, Burst, burst_add
from ..core.native cimport EAGAIN, ENOBUFS, atomic_store64
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from .account cimport Tally, sent, settle, unsent
from .ring cimport MemoryPort, Ring, ring_at, ring_commit, ring_reserve

cdef inline int receive_memory(Context *ctx, Burst *burst, MemoryPort *memory) noexcept nogil:
    """Takes what is there, up to a burst, into private memory. Returns 0, or EAGAIN when the ring is empty."""
    cdef uint8_t *at = ctx.scratch + HEADROOM
    cdef uint8_t *end = ctx.scratch + BURST_BYTES
    cdef const uint8_t *record
    cdef uint64_t length
    while burst.n < BURST and at < end:
        record = next_record(memory, &length)
        if record == NULL:
            return EAGAIN
        length -= VNET_LEN
        # What is beyond the largest frame is not copied; parse drops it by the length that it claims.
        memcpy(at - VNET_LEN, record, VNET_LEN + (length if length < FRAME_MAX else FRAME_MAX))
        burst_add(burst, at, length)
        at += ((length if length < FRAME_MAX else FRAME_MAX) + HEADROOM + FRAME_TAIL) & ~<uint64_t>63
    return 0

cdef inline const uint8_t *next_record(MemoryPort *memory, uint64_t *length) noexcept nogil:
    """The next record, valid until the next call; NULL when there is none. A looping port keeps what it has."""
    cdef const uint8_t *record
    if not memory.looping:
        atomic_store64(&memory.rx.head, memory.cursor)
    record = ring_at(&memory.rx, &memory.cursor, length)
    if record == NULL and memory.looping:
        memory.cursor = memory.rx.head
        record = ring_at(&memory.rx, &memory.cursor, length)
    return record

cdef inline void send_memory(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    cdef Ring *ring = &port.memory.tx[ctx.worker]
    cdef Tally tally = Tally(0, 0, 0)
    cdef uint32_t i
    cdef uint64_t length
    cdef TxEntry *entry
    cdef uint8_t *room
    for i in range(io.tx_n):
        entry = &io.tx[i]
        length = entry.head_len + entry.body_len
        if ring.bytes != NULL:
            room = ring_reserve(ring, length)
            if room == NULL:
                unsent(ctx, entry, ENOBUFS)
                continue
            memcpy(room, entry.head, entry.head_len)
            if entry.body_len:          # else there may be no address either
                memcpy(room + entry.head_len, entry.body, entry.body_len)
            ring_commit(ring, length)
        sent(ctx, &tally, entry)
    settle(ctx, port, &tally)
