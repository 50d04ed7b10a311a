"""Match records: what a rule asks beyond addresses, protocol, ports and interfaces.

Each question is answered NO, YES, or by the two answers that `!` does not turn round: NEVER (there is nothing to look
at) and ALWAYS. Whatever is looked at beyond the connection's tuple is noted in Walk.mask, down to the bits; what no
mask can hold sets Walk.uncacheable (path.pxd). Semantics are the kernel's (net/netfilter/xt_*.c), with its one short
cut: a TCP, UDP or ICMP header that is cut short where a rule wants to see it ends the packet (`hotdrop`).

Thread safety: pure functions of a Walk, apart from `limit`, whose meters are swapped atomically.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport PROTO_TCP
from ..core.native cimport atomic_cas64, load16be, relaxed_load64
from ..core.packet cimport PACKET_FRAGMENT, PACKET_LOCAL, Packet
from .match_ct cimport match_connection
from .match_place cimport match_addrtype, match_physdev
from .rule cimport *
from .walk cimport *

cdef enum Answer:
    NO = 0
    YES = 1
    NEVER = 2
    ALWAYS = 3

cdef inline bint match_holds(Walk *walk, const Match *m) noexcept nogil:
    cdef uint32_t answer = match_answer(walk, m)
    return answer ^ (m.invert & MATCH_INVERT) if answer <= YES else answer == ALWAYS

cdef inline uint32_t match_answer(Walk *walk, const Match *m) noexcept nogil:
    if MATCH_CTSTATE <= m.op <= MATCH_CTDIR or m.op == MATCH_CONNMARK:
        return match_connection(walk, m)
    if m.op == MATCH_SPORT or m.op == MATCH_DPORT or MATCH_MULTIPORT <= m.op <= MATCH_ICMP:
        return match_layer4(walk, m)
    if m.op == MATCH_SRC_RANGE:
        return ip_between(&walk.packet.src, &m.ip, &m.ip_mask)
    if m.op == MATCH_DST_RANGE:
        return ip_between(&walk.packet.dst, &m.ip, &m.ip_mask)
    if m.op == MATCH_PHYSDEV:
        return match_physdev(walk, m)
    if m.op == MATCH_ADDRTYPE:
        return match_addrtype(walk, m)
    if m.op == MATCH_LIMIT:
        return match_limit(walk, m)
    return match_header(walk, m)


# The packet and its frame

cdef inline bint within(uint32_t value, uint32_t first, uint32_t last) noexcept nogil:
    return first <= value and value <= last

cdef inline uint32_t match_header(Walk *walk, const Match *m) noexcept nogil:
    cdef const Packet *packet = walk.packet
    if m.op == MATCH_FRAGMENT:
        return (packet.flags & PACKET_FRAGMENT) != 0
    if m.op == MATCH_MARK:
        walk.mask[KEY_MARK] |= m.mask
        return packet.mark & m.mask == m.value
    if m.op == MATCH_LENGTH:
        walk.mask[KEY_STATUS] |= 0xffffffff00000000ULL
        return within(packet.length, m.value, m.mask)
    if m.op == MATCH_TOS:
        walk.mask[KEY_PACKET] |= <uint64_t>m.mask << KEY_TOS_SHIFT
        return packet.tos & m.mask == m.value
    if m.op == MATCH_TTL:
        walk.mask[KEY_PACKET] |= 0xffULL << KEY_TTL_SHIFT
        return within(packet.ttl, m.value, m.mask)
    if m.op == MATCH_MAC:
        return match_mac(walk, m)
    if m.op == MATCH_PKTTYPE:
        walk.mask[KEY_LINK] |= 0xffULL << 48
        return packet_type(walk.frame) == m.value
    return NEVER

cdef inline uint32_t match_mac(Walk *walk, const Match *m) noexcept nogil:
    """A packet of the switch's own came from no MAC address."""
    if walk.packet.flags & PACKET_LOCAL:
        return NEVER
    walk.mask[KEY_LINK] |= 0xffffffffffffULL
    return walk.frame.src & 0xffffffffffffULL == m.ip.high

cdef inline uint32_t match_limit(Walk *walk, const Match *m) noexcept nogil:
    """A token bucket as one number, the time when it will be full again (GCRA)."""
    cdef uint64_t *meter = &walk.state.meters[m.value]
    cdef uint64_t due, start
    walk.uncacheable = True
    while True:
        due = relaxed_load64(meter)
        start = due if due > walk.now_ns else walk.now_ns
        if start - walk.now_ns > m.ip.low:
            return NO
        if atomic_cas64(meter, due, start + m.ip.high):
            return YES


# Layer 4

cdef inline bint layer4_whole(Walk *walk) noexcept nogil:
    """Whether there is a header to look at. If it should be there and is not, the packet ends here."""
    if walk.layer4 == LAYER4_SHORT:
        walk.hotdrop = True
    return walk.layer4 == LAYER4_WHOLE

cdef inline bint ports_whole(Walk *walk) noexcept nogil:
    """The same where the ports alone are asked for: they come first."""
    if walk.layer4 == LAYER4_SHORT and (walk.packet.l4 == NULL or walk.packet.l4_length < 4):
        walk.hotdrop = True
        return False
    return walk.layer4 != LAYER4_FRAGMENT

cdef inline uint32_t match_layer4(Walk *walk, const Match *m) noexcept nogil:
    cdef const Packet *packet = walk.packet
    if m.op == MATCH_MULTIPORT:
        if not ports_whole(walk):
            return NEVER
        return match_multiport(m, load16be(packet.l4), load16be(packet.l4 + 2))
    if not layer4_whole(walk):
        return NEVER
    if m.op == MATCH_SPORT:
        return within(bswap16(packet.sport), m.value, m.mask)
    if m.op == MATCH_DPORT:
        return within(bswap16(packet.dport), m.value, m.mask)
    if m.op == MATCH_TCP_FLAGS:
        walk.mask[KEY_PACKET] |= <uint64_t>m.mask << KEY_TCP_FLAGS_SHIFT
        return packet.tcp_flags & m.mask == m.value
    if m.op == MATCH_TCP_OPTION:
        return match_tcp_option(walk, m.value)
    # ICMP: m.mode says that the type is asked for. A connection's direction settles it, so no mask.
    return not m.mode or (packet.l4[0] == m.value and within(packet.l4[1], m.mask & 0xff, m.mask >> 8))

cdef inline uint32_t match_multiport(const Match *m, uint16_t sport, uint16_t dport) noexcept nogil:
    cdef uint32_t i
    for i in range(m.n):
        if m.mode != PORTS_DESTINATION and within(sport, m.ports[2 * i], m.ports[2 * i + 1]):
            return YES
        if m.mode != PORTS_SOURCE and within(dport, m.ports[2 * i], m.ports[2 * i + 1]):
            return YES
    return NO

cdef inline uint32_t match_tcp_option(Walk *walk, uint32_t option) noexcept nogil:
    cdef const uint8_t *tcp = walk.packet.l4
    cdef uint32_t at = 20, end = (tcp[12] >> 4) * 4
    walk.uncacheable = True
    if end < 20 or end > walk.packet.l4_length:
        walk.hotdrop = True
        return NEVER
    while at < end:
        if tcp[at] == option:
            return YES
        if tcp[at] < 2 or at + 1 >= end or not tcp[at + 1]:
            at += 1                     # end of list and padding are one byte, and the kernel reads on behind them
        else:
            at += tcp[at + 1]
    return NO


# Addresses

cdef extern from *:
    uint16_t bswap16 "__builtin_bswap16"(uint16_t v) noexcept nogil
    uint64_t bswap64 "__builtin_bswap64"(uint64_t v) noexcept nogil

cdef inline bint ip_precedes(const Ip *a, const Ip *b) noexcept nogil:
    """Whether a < b as numbers."""
    cdef uint64_t x = bswap64(a.high), y = bswap64(b.high)
    return bswap64(a.low) < bswap64(b.low) if x == y else x < y

cdef inline uint32_t ip_between(const Ip *ip, const Ip *first, const Ip *last) noexcept nogil:
    return not ip_precedes(ip, first) and not ip_precedes(last, ip)
