"""The life of an entry: taken from the free ones, and given back to them. Confirming it is confirm.pyx's.

    free -> unconfirmed -> confirmed -> dying -> free       (`use`; each step is one worker's, under the entry's lock)
                        -> free, when a rule drops the packet, or when another worker made the same connection first

These are the rare steps, a call each. Free entries lie in a view's store, a queue: the oldest leaves first, so that a
stale index of the current burst does not find its entry reused at once. Stores are filled from and emptied into the
shared list by batches. More entries are laid out than connections admitted, by what all stores can hold: nobody
starves.

A full table makes room as the kernel does: among the buckets next to the new connection's, the first one that is not
assured gives way (early drop). A port at its budget may only push out its own.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.native cimport atomic_add64, atomic_store64, count, prefetch, relaxed_load64, spin_lock, spin_unlock
from ..core.packet cimport NO_ENTRY
from ..core.verdict cimport CONNTRACK_BUDGET, CONNTRACK_FULL
from .conntrack cimport (
    CT_CONFIRMED, CT_DYING, CT_EVENT_DESTROY, CT_EVENTS, CT_FREE, CT_ORIGINAL, CT_PENDING, CT_REPLY_DIR, CT_STORE,
    CT_UNCONFIRMED, CT_WAYS, IPS_ASSURED, IPS_DYING, Conntrack, CtAccount, CtBucket, CtEntry, CtEvent, CtEvents,
    ct_expired, ct_first, ct_hash, ct_lock, ct_second, ct_slot, ct_slot_entry, ct_tuple,
)
from .states cimport tcp_closing, tcp_over

cdef enum:
    BATCH = 128                         # entries that go to or from the shared list at once
    RESTED = 64                         # fewer in the store: fetch more, lest what was freed be reused at once
    EVICTION_RANGE = 8                  # buckets that an early drop looks at


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

cdef void ct_release(Conntrack *ct, uint32_t index) noexcept nogil:
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

cdef void ct_unlink(Conntrack *ct, uint64_t hash, uint64_t slot) noexcept nogil:
    cdef CtBucket *bucket = ct_first(ct, hash)
    cdef int way
    for way in range(2 * CT_WAYS):
        if way == CT_WAYS:
            bucket = ct_second(ct, hash)
        if relaxed_load64(&bucket.slot[way % CT_WAYS]) == slot:
            atomic_store64(&bucket.slot[way % CT_WAYS], 0)
            return

cdef inline void unlink_tuple(Conntrack *ct, uint32_t index, uint64_t direction) noexcept nogil:
    cdef uint64_t hash = ct_hash(ct, ct_tuple(&ct.entry[index], direction))
    ct_unlink(ct, hash, ct_slot(hash, index, direction))

cdef inline bint may_kill(const CtEntry *entry, int which, uint32_t now_s) noexcept nogil:
    if which == KILL_ANY or ct_expired(entry, now_s):
        return True
    if which == KILL_UNASSURED:
        return not entry.status & IPS_ASSURED
    if which == KILL_OVER:
        return tcp_over(entry.state)
    return which == KILL_CLOSING and (not entry.status & IPS_ASSURED or tcp_closing(entry.state))

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
    atomic_add64(&ct.header.zone_used[entry.original.zone], <uint64_t>-1)
    if relaxed_load64(&ct.shared.listening):
        ct_event(ct, CT_EVENT_DESTROY, index, now_s)
    ct_release(ct, index)
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
