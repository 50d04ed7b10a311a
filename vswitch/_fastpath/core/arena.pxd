"""See arena.pyx."""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ARENA_HEADER = 4096                 # a page, so that the body is page-aligned
    ARENA_MAGIC = 0x68737776            # "vwsh"
    ARENA_VERSION = 1

cdef struct ArenaHeader:
    uint32_t magic
    uint32_t version
    uint64_t size                       # bytes of the body
    char layout[64]                     # what the body holds, e.g. "fdb/1"

cdef class Arena:
    cdef readonly str name
    cdef readonly str layout
    cdef readonly int fd
    cdef readonly size_t size
    cdef void *base
    cdef void *body(self) noexcept
    cdef _write_header(self)
