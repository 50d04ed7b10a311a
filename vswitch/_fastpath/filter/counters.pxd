"""See counters.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.arena cimport Arena
from .rule cimport RuleCounter

cdef class RuleCounters:
    cdef Arena _arena
    cdef readonly uint32_t capacity
    cdef dict _base
    cdef RuleCounter *of_worker(self, uint32_t worker) noexcept
    cdef uint64_t *meters(self) noexcept
