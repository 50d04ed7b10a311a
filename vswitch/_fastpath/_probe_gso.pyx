"""Test doors onto vnet.pxd, checksum.pxd and gso.pxd; not in the wheel.

Every frame is copied into memory of exactly its size, so that a sanitizer sees the first byte read beyond it.
"""
cimport vswitch._fastpath.io.checksum as ck
cimport vswitch._fastpath.io.gso as gso
cimport vswitch._fastpath.io.vnet as vnet
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


BAD, PLAIN, PARTIAL, GSO = vnet.VNET_BAD, vnet.VNET_PLAIN, vnet.VNET_PARTIAL, vnet.VNET_GSO


cdef class _Exact:
    """A private copy of some bytes, `offset` bytes away from malloc's alignment."""
    cdef uint8_t *block
    cdef uint8_t *data
    cdef uint32_t length

    def __cinit__(self, bytes content, uint32_t offset=0):
        self.length = <uint32_t>len(content)
        self.block = <uint8_t *>malloc(self.length + offset)
        if self.block == NULL:
            raise MemoryError
        self.data = self.block + offset
        memcpy(self.data, <const uint8_t *>content, self.length)

    def __dealloc__(self):
        free(self.block)

    cdef bytes content(self):
        return self.data[:self.length]


cdef vnet.VnetKind _check(bytes header, _Exact frame, uint32_t l2_len, vnet.GsoInfo *info):
    cdef vnet.VnetHdr h
    if len(header) != sizeof(h):
        raise ValueError("a virtio-net header has 12 bytes")
    vnet.vnet_load(&h, header)
    return vnet.vnet_check(&h, frame.data, frame.length, l2_len, info)


def is_plain(bytes header not None) -> bool:
    """vnet_is_plain."""
    cdef _Exact raw = _Exact(header)
    return vnet.vnet_is_plain(raw.data)


def check(bytes header not None, bytes frame not None, uint32_t l2_len=14) -> tuple[int, dict | None]:
    """vnet_check: its verdict, and what it found out about a super-frame."""
    cdef vnet.GsoInfo info
    cdef _Exact exact = _Exact(frame)
    kind = _check(header, exact, l2_len, &info)
    if kind != vnet.VNET_GSO:
        return kind, None
    return kind, dict(info) | {"l3_len": vnet.gso_l3_len(&info, exact.length), "offload": vnet.gso_offload(&info)}


def shift(bytes header not None, int delta) -> bytes:
    """vnet_shift on a copy."""
    cdef vnet.VnetHdr h
    cdef _Exact raw = _Exact(header)
    vnet.vnet_load(&h, raw.data)
    vnet.vnet_shift(&h, delta)
    vnet.vnet_store(raw.data, &h)
    return raw.content()


def checksum(bytes content not None, uint32_t offset=0) -> int:
    """The internet checksum of bytes that lie `offset` off alignment, in network order."""
    cdef _Exact exact = _Exact(content, offset)
    return ck.bswap16(ck.sum_finish(ck.sum_words(exact.data, exact.length)))


def pseudo(bytes ip not None, uint8_t protocol, uint32_t length) -> int:
    """The folded sum of a pseudo-header, in network order; ip: an IPv4 or IPv6 header."""
    cdef _Exact exact = _Exact(ip)
    if exact.data[0] >> 4 == 4:
        return ck.bswap16(ck.fold(ck.sum_pseudo4(exact.data, protocol) + ck.sum_length(length)))
    return ck.bswap16(ck.fold(ck.sum_pseudo6(exact.data, protocol) + ck.sum_length(length)))


def complete(bytes frame not None, uint16_t csum_start, uint16_t csum_offset) -> bytes:
    """complete_checksum on a copy."""
    cdef _Exact exact = _Exact(frame)
    ck.complete_checksum(exact.data, exact.length, csum_start, csum_offset)
    return exact.content()


def adjust(uint16_t check, uint32_t old, uint32_t new, bint partial=False) -> int:
    """The checksum after one 32-bit word was replaced; all three in network order."""
    cdef uint32_t delta = ck.delta32(ck.bswap32(old), ck.bswap32(new))
    if partial:
        return ck.bswap16(ck.adjust_partial(ck.bswap16(check), delta))
    return ck.bswap16(ck.adjust(ck.bswap16(check), delta))


def segment(bytes header not None, bytes frame not None, uint32_t l2_len=14, bint leave_checksum=False,
            bytes other_header=None) -> list[tuple[bytes, bytes]] | None:
    """The segments as (virtio-net header, frame); None: malformed. ValueError: not a super-frame.

    other_header stands in for the frame's own headers, as in a copy with another tag.
    """
    cdef vnet.GsoInfo info
    cdef _Exact exact = _Exact(frame)
    if _check(header, exact, l2_len, &info) != vnet.VNET_GSO:
        raise ValueError("not a super-frame")
    cdef _Exact headers = _Exact(frame[:info.hdr_len] if other_header is None else other_header)
    cdef const uint8_t *payload = exact.data + info.hdr_len
    cdef uint32_t payload_len = exact.length - info.hdr_len
    cdef int shifted = <int>headers.length - info.hdr_len
    info.l3_off += shifted
    info.l4_off += shifted
    info.hdr_len += shifted
    return _segments(headers.data, payload, payload_len, &info, leave_checksum)


cdef list _segments(const uint8_t *headers, const uint8_t *payload, uint32_t payload_len, vnet.GsoInfo *info,
                    bint leave_checksum):
    cdef gso.Segmenter s
    cdef vnet.VnetHdr h
    cdef uint8_t out[gso.SEGMENT_HEADER_MAX]
    cdef const uint8_t *piece
    cdef uint32_t piece_len
    count = gso.segmenter_init(&s, headers, payload, payload_len, info, leave_checksum)
    if count == 0:
        return None
    gso.segmenter_vnet(&s, &h)
    cdef bytes raw = (<const char *>&h)[:sizeof(h)]
    found = []
    memset(out, 0xee, sizeof(out))
    while gso.segmenter_next(&s, out, &piece, &piece_len):
        found.append((raw, out[:info.hdr_len] + piece[:piece_len]))
    assert len(found) == count
    return found
