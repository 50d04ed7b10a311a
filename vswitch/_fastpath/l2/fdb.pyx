"""The Python face of the forwarding database: list, add, remove, flush, age. See fdb.pxd for the table itself."""
import os
from typing import NamedTuple

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.arena cimport Arena
from ..core.native cimport monotonic_ns


class FdbRow(NamedTuple):
    mac: str
    vlan: int
    port: int
    age_s: int
    static: bool


class FdbCounters(NamedTuple):
    entries: int
    learned: int
    learn_events: int
    moves: int
    limit_hits: int
    evicted: int
    aged: int
    static_conflicts: int


cdef uint64_t mac_number(str mac) except? 0:
    """"52:54:00:12:34:56" as fdb keys hold it. Raises ValueError."""
    cdef uint64_t number = 0
    raw = bytes.fromhex(mac.replace(":", ""))
    if len(raw) != 6:
        raise ValueError(f"{mac!r} is not a MAC address: six bytes, as in 52:54:00:12:34:56")
    memcpy(&number, <const char *>raw, 6)
    return number


cdef str mac_text(uint64_t number):
    return (number & 0xffffffffffffULL).to_bytes(6, "little").hex(":")


cdef uint32_t clock_s() noexcept:
    return <uint32_t>(monotonic_ns() // 1000000000ULL)


cdef class ForwardingDatabase:
    """One bridge's table, sized for `limit` learned addresses. `ageing_s` 0 keeps entries for ever."""

    def __cinit__(self, str name, uint64_t limit, uint32_t ageing_s):
        cdef uint64_t buckets = 64
        while buckets < limit:
            buckets *= 2
        self.arena = Arena(f"fdb-{name}", sizeof(FdbHeader) + buckets * sizeof(FdbBucket), "fdb/1")
        self.table.header = <FdbHeader *>self.arena.body()
        self.table.bucket = <FdbBucket *>(<char *>self.arena.body() + sizeof(FdbHeader))
        self.table.mask = buckets - 1
        self.table.limit = limit
        self.table.ageing_s = ageing_s
        self.table.header.buckets = buckets
        seed = os.urandom(16)
        memcpy(self.table.header.seed, <const char *>seed, 16)
        self.table.header.seed[1] |= 1

    @property
    def limit(self):
        return self.table.limit

    def set_ageing(self, uint32_t seconds):
        self.table.ageing_s = seconds

    def entries(self, now_s=None):
        """Every entry that has not aged by `now_s` (CLOCK_MONOTONIC seconds, by default now), as a list of FdbRow."""
        cdef uint64_t bucket, key, value
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef int way
        rows = []
        for bucket in range(self.table.mask + 1):
            for way in range(FDB_WAYS):
                key = atomic_load64(&self.table.bucket[bucket].key[way])
                value = atomic_load64(&self.table.bucket[bucket].value[way])
                if key and not fdb_expired(&self.table, value, now):
                    rows.append(FdbRow(mac_text(key), (key >> 48) & 0xfff, value & FDB_PORT_MASK,
                                       0 if value & FDB_STATIC else max(0, <int32_t>(now - <uint32_t>(value >> FDB_STAMP_SHIFT))),
                                       bool(value & FDB_STATIC)))
        return rows

    def add_static(self, str mac, uint64_t vlan, uint64_t port):
        """A fixed entry; takes the place of a learned one. Raises ValueError for a group address or a full bucket."""
        cdef uint64_t number = mac_number(mac)
        cdef uint64_t key = fdb_key(number, vlan)
        cdef uint64_t hash = fdb_hash(&self.table, key)
        cdef uint64_t *slot
        cdef bint placed
        if number & 1 or not number:
            raise ValueError(f"{mac} is not the address of one station")
        spin_lock(&self.table.lock)
        slot = fdb_slot(&self.table, key, hash)
        if slot != NULL:
            fdb_clear(&self.table, slot)
        placed = fdb_place(&self.table, key, hash, FDB_STATIC | port)
        spin_unlock(&self.table.lock)
        if not placed:
            raise ValueError(f"no room for {mac}: its buckets are full of static entries")

    def remove(self, str mac, uint64_t vlan):
        """Whether there was such an entry, learned or static."""
        cdef uint64_t key = fdb_key(mac_number(mac), vlan)
        cdef uint64_t *slot
        spin_lock(&self.table.lock)
        slot = fdb_slot(&self.table, key, fdb_hash(&self.table, key))
        if slot != NULL:
            fdb_clear(&self.table, slot)
        spin_unlock(&self.table.lock)
        return slot != NULL

    def flush(self, port=None, vlan=None, bint dynamic_only=True):
        """Remove all entries that match; returns how many."""
        cdef uint64_t want_port = FDB_PORT_MASK + 1 if port is None else port
        cdef uint64_t want_vlan = 4096 if vlan is None else vlan
        return self._sweep(want_port, want_vlan, dynamic_only, False, 0)

    def age(self, now_s=None):
        """Remove what has aged by `now_s` (as for entries); returns how many."""
        cdef uint64_t removed
        if not self.table.ageing_s:
            return 0
        removed = self._sweep(FDB_PORT_MASK + 1, 4096, True, True, clock_s() if now_s is None else now_s)
        atomic_add64(&self.table.header.aged, removed)
        return removed

    cdef uint64_t _sweep(self, uint64_t port, uint64_t vlan, bint dynamic_only, bint expired_only,
                         uint32_t now):
        cdef uint64_t bucket, removed = 0
        with nogil:
            for bucket in range(self.table.mask + 1):
                removed += sweep_bucket(&self.table, &self.table.bucket[bucket], port, vlan, dynamic_only,
                                        expired_only, now)
        return removed

    def counters(self):
        cdef FdbHeader *h = self.table.header
        return FdbCounters(relaxed_load64(&h.entries), relaxed_load64(&h.learned), relaxed_load64(&h.learn_events),
                           relaxed_load64(&h.moves), relaxed_load64(&h.limit_hits), relaxed_load64(&h.evicted),
                           relaxed_load64(&h.aged), relaxed_load64(&h.static_conflicts))

    def port_learned(self, uint32_t port):
        """How many addresses are learned at a port now."""
        return relaxed_load64(&self.table.header.port_learned[port]) if port < MAX_PORTS else 0


cdef uint64_t sweep_bucket(Fdb *fdb, FdbBucket *bucket, uint64_t port, uint64_t vlan, bint dynamic_only,
                           bint expired_only, uint32_t now) noexcept nogil:
    cdef int way
    cdef uint64_t key, value, removed = 0
    for way in range(FDB_WAYS):
        if not relaxed_load64(&bucket.key[way]):
            continue                    # without the lock: most of a large table is empty
        spin_lock(&fdb.lock)
        key = bucket.key[way]
        value = atomic_load64(&bucket.value[way])
        if (key and not (dynamic_only and value & FDB_STATIC)
                and (port > FDB_PORT_MASK or value & FDB_PORT_MASK == port)
                and (vlan > 4095 or (key >> 48) & 0xfff == vlan)
                and (not expired_only or fdb_expired(fdb, value, now))):
            fdb_clear(fdb, &bucket.value[way])
            removed += 1
        spin_unlock(&fdb.lock)
    return removed
