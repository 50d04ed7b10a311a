"""Frames that wait. A `Held` first points at the frame where it lies, in the burst's memory; what is still waiting when the
burst is over is copied into the pool (`hold`). So a frame that leaves at once costs no copy.

The pool is bounded in bytes, by what its slots take: HELD_SIZES are the sizes of slots. A frame reserves its slot before
it is queued, so that copying cannot fail. Both descriptors and slots come from stacks; what is used last is warm.

Thread safety: a pool belongs to one worker.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.frame cimport SLOT, VNET_LEN
from ..core.native cimport load32, memory_allow, memory_forbid, store32
from ..core.tx cimport TX_BLOCK, TxEntry

cdef enum:
    HELD_SIZES = 4
    LENT_MAX = 4096                     # frames still in the burst's memory; more are copied early

    HELD_FREE = 0                       # Held.state
    HELD_LENT = 1                       # still where the burst put it
    HELD_KEPT = 2

    ECN_NONE = 0                        # Held.ecn: whether CE may be set, and where
    ECN_IP4 = 4
    ECN_IP6 = 6

cdef struct Held:
    # Two cache lines; the first has what every frame needs.
    uint32_t next                       # in its queue, or of the free ones
    uint32_t wire                       # bytes that are still to go on the wire, headers of all segments included
    const uint8_t *head                 # from the virtio-net header on, as in TxEntry
    const uint8_t *body
    uint32_t head_len
    uint32_t body_len
    uint32_t counted
    uint32_t slot                       # for a slot of `size`, once it is copied
    uint64_t since_ns
    uint16_t origin                     # id of the port that it came from
    uint16_t segments                   # still to go
    uint16_t mss                        # payload of a segment; 0: no super-frame
    uint16_t hdr_len                    # ... and its headers, layer 2 included
    uint16_t gone                       # segments that have left already
    uint8_t size                        # of its slot
    uint8_t state
    uint8_t needs                       # OFFLOAD_*, as in Frame
    uint8_t ecn
    uint8_t l2_len                      # bytes before layer 3, less the tags that came with it
    uint8_t band                        # of a fifo
    uint64_t serial                     # Port.born of `origin`
    uint64_t hash                       # of the flow, where a discipline asked
    uint16_t l3_off                     # bytes before layer 3
    uint8_t block[TX_BLOCK]
    uint8_t pad2[18]

cdef struct HeldPool:
    Held *helds                         # from 1 on
    uint32_t capacity
    uint32_t fresh                      # never used yet
    uint32_t free                       # a stack
    uint32_t n                          # in use
    uint64_t limit                      # bytes
    uint64_t bytes                      # reserved
    uint8_t *slots[HELD_SIZES]
    uint32_t slot_free[HELD_SIZES]      # stacks of slots, number + 1
    uint32_t slot_fresh[HELD_SIZES]
    uint32_t n_lent                     # this burst's
    uint32_t lent[LENT_MAX]


cdef inline uint32_t size_bytes(uint32_t size) noexcept nogil:
    """Of a slot of the class."""
    return 512 if size == 0 else 2048 if size == 1 else 16384 if size == 2 else (SLOT + 63) & ~63

cdef inline uint32_t size_class(uint32_t length) noexcept nogil:
    return 0 if length <= 512 else 1 if length <= 2048 else 2 if length <= 16384 else 3

cdef inline uint32_t held_new(HeldPool *pool, const TxEntry *entry) noexcept nogil:
    """A descriptor of the frame where it lies, its slot reserved; 0: the pool is full."""
    cdef uint32_t length = entry.head_len + entry.body_len, number = pool.free
    cdef uint32_t size = size_class(length)
    cdef Held *held
    if pool.bytes + size_bytes(size) > pool.limit:
        return 0
    if number:
        pool.free = pool.helds[number].next
    elif pool.fresh < pool.capacity:
        pool.fresh += 1
        number = pool.fresh
    else:
        return 0
    held = &pool.helds[number]
    pool.bytes += size_bytes(size)
    pool.n += 1
    held.size = <uint8_t>size
    held.state = HELD_LENT
    held.next = 0
    held.gone = 0
    held.counted = entry.counted
    held.head = entry.head
    held.body = entry.body
    held.head_len = entry.head_len
    held.body_len = entry.body_len
    if entry.head == entry.block:
        memcpy(held.block, entry.block, TX_BLOCK)
        held.head = held.block
    if pool.n_lent == LENT_MAX:
        keep_lent(pool)
    pool.lent[pool.n_lent] = number
    pool.n_lent += 1
    return number

cdef inline void held_free(HeldPool *pool, uint32_t number) noexcept nogil:
    cdef Held *held = &pool.helds[number]
    cdef uint8_t *slot
    if held.state == HELD_KEPT:
        slot = pool.slots[held.size] + <uint64_t>held.slot * size_bytes(held.size)
        memory_allow(slot, 4)
        store32(slot, pool.slot_free[held.size])
        pool.slot_free[held.size] = held.slot + 1
    pool.bytes -= size_bytes(held.size)
    pool.n -= 1
    held.state = HELD_FREE
    held.next = pool.free
    pool.free = number

cdef inline void held_keep(HeldPool *pool, uint32_t number) noexcept nogil:
    """Copy the frame into its slot, if it still is where the burst put it."""
    cdef Held *held = &pool.helds[number]
    cdef uint8_t *slot
    if held.state != HELD_LENT:
        return
    if pool.slot_free[held.size]:
        held.slot = pool.slot_free[held.size] - 1
        slot = pool.slots[held.size] + <uint64_t>held.slot * size_bytes(held.size)
        pool.slot_free[held.size] = load32(slot)
    else:
        held.slot = pool.slot_fresh[held.size]
        pool.slot_fresh[held.size] += 1
        slot = pool.slots[held.size] + <uint64_t>held.slot * size_bytes(held.size)
    memory_forbid(slot, size_bytes(held.size))
    memory_allow(slot, held.head_len + held.body_len)
    memcpy(slot, held.head, held.head_len)
    if held.body_len:
        memcpy(slot + held.head_len, held.body, held.body_len)
    held.head = slot
    held.head_len += held.body_len
    held.body_len = 0
    held.state = HELD_KEPT

cdef inline void keep_lent(HeldPool *pool) noexcept nogil:
    """The burst's memory is about to be used again: copy what still waits."""
    cdef uint32_t i
    for i in range(pool.n_lent):
        held_keep(pool, pool.lent[i])
    pool.n_lent = 0

cdef inline uint8_t *held_frame(Held *held) noexcept nogil:
    """The frame of a kept one."""
    return <uint8_t *>held.head + VNET_LEN
