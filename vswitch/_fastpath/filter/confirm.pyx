"""New connections become known, or never were: an unconfirmed entry enters the index, or is let go.

Two packets may make the same connection. Of one burst, the later joins the earlier's entry, which counts its packets.
Of two workers, the slower finds the tuple taken when it confirms: is the other connection the very same, its packet
joins that one; else, as when NAT chose differently, the packet is dropped (CONNTRACK_CLASH). Both stripes of the
tuples are held meanwhile, so exactly one is the quicker.
"""
from libc.stdint cimport uint32_t, uint64_t

from ..core.native cimport atomic_add64, atomic_cas64, count, relaxed_load64, spin_lock, spin_unlock
from ..core.packet cimport CT_ESTABLISHED, CT_NEW, NO_ENTRY, Packet, Tuple
from ..core.verdict cimport CONNTRACK_CLASH, CONNTRACK_FULL
from .conntrack cimport (
    CT_CONFIRMED, CT_CONFIRMING, CT_DYING, CT_EVENT_NEW, CT_ORIGINAL, CT_PENDING, CT_REPLY_DIR, CT_STRIPES,
    CT_UNCONFIRMED, CT_WAYS, IPS_CONFIRMED, IPS_SEEN_REPLY, Conntrack, CtBucket, CtEntry, ct_expired, ct_find_locked,
    ct_first, ct_hash, ct_lock, ct_same, ct_second, ct_slot, ct_tuple,
)
from .entries cimport ANY_SERIAL, KILL_EXPIRED, ct_event, ct_kill, ct_release, ct_unlink

cdef enum:
    SPARE = 3                           # free slots that the first bucket should have, lest both fill up


cdef uint32_t ct_join(Conntrack *ct, const Tuple *tuple, uint64_t hash) noexcept nogil:
    """The unconfirmed entry that an earlier packet of this burst made for the tuple; its packets are one more."""
    cdef CtEntry *entry
    cdef uint32_t at, index
    for at in range(min(ct.n_pending, <uint32_t>CT_PENDING)):
        if ct.pending[at].hash != hash:
            continue
        index = ct.pending[at].index
        entry = &ct.entry[index]
        spin_lock(ct_lock(ct, index))
        if entry.use == CT_UNCONFIRMED and ct_same(&entry.original, tuple):
            entry.next += 1
            spin_unlock(ct_lock(ct, index))
            return index
        spin_unlock(ct_lock(ct, index))
    return NO_ENTRY


cdef inline int free_ways(const CtBucket *bucket) noexcept nogil:
    cdef int way, free = 0
    for way in range(CT_WAYS):
        free += relaxed_load64(&bucket.slot[way]) == 0
    return free

cdef inline bint fill_slot(CtBucket *bucket, uint64_t slot) noexcept nogil:
    cdef int way
    for way in range(CT_WAYS):
        if relaxed_load64(&bucket.slot[way]) == 0 and atomic_cas64(&bucket.slot[way], 0, slot):
            return True
    return False

cdef bint place(Conntrack *ct, uint64_t hash, uint64_t slot) noexcept nogil:
    """Into the first bucket, which look-ups try first, while it has room to spare; then the emptier one."""
    cdef CtBucket *first = ct_first(ct, hash)
    cdef CtBucket *second
    cdef int free = free_ways(first)
    if free < SPARE:
        second = ct_second(ct, hash)
        if free_ways(second) > free:
            return fill_slot(second, slot) or fill_slot(first, slot)
        return fill_slot(first, slot) or fill_slot(second, slot)
    return fill_slot(first, slot) or fill_slot(ct_second(ct, hash), slot)

cdef bint place_both(Conntrack *ct, uint32_t index, uint64_t original, uint64_t reply) noexcept nogil:
    if not place(ct, original, ct_slot(original, index, CT_ORIGINAL)):
        return False
    if not place(ct, reply, ct_slot(reply, index, CT_REPLY_DIR)):
        ct_unlink(ct, original, ct_slot(original, index, CT_ORIGINAL))
        return False
    return True

cdef uint32_t holder(Conntrack *ct, const Tuple *tuple, uint64_t hash, uint32_t now_s, uint32_t *serial,
                     uint64_t *direction) noexcept nogil:
    """The connection that has the tuple; one that has expired is ended here. Holds: the tuple's stripe."""
    # A time so long ago that nothing has expired.
    cdef uint32_t index = ct_find_locked(ct, tuple, hash, now_s - 0x40000000, direction)
    cdef bint expired
    if index == NO_ENTRY:
        return NO_ENTRY
    serial[0] = ct.entry[index].serial
    expired = ct_expired(&ct.entry[index], now_s)
    spin_unlock(ct_lock(ct, index))
    if expired and ct_kill(ct, index, serial[0], KILL_EXPIRED, now_s):
        count(&ct.counters.expired, 1)
        return NO_ENTRY
    return index

cdef uint32_t in_zone(Conntrack *ct, uint32_t index, uint32_t other, uint64_t direction) noexcept nogil:
    """The other connection, if it is in the same zone in the direction in which it has a tuple of ours: where a rule gave
    each direction a zone of its own, it may be no rival."""
    if other != NO_ENTRY and ct_tuple(&ct.entry[other], direction).zone != ct_tuple(&ct.entry[index], direction).zone:
        return NO_ENTRY
    return other

cdef void lock_stripes(Conntrack *ct, uint64_t a, uint64_t b) noexcept nogil:
    a &= CT_STRIPES - 1
    b &= CT_STRIPES - 1
    spin_lock(&ct.shared.stripes[min(a, b)])
    if a != b:
        spin_lock(&ct.shared.stripes[max(a, b)])

cdef void unlock_stripes(Conntrack *ct, uint64_t a, uint64_t b) noexcept nogil:
    a &= CT_STRIPES - 1
    b &= CT_STRIPES - 1
    spin_unlock(&ct.shared.stripes[a])
    if a != b:
        spin_unlock(&ct.shared.stripes[b])

cdef bint leave(Conntrack *ct, uint32_t index, uint32_t use) noexcept nogil:
    """One packet of the burst lets go of its unconfirmed entry, whose `use` it is; the last one frees it."""
    cdef CtEntry *entry = &ct.entry[index]
    cdef bint last
    spin_lock(ct_lock(ct, index))
    entry.next -= 1
    last = entry.next == 0
    entry.use = CT_DYING if last else CT_UNCONFIRMED
    spin_unlock(ct_lock(ct, index))
    if last:
        ct_release(ct, index)
    return last

cdef bint adopt(Conntrack *ct, Packet *packet, uint32_t other, uint32_t serial) noexcept nogil:
    """Another worker made this very connection a moment ago: the packet belongs to it."""
    cdef CtEntry *winner = &ct.entry[other]
    cdef Tuple original = ct.entry[packet.ct].original
    cdef Tuple reply = ct.entry[packet.ct].reply
    cdef bint same
    spin_lock(ct_lock(ct, other))
    same = (winner.use == CT_CONFIRMED and winner.serial == serial and ct_same(&winner.original, &original)
            and ct_same(&winner.reply, &reply))
    if same:
        packet.ct_info = CT_ESTABLISHED if winner.status & IPS_SEEN_REPLY else CT_NEW
        if ct.shared.settings.acct:
            ct.account[other].packets[CT_ORIGINAL] += 1
            ct.account[other].bytes[CT_ORIGINAL] += packet.length
    spin_unlock(ct_lock(ct, other))
    return same

cdef int clash(Conntrack *ct, Packet *packet, uint32_t other, uint32_t serial) noexcept nogil:
    cdef uint32_t index = packet.ct
    cdef bint adopted = adopt(ct, packet, other, serial)
    packet.ct = other if adopted else <uint32_t>NO_ENTRY
    leave(ct, index, CT_CONFIRMING)
    if adopted:
        count(&ct.counters.clash, 1)
        return 0
    count(&ct.counters.insert_failed, 1)
    return CONNTRACK_CLASH

cdef int reply_taken(Conntrack *ct, const Packet *packet) noexcept nogil:
    """Another connection gets the replies: the entry stays unconfirmed, so that NAT may choose another binding."""
    spin_lock(ct_lock(ct, packet.ct))
    ct.entry[packet.ct].use = CT_UNCONFIRMED
    spin_unlock(ct_lock(ct, packet.ct))
    count(&ct.counters.insert_failed, 1)
    return CONNTRACK_CLASH

cdef inline bint become(Conntrack *ct, const Packet *packet, uint32_t use) noexcept nogil:
    """Whether the packet's entry is unconfirmed and its own; then it is of that `use` now."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    cdef bint mine
    spin_lock(ct_lock(ct, packet.ct))
    mine = entry.use == CT_UNCONFIRMED and ct_same(&entry.original, &packet.tuple)
    if mine:
        entry.use = use
    spin_unlock(ct_lock(ct, packet.ct))
    return mine

cdef void confirmed(Conntrack *ct, uint32_t index) noexcept nogil:
    """In the index, and now to be found. Holds: both stripes."""
    cdef CtEntry *entry = &ct.entry[index]
    spin_lock(ct_lock(ct, index))
    entry.status |= IPS_CONFIRMED
    entry.use = CT_CONFIRMED
    spin_unlock(ct_lock(ct, index))

cdef inline bint seize(Conntrack *ct, uint32_t index, uint32_t serial) noexcept nogil:
    """Whether the entry is still the one that an answer holds, and unconfirmed; then it is being confirmed now."""
    cdef CtEntry *entry = &ct.entry[index]
    cdef bint held
    spin_lock(ct_lock(ct, index))
    held = entry.use == CT_UNCONFIRMED and entry.serial == serial
    if held:
        entry.use = CT_CONFIRMING
    spin_unlock(ct_lock(ct, index))
    return held

cdef int ct_confirm(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil:
    """The packet has passed all rules: its new connection becomes known to everybody. 0, or a reason to drop it.

    After CONNTRACK_CLASH the packet still has its entry if only the reply tuple is another's: change it and try again, or
    abandon. Nothing happens for a packet of a connection that is confirmed already."""
    if packet.ct == NO_ENTRY or not become(ct, packet, CT_CONFIRMING):
        return 0
    return admit(ct, packet, packet.hash, now_s)

cdef int ct_confirm_answer(Conntrack *ct, Packet *packet, uint32_t serial, uint32_t now_s) noexcept nogil:
    """The same for an answer to an answer, which goes the way of the connection's own packets: as in the kernel, it
    confirms a connection that none of those did. After CONNTRACK_CLASH the packet is to be dropped."""
    if not seize(ct, packet.ct, serial):
        return 0
    return admit(ct, packet, ct_hash(ct, &ct.entry[packet.ct].original), now_s)

cdef int admit(Conntrack *ct, Packet *packet, uint64_t original, uint32_t now_s) noexcept nogil:
    """Into the index with the packet's entry, `original` being the hash of its tuple; see ct_confirm."""
    cdef uint32_t index = packet.ct, other, serial = ANY_SERIAL
    cdef uint32_t zone = ct.entry[index].original.zone
    cdef uint64_t reply = ct_hash(ct, &ct.entry[index].reply), direction = 0
    cdef bint placed = False, bound = False
    lock_stripes(ct, original, reply)
    other = holder(ct, &ct.entry[index].original, original, now_s, &serial, &direction)
    other = in_zone(ct, index, other, direction)
    if other == NO_ENTRY:
        other = holder(ct, &ct.entry[index].reply, reply, now_s, &serial, &direction)
        other = in_zone(ct, index, other, direction)
        bound = other != NO_ENTRY
    if other == NO_ENTRY:
        placed = place_both(ct, index, original, reply)
        if placed:
            confirmed(ct, index)
    unlock_stripes(ct, original, reply)
    if bound:
        return reply_taken(ct, packet)
    if other != NO_ENTRY:
        return clash(ct, packet, other, serial)
    if not placed:
        count(&ct.counters.insert_failed, 1)
        packet.ct = NO_ENTRY
        leave(ct, index, CT_CONFIRMING)
        return CONNTRACK_FULL
    atomic_add64(&ct.header.confirmed, 1)
    atomic_add64(&ct.header.zone_used[zone], 1)
    count(&ct.counters.insert, 1)
    if relaxed_load64(&ct.shared.listening):
        ct_event(ct, CT_EVENT_NEW, index, now_s)
    return 0

cdef void ct_abandon(Conntrack *ct, Packet *packet) noexcept nogil:
    """The packet goes no further: if its connection is new, it never was. Call for every packet that is dropped."""
    if packet.ct != NO_ENTRY and become(ct, packet, CT_CONFIRMING):
        leave(ct, packet.ct, CT_CONFIRMING)
        packet.ct = NO_ENTRY


# Answers

cdef void ct_attach(Conntrack *ct, const Packet *packet) noexcept nogil:
    """An answer to the packet, or a copy of it, will need its connection, be it new and never confirmed: until ct_detach it stays."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    spin_lock(ct_lock(ct, packet.ct))
    if entry.use == CT_UNCONFIRMED:
        entry.next += 1
    spin_unlock(ct_lock(ct, packet.ct))

cdef void ct_detach(Conntrack *ct, uint32_t index, uint32_t serial) noexcept nogil:
    if seize(ct, index, serial):
        leave(ct, index, CT_CONFIRMING)
