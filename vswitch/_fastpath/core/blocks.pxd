"""See blocks.pyx."""

cdef class BlockOwner:
    cdef list _blocks                   # what the pointers point into, and what else must live as long
    cdef void *_block(self, size_t size) except NULL
