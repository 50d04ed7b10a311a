"""Finish what a virtio-net header leaves undone, for a port that cannot: complete a checksum, cut a super-frame up.

The frame is copied into the worker's bounce memory, in the form that the port wants; segments are header blocks behind it
and slices of it. All of it leaves at once, a queueful at a time, so the memory is free again for the next. This is the slow
way: taps and packet sockets take super-frames as they are.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from ..core.context cimport Context, PortIo
from ..core.frame cimport SLOT, VNET_LEN
from ..core.native cimport count, memory_allow, memory_forbid
from ..core.snapshot cimport OFFLOAD_CSUM, Port
from ..core.tx cimport TX_QUEUE, TxEntry
from ..core.verdict cimport MALFORMED_GSO
from .account cimport ended
from .checksum cimport complete_checksum
from .gso cimport SEGMENT_HEADER_MAX, Segmenter, segmenter_init, segmenter_next, segmenter_vnet
from .send cimport send_now
from .vnet cimport VNET_F_NEEDS_CSUM, VNET_GSO, GsoInfo, VnetHdr, vnet_check, vnet_load, vnet_store

cdef enum:
    BLOCK = VNET_LEN + SEGMENT_HEADER_MAX
    BOUNCE = SLOT + TX_QUEUE * BLOCK

cdef inline void finish(Context *ctx, const Port *port, const TxEntry *entry, uint32_t l2_len) noexcept nogil:
    """Send the frame of `entry`, whose layer 3 begins at l2_len, with nothing undone that the port cannot do."""
    cdef PortIo *io = &ctx.io[port.id]
    cdef uint8_t *data = bounce(ctx, entry)
    cdef uint32_t length = entry.head_len + entry.body_len - VNET_LEN
    cdef TxEntry whole = entry[0]       # it may lie in the queue that is about to be sent
    cdef VnetHdr header
    cdef GsoInfo info
    send_now(ctx, port, io)             # what came before leaves before
    vnet_load(&header, data - VNET_LEN)
    if vnet_check(&header, data, length, l2_len, &info) == VNET_GSO:
        segment(ctx, port, io, data, length, &info, &whole)
        return
    complete(data, length)
    put(io, data - VNET_LEN, VNET_LEN + length, NULL, 0, whole.counted)
    put_last(io, &whole)
    send_now(ctx, port, io)

cdef inline void complete(uint8_t *data, uint32_t length) noexcept nogil:
    """Fill in the checksum that the virtio-net header before the frame leaves open, if any; the header says nothing then."""
    cdef VnetHdr header
    vnet_load(&header, data - VNET_LEN)
    if header.flags & VNET_F_NEEDS_CSUM:
        complete_checksum(data, length, header.csum_start, header.csum_offset)
    memset(data - VNET_LEN, 0, VNET_LEN)

cdef inline uint8_t *bounce(Context *ctx, const TxEntry *entry) noexcept nogil:
    """The entry's frame in bounce memory; its virtio-net header lies before it."""
    cdef uint8_t *at = ctx.bounce
    memory_forbid(at, BOUNCE)
    memory_allow(at, entry.head_len + entry.body_len)
    memcpy(at, entry.head, entry.head_len)
    if entry.body_len:
        memcpy(at + entry.head_len, entry.body, entry.body_len)
    return at + VNET_LEN

cdef inline void segment(Context *ctx, const Port *port, PortIo *io, uint8_t *data, uint32_t length, const GsoInfo *info,
                         const TxEntry *whole) noexcept nogil:
    cdef Segmenter segmenter
    cdef VnetHdr header
    cdef uint8_t *block
    cdef const uint8_t *payload
    cdef uint32_t payload_len = 0, left
    left = segmenter_init(&segmenter, data, data + info.hdr_len, length - info.hdr_len, info, port.offloads & OFFLOAD_CSUM)
    if left == 0:
        ended(ctx, whole, MALFORMED_GSO)
        return
    segmenter_vnet(&segmenter, &header)
    count(&ctx.counters[port.id].segments, left)
    while left:
        left -= 1
        block = ctx.bounce + SLOT + io.tx_n * BLOCK
        memory_allow(block, VNET_LEN + info.hdr_len)
        segmenter_next(&segmenter, block + VNET_LEN, &payload, &payload_len)
        vnet_store(block, &header)
        put(io, block, VNET_LEN + info.hdr_len, payload, payload_len, 0 if left else whole.counted)
        if not left:
            put_last(io, whole)
        if not left or io.tx_n == TX_QUEUE:
            send_now(ctx, port, io)

cdef inline void put(PortIo *io, const uint8_t *head, uint32_t head_len, const uint8_t *body, uint32_t body_len,
                     uint32_t counted) noexcept nogil:
    cdef TxEntry *entry = &io.tx[io.tx_n]
    io.tx_n += 1
    entry.head = head
    entry.head_len = head_len
    entry.body = body
    entry.body_len = body_len
    entry.counted = counted
    entry.held = 0
    entry.frame = io.frame
    entry.l2_len = io.l2_len
    entry.needs = 0

cdef inline void put_last(PortIo *io, const TxEntry *whole) noexcept nogil:
    """With it the whole is sent, which a queueing discipline may have held."""
    io.tx[io.tx_n - 1].held = whole.held
    io.tx[io.tx_n - 1].last = whole.last
