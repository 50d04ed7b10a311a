"""Frames that wait for a neighbour's answer: copied whole, virtio-net header first, into a pool of fixed size.

The pool is cut into chunks, so that a 64 KiB super-frame and a ping share it without waste or fragmentation. A frame
is a chain of chunks; the frames of one neighbour are a chain too, by the first chunk of each. Chunk numbers start at
1, 0 ends a chain. What one port's frames may occupy is bounded as well, so that no guest can keep the others from
waiting.

Thread safety: every function says "Holds: lock"; that is the neighbour table's. A chain taken from its neighbour
belongs to whoever took it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.counters cimport MAX_PORTS

cdef enum:
    CHUNK_BYTES = 2032
    WAITING_FRAMES = 3                  # for one neighbour (in the spirit of the kernel's unres_qlen)

cdef struct Chunk:
    uint32_t next                       # chunk of the same frame, or of the free list
    # Of a frame's first chunk only.
    uint32_t next_frame
    uint32_t length                     # virtio-net header and frame
    uint16_t origin                     # port id that every fate of the frame is charged to
    uint16_t in_dev                     # device that it came by: an ICMP error goes back there
    uint8_t bytes[CHUNK_BYTES]

cdef struct WaitingHeader:              # at the start of the arena's body
    uint32_t free                       # chain of chunks that were in use
    uint32_t fresh                      # chunks from here on never were
    uint64_t used                       # chunks
    uint32_t port_used[MAX_PORTS]

cdef struct Waiting:
    WaitingHeader *header
    Chunk *chunk                        # chunk[0] stays empty
    uint32_t limit                      # chunks
    uint32_t port_limit


cdef inline uint32_t chunks_of(uint32_t length) noexcept nogil:
    return (length + CHUNK_BYTES - 1) // CHUNK_BYTES

cdef inline uint32_t chunk_take(Waiting *pool) noexcept nogil:
    """Holds: lock. Whoever calls has seen that there is one."""
    cdef uint32_t index = pool.header.free
    if index:
        pool.header.free = pool.chunk[index].next
    else:
        pool.header.fresh += 1
        index = pool.header.fresh
    pool.header.used += 1
    return index

cdef inline uint32_t waiting_put(Waiting *pool, const uint8_t *frame, uint32_t length, uint16_t origin,
                                 uint16_t in_dev) noexcept nogil:
    """A copy of the frame, as a chain of one; 0: no room. Holds: lock."""
    cdef uint32_t need = chunks_of(length), first = 0, last = 0, index, piece
    if (length == 0 or pool.header.used + need > pool.limit
            or pool.header.port_used[origin & (MAX_PORTS - 1)] + need > pool.port_limit):
        return 0
    pool.header.port_used[origin & (MAX_PORTS - 1)] += need
    while length:
        index = chunk_take(pool)
        piece = length if length < CHUNK_BYTES else CHUNK_BYTES
        memcpy(pool.chunk[index].bytes, frame, piece)
        pool.chunk[index].next = 0
        if first == 0:
            first = index
            pool.chunk[index].length = length
        else:
            pool.chunk[last].next = index
        last = index
        frame += piece
        length -= piece
    pool.chunk[first].next_frame = 0
    pool.chunk[first].origin = origin
    pool.chunk[first].in_dev = in_dev
    return first

cdef inline void waiting_append(Waiting *pool, uint32_t *chain, uint32_t frame) noexcept nogil:
    """Put the frame at the end of a neighbour's chain. Holds: lock."""
    cdef uint32_t *end = chain
    while end[0]:
        end = &pool.chunk[end[0]].next_frame
    end[0] = frame

cdef inline uint32_t waiting_count(const Waiting *pool, uint32_t chain) noexcept nogil:
    """Holds: lock."""
    cdef uint32_t n = 0
    while chain:
        n += 1
        chain = pool.chunk[chain].next_frame
    return n

cdef inline void waiting_take(Waiting *pool, uint32_t *chain, uint8_t *out) noexcept nogil:
    """Move the first frame of a chain into `out`, and its chunks back into the pool. Holds: lock."""
    cdef uint32_t index = chain[0], next, piece
    cdef uint32_t left = pool.chunk[index].length
    cdef uint16_t origin = pool.chunk[index].origin & (MAX_PORTS - 1)
    chain[0] = pool.chunk[index].next_frame
    pool.header.port_used[origin] -= chunks_of(left)
    while index:
        piece = left if left < CHUNK_BYTES else CHUNK_BYTES
        memcpy(out, pool.chunk[index].bytes, piece)
        out += piece
        left -= piece
        next = pool.chunk[index].next
        pool.chunk[index].next = pool.header.free
        pool.header.free = index
        pool.header.used -= 1
        index = next
