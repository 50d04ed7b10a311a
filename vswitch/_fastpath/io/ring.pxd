"""The rings of a memory port: frames go in from a test or a benchmark and come out again, without a device.

A ring is a byte queue between one producer and one consumer. A record is a length (8 bytes), the virtio-net header and the
frame, padded to 8 bytes; a record never wraps: where it would, a skip mark sends the reader to the start. `head` is the
consumer's, `tail` the producer's; both only grow.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.counters cimport MAX_WORKERS
from ..core.native cimport atomic_load64, atomic_store64, load64, store64

cdef enum:
    RECORD_HEADER = 8
    RECORD_SKIP = 0xffffffff

cdef struct Ring:
    uint8_t *bytes
    uint64_t size                       # a power of two
    uint64_t head
    uint64_t pad[7]
    uint64_t tail

cdef struct MemoryPort:
    Ring rx                             # into the switch: from the test to the port's worker
    Ring tx[MAX_WORKERS]                # out of it: from each worker to the test; `bytes` NULL: frames are counted only
    int event                           # eventfd that wakes the worker
    int notify                          # eventfd that wakes whoever reads `tx`; only the switch's own port has one
    uint64_t cursor                     # the worker's place in rx; what lies before it may be reused
    bint looping                        # take what rx holds over and over: for benchmarks

cdef class MemoryRings:
    cdef MemoryPort port
    cdef readonly str name
    cdef readonly bint sink
    cdef int _allocate(self, Ring *ring, uint64_t size) except -1
    cdef bint _put(self, bytes header, bytes frame) except -1


cdef inline uint64_t record_size(uint64_t length) noexcept nogil:
    return (RECORD_HEADER + length + 7) & ~<uint64_t>7

cdef inline uint8_t *ring_reserve(Ring *ring, uint64_t length) noexcept nogil:
    """Room for a record of `length` bytes, to be filled and then committed; NULL: the ring is full."""
    cdef uint64_t need = record_size(length)
    cdef uint64_t tail = ring.tail
    cdef uint64_t at = tail & (ring.size - 1)
    cdef uint64_t skip = ring.size - at if at + need > ring.size else 0
    if tail + skip + need - atomic_load64(&ring.head) > ring.size:
        return NULL
    if skip:
        store64(ring.bytes + at, RECORD_SKIP)
        atomic_store64(&ring.tail, tail + skip)
        at = 0
    store64(ring.bytes + at, length)
    return ring.bytes + at + RECORD_HEADER

cdef inline void ring_commit(Ring *ring, uint64_t length) noexcept nogil:
    atomic_store64(&ring.tail, ring.tail + record_size(length))

cdef inline const uint8_t *ring_at(const Ring *ring, uint64_t *head, uint64_t *length) noexcept nogil:
    """The record at *head, which moves past it; NULL: there is none yet."""
    cdef uint64_t at = head[0] & (ring.size - 1)
    if head[0] == atomic_load64(&ring.tail):
        return NULL
    length[0] = load64(ring.bytes + at)
    if length[0] == RECORD_SKIP:
        head[0] += ring.size - at
        return ring_at_start(ring, head, length)
    head[0] += record_size(length[0])
    return ring.bytes + at + RECORD_HEADER

cdef inline const uint8_t *ring_at_start(const Ring *ring, uint64_t *head, uint64_t *length) noexcept nogil:
    if head[0] == atomic_load64(&ring.tail):
        return NULL
    length[0] = load64(ring.bytes)
    head[0] += record_size(length[0])
    return ring.bytes + RECORD_HEADER
