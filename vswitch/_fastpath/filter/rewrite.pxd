"""Rewriting one end of a packet, address and port, in place, and all checksums over it.

Checksums are updated by the difference (RFC 1624), so a wrong one stays wrong, and a super-frame is no different from
any other frame. A partial one (NEEDS_CSUM) holds the pseudo-header's sum and nothing else: addresses count, ports do
not. Partial is only what the virtio-net header names: a frame whose header names an inner checksum, behind a
tunnel's, has a full outer one.

Only the ports of TCP, UDP and UDP-Lite and the identifiers of ICMP queries are rewritten. Packets of other protocols
change their addresses alone, those of SCTP with good reason: its CRC covers ports, but no addresses.

Functions of their arguments alone; lengths are what `dissect` has checked.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport VNET_LEN, Frame
from ..core.ip cimport PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, Ip, ip4_word, ip_store
from ..core.native cimport load16, load_fence, store16
from ..core.packet cimport PACKET_CHANGED, Packet, Tuple
from ..core.snapshot cimport OFFLOAD_CSUM
from ..io.checksum cimport adjust, adjust_partial, delta16, delta32, nonzero
from ..io.vnet cimport VnetHdr, vnet_load
from .conntrack cimport CT_CONFIRMED, CT_UNCONFIRMED, CtEntry, ct_same, ct_tuple

cdef enum NatManip:
    NAT_SRC = 0                         # the kernel's enum nf_nat_manip_type
    NAT_DST = 1

cdef enum:
    IPV4_CHECKSUM = 10                  # where fields lie in their headers
    TCP_CHECKSUM_AT = 16
    UDP_CHECKSUM_AT = 6
    ICMP_CHECKSUM_AT = 2
    ICMP_ID_AT = 4

    ICMP4_QUERIES = 0x7e101             # bit by type: echo, timestamp, information, address mask, and their replies
    ICMP6_ECHO_REQUEST = 128
    ICMP6_ECHO_REPLY = 129

cdef struct NatEnd:                     # what one end of the packet becomes
    Ip ip
    uint16_t port                       # or ICMP identifier; as in the packet


cdef inline bint still_same(const CtEntry *entry, const Tuple *tuple, int direction) noexcept nogil:
    """Whether the entry, of which something was just copied, is this tuple's connection, and was so all the time."""
    load_fence()
    if entry.use != CT_CONFIRMED and entry.use != CT_UNCONFIRMED:
        return False
    load_fence()
    return ct_same(ct_tuple(entry, direction), tuple)

cdef inline bint proto_is_icmp(uint8_t proto) noexcept nogil:
    return proto == PROTO_ICMP or proto == PROTO_ICMPV6

cdef inline NatEnd nat_inverse(const Tuple *other, NatManip manip) noexcept nogil:
    """Source or destination of the packet that `other`, the opposite direction's tuple, would be the answer to."""
    cdef NatEnd end
    if manip == NAT_SRC:
        end.ip = other.dst
        end.port = other.sport if proto_is_icmp(other.proto) else other.dport
    else:
        end.ip = other.src
        end.port = other.sport
    return end

cdef inline void rewrite_packet(Packet *packet, Frame *frame, NatManip manip, const NatEnd *to) noexcept nogil:
    cdef const Ip *now = &packet.src if manip == NAT_SRC else &packet.dst
    cdef uint32_t addresses = ip_delta(now, &to.ip, packet.family == 4)
    cdef uint8_t proto = packet.tuple.proto
    if packet.l4 != NULL:
        if proto == PROTO_TCP:
            rewrite_ports(packet, frame, manip, to.port, addresses, TCP_CHECKSUM_AT)
        elif proto == PROTO_UDP or proto == PROTO_UDPLITE:
            rewrite_ports(packet, frame, manip, to.port, addresses, UDP_CHECKSUM_AT)
        elif proto_is_icmp(proto):
            rewrite_icmp(packet, frame, to.port, addresses)
    rewrite_address(packet, manip, &to.ip, addresses)

cdef inline uint32_t ip_delta(const Ip *old, const Ip *new, bint is_v4) noexcept nogil:
    """The difference that one address in place of another makes to a sum."""
    if is_v4:
        return delta32(ip4_word(old), ip4_word(new))
    return delta64(old.high, new.high) + delta64(old.low, new.low)

cdef inline uint32_t delta64(uint64_t old, uint64_t new) noexcept nogil:
    return delta32(<uint32_t>old, <uint32_t>new) + delta32(<uint32_t>(old >> 32), <uint32_t>(new >> 32))

cdef inline void rewrite_address(Packet *packet, NatManip manip, const Ip *ip, uint32_t delta) noexcept nogil:
    """The IP header alone, and what `packet` says of it."""
    cdef bint is_v4 = packet.family == 4
    cdef uint8_t *check = packet.l3 + IPV4_CHECKSUM
    if is_v4:
        store16(check, adjust(load16(check), delta))
    if manip == NAT_SRC:
        ip_store(packet.l3 + (12 if is_v4 else 8), ip, is_v4)
        packet.src = ip[0]
    else:
        ip_store(packet.l3 + (16 if is_v4 else 24), ip, is_v4)
        packet.dst = ip[0]
    packet.flags |= PACKET_CHANGED

cdef inline void rewrite_ports(Packet *packet, Frame *frame, NatManip manip, uint16_t port, uint32_t addresses,
                               uint32_t field) noexcept nogil:
    """One port, and the checksum at `field` for it and for the address."""
    cdef uint8_t *at = packet.l4 if manip == NAT_SRC else packet.l4 + 2
    cdef uint8_t *check = packet.l4 + field
    cdef uint32_t delta = addresses + delta16(load16(at), port)
    store16(at, port)
    if manip == NAT_SRC:
        packet.sport = port
    else:
        packet.dport = port
    if is_partial(packet, frame, field):
        store16(check, adjust_partial(load16(check), addresses))
    elif field == TCP_CHECKSUM_AT:
        store16(check, adjust(load16(check), delta))
    elif load16(check) or packet.tuple.proto == PROTO_UDPLITE:
        store16(check, nonzero(adjust(load16(check), delta)))

cdef inline bint icmp_has_id(uint8_t proto, uint8_t kind) noexcept nogil:
    """Whether messages of this type carry an identifier, in bytes 4 and 5."""
    if proto == PROTO_ICMP:
        return kind < 32 and (<uint32_t>ICMP4_QUERIES >> kind) & 1
    return kind == ICMP6_ECHO_REQUEST or kind == ICMP6_ECHO_REPLY

cdef inline void rewrite_icmp(Packet *packet, Frame *frame, uint16_t identifier, uint32_t addresses) noexcept nogil:
    """The identifier of a query; of ICMPv6, whose checksum has a pseudo-header, the addresses too."""
    cdef uint8_t *at = packet.l4 + ICMP_ID_AT
    cdef uint32_t delta = 0
    if icmp_has_id(packet.tuple.proto, packet.l4[0]):
        delta = delta16(load16(at), identifier)
        store16(at, identifier)
        packet.sport = identifier
    update_icmp(packet, frame, delta, addresses)

cdef inline void update_icmp(Packet *packet, Frame *frame, uint32_t content, uint32_t addresses) noexcept nogil:
    """The checksum of an ICMP message whose content and addresses changed by so much."""
    cdef uint8_t *check = packet.l4 + ICMP_CHECKSUM_AT
    if packet.family == 4:
        addresses = 0
    if is_partial(packet, frame, ICMP_CHECKSUM_AT):
        store16(check, adjust_partial(load16(check), addresses))
    else:
        store16(check, adjust(load16(check), content + addresses))

cdef inline bint is_partial(const Packet *packet, const Frame *frame, uint32_t field) noexcept nogil:
    """Whether the checksum at l4 + field is one that the virtio-net header asks to be completed."""
    cdef VnetHdr header
    if not frame.needs & OFFLOAD_CSUM:
        return False
    vnet_load(&header, frame.data - VNET_LEN)
    return frame.data + header.csum_start == packet.l4 and header.csum_offset == field
