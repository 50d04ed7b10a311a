"""Memory for the tables that outlive a configuration: flat, memfd-backed, joined by index and never by pointer.

An arena starts with a header that names its layout, so that a process that takes over a running one's memfd knows what it
has. Nothing in it depends on where it is mapped. Pages come from the kernel zeroed and only when first touched: a table
sized for a million entries costs nothing until it is used.
"""
import os

from libc.string cimport memcpy
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

from .native cimport close, memory_allow

cdef class Arena:
    """`size` bytes of body behind the header. Raises OSError when the kernel has no memory to give."""

    def __cinit__(self, str name, size_t size, str layout):
        self.name = name
        self.layout = layout
        self.size = size
        self.fd = os.memfd_create(f"vswitch-{name}", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, ARENA_HEADER + size)
        self.base = mmap(NULL, ARENA_HEADER + size, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
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

    def __dealloc__(self):
        if self.base != NULL:
            memory_allow(self.base, ARENA_HEADER + self.size)
            munmap(self.base, ARENA_HEADER + self.size)
        if self.fd > 0:
            close(self.fd)          # not os.close: at the interpreter's end there may be no `os` any more
