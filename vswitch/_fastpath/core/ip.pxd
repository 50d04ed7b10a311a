"""Internet addresses and protocol numbers.

One type for both families: an IPv4 address a.b.c.d is held as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so tables, rules and
routes know one form and every comparison is two words. The bytes lie as in the packet, network order, whatever the machine's.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .native cimport load32, load64, store32, store64

cdef enum:
    IPV4_HLEN = 20
    IPV6_HLEN = 40

    PROTO_HOPOPTS = 0
    PROTO_ICMP = 1
    PROTO_IGMP = 2
    PROTO_TCP = 6
    PROTO_UDP = 17
    PROTO_ROUTING = 43
    PROTO_FRAGMENT = 44
    PROTO_GRE = 47
    PROTO_ESP = 50
    PROTO_AH = 51
    PROTO_ICMPV6 = 58
    PROTO_NONE = 59
    PROTO_DSTOPTS = 60
    PROTO_SCTP = 132
    PROTO_UDPLITE = 136

    TCP_FIN = 1
    TCP_SYN = 2
    TCP_RST = 4
    TCP_PSH = 8
    TCP_ACK = 16
    TCP_URG = 32

cdef struct Ip:
    uint64_t high                       # bytes 0 to 7 of the address, as loaded
    uint64_t low

cdef inline Ip ip4_at(const uint8_t *p) noexcept nogil:
    """The IPv4 address at p."""
    cdef Ip ip
    ip.high = 0
    ip.low = <uint64_t>load32(p) << 32 | 0xffff0000ULL
    return ip

cdef inline Ip ip6_at(const uint8_t *p) noexcept nogil:
    """The IPv6 address at p."""
    cdef Ip ip
    ip.high = load64(p)
    ip.low = load64(p + 8)
    return ip

cdef inline uint32_t ip4_word(const Ip *ip) noexcept nogil:
    """The four bytes of a mapped address, as they lie in a packet."""
    return <uint32_t>(ip.low >> 32)

cdef inline void ip_store(uint8_t *p, const Ip *ip, bint is_v4) noexcept nogil:
    """Write the address as its family's header holds it."""
    if is_v4:
        store32(p, ip4_word(ip))
    else:
        store64(p, ip.high)
        store64(p + 8, ip.low)

cdef inline bint ip_equal(const Ip *a, const Ip *b) noexcept nogil:
    return ((a.high ^ b.high) | (a.low ^ b.low)) == 0

cdef inline bint ip_within(const Ip *ip, const Ip *net, const Ip *mask) noexcept nogil:
    """Whether the address is in the network, whose host bits are zero."""
    return (((ip.high & mask.high) ^ net.high) | ((ip.low & mask.low) ^ net.low)) == 0

cdef inline bint ip_is_v4(const Ip *ip) noexcept nogil:
    return ip.high == 0 and (ip.low & 0xffffffffULL) == 0xffff0000ULL

cdef inline bint ip_is_zero(const Ip *ip) noexcept nogil:
    """0.0.0.0 or ::, which stand for "no address"."""
    return ip.high == 0 and (ip.low == 0 or ip.low == 0xffff0000ULL)

cdef inline bint ip_is_multicast(const Ip *ip) noexcept nogil:
    """224.0.0.0/4 or ff00::/8."""
    if ip_is_v4(ip):
        return ((ip.low >> 32) & 0xf0) == 0xe0
    return (ip.high & 0xff) == 0xff
