"""How much of a held frame leaves at once. A super-frame may be sent in parts, each a smaller super-frame, where the whole
would hold the line too long or would never conform.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.frame cimport VNET_LEN
from ..core.native cimport memory_allow
from ..core.tx cimport TxEntry
from ..io.gso cimport SEGMENT_HEADER_MAX, Segmenter, segmenter_init, segmenter_next, segmenter_vnet
from ..io.vnet cimport VNET_GSO, GsoInfo, VnetHdr, vnet_check, vnet_load, vnet_store
from .held cimport Held, HeldPool, held_frame, held_keep

cdef enum:
    PEEL_BLOCK = VNET_LEN + SEGMENT_HEADER_MAX
    NO_LIMIT = 0xffffffff

cdef struct Part:
    uint32_t wire
    uint32_t segments
    bint last                           # nothing of the frame is left behind it

cdef inline Part part_of(const Held *held, uint32_t limit) noexcept nogil:
    """What may leave now if `limit` bytes may; a segment at least."""
    cdef uint32_t segment = held.mss + held.hdr_len, n
    if held.wire <= limit or held.segments <= 1:
        return Part(held.wire, held.segments, True)
    n = limit // segment if limit > segment else 1
    if n >= held.segments:
        return Part(held.wire, held.segments, True)
    return Part(n * segment, n, False)

cdef inline bint peel(HeldPool *pool, uint32_t number, Part part, uint8_t *block, TxEntry *entry) noexcept nogil:
    """Put the next part of a super-frame into `entry`, its headers into `block`; false: it is none after all."""
    cdef Held *held = &pool.helds[number]
    cdef Segmenter segmenter
    cdef VnetHdr header
    cdef GsoInfo info
    cdef const uint8_t *payload = NULL
    cdef uint32_t payload_len = 0, gone, length
    held_keep(pool, number)             # its headers in one piece
    length = held.head_len - VNET_LEN
    vnet_load(&header, held.head)
    if vnet_check(&header, held_frame(held), length, held.l3_off, &info) != VNET_GSO or info.hdr_len > SEGMENT_HEADER_MAX:
        return False
    if not segmenter_init(&segmenter, held_frame(held), held_frame(held) + info.hdr_len, length - info.hdr_len, &info, True):
        return False
    gone = held.gone
    segmenter.payload += gone * info.mss
    segmenter.payload_len -= gone * info.mss
    segmenter.seq += gone * info.mss
    segmenter.ip_id += gone
    segmenter.first = gone == 0
    segmenter.left = 1 if part.last else 2
    segmenter.info.mss = <uint16_t>(part.segments * info.mss)
    memory_allow(block, PEEL_BLOCK)
    segmenter_next(&segmenter, block + VNET_LEN, &payload, &payload_len)
    part_header(&segmenter, &header, info.mss, part.segments, block)
    held.gone += part.segments
    held.wire -= part.wire
    held.segments -= part.segments
    entry.head = block
    entry.head_len = VNET_LEN + info.hdr_len
    entry.body = payload
    entry.body_len = payload_len
    return True

cdef inline void part_header(const Segmenter *segmenter, const VnetHdr *whole, uint32_t mss, uint32_t segments,
                             uint8_t *block) noexcept nogil:
    cdef VnetHdr header
    segmenter_vnet(segmenter, &header)
    if segments > 1:
        header.gso_type = whole.gso_type
        header.gso_size = <uint16_t>mss
        header.hdr_len = segmenter.info.hdr_len
    vnet_store(block, &header)
