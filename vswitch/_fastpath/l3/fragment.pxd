"""Fragmentation on the way out: of what had been reassembled, and of what does not fit the next link and may be cut.

As in the kernel (ip_do_fragment, ip6_fragment) a packet that came in fragments leaves in fragments no larger than the largest
of them. The frame lies in bounce memory in the form that the port wants (io/segment.pxd); each fragment is a header block of
its own and a slice of the payload. IPv4 options without the copied flag are blanked out behind the first fragment (RFC 791,
3.1); IPv6 gets a fragment header behind its fixed header, where the hop-by-hop, routing and destination headers that a
reassembled packet kept become part of the first fragment's payload.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from ..core.context cimport Context, PortIo, charge
from ..core.frame cimport SLOT, VNET_LEN
from ..core.ip cimport IPV4_HLEN, IPV6_HLEN, PROTO_FRAGMENT
from ..core.native cimport count, load16be, memory_allow, store16, store16be, store32be
from ..core.snapshot cimport Port
from ..core.tx cimport TX_QUEUE
from ..core.verdict cimport PACKET_TOO_BIG
from ..io.checksum cimport sum_finish, sum_words
from ..io.queue cimport send
from ..io.segment cimport BLOCK, put

cdef enum:
    FRAGMENT_HLEN = 8
    MORE_FRAGMENTS = 0x2000

cdef struct Cutter:
    uint8_t *data                       # the frame, from its destination MAC on
    uint32_t l2_len
    uint32_t header_len                 # layer 3's, which every fragment repeats
    uint32_t payload_len
    uint32_t chunk                      # payload bytes of a fragment, a multiple of 8
    uint32_t id
    bint is_ipv6

cdef inline void fragment(Context *ctx, const Port *port, PortIo *io, uint8_t *data, uint32_t l2_len, uint32_t size,
                          uint32_t counted) noexcept nogil:
    """Send the frame in fragments of at most `size` bytes of layer 3 each."""
    cdef Cutter cutter
    cdef uint32_t at = 0, length
    cdef uint8_t *block
    if not start_cutter(ctx, &cutter, data, l2_len, size):
        charge(ctx, PACKET_TOO_BIG)
        return
    while at < cutter.payload_len:
        length = cutter.payload_len - at if cutter.payload_len - at <= cutter.chunk else cutter.chunk
        block = ctx.bounce + SLOT + io.tx_n * BLOCK
        write_fragment(&cutter, block, at, length)
        put(io, block, VNET_LEN + l2_len + cutter.header_len + (FRAGMENT_HLEN if cutter.is_ipv6 else 0),
            data + l2_len + cutter.header_len + at, length, counted if at + length == cutter.payload_len else 0)
        at += length
        count(&ctx.counters[port.id].segments, 1)
        if at == cutter.payload_len or io.tx_n == TX_QUEUE:
            send(ctx, port, io)

cdef inline bint start_cutter(Context *ctx, Cutter *cutter, uint8_t *data, uint32_t l2_len, uint32_t size) noexcept nogil:
    """False: not even eight bytes of payload would fit."""
    cdef uint8_t *ip = data + l2_len
    cdef uint32_t total, head
    cutter.data = data
    cutter.l2_len = l2_len
    cutter.is_ipv6 = ip[0] >> 4 == 6
    cutter.header_len = IPV6_HLEN if cutter.is_ipv6 else (ip[0] & 15) * 4
    total = IPV6_HLEN + load16be(ip + 4) if cutter.is_ipv6 else load16be(ip + 2)
    cutter.payload_len = total - cutter.header_len
    head = cutter.header_len + (FRAGMENT_HLEN if cutter.is_ipv6 else 0)
    if size < head + 8:
        return False
    cutter.chunk = (size - head) & ~<uint32_t>7
    ctx.fragment_id += 1
    cutter.id = <uint32_t>ctx.fragment_id * 0x9e3779b1U ^ <uint32_t>ctx.now_ns
    return True

cdef inline void write_fragment(const Cutter *cutter, uint8_t *block, uint32_t at, uint32_t length) noexcept nogil:
    """The headers of the fragment whose payload begins at `at`."""
    cdef uint32_t head = VNET_LEN + cutter.l2_len
    cdef uint8_t *ip = block + head
    cdef bint more = at + length < cutter.payload_len
    memory_allow(block, head + cutter.header_len + FRAGMENT_HLEN)
    memcpy(block, cutter.data - VNET_LEN, head + cutter.header_len)
    if cutter.is_ipv6:
        store16be(ip + 4, <uint16_t>(FRAGMENT_HLEN + length))
        ip[IPV6_HLEN] = ip[6]
        ip[IPV6_HLEN + 1] = 0
        store16be(ip + IPV6_HLEN + 2, <uint16_t>(at | more))
        store32be(ip + IPV6_HLEN + 4, cutter.id)
        ip[6] = PROTO_FRAGMENT
        return
    if at:
        blank_options(ip + IPV4_HLEN, cutter.header_len - IPV4_HLEN)
    store16be(ip + 2, <uint16_t>(cutter.header_len + length))
    store16be(ip + 6, <uint16_t>(at >> 3 | (MORE_FRAGMENTS if more else 0)))
    store16(ip + 10, 0)
    store16(ip + 10, sum_finish(sum_words(ip, cutter.header_len)))

cdef inline void blank_options(uint8_t *option, uint32_t room) noexcept nogil:
    """Options that belong to the first fragment alone become no-operations; dissect has checked their lengths."""
    cdef uint32_t size, i
    while room and option[0]:
        size = 1 if option[0] == 1 else option[1]
        if size > room or size == 0:
            return
        if not option[0] & 0x80:
            for i in range(size):
                option[i] = 1
        option += size
        room -= size
