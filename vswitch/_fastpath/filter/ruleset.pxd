"""See ruleset.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.arena cimport Arena
from .rule cimport RuleCounter, Ruleset

cdef class CompiledRuleset:
    cdef Ruleset rules                  # what a snapshot points at; this object must live as long
    cdef list _blocks
    cdef void *_block(self, size_t size) except NULL

cdef class RuleCounters:
    cdef Arena arena
    cdef readonly uint32_t capacity
    cdef dict _base
    cdef RuleCounter *of_worker(self, uint32_t worker) noexcept
    cdef uint64_t *meters(self) noexcept
