"""Reassembly, a unit of its own since fragments are rare. See reassemble.pxd for what it does."""
from typing import NamedTuple

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from ..core.arena cimport Arena
from ..core.counters cimport PortCounters
from ..core.ip cimport *
from ..core.native cimport (
    count, load16be, load32, relaxed_load64, spin_lock, spin_unlock, store16, store16be,
)
from ..core.packet cimport Packet
from ..core.verdict cimport *
from ..io.checksum cimport sum_finish, sum_words

cdef enum:
    IPV4_DF = 0x4000
    FRAGMENT_HLEN = 8                   # of IPv6


class ReassemblyCounters(NamedTuple):
    waiting: int
    whole: int
    failed: int

cdef struct Fragment:
    uint32_t id
    uint32_t start
    uint32_t end
    bint more
    uint32_t header_len                 # before the payload; of IPv6 without the fragment header
    uint32_t next_header
    uint8_t proto                       # what the fragment header, or IPv4's, says comes next
    const uint8_t *payload


cdef Gathered gather(Reassembly *table, PortCounters *counters, const Packet *packet, uint32_t now_s, Slot **whole,
                     uint8_t *verdict) noexcept nogil:
    """Take a fragment in. `counters` are the worker's, by port id. GATHER_WHOLE holds the table's lock until `release`."""
    cdef Fragment fragment
    cdef Slot *slot
    verdict[0] = FRAGMENT_MALFORMED
    if not read_fragment(packet, &fragment):
        return GATHER_DROP
    spin_lock(&table.lock)
    slot = find_slot(table, counters, packet, &fragment, now_s)
    if slot == NULL:
        spin_unlock(&table.lock)
        verdict[0] = FRAGMENT_MEMORY
        return GATHER_DROP
    verdict[0] = insert(slot, &fragment)
    if verdict[0] == DONE:              # we have it already
        spin_unlock(&table.lock)
        verdict[0] = FRAGMENT_OVERLAP
        return GATHER_DROP
    if verdict[0]:
        give_up(table, counters, slot, verdict[0])
        spin_unlock(&table.lock)
        return GATHER_DROP
    keep_headers(slot, packet, &fragment)
    if slot.has_first and slot.whole_length and slot.n_runs == 1 and slot.runs[0].start == 0 and slot.runs[0].end == slot.end:
        whole[0] = slot
        return GATHER_WHOLE
    slot.origins[slot.n_pieces] = packet.in_port
    slot.n_pieces += 1
    count(&counters[packet.in_port].queued, 1)
    spin_unlock(&table.lock)
    return GATHER_HELD

cdef inline bint read_fragment(const Packet *packet, Fragment *fragment) noexcept nogil:
    """What the fragment says of itself; false: it cannot be part of any packet."""
    return read_ipv4(packet, fragment) if packet.family == 4 else read_ipv6(packet, fragment)

cdef inline bint read_ipv4(const Packet *packet, Fragment *fragment) noexcept nogil:
    cdef uint32_t word = load16be(packet.l3 + 6)
    fragment.header_len = <uint32_t>(packet.l4 - packet.l3)
    fragment.next_header = 0
    fragment.id = load16be(packet.l3 + 4)
    fragment.proto = packet.l3[9]
    fragment.start = (word & 0x1fff) * 8
    fragment.more = (word & 0x2000) != 0
    fragment.payload = packet.l4
    return settle_end(fragment, packet.l4_length)

cdef inline bint settle_end(Fragment *fragment, uint32_t length) noexcept nogil:
    """The kernel trims a middle fragment to eight bytes; nothing may be left empty or beyond the largest packet."""
    if fragment.more:
        length &= ~<uint32_t>7
    fragment.end = fragment.start + length
    return length != 0 and fragment.end + fragment.header_len <= PAYLOAD_MAX and fragment.header_len <= HEADERS

cdef inline bint read_ipv6(const Packet *packet, Fragment *fragment) noexcept nogil:
    """Find the fragment header again: dissect has checked that the headers before it fit."""
    cdef const uint8_t *end = packet.l3 + packet.length
    cdef const uint8_t *at = packet.l3 + IPV6_HLEN
    cdef uint8_t next_header = packet.l3[6]
    cdef uint32_t word
    fragment.next_header = 6
    while next_header == PROTO_HOPOPTS or next_header == PROTO_ROUTING or next_header == PROTO_DSTOPTS:
        if end - at < 8 or (at[1] + 1) * 8 > end - at:
            return False
        fragment.next_header = <uint32_t>(at - packet.l3)
        next_header = at[0]
        at += (at[1] + 1) * 8
    if next_header != PROTO_FRAGMENT or end - at < FRAGMENT_HLEN:
        return False
    word = load16be(at + 2)
    fragment.header_len = <uint32_t>(at - packet.l3)
    fragment.id = load32(at + 4)
    fragment.proto = at[0]
    fragment.start = word & 0xfff8
    fragment.more = word & 1
    fragment.payload = at + FRAGMENT_HLEN
    if fragment.start == 0 and end - fragment.payload < upper_header(fragment.proto):
        return False                    # the whole of it must be in the first fragment
    if fragment.more and (end - fragment.payload) & 7:
        return False                    # RFC 8200, 4.5
    return settle_end(fragment, <uint32_t>(end - fragment.payload))

cdef inline uint32_t upper_header(uint8_t proto) noexcept nogil:
    """The least that the header behind the fragment header has."""
    return 20 if proto == PROTO_TCP else 8 if proto == PROTO_UDP or proto == PROTO_ICMPV6 else 1

cdef inline Slot *find_slot(Reassembly *table, PortCounters *counters, const Packet *packet, const Fragment *fragment,
                            uint32_t now_s) noexcept nogil:
    """The packet's slot, or one for it; NULL: there is none to be had. Holds: lock."""
    cdef uint32_t i
    cdef Slot *slot
    cdef Slot *empty = NULL
    cdef Slot *oldest = NULL
    for i in range(SLOTS):
        slot = &table.slots[i]
        if not slot.used:
            if empty == NULL:
                empty = slot
            continue
        if same_packet(slot, packet, fragment):
            return slot
        if slot.owner == packet.in_port and (oldest == NULL or slot.expires_s < oldest.expires_s):
            oldest = slot
    if oldest != NULL and (table.held[packet.in_port] >= PORT_SLOTS or empty == NULL):
        give_up(table, counters, oldest, FRAGMENT_MEMORY)
        empty = oldest
    if empty != NULL:
        start_slot(table, empty, packet, fragment, now_s)
    return empty

cdef inline bint same_packet(const Slot *slot, const Packet *packet, const Fragment *fragment) noexcept nogil:
    """IPv4 tells packets apart by protocol too; IPv6 by addresses and identification alone (RFC 8200, 4.5)."""
    return (slot.id == fragment.id and slot.zone == packet.zone and slot.family == packet.family
            and (slot.proto == fragment.proto or slot.family == 6)
            and ip_equal(&slot.src, &packet.src) and ip_equal(&slot.dst, &packet.dst))

cdef inline void start_slot(Reassembly *table, Slot *slot, const Packet *packet, const Fragment *fragment,
                            uint32_t now_s) noexcept nogil:
    slot.used = True
    slot.family = packet.family
    slot.proto = fragment.proto
    slot.zone = packet.zone
    slot.id = fragment.id
    slot.src = packet.src
    slot.dst = packet.dst
    slot.expires_s = now_s + TIMEOUT_S
    slot.end = 0
    slot.whole_length = False
    slot.has_first = False
    slot.owner = packet.in_port
    slot.largest = 0
    slot.may_fragment = True
    slot.n_runs = 0
    slot.n_pieces = 0
    table.held[slot.owner] += 1

cdef inline uint8_t insert(Slot *slot, const Fragment *fragment) noexcept nogil:
    """PENDING: taken in. DONE: a duplicate. Else why the whole packet must be given up."""
    cdef uint32_t i = 0
    if fragment.more:
        if fragment.end > slot.end:
            if slot.whole_length:
                return FRAGMENT_MALFORMED
            slot.end = fragment.end
    elif fragment.end < slot.end or (slot.whole_length and fragment.end != slot.end):
        return FRAGMENT_MALFORMED
    else:
        slot.end = fragment.end
        slot.whole_length = True
    while i < slot.n_runs and slot.runs[i].end <= fragment.start:
        i += 1
    if i < slot.n_runs and slot.runs[i].start < fragment.end:
        return DONE if slot.runs[i].start <= fragment.start and fragment.end <= slot.runs[i].end else FRAGMENT_OVERLAP
    if slot.n_runs == RUNS or slot.n_pieces == PIECES:
        return FRAGMENT_MEMORY
    memmove(&slot.runs[i + 1], &slot.runs[i], (slot.n_runs - i) * sizeof(Run))
    slot.runs[i].start = fragment.start
    slot.runs[i].end = fragment.end
    slot.n_runs += 1
    join(slot, i + 1)
    join(slot, i)
    memcpy(slot.payload + fragment.start, fragment.payload, fragment.end - fragment.start)
    return PENDING

cdef inline void join(Slot *slot, uint32_t i) noexcept nogil:
    """Make one run of number i and the one before it, where they touch."""
    if i == 0 or i >= slot.n_runs or slot.runs[i - 1].end != slot.runs[i].start:
        return
    slot.runs[i - 1].end = slot.runs[i].end
    slot.n_runs -= 1
    memmove(&slot.runs[i], &slot.runs[i + 1], (slot.n_runs - i) * sizeof(Run))

cdef inline void keep_headers(Slot *slot, const Packet *packet, const Fragment *fragment) noexcept nogil:
    if packet.length >= slot.largest:
        slot.largest = <uint16_t>packet.length
        slot.may_fragment = packet.family == 6 or not load16be(packet.l3 + 6) & IPV4_DF
    if fragment.start == 0:
        slot.has_first = True
        slot.proto = fragment.proto
        slot.header_len = fragment.header_len
        slot.next_header = fragment.next_header
        memcpy(slot.header, packet.l3, fragment.header_len)

cdef uint32_t copy_whole(const Slot *slot, uint8_t *out) noexcept nogil:
    """Write the whole packet, its headers put right; returns its length, at most 65,535 and the headers. 0: too long."""
    cdef uint32_t length = slot.header_len + slot.end
    if length - (IPV6_HLEN if slot.family == 6 else 0) > PAYLOAD_MAX:
        return 0
    memcpy(out, slot.header, slot.header_len)
    memcpy(out + slot.header_len, slot.payload, slot.end)
    if slot.family == 6:
        out[slot.next_header] = slot.proto
        store16be(out + 4, <uint16_t>(length - IPV6_HLEN))
        return length
    store16be(out + 2, <uint16_t>length)
    store16be(out + 6, 0 if slot.may_fragment else IPV4_DF)
    store16(out + 10, 0)
    store16(out + 10, sum_finish(sum_words(out, slot.header_len)))
    return length

cdef void release(Reassembly *table, PortCounters *counters, Slot *slot) noexcept nogil:
    """The whole packet has been copied: its fragments are merged, the slot is free. Gives the lock up."""
    cdef uint32_t i
    for i in range(slot.n_pieces):
        count(&counters[slot.origins[i]].queued, <uint64_t>-1)
        count(&counters[slot.origins[i]].merged, 1)
    table.whole += 1
    free_slot(table, slot)
    spin_unlock(&table.lock)

cdef inline void free_slot(Reassembly *table, Slot *slot) noexcept nogil:
    slot.used = False
    table.held[slot.owner] -= 1

cdef inline void give_up(Reassembly *table, PortCounters *counters, Slot *slot, uint8_t verdict) noexcept nogil:
    """All fragments that wait are dropped, each from its own port's books. Holds: lock."""
    cdef uint32_t i
    for i in range(slot.n_pieces):
        count(&counters[slot.origins[i]].queued, <uint64_t>-1)
        count(&counters[slot.origins[i]].drops[verdict], 1)
    table.failed += 1
    free_slot(table, slot)

cdef void expire_fragments(Reassembly *table, PortCounters *counters, uint32_t now_s) noexcept nogil:
    """Give up what is overdue. Once a second, by one worker."""
    cdef uint32_t i
    spin_lock(&table.lock)
    for i in range(SLOTS):
        if table.slots[i].used and <int32_t>(now_s - table.slots[i].expires_s) >= 0:
            give_up(table, counters, &table.slots[i], FRAGMENT_TIMEOUT)
    spin_unlock(&table.lock)


cdef class ReassemblyTable:
    """Slots for packets that are not whole yet. Memory is touched only as it is used."""

    def __cinit__(self):
        self.arena = Arena("fragments", SLOTS * sizeof(Slot), "fragments/1")
        self.table.slots = <Slot *>self.arena.body()

    def counters(self):
        cdef uint32_t i, waiting = 0
        for i in range(SLOTS):
            waiting += self.table.slots[i].used != 0
        return ReassemblyCounters(waiting, relaxed_load64(&self.table.whole), relaxed_load64(&self.table.failed))
