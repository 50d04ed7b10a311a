"""Memory for the tables that outlive a configuration: flat, memfd-backed, joined by index and never by pointer.

An arena starts with a header that names its layout, so that a process that takes over a running one's memfd knows what it
has. Nothing in it depends on where it is mapped. Pages come from the kernel zeroed and only when first touched: a table
sized for a million entries costs nothing until it is used.

Random access to a large table costs a walk through the page tables each time. Linux gives memfds no huge pages of its own
accord, but makes them of what is in use when asked (MADV_COLLAPSE, Linux 6.1); so arenas lie where huge pages can.
"""
import os

from libc.string cimport memcpy
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE, madvise, mmap, munmap,
)

from .native cimport close, memory_allow

cdef enum:
    HUGE_PAGE = 1 << 21
    MADV_COLLAPSE = 25


cdef void *map_aligned(int fd, size_t size) noexcept:
    """The file in memory, from a huge page's border on; MAP_FAILED where the kernel has no room."""
    cdef char *room = <char *>mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef size_t ahead
    if <void *>room == MAP_FAILED:
        return MAP_FAILED
    ahead = -<size_t>room & (HUGE_PAGE - 1)
    size = (size + 4095) & ~<size_t>4095
    munmap(room + ahead + size, HUGE_PAGE - ahead)
    if ahead:
        munmap(room, ahead)
    return mmap(room + ahead, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0)


cdef class Arena:
    """`size` bytes of body behind the header. Raises OSError when the kernel has no memory to give."""

    def __cinit__(self, str name, size_t size, str layout):
        self.name = name
        self.layout = layout
        self.size = size
        self.fd = os.memfd_create(f"vswitch-{name}", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, ARENA_HEADER + size)
        self.base = map_aligned(self.fd, ARENA_HEADER + size)
        if self.base == MAP_FAILED:
            self.base = NULL
            raise OSError(f"cannot map {size} bytes for {name}")
        self._write_header()

    cdef _write_header(self):
        cdef ArenaHeader *header = <ArenaHeader *>self.base
        header.magic = ARENA_MAGIC
        header.version = ARENA_VERSION
        header.size = self.size
        encoded = self.layout.encode()[:sizeof(header.layout) - 1]
        memcpy(header.layout, <const char *>encoded, len(encoded))

    cdef void *body(self) noexcept:
        return <char *>self.base + ARENA_HEADER

    def collapse(self, size_t start, size_t end):
        """Make huge pages of all that lie whole between two places of the body; where that is impossible, nothing is lost."""
        start = (start + ARENA_HEADER + HUGE_PAGE - 1) & ~<size_t>(HUGE_PAGE - 1)
        end = (end + ARENA_HEADER) & ~<size_t>(HUGE_PAGE - 1)
        if start < end:
            madvise(<char *>self.base + start, end - start, MADV_COLLAPSE)

    def __dealloc__(self):
        if self.base != NULL:
            memory_allow(self.base, ARENA_HEADER + self.size)
            munmap(self.base, ARENA_HEADER + self.size)
        if self.fd > 0:
            close(self.fd)          # not os.close: at the interpreter's end there may be no `os` any more
