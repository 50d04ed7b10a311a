"""The stage that gives every packet its connection: Packet.ct, the entry, and Packet.ct_info, what iptables calls
ctstate.

A packet of a known connection is dealt with here, inline: found by its tuple, judged by its protocol, counted, its
time renewed, all under one hold of the entry's lock. New connections and ICMP errors are rarer: track.pyx.

INVALID and UNTRACKED packets have no entry. A connection that a packet ends (a refused SYN, a SYN that reopens) is
made to expire at once and not deleted, since that packet, and others of the burst, still need its addresses: the sweep
takes it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport PROTO_GRE, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE
from ..core.native cimport count, relaxed_load64, spin_unlock
from ..core.packet cimport (
    CT_ESTABLISHED, CT_INVALID, CT_NEW, CT_RELATED, CT_REPLY, CT_UNTRACKED, NO_ENTRY, PACKET_BAD_CHECKSUM,
    PACKET_FRAGMENT, PACKET_SHORT, Packet, Tuple,
)
from .conntrack cimport (
    CT_EVENT_UPDATE, CT_REPLY_DIR, CT_UNCONFIRMED, IPS_DYING, IPS_EXPECTED, IPS_SEEN_REPLY, Conntrack, CtEntry,
    CtSettings, ct_find_locked, ct_lock,
)
from .entries cimport ct_event
from .track_icmp cimport icmp_is_error, icmpv6_is_error, icmpv6_is_untracked
from .tcp cimport TRACK_ACCEPT, TRACK_INVALID, TRACK_REOPEN, tcp_flags_valid, tcp_packet
from .udp cimport pair_packet, udp_packet

cdef int ct_new(Conntrack *ct, Packet *packet, uint64_t now_ns, uint32_t now_s) noexcept nogil
cdef void ct_error(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil
cdef uint32_t ct_find_zoned(Conntrack *ct, const Packet *packet, Tuple *tuple, uint64_t *hash, uint32_t now_s,
                            uint64_t *direction) noexcept nogil


cdef inline void ct_invalid(Conntrack *ct, Packet *packet) noexcept nogil:
    packet.ct = NO_ENTRY
    packet.ct_info = CT_INVALID
    count(&ct.counters.invalid, 1)

cdef inline uint8_t ct_info_of(const CtEntry *entry, uint64_t direction) noexcept nogil:
    if direction == CT_REPLY_DIR:
        return CT_ESTABLISHED | CT_REPLY
    if entry.status & IPS_SEEN_REPLY:
        return CT_ESTABLISHED
    return CT_RELATED if entry.status & IPS_EXPECTED else CT_NEW

cdef inline int ct_judge(CtEntry *entry, uint64_t direction, const Packet *packet, const CtSettings *settings,
                         uint64_t now_ns, uint32_t now_s, bint new, uint32_t *timeout) noexcept nogil:
    """The protocol's word on the packet: TRACK_*, and how long the connection is kept. Holds: the entry's lock."""
    cdef uint8_t proto = packet.tuple.proto
    if proto == PROTO_TCP:
        return tcp_packet(entry, direction, packet, settings, now_s, timeout)
    if proto == PROTO_UDP:
        timeout[0] = udp_packet(entry, settings, now_ns, new)
    elif proto == PROTO_UDPLITE:
        timeout[0] = pair_packet(entry, settings.udp, settings.udp_stream)
    elif proto == PROTO_GRE:
        timeout[0] = pair_packet(entry, settings.gre, settings.gre_stream)
    elif proto == PROTO_ICMP:
        timeout[0] = settings.icmp
    else:
        timeout[0] = settings.icmpv6 if proto == PROTO_ICMPV6 else settings.generic
    return TRACK_ACCEPT

cdef inline void ct_count(Conntrack *ct, const Packet *packet, uint32_t index, uint64_t direction) noexcept nogil:
    """Holds: the entry's lock."""
    ct.account[index].packets[direction] += 1
    ct.account[index].bytes[direction] += packet.length

cdef inline int ct_update(Conntrack *ct, Packet *packet, uint32_t index, uint64_t direction, uint64_t now_ns,
                          uint32_t now_s, bint new) noexcept nogil:
    """A packet of this connection; TRACK_*. Holds the entry's lock, and releases it."""
    cdef CtEntry *entry = &ct.entry[index]
    cdef const CtSettings *settings = &ct.shared.settings
    cdef uint32_t timeout = 0, status = entry.status
    cdef uint8_t state = entry.state
    cdef int fate
    packet.ct = index
    packet.ct_info = ct_info_of(entry, direction)
    fate = ct_judge(entry, direction, packet, settings, now_ns, now_s, new, &timeout)
    if fate == TRACK_ACCEPT:
        if entry.expires_s != now_s + timeout:
            entry.expires_s = now_s + timeout
        if settings.acct:
            ct_count(ct, packet, index, direction)
    if fate == TRACK_REOPEN or (fate == TRACK_ACCEPT and not timeout):
        entry.expires_s = now_s
        entry.status |= IPS_DYING
    if (direction == CT_REPLY_DIR and fate != TRACK_INVALID and fate != TRACK_REOPEN
            and not entry.status & IPS_SEEN_REPLY):
        entry.status |= IPS_SEEN_REPLY  # even by a reset that ends it: rules still see the entry
    # Unconfirmed entries have nothing to tell yet.
    status = (status ^ entry.status) | (state ^ entry.state) if entry.use != CT_UNCONFIRMED else 0
    spin_unlock(ct_lock(ct, index))
    if status and relaxed_load64(&ct.shared.listening):
        ct_event(ct, CT_EVENT_UPDATE, index, now_s)
    return fate

cdef inline bint ct_concerns(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil:
    """Whether the packet's own tuple tells its connection; else it has been dealt with here."""
    cdef uint8_t proto = packet.tuple.proto, type = <uint8_t>packet.tuple.dport
    if packet.l4 == NULL or packet.flags & (PACKET_SHORT | PACKET_BAD_CHECKSUM | PACKET_FRAGMENT):
        ct_invalid(ct, packet)
        return False
    if proto == PROTO_TCP:
        if not tcp_flags_valid(packet.tcp_flags):
            ct_invalid(ct, packet)
            return False
    elif proto == PROTO_ICMP:
        if packet.family == 4 and icmp_is_error(type):
            ct_error(ct, packet, now_s)
            return False
    elif proto == PROTO_ICMPV6 and packet.family == 6:
        if icmpv6_is_untracked(type):
            packet.ct_info = CT_UNTRACKED
            return False
        if icmpv6_is_error(type):
            ct_error(ct, packet, now_s)
            return False
    return True

cdef inline int ct_track(Conntrack *ct, Packet *packet, uint64_t now_ns, uint32_t now_s) noexcept nogil:
    """Set the packet's ct and ct_info. 0, or a reason to drop it: CONNTRACK_FULL, CONNTRACK_BUDGET.

    A packet that has been tracked before, or that a rule exempted (CT_UNTRACKED), stays as it is. The packet of a new
    connection must reach ct_confirm or ct_abandon."""
    cdef uint64_t direction = 0
    cdef uint32_t index
    cdef int fate
    if packet.ct != NO_ENTRY or packet.ct_info == CT_UNTRACKED or not ct_concerns(ct, packet, now_s):
        return 0
    if packet.zone == packet.zone_reply:
        index = ct_find_locked(ct, &packet.tuple, packet.hash, now_s, &direction)
    else:
        index = ct_find_zoned(ct, packet, &packet.tuple, &packet.hash, now_s, &direction)
    if index == NO_ENTRY:
        return ct_new(ct, packet, now_ns, now_s)
    count(&ct.counters.found, 1)
    fate = ct_update(ct, packet, index, direction, now_ns, now_s, False)
    if fate == TRACK_REOPEN:
        return ct_new(ct, packet, now_ns, now_s)
    if fate == TRACK_INVALID:
        ct_invalid(ct, packet)
    return 0

cdef inline void ct_burst(Conntrack *ct) noexcept nogil:
    """A new burst begins: no packet of the last one waits for a rule's word."""
    ct.n_pending = 0
