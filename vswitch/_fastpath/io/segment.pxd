"""Finish what a virtio-net header leaves undone, for a port that cannot: complete a checksum, cut a super-frame up.

The frame is copied into the worker's bounce memory, in the form that the port wants; segments are header blocks there and
slices of the copy. A super-frame never has more segments waiting than a transmit queue holds, so that many blocks, used in
turn, are enough. This is the slow way: taps and packet sockets take super-frames as they are.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from ..core.context cimport TX_QUEUE, Context, TxEntry, charge
from ..core.frame cimport BOUNCE, SLOT, VNET_LEN, Frame
from ..core.native cimport count, memory_allow, memory_forbid
from ..core.snapshot cimport OFFLOAD_CSUM, Port
from ..core.verdict cimport MALFORMED_GSO
from .checksum cimport complete_checksum
from .gso cimport SEGMENT_HEADER_MAX, Segmenter, segmenter_init, segmenter_next, segmenter_vnet
from .queue cimport next_entry, transmit
from .vnet cimport VNET_GSO, GsoInfo, VnetHdr, vnet_check, vnet_load, vnet_store

cdef enum:
    BLOCK = VNET_LEN + SEGMENT_HEADER_MAX
    ROOM = SLOT + TX_QUEUE * BLOCK      # what one frame may need

cdef inline void finish(Context *ctx, const Port *port, const TxEntry *entry, uint32_t l2_len) noexcept nogil:
    """Queue the frame of `entry`, whose layer 3 begins at l2_len, with nothing undone that the port cannot do."""
    cdef uint8_t *data = bounce(ctx, entry)
    cdef uint32_t length = entry.head_len + entry.body_len - VNET_LEN
    cdef VnetHdr header
    cdef GsoInfo info
    vnet_load(&header, data - VNET_LEN)
    if vnet_check(&header, data, length, l2_len, &info) == VNET_GSO:
        segment(ctx, port, data, length, &info, entry.counted)
        return
    complete_checksum(data, length, header.csum_start, header.csum_offset)
    memset(data - VNET_LEN, 0, VNET_LEN)
    put(next_entry(ctx, port), data - VNET_LEN, VNET_LEN + length, NULL, 0, entry.counted)

cdef inline uint8_t *bounce(Context *ctx, const TxEntry *entry) noexcept nogil:
    """The entry's frame in bounce memory; its virtio-net header lies before it."""
    cdef uint8_t *at
    if ctx.bounce_used + ROOM > BOUNCE:
        transmit(ctx)
    at = ctx.bounce + ctx.bounce_used
    ctx.bounce_used += ROOM
    memory_forbid(at, ROOM)
    memory_allow(at, entry.head_len + entry.body_len)
    memcpy(at, entry.head, entry.head_len)
    if entry.body_len:
        memcpy(at + entry.head_len, entry.body, entry.body_len)
    return at + VNET_LEN

cdef inline void segment(Context *ctx, const Port *port, uint8_t *data, uint32_t length, const GsoInfo *info,
                         uint32_t counted) noexcept nogil:
    cdef Segmenter segmenter
    cdef VnetHdr header
    cdef TxEntry *entry
    cdef uint8_t *block
    cdef const uint8_t *payload
    cdef uint32_t payload_len, i
    cdef uint32_t n = segmenter_init(&segmenter, data, data + info.hdr_len, length - info.hdr_len, info,
                                     port.offloads & OFFLOAD_CSUM)
    if n == 0:
        charge(ctx, MALFORMED_GSO)
        return
    segmenter_vnet(&segmenter, &header)
    count(&ctx.counters[port.id].segments, n)
    for i in range(n):
        entry = next_entry(ctx, port)   # a full queue leaves now, before its first block is used again
        block = data - VNET_LEN + SLOT + (i % TX_QUEUE) * BLOCK
        memory_allow(block, VNET_LEN + info.hdr_len)
        segmenter_next(&segmenter, block + VNET_LEN, &payload, &payload_len)
        vnet_store(block, &header)
        put(entry, block, VNET_LEN + info.hdr_len, payload, payload_len, counted if i == n - 1 else 0)

cdef inline void put(TxEntry *entry, const uint8_t *head, uint32_t head_len, const uint8_t *body, uint32_t body_len,
                     uint32_t counted) noexcept nogil:
    entry.head = head
    entry.head_len = head_len
    entry.body = body
    entry.body_len = body_len
    entry.counted = counted
