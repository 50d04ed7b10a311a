"""The life of an entry: taken from the free ones, confirmed or abandoned, deleted.

    free -> unconfirmed -> confirmed -> dying -> free           (`use`; each step is one worker's, decided under the entry's lock)
                        -> free, when a rule drops the packet, or when another worker made the same connection first

These are the rare steps, a call each. Free entries lie in a view's store, a queue: the oldest leaves first, so that a
stale index of the current burst does not find its entry reused at once. Stores are filled from and emptied into the shared list by
batches. More entries are laid out than connections admitted, by what all stores can hold: nobody starves.

A full table makes room as the kernel does: among the buckets next to the new connection's, the first one that is not
assured gives way (early drop). A port at its budget may only push out its own.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.native cimport (
    atomic_add64, atomic_cas64, atomic_load64, atomic_store64, count, prefetch, relaxed_load64, spin_lock, spin_unlock,
)
from ..core.packet cimport CT_ESTABLISHED, CT_NEW, NO_ENTRY, Packet, Tuple
from ..core.verdict cimport CONNTRACK_BUDGET, CONNTRACK_CLASH, CONNTRACK_FULL
from .conntrack cimport (
    CT_CONFIRMED, CT_CONFIRMING, CT_DYING, CT_EVENT_DESTROY, CT_EVENT_NEW, CT_EVENTS, CT_FREE, CT_ORIGINAL, CT_PENDING,
    CT_REPLY_DIR, CT_STORE, CT_STRIPES, CT_UNCONFIRMED, CT_WAYS, IPS_ASSURED, IPS_CONFIRMED, IPS_DYING, IPS_SEEN_REPLY,
    Conntrack, CtAccount, CtBucket, CtEntry, CtEvent, CtEvents, ct_expired, ct_find_locked, ct_first, ct_hash, ct_lock, ct_same,
    ct_second, ct_slot, ct_slot_entry,
)
from .states cimport TCP_CLOSE, TCP_CLOSE_WAIT, TCP_FIN_WAIT, TCP_LAST_ACK, TCP_TIME_WAIT

cdef enum:
    BATCH = 128                         # entries that go to or from the shared list at once
    RESTED = 64                         # fewer in the store: fetch more, lest what was freed be reused at once
    EVICTION_RANGE = 8                  # buckets that an early drop looks at
    SPARE = 3                           # free slots that the first bucket should have, lest both fill up


# The free ones

cdef inline uint32_t stored(const Conntrack *ct) noexcept nogil:
    return ct.store_tail - ct.store_head

cdef void refill(Conntrack *ct) noexcept nogil:
    """Fetch a batch from the shared list, or entries that were never used."""
    cdef uint32_t index, n
    spin_lock(&ct.shared.free_lock)
    for n in range(BATCH):
        if ct.header.free_head != NO_ENTRY:
            index = <uint32_t>ct.header.free_head
            ct.header.free_head = ct.entry[index].next
        elif ct.header.fresh <= ct.header.total:
            index = <uint32_t>ct.header.fresh
            ct.header.fresh += 1
        else:
            break
        ct.store[ct.store_tail % CT_STORE] = index
        ct.store_tail += 1
    spin_unlock(&ct.shared.free_lock)

cdef void give_back(Conntrack *ct) noexcept nogil:
    """Hand the oldest of the store to everybody."""
    cdef uint32_t index, n
    spin_lock(&ct.shared.free_lock)
    for n in range(BATCH):
        index = ct.store[ct.store_head % CT_STORE]
        ct.store_head += 1
        ct.entry[index].next = <uint32_t>ct.header.free_head
        ct.header.free_head = index
    spin_unlock(&ct.shared.free_lock)

cdef void release(Conntrack *ct, uint32_t index) noexcept nogil:
    """The entry is nobody's any more."""
    cdef CtEntry *entry = &ct.entry[index]
    atomic_add64(&ct.header.owner_used[entry.owner], <uint64_t>-1)
    atomic_add64(&ct.header.used, <uint64_t>-1)
    spin_lock(ct_lock(ct, index))
    entry.use = CT_FREE
    spin_unlock(ct_lock(ct, index))
    if stored(ct) > CT_STORE - BATCH:
        give_back(ct)
    ct.store[ct.store_tail % CT_STORE] = index
    ct.store_tail += 1


# Deleting

cdef inline void unlink_slot(Conntrack *ct, uint64_t hash, uint64_t slot) noexcept nogil:
    cdef CtBucket *bucket = ct_first(ct, hash)
    cdef int way
    for way in range(2 * CT_WAYS):
        if way == CT_WAYS:
            bucket = ct_second(ct, hash)
        if relaxed_load64(&bucket.slot[way % CT_WAYS]) == slot:
            atomic_store64(&bucket.slot[way % CT_WAYS], 0)
            return

cdef inline void unlink_tuple(Conntrack *ct, uint32_t index, uint64_t direction) noexcept nogil:
    cdef uint64_t hash = ct_hash(ct, &ct.entry[index].tuple[direction])
    unlink_slot(ct, hash, ct_slot(hash, index, direction))

cdef inline bint closing(const CtEntry *entry) noexcept nogil:
    return not entry.status & IPS_ASSURED or entry.state in (TCP_FIN_WAIT, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_TIME_WAIT,
                                                             TCP_CLOSE)

cdef inline bint may_kill(const CtEntry *entry, int which, uint32_t now_s) noexcept nogil:
    if which == KILL_ANY or ct_expired(entry, now_s):
        return True
    if which == KILL_UNASSURED:
        return not entry.status & IPS_ASSURED
    return which == KILL_CLOSING and closing(entry)

cdef bint ct_kill(Conntrack *ct, uint32_t index, uint32_t serial, int which, uint32_t now_s) noexcept nogil:
    """End a confirmed connection if it still is the one of that serial, and `which` allows it; whether it did."""
    cdef CtEntry *entry = &ct.entry[index]
    cdef bint mine
    spin_lock(ct_lock(ct, index))
    mine = entry.use == CT_CONFIRMED and serial in (ANY_SERIAL, entry.serial) and may_kill(entry, which, now_s)
    if mine:
        entry.use = CT_DYING
        entry.status |= IPS_DYING
    spin_unlock(ct_lock(ct, index))
    if not mine:
        return False
    unlink_tuple(ct, index, CT_ORIGINAL)
    unlink_tuple(ct, index, CT_REPLY_DIR)
    atomic_add64(&ct.header.confirmed, <uint64_t>-1)
    atomic_add64(&ct.header.zone_used[entry.tuple[CT_ORIGINAL].zone], <uint64_t>-1)
    if relaxed_load64(&ct.shared.listening):
        ct_event(ct, CT_EVENT_DESTROY, index, now_s)
    release(ct, index)
    return True

cdef bint ct_delete(Conntrack *ct, uint32_t index, uint32_t now_s) noexcept nogil:
    """End the connection; False if it was not confirmed."""
    if not ct_kill(ct, index, ANY_SERIAL, KILL_ANY, now_s):
        return False
    count(&ct.counters.deleted, 1)
    return True


# Taking

cdef bint drop_in_bucket(Conntrack *ct, CtBucket *bucket, uint32_t owner, uint32_t now_s) noexcept nogil:
    cdef uint64_t slot
    cdef CtEntry *entry
    cdef int way
    for way in range(CT_WAYS):
        prefetch(&ct.entry[ct_slot_entry(relaxed_load64(&bucket.slot[way]))].status)
    for way in range(CT_WAYS):
        slot = relaxed_load64(&bucket.slot[way])
        entry = &ct.entry[ct_slot_entry(slot)]
        if (slot and (owner == ANY_OWNER or entry.owner == owner) and may_kill(entry, KILL_UNASSURED, now_s)
                and ct_kill(ct, ct_slot_entry(slot), entry.serial, KILL_UNASSURED, now_s)):
            return True
    return False

cdef bint early_drop(Conntrack *ct, uint64_t hash, uint32_t owner, uint32_t now_s) noexcept nogil:
    """Make room for one connection: of this owner, or of anybody."""
    cdef uint64_t n
    for n in range(EVICTION_RANGE):
        if drop_in_bucket(ct, &ct.bucket[(hash + n) & ct.mask], owner, now_s):
            count(&ct.counters.early_drop, 1)
            return True
    return False

cdef bint within_budget(Conntrack *ct, uint64_t hash, uint32_t owner, uint32_t now_s) noexcept nogil:
    """Charge the owner, if it may have one more."""
    cdef uint32_t budget = ct.shared.budget[owner]
    if atomic_add64(&ct.header.owner_used[owner], 1) <= budget or not budget or early_drop(ct, hash, owner, now_s):
        return True
    atomic_add64(&ct.header.owner_used[owner], <uint64_t>-1)
    atomic_add64(&ct.header.owner_refused[owner], 1)
    count(&ct.counters.refused, 1)
    return False

cdef bint within_capacity(Conntrack *ct, uint64_t hash, uint32_t now_s) noexcept nogil:
    if atomic_add64(&ct.header.used, 1) <= ct.header.capacity or early_drop(ct, hash, ANY_OWNER, now_s):
        if stored(ct) < RESTED:
            refill(ct)
        if stored(ct):
            return True
    atomic_add64(&ct.header.used, <uint64_t>-1)
    count(&ct.counters.drop, 1)
    return False

cdef uint32_t ct_take(Conntrack *ct, uint64_t hash, uint32_t owner, uint32_t now_s, int *reason) noexcept nogil:
    """An unconfirmed entry, all zero, held by one packet; NO_ENTRY and the *reason if there is none to be had."""
    cdef CtEntry *entry
    cdef uint32_t index, serial
    if not within_budget(ct, hash, owner, now_s):
        reason[0] = CONNTRACK_BUDGET
        return NO_ENTRY
    if not within_capacity(ct, hash, now_s):
        atomic_add64(&ct.header.owner_used[owner], <uint64_t>-1)
        reason[0] = CONNTRACK_FULL
        return NO_ENTRY
    index = ct.store[ct.store_head % CT_STORE]
    ct.store_head += 1
    entry = &ct.entry[index]
    spin_lock(ct_lock(ct, index))
    serial = entry.serial + 1
    memset(entry, 0, sizeof(CtEntry))
    if ct.shared.settings.acct:
        memset(&ct.account[index], 0, sizeof(CtAccount))
    entry.serial = serial if serial != ANY_SERIAL else 1
    entry.owner = <uint16_t>owner
    entry.created_s = now_s
    entry.masquerade_dev = 0xffff
    entry.use = CT_UNCONFIRMED
    entry.next = 1
    spin_unlock(ct_lock(ct, index))
    ct.pending[ct.n_pending % CT_PENDING].hash = hash
    ct.pending[ct.n_pending % CT_PENDING].index = index
    ct.n_pending += 1
    return index

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
        if entry.use == CT_UNCONFIRMED and ct_same(&entry.tuple[CT_ORIGINAL], tuple):
            entry.next += 1
            spin_unlock(ct_lock(ct, index))
            return index
        spin_unlock(ct_lock(ct, index))
    return NO_ENTRY


# Confirming

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
        unlink_slot(ct, original, ct_slot(original, index, CT_ORIGINAL))
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
        release(ct, index)
    return last

cdef bint adopt(Conntrack *ct, Packet *packet, uint32_t other, uint32_t serial) noexcept nogil:
    """Another worker made this very connection a moment ago: the packet belongs to it."""
    cdef CtEntry *winner = &ct.entry[other]
    cdef Tuple original = ct.entry[packet.ct].tuple[CT_ORIGINAL]
    cdef Tuple reply = ct.entry[packet.ct].tuple[CT_REPLY_DIR]
    cdef bint same
    spin_lock(ct_lock(ct, other))
    same = (winner.use == CT_CONFIRMED and winner.serial == serial and ct_same(&winner.tuple[CT_ORIGINAL], &original)
            and ct_same(&winner.tuple[CT_REPLY_DIR], &reply))
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
    mine = entry.use == CT_UNCONFIRMED and ct_same(&entry.tuple[CT_ORIGINAL], &packet.tuple)
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

cdef int ct_confirm(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil:
    """The packet has passed all rules: its new connection becomes known to everybody. 0, or a reason to drop it.

    After CONNTRACK_CLASH the packet still has its entry if only the reply tuple is another's: change it and try again, or
    abandon.

    Nothing happens for a packet of a connection that is confirmed already."""
    cdef uint32_t index = packet.ct, other, serial = ANY_SERIAL
    cdef uint64_t reply, direction = 0
    cdef bint placed = False, bound = False
    if index == NO_ENTRY or not become(ct, packet, CT_CONFIRMING):
        return 0
    reply = ct_hash(ct, &ct.entry[index].tuple[CT_REPLY_DIR])
    lock_stripes(ct, packet.hash, reply)
    other = holder(ct, &ct.entry[index].tuple[CT_ORIGINAL], packet.hash, now_s, &serial, &direction)
    if other == NO_ENTRY:
        other = holder(ct, &ct.entry[index].tuple[CT_REPLY_DIR], reply, now_s, &serial, &direction)
        bound = other != NO_ENTRY
    if other == NO_ENTRY:
        placed = place_both(ct, index, packet.hash, reply)
        if placed:
            confirmed(ct, index)
    unlock_stripes(ct, packet.hash, reply)
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
    atomic_add64(&ct.header.zone_used[packet.tuple.zone], 1)
    count(&ct.counters.insert, 1)
    if relaxed_load64(&ct.shared.listening):
        ct_event(ct, CT_EVENT_NEW, index, now_s)
    return 0

cdef void ct_abandon(Conntrack *ct, Packet *packet) noexcept nogil:
    """The packet goes no further: if its connection is new and nobody else's, it never was. Call for every dropped packet."""
    if packet.ct != NO_ENTRY and become(ct, packet, CT_CONFIRMING):
        leave(ct, packet.ct, CT_CONFIRMING)
        packet.ct = NO_ENTRY


# Events

cdef void ct_event(Conntrack *ct, uint32_t kind, uint32_t index, uint32_t now_s) noexcept nogil:
    """Tell who listens; when the ring is full, count what it misses."""
    cdef CtEvents *events = ct.shared.events
    cdef CtEvent *event
    spin_lock(&events.lock)
    if events.tail - events.head == CT_EVENTS:
        events.lost += 1
    else:
        event = &events.event[events.tail % CT_EVENTS]
        event.kind = kind
        event.index = index
        event.now_s = now_s
        event.entry = ct.entry[index]
        event.account = ct.account[index]
        atomic_store64(&events.tail, events.tail + 1)
    spin_unlock(&events.lock)
