"""The forwarding database of one bridge: (VLAN, MAC) -> port, learned from source addresses (802.1Q-2018, 8.8).

A hash table of cache-line buckets, four (key, value) pairs each. A key has two buckets, both from one keyed hash, so a
guest cannot choose addresses that collide. There are four slots or more for each address of the limit; a key whose two
buckets are full all the same takes the place of the oldest learned entry there (`evicted`). At the limit of a bridge or a port nothing is learned: frames to
the address keep being flooded, and `limit_hits` counts.

    key    bit 63: in use | bits 48-59: VID | bits 0-47: MAC as loaded
    value  bits 32-63: last seen, CLOCK_MONOTONIC seconds | bit 16: static | bits 0-15: port id

Writer rule: refreshing an entry's stamp is a compare-and-swap of the value, by any worker. Inserting, removing and moving
hold `lock`, which lives outside the arena so that a killed process leaves none held. Readers take no lock: a value counts
only if its key reads the same before and after it.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_PORTS
from ..core.native cimport (
    atomic_add64, atomic_cas64, atomic_load64, atomic_store64, mix64, prefetch, relaxed_load64, spin_lock, spin_unlock,
)

cdef enum:
    FDB_WAYS = 4
    FDB_PORT_MASK = 0xffff
    FDB_STATIC = 0x10000
    FDB_STAMP_SHIFT = 32

cdef struct FdbBucket:
    uint64_t key[FDB_WAYS]
    uint64_t value[FDB_WAYS]

cdef struct FdbHeader:                  # at the start of the arena's body
    uint64_t seed[2]
    uint64_t buckets                    # a power of two
    uint64_t entries                    # learned and static
    uint64_t learned                    # learned entries now; what the limit is held against
    uint64_t learn_events
    uint64_t moves
    uint64_t limit_hits
    uint64_t evicted
    uint64_t aged
    uint64_t static_conflicts           # a static address seen at another port: not moved
    uint64_t pad[5]
    uint64_t port_learned[MAX_PORTS]

cdef struct Fdb:
    FdbHeader *header
    FdbBucket *bucket
    uint64_t mask                       # buckets - 1
    uint64_t limit
    uint32_t ageing_s                   # 0: entries never age
    uint64_t lock


cdef inline uint64_t fdb_key(uint64_t mac, uint64_t vid) noexcept nogil:
    return 0x8000000000000000ULL | vid << 48 | mac

cdef inline uint64_t fdb_hash(const Fdb *fdb, uint64_t key) noexcept nogil:
    return mix64(key ^ fdb.header.seed[0], fdb.header.seed[1])

cdef inline FdbBucket *fdb_first(const Fdb *fdb, uint64_t hash) noexcept nogil:
    return &fdb.bucket[hash & fdb.mask]

cdef inline FdbBucket *fdb_second(const Fdb *fdb, uint64_t hash) noexcept nogil:
    return &fdb.bucket[(hash >> 32) & fdb.mask]

cdef inline bint fdb_expired(const Fdb *fdb, uint64_t value, uint32_t now_s) noexcept nogil:
    """Signed, since another worker may have stamped the entry a moment after `now_s` was read."""
    return (not value & FDB_STATIC and fdb.ageing_s
            and <int32_t>(now_s - <uint32_t>(value >> FDB_STAMP_SHIFT)) >= <int32_t>fdb.ageing_s)

cdef inline int fdb_way(const FdbBucket *bucket, uint64_t key) noexcept nogil:
    """The key's place in the bucket, -1 if it is not there."""
    cdef int way
    for way in range(FDB_WAYS):
        if relaxed_load64(&bucket.key[way]) == key:
            return way
    return -1

cdef inline uint64_t *fdb_slot(const Fdb *fdb, uint64_t key, uint64_t hash) noexcept nogil:
    """Where the key's value lies; NULL if it is not in the table."""
    cdef FdbBucket *bucket = fdb_first(fdb, hash)
    cdef int way = fdb_way(bucket, key)
    if way < 0:
        bucket = fdb_second(fdb, hash)
        way = fdb_way(bucket, key)
    return &bucket.value[way] if way >= 0 else NULL

cdef inline bint fdb_find(const Fdb *fdb, uint64_t key, uint64_t hash, uint32_t now_s, uint64_t *value) noexcept nogil:
    """Whether the key is known and has not aged; its value goes to *value."""
    cdef uint64_t *slot = fdb_slot(fdb, key, hash)
    if slot == NULL:
        return False
    value[0] = atomic_load64(slot)
    # The keys of a bucket lie FDB_WAYS words before its values.
    return atomic_load64(slot - FDB_WAYS) == key and not fdb_expired(fdb, value[0], now_s)


cdef inline bint fdb_port_full(const Fdb *fdb, uint64_t value, uint32_t port_limit) noexcept nogil:
    return port_limit and relaxed_load64(&fdb.header.port_learned[value & FDB_PORT_MASK]) >= port_limit

cdef inline void fdb_move(Fdb *fdb, uint64_t key, uint64_t *slot, uint64_t new, uint32_t port_limit) noexcept nogil:
    """The address speaks at another port now: a guest migrated. If that port is at its limit, nobody knows it any more."""
    cdef uint64_t old
    spin_lock(&fdb.lock)
    old = atomic_load64(slot)
    if slot[-FDB_WAYS] == key and (old ^ new) & FDB_PORT_MASK:
        if old & FDB_STATIC:
            atomic_add64(&fdb.header.static_conflicts, 1)
        elif fdb_port_full(fdb, new, port_limit):
            atomic_add64(&fdb.header.limit_hits, 1)
            fdb_clear(fdb, slot)
        else:
            atomic_store64(slot, new)
            atomic_add64(&fdb.header.moves, 1)
            atomic_add64(&fdb.header.port_learned[old & FDB_PORT_MASK], <uint64_t>-1)
            atomic_add64(&fdb.header.port_learned[new & FDB_PORT_MASK], 1)
    spin_unlock(&fdb.lock)

cdef inline void fdb_learn(Fdb *fdb, uint64_t key, uint64_t hash, uint32_t port, uint32_t port_limit,
                           uint32_t now_s) noexcept nogil:
    """Note that the key's address was seen at `port` just now. Writes only what changed: once a second an entry."""
    cdef uint64_t new = <uint64_t>now_s << FDB_STAMP_SHIFT | port
    cdef uint64_t *slot = fdb_slot(fdb, key, hash)
    cdef uint64_t old
    if slot == NULL:
        fdb_insert_learned(fdb, key, hash, new, port_limit, now_s)
        return
    old = atomic_load64(slot)
    if old == new:
        return
    if (old ^ new) & FDB_PORT_MASK:
        fdb_move(fdb, key, slot, new, port_limit)
    elif not old & FDB_STATIC:
        atomic_cas64(slot, old, new)

cdef inline bint fdb_at_limit(const Fdb *fdb, uint64_t value, uint32_t port_limit) noexcept nogil:
    return relaxed_load64(&fdb.header.learned) >= fdb.limit or fdb_port_full(fdb, value, port_limit)

cdef inline void fdb_insert_learned(Fdb *fdb, uint64_t key, uint64_t hash, uint64_t value, uint32_t port_limit,
                                    uint32_t now_s) noexcept nogil:
    if fdb_at_limit(fdb, value, port_limit):
        atomic_add64(&fdb.header.limit_hits, 1)
        return
    spin_lock(&fdb.lock)
    # Again under the lock: another worker may have been quicker, or have taken the last place.
    if fdb_slot(fdb, key, hash) == NULL:
        if fdb_at_limit(fdb, value, port_limit):
            atomic_add64(&fdb.header.limit_hits, 1)
        elif fdb_place(fdb, key, hash, value):
            atomic_add64(&fdb.header.learn_events, 1)
    spin_unlock(&fdb.lock)

cdef inline int fdb_free(const FdbBucket *bucket) noexcept nogil:
    cdef int way, free = 0
    for way in range(FDB_WAYS):
        free += bucket.key[way] == 0
    return free

cdef inline uint64_t *fdb_free_slot(const Fdb *fdb, uint64_t hash) noexcept nogil:
    """The first bucket, which look-ups try first, while it has room to spare; then the emptier one."""
    cdef FdbBucket *bucket = fdb_first(fdb, hash)
    cdef int way, free = fdb_free(bucket)
    if free < 2 and fdb_free(fdb_second(fdb, hash)) > free:
        bucket = fdb_second(fdb, hash)
    way = fdb_way(bucket, 0)
    return &bucket.value[way] if way >= 0 else NULL

cdef inline uint64_t *fdb_oldest(FdbBucket *bucket, uint64_t *best) noexcept nogil:
    """The learned entry of the bucket, or *best, that was seen longest ago; NULL if all are static."""
    cdef int way
    cdef uint64_t value
    for way in range(FDB_WAYS):
        value = bucket.value[way]
        if not value & FDB_STATIC and (best == NULL or value >> FDB_STAMP_SHIFT < best[0] >> FDB_STAMP_SHIFT):
            best = &bucket.value[way]
    return best

cdef inline bint fdb_place(Fdb *fdb, uint64_t key, uint64_t hash, uint64_t value) noexcept nogil:
    """Put a new key into one of its two buckets. Holds: lock. False if both are full of static entries."""
    cdef uint64_t *slot = fdb_free_slot(fdb, hash)
    if slot == NULL:
        slot = fdb_oldest(fdb_second(fdb, hash), fdb_oldest(fdb_first(fdb, hash), NULL))
        if slot == NULL:
            return False
        fdb_clear(fdb, slot)
        atomic_add64(&fdb.header.evicted, 1)
    atomic_store64(slot, value)
    atomic_store64(slot - FDB_WAYS, key)
    fdb_account(fdb, value, 1)
    return True

cdef inline void fdb_clear(Fdb *fdb, uint64_t *slot) noexcept nogil:
    """Take an entry out. Holds: lock."""
    atomic_store64(slot - FDB_WAYS, 0)
    fdb_account(fdb, atomic_load64(slot), <uint64_t>-1)

cdef inline void fdb_account(Fdb *fdb, uint64_t value, uint64_t change) noexcept nogil:
    atomic_add64(&fdb.header.entries, change)
    if not value & FDB_STATIC:
        atomic_add64(&fdb.header.learned, change)
        atomic_add64(&fdb.header.port_learned[value & FDB_PORT_MASK], change)


cdef class ForwardingDatabase:
    cdef Arena arena
    cdef Fdb table
    cdef uint64_t _sweep(self, uint64_t port, uint64_t vlan, bint dynamic_only, bint expired_only, uint32_t now)
