"""Targets that edit: marks, TOS and DSCP, TTL and hop limit, MSS, class. They never end a packet's way.

They work on the packet's header and on what Packet says of it, and keep checksums right: IPv4's incrementally, TCP's
too unless it is partial, for a partial one (OFFLOAD_CSUM) is only the pseudo-header's. Each can be done again from
(target, packet, frame, connmark) alone, which is how the verdict cache repeats them.

Thread safety: the packet is the worker's own. A connection's mark is one word, and of two packets at once one wins,
as in the kernel.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport Frame
from ..core.ip cimport PROTO_TCP
from ..core.native cimport load16, load16be, store16, store16be
from ..core.packet cimport PACKET_FRAGMENT, Packet
from ..core.snapshot cimport OFFLOAD_CSUM
from ..io.checksum cimport adjust, bswap16, delta16
from .mss cimport mss_insert
from .rule cimport *

cdef enum:
    IPV4_CHECK = 10                     # offsets
    IPV4_TTL = 8
    IPV6_HOPS = 7
    TCP_CHECK = 16
    TCP_HEADER = 20
    OPTION_MSS = 2
    NO_MTU = 0xffffffff

cdef inline void target_edit(const Target *target, const Ruleset *rules, Packet *packet, Frame *frame,
                             uint32_t *connmark) noexcept nogil:
    """connmark: a copy of the connection's mark, which the caller writes back; NULL: there is no connection."""
    if target.op == TARGET_MARK:
        packet.mark = (packet.mark & ~target.mask) ^ target.value
    elif target.op == TARGET_CONNMARK:
        if connmark != NULL:
            edit_connmark(target, packet, connmark)
    elif target.op == TARGET_TOS:
        edit_tos(packet, <uint8_t>((packet.tos & ~target.mask) ^ target.value))
    elif target.op == TARGET_TTL:
        edit_ttl(packet, ttl_after(target, packet.ttl))
    elif target.op == TARGET_TCPMSS:
        edit_mss(target, rules, packet, frame)
    elif target.op == TARGET_CLASSIFY:
        packet.class_id = target.value

cdef inline uint32_t shifted(uint32_t mark, int32_t left) noexcept nogil:
    if left <= -32 or left >= 32:
        return 0
    return mark << left if left >= 0 else mark >> -left

cdef inline void edit_connmark(const Target *target, Packet *packet, uint32_t *connmark) noexcept nogil:
    cdef uint32_t mark = connmark[0]
    if target.mode == CONNMARK_SET:
        connmark[0] = shifted((mark & ~target.mask) ^ target.value, target.shift)
    elif target.mode == CONNMARK_SAVE:
        connmark[0] = (mark & ~target.mask) ^ shifted(packet.mark & target.mask2, target.shift)
    else:
        packet.mark = (packet.mark & ~target.mask2) ^ shifted(mark & target.mask, target.shift)


# Header fields

cdef inline void store_word4(uint8_t *ip, uint32_t offset, uint16_t word) noexcept nogil:
    """Replace a word of an IPv4 header; `word` as it lies there."""
    cdef uint32_t delta = delta16(load16(ip + offset), word)
    store16(ip + offset, word)
    store16(ip + IPV4_CHECK, adjust(load16(ip + IPV4_CHECK), delta))

cdef inline void edit_tos(Packet *packet, uint8_t tos) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    if tos == packet.tos:
        return
    if packet.family == 4:
        store_word4(ip, 0, <uint16_t>(ip[0] | <uint32_t>tos << 8))
    else:
        ip[0] = <uint8_t>(0x60 | tos >> 4)
        ip[1] = <uint8_t>((ip[1] & 0x0f) | (tos & 0x0f) << 4)
    packet.tos = tos

cdef inline uint8_t ttl_after(const Target *target, uint8_t ttl) noexcept nogil:
    cdef int32_t new = <int32_t>target.value
    if target.mode == TTL_INC:
        new = ttl + new
    elif target.mode == TTL_DEC:
        new = ttl - new
    return <uint8_t>(0 if new < 0 else 255 if new > 255 else new)

cdef inline void edit_ttl(Packet *packet, uint8_t ttl) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    if ttl == packet.ttl:
        return
    if packet.family == 4:
        store_word4(ip, IPV4_TTL, <uint16_t>(ttl | <uint32_t>ip[IPV4_TTL + 1] << 8))
    else:
        ip[IPV6_HOPS] = ttl
    packet.ttl = ttl


# MSS

cdef inline uint32_t path_mtu(const Ruleset *rules, const Packet *packet) noexcept nogil:
    """Of the links before and behind the switch, as far as it knows them."""
    cdef uint32_t mtu = NO_MTU
    if packet.in_dev < rules.n_devices:
        mtu = rules.devices[packet.in_dev].mtu
    if packet.out_dev < rules.n_devices and rules.devices[packet.out_dev].mtu < mtu:
        mtu = rules.devices[packet.out_dev].mtu
    return mtu

cdef inline uint32_t wanted_mss(const Target *target, const Ruleset *rules, const Packet *packet) noexcept nogil:
    """0: nothing is known."""
    cdef uint32_t headers = TCP_HEADER + (20 if packet.family == 4 else 40)
    cdef uint32_t mtu
    if target.mode != TCPMSS_CLAMP:
        return target.value
    mtu = path_mtu(rules, packet)
    return 0 if mtu == NO_MTU or mtu <= headers else mtu - headers

cdef inline uint32_t find_mss(const uint8_t *tcp, uint32_t end) noexcept nogil:
    """Where the option's two bytes of value lie; 0: it has none."""
    cdef uint32_t at = TCP_HEADER
    while at + 4 <= end:
        if tcp[at] == OPTION_MSS and tcp[at + 1] == 4:
            return at + 2
        at += 1 if tcp[at] < 2 or not tcp[at + 1] else tcp[at + 1]
    return 0

cdef inline void edit_mss(const Target *target, const Ruleset *rules, Packet *packet, Frame *frame) noexcept nogil:
    """Lower a SYN's MSS, or name one; never raise it: a host that names a small one relies on it."""
    cdef uint8_t *tcp = packet.l4
    cdef uint32_t at, end, mss = wanted_mss(target, rules, packet)
    if packet.tuple.proto != PROTO_TCP or packet.flags & PACKET_FRAGMENT or tcp == NULL:
        return
    if packet.l4_length < TCP_HEADER:
        return
    end = (tcp[12] >> 4) * 4
    if not mss or end > packet.l4_length:
        return
    at = find_mss(tcp, end)
    if not at:
        mss_insert(packet, frame, <uint16_t>mss)
    elif load16be(tcp + at) > mss:
        store_mss(tcp, at, <uint16_t>mss, frame.needs & OFFLOAD_CSUM != 0)

cdef inline void store_mss(uint8_t *tcp, uint32_t at, uint16_t mss, bint partial) noexcept nogil:
    """An odd place has the checksum see the value with its bytes swapped."""
    cdef uint16_t old = load16(tcp + at)
    cdef uint32_t delta = delta16(bswap16(old), mss) if at & 1 else delta16(old, bswap16(mss))
    store16be(tcp + at, mss)
    if not partial:
        store16(tcp + TCP_CHECK, adjust(load16(tcp + TCP_CHECK), delta))
