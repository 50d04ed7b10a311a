"""The rarer half of tracking: packets that begin a connection, and ICMP errors that speak of one. See track.pxd.

An ICMP error quotes the packet that it is about. It is RELATED if that packet's connection is known and the error goes
to the end that sent it; whatever quotes rubbish is INVALID.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport (
    IPV4_HLEN, IPV6_HLEN, PROTO_AH, PROTO_DSTOPTS, PROTO_FRAGMENT, PROTO_HOPOPTS, PROTO_ICMP, PROTO_ICMPV6, PROTO_NONE,
    PROTO_ROUTING, PROTO_SCTP, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, ip4_at, ip6_at, ip_equal,
)
from ..core.native cimport load16, load16be, prefetch, relaxed_load64, spin_lock, spin_unlock
from ..core.packet cimport CT_RELATED, CT_REPLY, NO_ENTRY, Packet, Tuple
from .confirm cimport ct_abandon, ct_join
from .conntrack cimport (
    CT_ORIGINAL, CT_REPLY_DIR, CT_WAYS, Conntrack, CtBucket, ct_find_locked, ct_first, ct_hash, ct_holds, ct_lock,
    ct_second, ct_slot_entry, ct_tuple,
)
from .entries cimport ct_take
from .track_icmp cimport ct_invert, icmp_asks, icmpv6_asks
from .states cimport TCP_INVALID, TCP_NONE, TCP_SYN_SENT
from .tcp cimport TRACK_INVALID, segment_kind, tcp_transitions

cdef enum:
    ICMP_HLEN = 8
    ICMPV6_REDIRECT = 137
    REDIRECT_HLEN = 40                  # and then its options (RFC 4861, 4.5)
    OPTION_REDIRECTED = 4
    EXTENSIONS = 8                      # IPv6 extension headers of a quoted packet


cdef uint32_t ct_find_zoned(Conntrack *ct, const Packet *packet, Tuple *tuple, uint64_t *hash, uint32_t now_s,
                            uint64_t *direction) noexcept nogil:
    """As ct_find_locked, where a rule gave each direction a zone of its own: a connection counts only if it has the tuple
    in the direction whose zone it is. `tuple` and `hash` are then those that were found."""
    cdef Tuple other = tuple[0]
    cdef uint64_t other_hash
    cdef uint32_t index = find_directed(ct, tuple, hash[0], CT_ORIGINAL, now_s)
    direction[0] = CT_ORIGINAL
    if index != NO_ENTRY:
        return index
    other.zone = packet.zone_reply
    other_hash = ct_hash(ct, &other)
    direction[0] = CT_REPLY_DIR
    index = find_directed(ct, &other, other_hash, CT_REPLY_DIR, now_s)
    if index != NO_ENTRY:
        tuple[0] = other
        hash[0] = other_hash
    return index

cdef uint32_t find_directed(Conntrack *ct, const Tuple *tuple, uint64_t hash, uint64_t direction,
                            uint32_t now_s) noexcept nogil:
    """The connection that has the tuple in that direction, its lock held; NO_ENTRY: none, and no lock is held."""
    cdef CtBucket *bucket = ct_first(ct, hash)
    cdef uint64_t slot
    cdef uint32_t index
    cdef int way
    for way in range(2 * CT_WAYS):
        if way == CT_WAYS:
            bucket = ct_second(ct, hash)
        slot = relaxed_load64(&bucket.slot[way % CT_WAYS])
        if (slot ^ hash) >> 32 or not slot or slot & 1 != direction:
            continue
        index = ct_slot_entry(slot)
        spin_lock(ct_lock(ct, index))
        if ct_holds(&ct.entry[index], tuple, direction, now_s):
            return index
        spin_unlock(ct_lock(ct, index))
    return NO_ENTRY


# New connections

cdef bint may_begin(const Conntrack *ct, const Packet *packet) noexcept nogil:
    """Whether a connection may begin with the packet. Asked first: rubbish pushes nobody out of a full table."""
    cdef uint8_t type = <uint8_t>packet.tuple.dport
    cdef int state
    if packet.tuple.proto == PROTO_TCP:
        state = tcp_transitions[CT_ORIGINAL][segment_kind(packet.tcp_flags)][TCP_NONE]
        return state == TCP_SYN_SENT or (state != TCP_INVALID and ct.shared.settings.tcp_loose)
    if packet.tuple.proto == PROTO_ICMP:
        return packet.family == 4 and icmp_asks(type)
    if packet.tuple.proto == PROTO_ICMPV6:
        return packet.family == 6 and icmpv6_asks(type)
    return True

cdef int ct_new(Conntrack *ct, Packet *packet, uint64_t now_ns, uint32_t now_s) noexcept nogil:
    """The packet's connection is not known: begin one, or join the one that a packet of this burst began."""
    cdef Tuple reply
    cdef uint32_t index
    cdef int reason = 0
    cdef bint new = False
    packet.ct = NO_ENTRY
    if packet.tuple.zone != packet.zone:    # found by the reply's zone, a connection that is over and begins anew
        packet.tuple.zone = packet.zone
        packet.hash = ct_hash(ct, &packet.tuple)
    if not may_begin(ct, packet) or not ct_invert(&packet.tuple, &reply):
        ct_invalid(ct, packet)
        return 0
    reply.zone = packet.zone_reply
    index = ct_join(ct, &packet.tuple, packet.hash)
    if index == NO_ENTRY:
        prefetch(ct_first(ct, ct_hash(ct, &reply)))     # which ct_confirm will want
        index = ct_take(ct, packet.hash, packet.in_port, now_s, &reason)
        if index == NO_ENTRY:
            return reason
        new = True
    spin_lock(ct_lock(ct, index))
    if new:
        ct.entry[index].original = packet.tuple
        ct.entry[index].reply = reply
    if ct_update(ct, packet, index, CT_ORIGINAL, now_ns, now_s, new) == TRACK_INVALID:
        ct_abandon(ct, packet)
        ct_invalid(ct, packet)
    return 0


# ICMP errors

cdef inline bint has_ports(uint8_t proto) noexcept nogil:
    return proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_UDPLITE or proto == PROTO_SCTP

cdef bint quoted_ports(const uint8_t *l4, const uint8_t *end, Tuple *tuple) noexcept nogil:
    """What layer 4 adds to the tuple of a quoted packet; False: there is not enough of it."""
    tuple.sport = 0
    tuple.dport = 0
    if has_ports(tuple.proto):
        if end - l4 < 4:
            return False
        tuple.sport = load16(l4)
        tuple.dport = load16(l4 + 2)
    elif tuple.proto == PROTO_ICMP or tuple.proto == PROTO_ICMPV6:
        if end - l4 < ICMP_HLEN:
            return False
        tuple.sport = load16(l4 + 4)
        tuple.dport = load16(l4)
    return l4 <= end

cdef const uint8_t *quoted_ipv4(const uint8_t *ip, const uint8_t *end, Tuple *tuple) noexcept nogil:
    """The addresses and protocol; returns where layer 4 begins, NULL for what is no IPv4 packet or a later fragment."""
    cdef uint32_t header
    if end - ip < IPV4_HLEN:
        return NULL
    header = (ip[0] & 15) * 4
    if ip[0] >> 4 != 4 or header < IPV4_HLEN or end - ip < header or load16be(ip + 6) & 0x1fff:
        return NULL
    tuple.src = ip4_at(ip + 12)
    tuple.dst = ip4_at(ip + 16)
    tuple.proto = ip[9]
    return ip + header

cdef const uint8_t *skip_extensions(const uint8_t *at, const uint8_t *end, uint8_t *proto) noexcept nogil:
    """The header behind IPv6's extension headers; NULL: it is not there."""
    cdef uint32_t n, length
    for n in range(EXTENSIONS):
        if proto[0] not in (PROTO_HOPOPTS, PROTO_ROUTING, PROTO_DSTOPTS, PROTO_FRAGMENT, PROTO_AH):
            return at if proto[0] != PROTO_NONE else NULL
        if end - at < 8 or (proto[0] == PROTO_FRAGMENT and load16be(at + 2) & 0xfff8):
            return NULL
        length = 8 if proto[0] == PROTO_FRAGMENT else (at[1] + 2) * 4 if proto[0] == PROTO_AH else (at[1] + 1) * 8
        proto[0] = at[0]
        at += length
        if at > end:
            return NULL
    return NULL

cdef const uint8_t *quoted_ipv6(const uint8_t *ip, const uint8_t *end, Tuple *tuple) noexcept nogil:
    if end - ip < IPV6_HLEN or ip[0] >> 4 != 6:
        return NULL
    tuple.src = ip6_at(ip + 8)
    tuple.dst = ip6_at(ip + 24)
    tuple.proto = ip[6]
    return skip_extensions(ip + IPV6_HLEN, end, &tuple.proto)

cdef const uint8_t *redirected(const Packet *packet, const uint8_t *end) noexcept nogil:
    """The packet that a redirect quotes; NULL: none, or the redirect is not to be believed (RFC 4861, 8.1)."""
    cdef const uint8_t *option = packet.l4 + REDIRECT_HLEN
    cdef const uint8_t *source = packet.l3 + 8
    if packet.ttl != 255 or packet.l4[1] != 0 or source[0] != 0xfe or source[1] & 0xc0 != 0x80:
        return NULL
    if end - option < 8 or option[1] == 0 or option[0] != OPTION_REDIRECTED:
        return NULL
    return option + 8

cdef bint quoted_tuple(const Packet *packet, Tuple *tuple) noexcept nogil:
    """The tuple of the packet that the error is about."""
    cdef const uint8_t *end = packet.l3 + packet.length
    cdef const uint8_t *ip = packet.l4 + ICMP_HLEN
    cdef const uint8_t *l4
    if packet.family == 6 and packet.l4[0] == ICMPV6_REDIRECT:
        ip = redirected(packet, end)
        if ip == NULL:
            return False
    l4 = quoted_ipv4(ip, end, tuple) if packet.family == 4 else quoted_ipv6(ip, end, tuple)
    tuple.zone = packet.tuple.zone
    tuple.pad = 0
    return l4 != NULL and quoted_ports(l4, end, tuple)

cdef void ct_error(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil:
    """An ICMP error belongs to the connection of the packet that it quotes."""
    cdef Tuple quoted, inverse
    cdef uint64_t direction = 0, hash
    cdef uint32_t index = NO_ENTRY
    cdef bint to_sender
    if packet.l4_length >= ICMP_HLEN and quoted_tuple(packet, &quoted) and ct_invert(&quoted, &inverse):
        hash = ct_hash(ct, &inverse)
        if packet.zone == packet.zone_reply:
            index = ct_find_locked(ct, &inverse, hash, now_s, &direction)
        else:
            index = ct_find_zoned(ct, packet, &inverse, &hash, now_s, &direction)
    if index == NO_ENTRY:
        ct_invalid(ct, packet)
        return
    to_sender = ip_equal(&ct_tuple(&ct.entry[index], direction).dst, &packet.tuple.dst)
    spin_unlock(ct_lock(ct, index))
    if not to_sender:
        ct_invalid(ct, packet)
        return
    packet.ct = index
    packet.ct_info = CT_RELATED | (CT_REPLY if direction == CT_REPLY_DIR else 0)
