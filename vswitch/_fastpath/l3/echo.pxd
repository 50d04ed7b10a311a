"""Echo requests turned around where they lie, and TCP segments refused by a reset: the answers that need no thought.

The MAC addresses are the caller's business. IPv4's options are left away, IPv6's extension headers stay as they came.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove

from ..core.ip cimport (
    IPV4_HLEN, IPV6_HLEN, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Ip, ip_store,
)
from ..core.native cimport load16, load32, load32be, store16, store16be, store32, store32be
from ..core.packet cimport PACKET_FRAGMENT, PACKET_MORE, Packet
from ..io.checksum cimport (
    adjust, adjust_partial, delta16, fold, sum_finish, sum_length, sum_pseudo4, sum_pseudo6, sum_words,
)
from .icmp cimport ICMP6_ECHO, ICMP6_ECHO_REPLY, ICMP_ECHO, ICMP_ECHO_REPLY, ip4_header, ip6_header
from .nd cimport icmp6_sum_right
from .hop cimport DEFAULT_TTL

cdef enum:
    IPV4_DF = 0x4000
    TCP_HLEN = 20

cdef inline bint echo_is_request(const Packet *packet) noexcept nogil:
    """Whether the packet is a whole echo request."""
    if packet.l4 == NULL or packet.l4_length < 8 or packet.flags & (PACKET_FRAGMENT | PACKET_MORE):
        return False
    if packet.family == 4:
        return packet.tuple.proto == PROTO_ICMP and packet.l4[0] == ICMP_ECHO
    return packet.tuple.proto == PROTO_ICMPV6 and packet.l4[0] == ICMP6_ECHO

cdef inline bint echo_turn(Packet *packet, const Ip *source, bint partial) noexcept nogil:
    """Turn an echo request into the reply, from `source`: the address that was asked, or one of ours where many were.

    `partial`: the frame's checksum is yet to be completed (NEEDS_CSUM), and stays so. False: the checksum is wrong, and
    nothing has been changed."""
    if packet.family == 6:
        return echo6_turn(packet, source, partial)
    return echo4_turn(packet, source, partial)

cdef inline void echo_turned(Packet *packet, const Ip *source) noexcept nogil:
    packet.dst = packet.src
    packet.src = source[0]
    packet.ttl = DEFAULT_TTL

cdef inline bint echo4_turn(Packet *packet, const Ip *source, bint partial) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    cdef uint8_t *icmp = packet.l4
    cdef bint options = icmp != ip + IPV4_HLEN
    cdef uint16_t id
    if (options if partial else fold(sum_words(icmp, packet.l4_length)) != 0xffff):
        return False                    # a partial one would have to move with its message
    icmp[0] = ICMP_ECHO_REPLY
    if not partial:                     # a partial one is summed up later: ICMP has no pseudo-header
        store16(icmp + 2, 0)            # summed anew: of all zeros, an incremental update would make the wrong zero
        store16(icmp + 2, sum_finish(sum_words(icmp, packet.l4_length)))
    if options:                         # routes and time stamps of the way here are none of the way back
        memmove(ip + IPV4_HLEN, icmp, packet.l4_length)
        packet.l4 = ip + IPV4_HLEN
        packet.length = IPV4_HLEN + packet.l4_length
    echo_turned(packet, source)
    id = load16(ip + 4)
    ip4_header(ip, <uint16_t>packet.length, packet.tos, PROTO_ICMP, &packet.src, &packet.dst)
    store16(ip + 4, id)                 # it may be fragmented on its way
    store16(ip + 10, adjust(load16(ip + 10), delta16(0, id)))
    return True

cdef inline bint echo6_turn(Packet *packet, const Ip *source, bint partial) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    cdef uint8_t *icmp = packet.l4
    cdef uint16_t old = load16(icmp)
    cdef uint32_t before = fold(sum_words(ip + 8, 32)), change
    if not partial and not icmp6_sum_right(packet):
        return False
    icmp[0] = ICMP6_ECHO_REPLY
    echo_turned(packet, source)
    ip[7] = DEFAULT_TTL
    ip_store(ip + 8, &packet.src, False)
    ip_store(ip + 24, &packet.dst, False)
    change = delta16(before, fold(sum_words(ip + 8, 32)))
    if partial:
        store16(icmp + 2, adjust_partial(load16(icmp + 2), change))
    else:
        store16(icmp + 2, adjust(load16(icmp + 2), change + delta16(old, load16(icmp))))
    return True


cdef inline bint tcp_sum_right(const Packet *packet) noexcept nogil:
    cdef uint64_t total = sum_length(packet.l4_length) + sum_words(packet.l4, packet.l4_length)
    total += sum_pseudo6(packet.l3, PROTO_TCP) if packet.family == 6 else sum_pseudo4(packet.l3, PROTO_TCP)
    return fold(total) == 0xffff

cdef inline bint tcp_resettable(const Packet *packet, bint partial) noexcept nogil:
    """Whether a reset may answer the packet: a whole TCP segment, no reset itself, its checksum right."""
    if packet.tuple.proto != PROTO_TCP or packet.l4 == NULL or packet.l4_length < TCP_HLEN \
            or packet.flags & (PACKET_FRAGMENT | PACKET_MORE) or packet.l4[13] & TCP_RST:
        return False
    return partial or tcp_sum_right(packet)

cdef inline uint32_t tcp_reset(uint8_t *out, const Packet *packet, uint8_t tos) noexcept nogil:
    """The reset that refuses the segment (RFC 9293, 3.10.7.1), as an IP packet; returns its length, at most 60."""
    cdef uint8_t *reset
    if packet.family == 6:
        reset = out + IPV6_HLEN
        ip6_header(out, TCP_HLEN, PROTO_TCP, &packet.dst, &packet.src)
        store16be(out, 0x6000 | <uint16_t>tos << 4)
        reset_write(reset, packet)
        store16(reset + 16, sum_finish(sum_pseudo6(out, PROTO_TCP) + sum_length(TCP_HLEN) + sum_words(reset, TCP_HLEN)))
        return IPV6_HLEN + TCP_HLEN
    reset = out + IPV4_HLEN
    ip4_header(out, IPV4_HLEN + TCP_HLEN, tos, PROTO_TCP, &packet.dst, &packet.src)
    store16be(out + 6, IPV4_DF)         # so it needs no identification (RFC 6864)
    store16(out + 10, adjust(load16(out + 10), delta16(0, load16(out + 6))))
    reset_write(reset, packet)
    store16(reset + 16, sum_finish(sum_pseudo4(out, PROTO_TCP) + sum_length(TCP_HLEN) + sum_words(reset, TCP_HLEN)))
    return IPV4_HLEN + TCP_HLEN

cdef inline void reset_write(uint8_t *reset, const Packet *packet) noexcept nogil:
    """The TCP header, its checksum 0.

    One that acknowledges names the number to use; else ours is 0 and acknowledges all that the segment took up."""
    cdef const uint8_t *tcp = packet.l4
    cdef uint32_t header = (tcp[12] >> 4) * 4
    cdef uint32_t payload = packet.l4_length - header if header <= packet.l4_length else 0
    cdef bint acknowledges = tcp[13] & TCP_ACK
    store16(reset, load16(tcp + 2))
    store16(reset + 2, load16(tcp))
    store32(reset + 4, load32(tcp + 8) if acknowledges else 0)
    store32be(reset + 8, 0 if acknowledges else load32be(tcp + 4) + payload
              + ((tcp[13] & TCP_SYN) != 0) + ((tcp[13] & TCP_FIN) != 0))
    reset[12] = TCP_HLEN << 2
    reset[13] = TCP_RST if acknowledges else TCP_RST | TCP_ACK
    store32(reset + 14, 0)              # window, and the checksum for now
    store16(reset + 18, 0)
