"""Memory of what is laid out once for the fast path and then only read: a snapshot, a route table, a rule set."""
from cpython.mem cimport PyMem_Calloc, PyMem_Free


cdef class _Block:
    cdef void *memory

    def __dealloc__(self):
        PyMem_Free(self.memory)


cdef class BlockOwner:
    """Its blocks are zeroed, and freed with it."""

    def __cinit__(self):
        self._blocks = []

    cdef void *_block(self, size_t size) except NULL:
        cdef _Block block = _Block()
        block.memory = PyMem_Calloc(1, max(size, 1))
        if block.memory == NULL:
            raise MemoryError
        self._blocks.append(block)
        return block.memory
