"""ICMP and ICMPv6 errors about a packet (RFC 792, 1812, 4443), built as an IP packet in a buffer of the caller's.

An error quotes the packet as it lies: up to 576 bytes in all for IPv4, 1,280 for IPv6. Of a super-frame, or one with
a partial checksum, that is a prefix like any other, as in the kernel. `icmp_answerable` says about which packets
none may be sent, and `limit.pxd` how often one may; neither is asked here.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from ..core.ip cimport (
    IPV4_HLEN, IPV6_HLEN, PROTO_ICMP, PROTO_ICMPV6, Ip, ip4_word, ip_is_multicast, ip_is_zero, ip_store,
)
from ..core.native cimport load16, store16, store16be, store32be
from ..core.packet cimport PACKET_FRAGMENT, Packet
from ..core.snapshot cimport Device
from ..io.checksum cimport sum_finish, sum_length, sum_pseudo6, sum_words
from .address cimport device_broadcast, ip_is_loopback
from .hop cimport DEFAULT_TTL

cdef enum:
    ICMP_HLEN = 8
    ICMP_ERROR_MAX = 576                # RFC 1812, 4.3.2.3
    ICMP6_ERROR_MAX = 1280              # RFC 4443, 3
    PRECEDENCE = 0xc0                   # internetwork control (RFC 1812, 4.3.2.5)
    TOS_BITS = 0x1e                     # what the kernel's answers keep of the packet's

    ICMP_ECHO_REPLY = 0
    ICMP_UNREACHABLE = 3
    ICMP_SOURCE_QUENCH = 4
    ICMP_REDIRECT = 5
    ICMP_ECHO = 8
    ICMP_TIME_EXCEEDED = 11
    ICMP_PARAMETER = 12
    NET_UNREACHABLE = 0
    HOST_UNREACHABLE = 1
    PROTOCOL_UNREACHABLE = 2
    PORT_UNREACHABLE = 3
    FRAGMENTATION_NEEDED = 4
    NET_PROHIBITED = 9
    HOST_PROHIBITED = 10
    ADMIN_PROHIBITED = 13

    ICMP6_UNREACHABLE = 1
    ICMP6_TOO_BIG = 2
    ICMP6_TIME_EXCEEDED = 3
    ICMP6_PARAMETER = 4
    ICMP6_ECHO = 128
    ICMP6_ECHO_REPLY = 129
    ICMP6_REDIRECT = 137
    ICMP6_NO_ROUTE = 0
    ICMP6_PROHIBITED = 1
    ICMP6_ADDRESS = 3
    ICMP6_PORT = 4
    ICMP6_POLICY = 5
    ICMP6_REJECT_ROUTE = 6
    ICMP6_UNKNOWN_OPTION = 2            # code of ICMP6_PARAMETER


cdef inline bint icmp_is_error(const Packet *packet) noexcept nogil:
    """Whether the packet is an ICMP message that reports an error, or one too short to tell."""
    cdef uint8_t kind
    if packet.tuple.proto == PROTO_ICMP and packet.family == 4:
        if packet.l4 == NULL or packet.l4_length < 1:
            return True
        kind = packet.l4[0]
        return kind == ICMP_UNREACHABLE or kind == ICMP_SOURCE_QUENCH or kind == ICMP_REDIRECT \
            or kind == ICMP_TIME_EXCEEDED or kind == ICMP_PARAMETER or kind > 18
    if packet.tuple.proto == PROTO_ICMPV6 and packet.family == 6:
        return packet.l4 == NULL or packet.l4_length < 1 or packet.l4[0] < 128 or packet.l4[0] == ICMP6_REDIRECT
    return False

cdef inline bint icmp_to_many(const Packet *packet, const Device *device, uint8_t kind, uint8_t code) noexcept nogil:
    """Whether the packet went to many, so that all of them might answer.

    IPv6 answers even so to what is too big, and to an option that asks for it (RFC 4443, 2.4 e.3)."""
    if packet.family == 6:
        return ip_is_multicast(&packet.dst) and kind != ICMP6_TOO_BIG \
            and not (kind == ICMP6_PARAMETER and code == ICMP6_UNKNOWN_OPTION)
    return ip_is_multicast(&packet.dst) or ip4_word(&packet.dst) == 0xffffffffU \
        or (device != NULL and device_broadcast(device, &packet.dst))

cdef inline bint icmp_answerable(const Packet *packet, const Device *device, uint8_t kind, uint8_t code) noexcept nogil:
    """Whether an error of that type may be sent about the packet (RFC 1122 3.2.2, RFC 4443 2.4 e).

    `device`: where it came in; may be NULL. A frame to a group MAC is the caller's to see."""
    if packet.family == 0 or packet.flags & PACKET_FRAGMENT or icmp_is_error(packet):
        return False
    if ip_is_zero(&packet.src) or ip_is_multicast(&packet.src) or ip_is_loopback(&packet.src):
        return False
    if packet.family == 4 and (ip4_word(&packet.src) == 0xffffffffU or (ip4_word(&packet.src) & 0xff) == 0
                               or (device != NULL and device_broadcast(device, &packet.src))):
        return False
    return not icmp_to_many(packet, device, kind, code)

cdef inline bint icmp_is_limited(uint8_t family, uint8_t kind, uint8_t code) noexcept nogil:
    """Whether errors of that type are rate limited: all but path MTU discovery's."""
    if family == 6:
        return kind != ICMP6_TOO_BIG
    return kind != ICMP_UNREACHABLE or code != FRAGMENTATION_NEEDED

cdef inline uint32_t icmp_error(uint8_t *out, const Packet *packet, uint8_t kind, uint8_t code, uint32_t info,
                                const Ip *source) noexcept nogil:
    """The error as an IP packet from `source` to the packet's source; returns its length, at most ICMP6_ERROR_MAX.

    `info` is the header's second word: the MTU, or the pointer (IPv4's is its first byte: pointer << 24)."""
    if packet.family == 6:
        return icmp6_error(out, packet, kind, code, info, source)
    return icmp4_error(out, packet, kind, code, info, source)

cdef inline void icmp_write(uint8_t *icmp, const Packet *packet, uint8_t kind, uint8_t code, uint32_t info,
                            uint32_t quoted) noexcept nogil:
    icmp[0] = kind
    icmp[1] = code
    store16(icmp + 2, 0)
    store32be(icmp + 4, info)
    memcpy(icmp + ICMP_HLEN, packet.l3, quoted)

cdef inline uint32_t icmp4_error(uint8_t *out, const Packet *packet, uint8_t kind, uint8_t code, uint32_t info,
                                 const Ip *source) noexcept nogil:
    cdef uint8_t *icmp = out + IPV4_HLEN
    cdef uint32_t room = ICMP_ERROR_MAX - IPV4_HLEN - ICMP_HLEN
    cdef uint32_t quoted = packet.length if packet.length < room else room
    cdef uint16_t id = load16(packet.l3 + 4)
    icmp_write(icmp, packet, kind, code, info, quoted)
    store16(icmp + 2, sum_finish(sum_words(icmp, ICMP_HLEN + quoted)))
    ip4_header(out, IPV4_HLEN + ICMP_HLEN + quoted, PRECEDENCE | (packet.tos & TOS_BITS), PROTO_ICMP, source,
               &packet.src)
    store16(out + 4, id)                # it may be fragmented on its way, so it needs some identification
    store16(out + 10, 0)
    store16(out + 10, sum_finish(sum_words(out, IPV4_HLEN)))
    return IPV4_HLEN + ICMP_HLEN + quoted

cdef inline uint32_t icmp6_error(uint8_t *out, const Packet *packet, uint8_t kind, uint8_t code, uint32_t info,
                                 const Ip *source) noexcept nogil:
    cdef uint8_t *icmp = out + IPV6_HLEN
    cdef uint32_t room = ICMP6_ERROR_MAX - IPV6_HLEN - ICMP_HLEN
    cdef uint32_t quoted = packet.length if packet.length < room else room
    icmp_write(icmp, packet, kind, code, info, quoted)
    ip6_header(out, ICMP_HLEN + quoted, PROTO_ICMPV6, source, &packet.src)
    store16(icmp + 2, sum_finish(sum_pseudo6(out, PROTO_ICMPV6) + sum_length(ICMP_HLEN + quoted)
                                 + sum_words(icmp, ICMP_HLEN + quoted)))
    return IPV6_HLEN + ICMP_HLEN + quoted

cdef inline void ip4_header(uint8_t *out, uint16_t length, uint8_t tos, uint8_t proto, const Ip *source,
                            const Ip *destination) noexcept nogil:
    """A plain IPv4 header of `length` bytes of packet, its checksum complete."""
    memset(out, 0, IPV4_HLEN)
    out[0] = 0x45
    out[1] = tos
    store16be(out + 2, length)
    out[8] = DEFAULT_TTL
    out[9] = proto
    ip_store(out + 12, source, True)
    ip_store(out + 16, destination, True)
    store16(out + 10, sum_finish(sum_words(out, IPV4_HLEN)))

cdef inline void ip6_header(uint8_t *out, uint16_t payload, uint8_t proto, const Ip *source,
                            const Ip *destination) noexcept nogil:
    """A plain IPv6 header in front of `payload` bytes."""
    memset(out, 0, 8)
    out[0] = 0x60
    store16be(out + 4, payload)
    out[6] = proto
    out[7] = DEFAULT_TTL
    ip_store(out + 8, source, False)
    ip_store(out + 24, destination, False)
