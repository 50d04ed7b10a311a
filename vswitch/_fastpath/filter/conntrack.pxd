"""Connection tracking: the table, its entries and their layout, and finding a connection by either of its tuples.

An entry holds both directions of a connection as tuples; NAT shows in the reply tuple being no mere mirror of the
original. An index of cache-line buckets, 8 slots of (tag 32 | entry index 31 | direction 1), holds each connection
twice, by the hash of either tuple. A tuple has two buckets, both from one keyed hash. 192 bytes an entry and 32 of index;
where packets are counted (`acct`), 32 more in an array of their own: 224 or 256 bytes a connection.

An entry is three cache lines, of which a packet needs two, side by side: its direction's, which tells what it is and what
rules said of its like, and the one in the middle, which it changes. NAT reads the opposite tuple as well. What is asked for
less often fills the lines up.

`Conntrack` is one worker's view of the table: pointers that all views share, and what is the worker's own (counters, a
store of free entries, the unconfirmed entries of its burst). A new connection's entry stays out of the index, and
private to its worker, until the packet has passed all rules (confirm.pxd).

Writer rule: what an entry says of a connection changes under its striped lock, held for a few instructions and never
two at once. Readers of the index take no lock: a slot counts only once the entry's tuple was compared under the
entry's lock. Slots are filled by compare-and-swap, under the striped locks of both tuples so that a tuple cannot enter
twice, and emptied by whoever made the entry DYING. Stripes before entries, lower stripe first. The locks lie outside
the arena, so that a killed process leaves none held. Entry memory is never unmapped: a stale index is harmless, but
may be another connection by now.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_PORTS, MAX_WORKERS
from ..core.native cimport (
    load64, mix64, prefetch, relaxed_load64, spin_lock, spin_unlock,
)
from ..core.packet cimport CT_REPLY, NO_ENTRY, Packet, Tuple

cdef enum:
    CT_ORIGINAL = 0
    CT_REPLY_DIR = 1

    # CtEntry.status: the kernel's enum ip_conntrack_status
    IPS_EXPECTED = 1
    IPS_SEEN_REPLY = 2
    IPS_ASSURED = 4
    IPS_CONFIRMED = 8
    IPS_SRC_NAT = 16
    IPS_DST_NAT = 32
    IPS_SRC_NAT_DONE = 128
    IPS_DST_NAT_DONE = 256
    IPS_DYING = 512

    # CtEntry.use
    CT_FREE = 0
    CT_UNCONFIRMED = 1                  # known to one worker alone
    CT_CONFIRMED = 2                    # in the index
    CT_CONFIRMING = 3                   # going into the index
    CT_DYING = 4                        # being taken out

    CT_WAYS = 8
    CT_LOCKS = 1024                     # stripes of entry locks
    CT_STRIPES = 1024                   # stripes of tuple locks
    CT_STORE = 512                      # free entries that a view may keep to itself
    CT_PENDING = 64                     # unconfirmed entries of a burst that later packets of it can join
    CT_ZONES = 65536
    CT_VIEWS = MAX_WORKERS + 1
    CT_CONTROL = MAX_WORKERS            # the control side's view

    # CtSettings.tcp: by state, and two that are none
    TCP_TIMEOUT_RETRANS = 12
    TCP_TIMEOUT_UNACK = 13
    TCP_TIMEOUTS = 14

cdef packed struct CtWindow:
    # One direction of TCP (struct ip_ct_tcp_state).
    uint32_t end
    uint32_t maxend
    uint32_t maxwin
    uint32_t maxack
    uint8_t scale
    uint8_t flags

cdef struct CtPaths:
    # The verdict cache of one direction (filter/path.pxd).
    uint32_t generation                 # of the rules that the words were made under
    uint32_t word[2]                    # by half of the way; 0: none

cdef struct CtEntry:
    # A cache line that packets of the original direction read, and only those that walk rules write to
    Tuple original
    CtPaths original_paths
    uint32_t mark                       # connmark
    uint32_t next                       # of the free list; unconfirmed: packets of the burst that hold it
    uint32_t serial                     # counts the uses of this entry
    # ... that every packet reads and writes
    uint32_t expires_s                  # CLOCK_MONOTONIC
    uint32_t last_seq                   # UDP: when it becomes a stream, milliseconds
    uint32_t last_ack
    uint32_t last_end
    CtWindow window[2]
    uint16_t last_win
    uint16_t status                     # IPS_*
    uint16_t owner                      # port id whose budget it is charged to
    uint8_t state                       # of TCP; others: 0
    uint8_t use                         # CT_FREE, ...
    uint8_t last_dir
    uint8_t last_index
    uint8_t last_flags
    uint8_t retrans
    # ... and the reply direction's
    Tuple reply
    CtPaths reply_paths
    uint32_t created_s
    uint16_t masquerade_dev             # device index whose address it borrows; 0xffff: none
    uint8_t last_scale
    uint8_t spare[5]

cdef struct CtAccount:                  # by direction; only kept with `acct`
    uint64_t packets[2]
    uint64_t bytes[2]

cdef struct CtBucket:
    uint64_t slot[CT_WAYS]

cdef struct CtHeader:                   # at the start of the arena's body
    uint64_t seed[4]
    uint64_t capacity                   # connections, confirmed or not
    uint64_t total                      # entries laid out: the capacity and what all views may store
    uint64_t buckets                    # a power of two
    uint64_t used                       # connections now
    uint64_t confirmed
    uint64_t fresh                      # entries from this index on were never used
    uint64_t free_head                  # the shared free list; NO_ENTRY: empty
    uint64_t settled                    # entries up to there lie in huge pages
    uint64_t pad[4]
    uint64_t owner_used[MAX_PORTS]
    uint64_t owner_refused[MAX_PORTS]   # new connections that the budget did not let in
    uint64_t zone_used[CT_ZONES]        # confirmed, by the original tuple's zone

cdef struct CtSettings:                 # in seconds; named by the kernel's sysctls in conntrack.pyx
    uint32_t tcp[TCP_TIMEOUTS]
    uint32_t udp
    uint32_t udp_stream
    uint32_t icmp
    uint32_t icmpv6
    uint32_t gre
    uint32_t gre_stream
    uint32_t generic
    uint32_t tcp_loose
    uint32_t tcp_be_liberal
    uint32_t tcp_max_retrans
    uint32_t tcp_ignore_invalid_rst
    uint32_t acct

cdef struct CtCounters:                 # /proc/net/stat/nf_conntrack's, by view
    uint64_t found
    uint64_t invalid
    uint64_t insert
    uint64_t insert_failed
    uint64_t drop                       # the table was full
    uint64_t early_drop
    uint64_t clash                      # resolved: the packet joined the connection that was quicker
    uint64_t expired
    uint64_t deleted
    uint64_t refused                    # by a port's budget

cdef enum:
    CT_EVENT_NEW = 1
    CT_EVENT_UPDATE = 2
    CT_EVENT_DESTROY = 4
    CT_EVENTS = 1024                    # places in the ring

cdef struct CtEvent:
    uint32_t kind
    uint32_t index
    uint32_t now_s
    uint32_t pad
    CtEntry entry
    CtAccount account

cdef struct CtEvents:                   # a ring for `conntrack -E`: many writers, under `lock`, and one reader
    uint64_t lock
    uint64_t head
    uint64_t tail
    uint64_t lost
    CtEvent event[CT_EVENTS]

cdef struct CtShared:                   # what all views share and no successor process inherits
    uint64_t free_lock
    uint64_t listening                  # somebody reads the events
    CtEvents *events
    CtSettings settings
    uint32_t budget[MAX_PORTS]          # connections by owner; 0: as many as the table has
    uint64_t locks[CT_LOCKS]
    uint64_t stripes[CT_STRIPES]

cdef struct CtPending:
    uint64_t hash
    uint32_t index
    uint32_t pad

cdef struct Conntrack:                  # one worker's view
    CtHeader *header
    CtBucket *bucket
    CtEntry *entry                      # [0] is not used
    CtAccount *account                  # likewise
    CtShared *shared
    uint64_t mask                       # buckets - 1
    CtCounters counters
    uint32_t n_pending
    uint32_t store_head                 # free-running; the oldest leaves first, so that what was freed rests a while
    uint32_t store_tail
    uint32_t store[CT_STORE]
    CtPending pending[CT_PENDING]


cdef inline uint64_t ct_hash(const Conntrack *ct, const Tuple *tuple) noexcept nogil:
    """The keyed hash of a tuple, zone and protocol included; its `pad` must be 0."""
    cdef const uint64_t *seed = ct.header.seed
    cdef uint64_t a = mix64(tuple.src.high ^ seed[0], tuple.src.low ^ seed[1])
    cdef uint64_t b = mix64(tuple.dst.high ^ seed[1], tuple.dst.low ^ seed[2])
    return mix64(a ^ load64(&tuple.sport) ^ seed[2], b ^ seed[3])

cdef inline bint ct_same(const Tuple *a, const Tuple *b) noexcept nogil:
    return ((a.src.high ^ b.src.high) | (a.src.low ^ b.src.low) | (a.dst.high ^ b.dst.high) | (a.dst.low ^ b.dst.low)
            | (load64(&a.sport) ^ load64(&b.sport))) == 0

cdef inline CtBucket *ct_first(const Conntrack *ct, uint64_t hash) noexcept nogil:
    return &ct.bucket[hash & ct.mask]

cdef inline CtBucket *ct_second(const Conntrack *ct, uint64_t hash) noexcept nogil:
    """Away from the first by an odd distance that the tag gives."""
    return &ct.bucket[(hash + ((hash >> 32) | 1) * 0x9e3779b1ULL) & ct.mask]

cdef inline uint64_t ct_slot(uint64_t hash, uint32_t index, uint64_t direction) noexcept nogil:
    return (hash >> 32) << 32 | <uint64_t>index << 1 | direction

cdef inline uint32_t ct_slot_entry(uint64_t slot) noexcept nogil:
    return <uint32_t>slot >> 1

cdef inline uint64_t *ct_lock(const Conntrack *ct, uint32_t index) noexcept nogil:
    """The lock of an entry."""
    return &ct.shared.locks[index & (CT_LOCKS - 1)]

cdef inline const Tuple *ct_tuple(const CtEntry *entry, uint64_t direction) noexcept nogil:
    return &entry.reply if direction else &entry.original

cdef inline bint ct_expired(const CtEntry *entry, uint32_t now_s) noexcept nogil:
    return <int32_t>(now_s - entry.expires_s) >= 0


cdef inline void ct_prefetch(const Conntrack *ct, uint64_t hash) noexcept nogil:
    """First stage of a burst's look-ups: have the first bucket brought near, which has nearly all that the table holds."""
    prefetch(ct_first(ct, hash))

cdef inline bint ct_bucket_prefetch(const Conntrack *ct, const CtBucket *bucket, uint64_t hash,
                                    bint both) noexcept nogil:
    """Have the lines brought near that a packet needs of the entry that the bucket names, if it names one."""
    cdef const CtEntry *entry
    cdef uint64_t slot
    cdef int way
    for way in range(CT_WAYS):
        slot = relaxed_load64(&bucket.slot[way])
        if (slot ^ hash) >> 32 == 0 and slot:
            entry = &ct.entry[ct_slot_entry(slot)]
            prefetch(ct_tuple(entry, slot & 1))
            prefetch(&entry.use)
            if both:
                prefetch(ct_tuple(entry, 1 - (slot & 1)))
            return True
    return False

cdef inline void ct_candidate(const Conntrack *ct, uint64_t hash, bint both) noexcept nogil:
    """Second stage: have the entry brought near that the bucket names, or the other bucket if it names none.

    `both`: the opposite direction's tuple, too, which tells NAT what to write."""
    if not ct_bucket_prefetch(ct, ct_first(ct, hash), hash, both):
        prefetch(ct_second(ct, hash))

cdef inline bint ct_holds(const CtEntry *entry, const Tuple *tuple, uint64_t direction, uint32_t now_s) noexcept nogil:
    """Whether the entry is the live connection whose tuple this is. Holds: the entry's lock."""
    return (entry.use == CT_CONFIRMED and ct_same(ct_tuple(entry, direction), tuple)
            and not ct_expired(entry, now_s))

cdef inline uint32_t ct_bucket_find(const Conntrack *ct, CtBucket *bucket, const Tuple *tuple, uint64_t hash,
                                    uint32_t now_s, uint64_t *direction) noexcept nogil:
    """The entry of the bucket that holds the tuple, with its lock held; NO_ENTRY: none, and no lock is held."""
    cdef uint64_t slot
    cdef uint32_t index
    cdef int way
    for way in range(CT_WAYS):
        slot = relaxed_load64(&bucket.slot[way])
        if (slot ^ hash) >> 32 or not slot:
            continue
        index = ct_slot_entry(slot)
        spin_lock(ct_lock(ct, index))
        if ct_holds(&ct.entry[index], tuple, slot & 1, now_s):
            direction[0] = slot & 1
            return index
        spin_unlock(ct_lock(ct, index))
    return NO_ENTRY

cdef inline uint32_t ct_find_locked(const Conntrack *ct, const Tuple *tuple, uint64_t hash, uint32_t now_s,
                                    uint64_t *direction) noexcept nogil:
    """As ct_find, but the entry's lock is held if there is one."""
    cdef uint32_t index = ct_bucket_find(ct, ct_first(ct, hash), tuple, hash, now_s, direction)
    if index == NO_ENTRY:
        index = ct_bucket_find(ct, ct_second(ct, hash), tuple, hash, now_s, direction)
    return index

cdef inline uint32_t ct_find(const Conntrack *ct, const Tuple *tuple, uint64_t hash, uint32_t now_s,
                             uint64_t *direction) noexcept nogil:
    """The confirmed, unexpired connection that has this tuple in *direction; NO_ENTRY: there is none."""
    cdef uint32_t index = ct_find_locked(ct, tuple, hash, now_s, direction)
    if index != NO_ENTRY:
        spin_unlock(ct_lock(ct, index))
    return index

cdef inline uint64_t ct_direction(const Packet *packet) noexcept nogil:
    return (packet.ct_info & CT_REPLY) != 0

cdef inline bint ct_tuple_to(const Conntrack *ct, const Packet *packet, Tuple *other, uint32_t *status) noexcept nogil:
    """Copy the tuple of the packet's opposite direction, which tells NAT what to write, and the status.

    False if the entry has become another connection since the packet was tracked. Not for ICMP errors (CT_RELATED)."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    cdef uint64_t direction = ct_direction(packet)
    cdef bint same
    spin_lock(ct_lock(ct, packet.ct))
    same = entry.use in (CT_UNCONFIRMED, CT_CONFIRMED) and ct_same(ct_tuple(entry, direction), &packet.tuple)
    other[0] = ct_tuple(entry, 1 - direction)[0]
    status[0] = entry.status
    spin_unlock(ct_lock(ct, packet.ct))
    return same


cdef class ConnectionTable:
    cdef Arena arena
    cdef CtShared *shared
    cdef Conntrack *views               # one for each worker, and CT_CONTROL
    cdef object lock                    # of the control side's view
    cdef uint64_t cursor                # where the sweep goes on
    cdef Conntrack *view(self, uint32_t worker) noexcept
    cdef uint32_t copy(self, uint32_t index, CtEntry *to, CtAccount *account) noexcept nogil
