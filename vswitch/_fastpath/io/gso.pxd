"""Segmentation of super-frames, for ports that cannot take them whole.

    cdef Segmenter s
    if segmenter_init(&s, frame, frame + info.hdr_len, length - info.hdr_len, &info, offloads & OFFLOAD_CSUM) == 0:
        ...                                         # drop: MALFORMED_GSO
    while segmenter_next(&s, header, &payload, &payload_len):
        ...                                         # send info.hdr_len bytes at header, then the payload

The payload is never copied: each step writes one segment's headers into a block of the caller's and points at its slice
of the super-frame, for a vectored transmit. The headers may lie elsewhere than the payload (a copy with another VLAN
tag, its GsoInfo shifted), and neither is written to.

What a segment gets is what the kernel gives it (tcp_gso_segment, __udp_gso_segment; compared in
tests/netns/test_gso_kernel.py): IPv4 identification counted up from the super-frame's, TCP sequence numbers, FIN and
PSH on the last only, CWR on the first only, lengths and checksums. A port that computes checksums itself gets them
partial.

Limits, beyond which a super-frame is malformed: headers of more than SEGMENT_HEADER_MAX bytes, an MSS below MSS_MIN
(the kernel's TCP_MIN_GSO_SIZE), more than SEGMENTS_MAX segments. The last bounds how long one guest's frame can keep
a worker from everybody else's; 64 KiB at the smallest MSS that Linux lets a peer ask for stays below it.

Only what vnet_check called VNET_GSO may come here: lengths are not checked again. A Segmenter belongs to one thread and
borrows header and payload until the last segment has been sent.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ..core.native cimport load16, load16be, load32be, store16, store16be, store32be
from .checksum cimport fold, nonzero, sum_finish, sum_length, sum_pseudo4, sum_pseudo6, sum_words
from .vnet cimport (
    IPV6_HLEN, PROTO_TCP, PROTO_UDP, TCP_CHECKSUM, UDP_CHECKSUM, UDP_HLEN, VNET_F_NEEDS_CSUM, GsoInfo, VnetHdr,
    gso_checksum,
)

cdef enum:
    SEGMENT_HEADER_MAX = 256
    MSS_MIN = 8
    SEGMENTS_MAX = 2048

    TCP_FIN_PSH = 0x09
    TCP_CWR = 0x80

cdef struct Segmenter:
    const uint8_t *header               # the super-frame's
    const uint8_t *payload              # not yet sent, and how much of it
    uint32_t payload_len
    uint32_t left                       # segments still to come
    uint64_t pseudo                     # sum of the pseudo-header without its length
    uint32_t seq
    uint16_t ip_id
    bint first
    bint leave_checksum
    GsoInfo info

cdef inline uint32_t segmenter_init(Segmenter *s, const uint8_t *header, const uint8_t *payload, uint32_t payload_len,
                                    const GsoInfo *info, bint leave_checksum) noexcept nogil:
    """How many segments there will be, at least one; 0: malformed, by the limits above."""
    s.info = info[0]
    s.header = header
    s.payload = payload
    s.payload_len = payload_len
    s.left = gso_segments(info, payload_len)
    s.pseudo = _pseudo_sum(header, payload_len, info)
    s.seq = load32be(header + info.l4_off + 4)
    s.ip_id = load16be(header + info.l3_off + 4)
    s.first = True
    s.leave_checksum = leave_checksum
    return s.left

cdef inline bint segmenter_next(Segmenter *s, uint8_t *header, const uint8_t **payload,
                                uint32_t *payload_len) noexcept nogil:
    """Write the next segment's info.hdr_len bytes of headers, say where its payload lies; false: there is none."""
    if s.left == 0:
        return False
    cdef uint32_t size = s.payload_len if s.left == 1 else s.info.mss
    memcpy(header, s.header, s.info.hdr_len)
    _write_ip(s, header + s.info.l3_off, s.info.hdr_len - s.info.l3_off + size)
    if s.info.is_udp:
        _write_udp(s, header + s.info.l4_off, size)
    else:
        _write_tcp(s, header + s.info.l4_off, size)
    payload[0] = s.payload
    payload_len[0] = size
    _advance(s, size)
    return True

cdef inline void segmenter_vnet(const Segmenter *s, VnetHdr *h) noexcept nogil:
    """The virtio-net header that goes in front of each segment."""
    memset(h, 0, sizeof(VnetHdr))
    if s.leave_checksum:
        h.flags = VNET_F_NEEDS_CSUM
        h.csum_start = s.info.l4_off
        h.csum_offset = gso_checksum(&s.info)

cdef inline uint32_t gso_segments(const GsoInfo *info, uint32_t payload_len) noexcept nogil:
    """How many segments payload_len bytes make; 0: beyond the limits."""
    cdef uint32_t segments
    if info.hdr_len > SEGMENT_HEADER_MAX or info.mss < MSS_MIN:
        return 0
    segments = (payload_len + info.mss - 1) // info.mss if payload_len else 1
    return segments if segments <= SEGMENTS_MAX else 0

cdef inline uint64_t _pseudo_sum(const uint8_t *header, uint32_t payload_len, const GsoInfo *info) noexcept nogil:
    """The pseudo-header's sum without its length.

    Where the field holds it already it is taken from there, as the kernel does: behind a routing header the destination
    that counts is not the IPv6 header's.
    """
    cdef const uint8_t *l4 = header + info.l4_off
    cdef uint8_t protocol = PROTO_UDP if info.is_udp else PROTO_TCP
    if info.partial:
        return <uint64_t>load16(l4 + gso_checksum(info)) + sum_finish(
            sum_length(info.hdr_len - info.l4_off + payload_len))
    if info.is_ipv6:
        return sum_pseudo6(header + info.l3_off, protocol)
    return sum_pseudo4(header + info.l3_off, protocol)

cdef inline void _advance(Segmenter *s, uint32_t size) noexcept nogil:
    s.payload += size
    s.payload_len -= size
    s.left -= 1
    s.seq += size
    s.ip_id += 1
    s.first = False

cdef inline void _write_ip(const Segmenter *s, uint8_t *ip, uint32_t length) noexcept nogil:
    """Length, and for IPv4 identification and checksum, of a packet of `length` bytes."""
    if s.info.is_ipv6:
        store16be(ip + 4, <uint16_t>(length - IPV6_HLEN))
        return
    store16be(ip + 2, <uint16_t>length)
    store16be(ip + 4, s.ip_id)
    store16(ip + 10, 0)
    store16(ip + 10, sum_finish(sum_words(ip, s.info.l4_off - s.info.l3_off)))

cdef inline void _write_tcp(const Segmenter *s, uint8_t *tcp, uint32_t size) noexcept nogil:
    store32be(tcp + 4, s.seq)
    if s.left > 1:
        tcp[13] &= <uint8_t>~TCP_FIN_PSH
    if not s.first:
        tcp[13] &= <uint8_t>~TCP_CWR
    _write_checksum(s, tcp, TCP_CHECKSUM, size)

cdef inline void _write_udp(const Segmenter *s, uint8_t *udp, uint32_t size) noexcept nogil:
    store16be(udp + 4, <uint16_t>(UDP_HLEN + size))
    _write_checksum(s, udp, UDP_CHECKSUM, size)

cdef inline void _write_checksum(const Segmenter *s, uint8_t *l4, uint32_t field, uint32_t size) noexcept nogil:
    """Of the header at l4, all else in it written, and the next `size` bytes of payload; or left partial."""
    cdef uint32_t header_len = s.info.hdr_len - s.info.l4_off
    cdef uint64_t pseudo = s.pseudo + sum_length(header_len + size)
    cdef uint16_t check
    if s.leave_checksum:
        store16(l4 + field, fold(pseudo))
        return
    store16(l4 + field, 0)
    check = sum_finish(pseudo + sum_words(l4, header_len) + sum_words(s.payload, size))
    store16(l4 + field, nonzero(check) if s.info.is_udp else check)
