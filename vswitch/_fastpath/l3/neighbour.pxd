"""The neighbour table: (device, address) -> MAC, for all devices, with the states of the kernel's (RFC 4861, 7.3).

    NONE -> INCOMPLETE -> REACHABLE -> STALE -> DELAY -> PROBE -> FAILED        PERMANENT: set by hand, never changes
            asked,        answered     30 s    a frame  asked    nobody answered
            frames wait                        used it  again

A hash table of cache lines, a neighbour each. A key lies in the window of slots that begins at its keyed hash; there
are four slots for each neighbour of the limit, so that the first one mostly is the right one. At a limit, of the
table or of a device, a neighbour that failed or has not been used for a while makes room; if there is none, the new
one is refused. Half of a device's share may be waiting for answers, so that a guest that scans its network leaves
room for those who speak.

Writer rule: all changes hold `lock`, which lives outside the arena; only the stamp of use is stored without it.
Readers take no lock: a slot's content counts only if its `key` reads the same before and after it. The key carries a
count of how often the slot was filled, so it never comes back.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.ip cimport Ip
from ..core.native cimport atomic_load64, atomic_store64, mix64, relaxed_load64
from .waiting cimport Waiting

cdef enum NeighbourState:               # the kernel's NUD_*
    NUD_NONE = 0
    NUD_INCOMPLETE = 0x01
    NUD_REACHABLE = 0x02
    NUD_STALE = 0x04
    NUD_DELAY = 0x08
    NUD_PROBE = 0x10
    NUD_FAILED = 0x20
    NUD_PERMANENT = 0x80
    NUD_VALID = 0x9e                    # the MAC may be used
    NUD_PENDING = 0x19                  # a timer runs

cdef enum:
    NEIGHBOUR_WINDOW = 8
    NEIGHBOUR_DEVICES = 65536
    NEIGHBOUR_SCAN = 64                 # neighbours looked at for one that can make room
    REACHABLE_S = 30
    DELAY_S = 5
    RECYCLE_S = 5                       # a stale neighbour unused for so long may be forgotten
    FAILED_S = 30                       # shown for so long
    STALE_S = 600
    PROBES = 3

cdef struct Neighbour:                  # a cache line
    uint64_t key                        # 1 << 63 | device << 32 | times filled; 0: free
    Ip ip
    uint64_t link                       # tries << 56 | state << 48 | MAC
    uint64_t used_s                     # by a frame; CLOCK_MONOTONIC, as all of them
    uint64_t confirmed_s                # when it last proved to be there
    uint64_t changed_s                  # state, MAC or tries
    uint32_t fills
    uint32_t waiting                    # chain of frames (waiting.pxd), INCOMPLETE only

cdef struct NeighbourHeader:            # at the start of the arena's body
    uint64_t seed[2]
    uint64_t slots                      # a power of two
    uint64_t entries
    uint64_t pending                    # how many are NUD_PENDING: while none is, no timer is needed
    uint64_t swept_s                    # second of the last timer run
    uint64_t hand                       # where the next search for room begins
    # Counters
    uint64_t created
    uint64_t recycled
    uint64_t refused                    # no room for a new one
    uint64_t failed
    uint64_t solicited
    uint64_t moved                      # another MAC for the address
    uint64_t spoofed                    # messages that spoke for an address of ours
    uint64_t malformed
    uint64_t queued                     # frames that had to wait
    uint64_t queue_full
    uint64_t device_entries[NEIGHBOUR_DEVICES]
    uint64_t device_asked[NEIGHBOUR_DEVICES]    # INCOMPLETE ones

cdef struct Neighbours:
    NeighbourHeader *header
    Neighbour *slot
    uint64_t *used                      # a bit a slot
    uint64_t mask                       # slots - 1
    uint64_t limit
    uint64_t device_limit
    Waiting waiting
    uint64_t lock


cdef inline uint64_t link_of(uint64_t mac, uint64_t state, uint64_t tries) noexcept nogil:
    return mac | state << 48 | tries << 56

cdef inline uint64_t link_mac(uint64_t link) noexcept nogil:
    return link & 0xffffffffffffULL

cdef inline uint8_t link_state(uint64_t link) noexcept nogil:
    return <uint8_t>(link >> 48)

cdef inline uint32_t link_tries(uint64_t link) noexcept nogil:
    return <uint32_t>(link >> 56)

cdef inline uint16_t neighbour_device(const Neighbour *n) noexcept nogil:
    return <uint16_t>(n.key >> 32)

cdef inline uint64_t neighbour_hash(const Neighbours *table, uint64_t device, const Ip *ip) noexcept nogil:
    # Twice: after one multiplication the hosts of a network, one after another, may lie a few slots apart and fill a window.
    return mix64(mix64(ip.high ^ table.header.seed[0] ^ device, ip.low ^ table.header.seed[1]),
                 0x9e3779b97f4a7c15ULL)

cdef inline Neighbour *neighbour_read(const Neighbours *table, uint16_t device, const Ip *ip,
                                      uint64_t *link) noexcept nogil:
    """The slot and a consistent copy of its link; NULL: not known. Takes no lock, and needs none held."""
    cdef uint64_t at = neighbour_hash(table, device, ip), want = 0x80000000U | <uint32_t>device, key
    cdef Neighbour *n
    cdef uint32_t i
    for i in range(NEIGHBOUR_WINDOW):
        n = &table.slot[(at + i) & table.mask]
        key = atomic_load64(&n.key)
        if key >> 32 == want and atomic_load64(&n.ip.low) == ip.low and atomic_load64(&n.ip.high) == ip.high:
            link[0] = atomic_load64(&n.link)
            if atomic_load64(&n.key) == key:
                return n
    return NULL

cdef inline uint8_t state_now(const Neighbour *n, uint64_t link, uint32_t now_s) noexcept nogil:
    """The state as of now: what has not been confirmed for a while is stale, though no timer has said so yet."""
    cdef uint8_t state = link_state(link)
    if state == NUD_REACHABLE and now_s >= relaxed_load64(&n.confirmed_s) + REACHABLE_S:
        return NUD_STALE
    return state

cdef inline uint8_t neighbour_find(const Neighbours *table, uint16_t device, const Ip *ip, uint32_t now_s,
                                   uint64_t *mac) noexcept nogil:
    """The neighbour's state. One of NUD_VALID: frames may go to *mac. Stamps the use, once a second."""
    cdef uint64_t link
    cdef Neighbour *n = neighbour_read(table, device, ip, &link)
    if n == NULL:
        return NUD_NONE
    mac[0] = link_mac(link)
    if relaxed_load64(&n.used_s) != now_s:
        atomic_store64(&n.used_s, now_s)
    return state_now(n, link, now_s)


cdef inline uint64_t neighbour_idle_s(const Neighbour *n) noexcept nogil:
    """When the neighbour was last of use, or changed."""
    cdef uint64_t last = n.confirmed_s if n.confirmed_s > n.changed_s else n.changed_s
    return n.used_s if n.used_s > last else last

cdef inline bint neighbour_can_go(const Neighbour *n, uint32_t now_s) noexcept nogil:
    """Whether the neighbour may be forgotten for the sake of another."""
    cdef uint8_t state = state_now(n, n.link, now_s)
    return state == NUD_FAILED or (state == NUD_STALE and now_s >= neighbour_idle_s(n) + RECYCLE_S)

cdef inline void neighbour_set(Neighbours *table, Neighbour *n, uint64_t mac, uint8_t state, uint32_t tries,
                               uint32_t now_s) noexcept nogil:
    """Another link, and the books of it. Holds: lock."""
    cdef uint8_t old = link_state(n.link)
    cdef uint16_t device = neighbour_device(n)
    table.header.pending += ((state & NUD_PENDING) != 0)
    table.header.pending -= ((old & NUD_PENDING) != 0)
    table.header.device_asked[device] += state == NUD_INCOMPLETE
    table.header.device_asked[device] -= old == NUD_INCOMPLETE
    n.changed_s = now_s
    atomic_store64(&n.link, link_of(mac, state, tries))

cdef inline void neighbour_clear(Neighbours *table, Neighbour *n) noexcept nogil:
    """Forget a neighbour for whom nothing waits. Holds: lock."""
    cdef uint64_t at = n - table.slot
    neighbour_set(table, n, 0, NUD_NONE, 0, 0)
    table.header.device_entries[neighbour_device(n)] -= 1
    table.header.entries -= 1
    atomic_store64(&n.key, 0)
    atomic_store64(&table.used[at >> 6], table.used[at >> 6] & ~(1ULL << (at & 63)))

cdef inline Neighbour *neighbour_next(const Neighbours *table, uint64_t *at) noexcept nogil:
    """The first slot in use from *at on, which moves behind it; NULL: none up to the table's end."""
    cdef uint64_t word
    while at[0] <= table.mask:
        word = relaxed_load64(&table.used[at[0] >> 6]) >> (at[0] & 63)
        if word & 1:
            at[0] += 1
            return &table.slot[at[0] - 1]
        at[0] = at[0] + 1 if word else (at[0] | 63) + 1
    return NULL

cdef inline bint neighbour_recycle(Neighbours *table, bint any_device, uint16_t device, uint32_t now_s) noexcept nogil:
    """Make room: of the next few neighbours, of that device or of any, forget the one longest idle. Holds: lock."""
    cdef Neighbour *best = NULL
    cdef Neighbour *n
    cdef uint32_t i
    for i in range(NEIGHBOUR_SCAN):
        n = neighbour_next(table, &table.header.hand)
        if n == NULL:
            table.header.hand = 0
        elif (any_device or neighbour_device(n) == device) and neighbour_can_go(n, now_s) \
                and (best == NULL or neighbour_idle_s(n) < neighbour_idle_s(best)):
            best = n
    if best == NULL:
        return False
    neighbour_clear(table, best)
    table.header.recycled += 1
    return True

cdef inline bint neighbour_may_ask(const Neighbours *table, uint16_t device) noexcept nogil:
    """Whether one more of the device's neighbours may be waited for."""
    return table.header.device_asked[device] < (table.device_limit + 1) // 2

cdef inline bint neighbour_room(Neighbours *table, uint16_t device, uint8_t state, uint32_t now_s) noexcept nogil:
    """Whether the limits allow one more in that state. Holds: lock."""
    if state == NUD_INCOMPLETE and not neighbour_may_ask(table, device):
        return False
    if table.header.device_entries[device] >= table.device_limit:
        return neighbour_recycle(table, False, device, now_s)
    return table.header.entries < table.limit or neighbour_recycle(table, True, 0, now_s)

cdef inline Neighbour *neighbour_vacant(Neighbours *table, uint16_t device, const Ip *ip,
                                        uint32_t now_s) noexcept nogil:
    """A free slot of the key's window, if need be one that held a neighbour who can go. Holds: lock."""
    cdef uint64_t at = neighbour_hash(table, device, ip)
    cdef Neighbour *n
    cdef uint32_t i
    for i in range(NEIGHBOUR_WINDOW):
        n = &table.slot[(at + i) & table.mask]
        if n.key == 0:
            return n
    for i in range(NEIGHBOUR_WINDOW):
        n = &table.slot[(at + i) & table.mask]
        if neighbour_can_go(n, now_s):
            neighbour_clear(table, n)
            table.header.recycled += 1
            return n
    return NULL

cdef inline Neighbour *neighbour_add(Neighbours *table, uint16_t device, const Ip *ip, uint64_t mac, uint8_t state,
                                     uint32_t now_s) noexcept nogil:
    """A new neighbour, who is not in the table; NULL: there is no room. Holds: lock."""
    cdef Neighbour *n = NULL
    cdef uint64_t at
    if neighbour_room(table, device, state, now_s):
        n = neighbour_vacant(table, device, ip, now_s)
    if n == NULL:
        table.header.refused += 1
        return NULL
    at = n - table.slot
    # The key is 0: no reader believes the slot until it is set, last of all.
    atomic_store64(&n.ip.high, ip.high)
    atomic_store64(&n.ip.low, ip.low)
    atomic_store64(&n.used_s, 0)
    atomic_store64(&n.confirmed_s, now_s)
    n.waiting = 0
    n.fills += 1
    atomic_store64(&n.link, 0)
    table.header.device_entries[device] += 1
    table.header.entries += 1
    table.header.created += 1
    atomic_store64(&n.key, (0x80000000ULL | device) << 32 | n.fills)
    neighbour_set(table, n, mac, state, 1 if state == NUD_INCOMPLETE else 0, now_s)
    atomic_store64(&table.used[at >> 6], table.used[at >> 6] | 1ULL << (at & 63))
    return n


cdef class NeighbourTable:
    cdef Arena arena
    cdef Arena pool
    cdef Neighbours table
    cdef Neighbour *_at(self, uint16_t device, const Ip *ip) noexcept
    cdef bint _forget(self, Neighbour *n) noexcept
