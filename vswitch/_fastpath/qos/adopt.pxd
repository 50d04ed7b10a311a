"""See adopt.pyx."""
from libc.stdint cimport uint32_t

from ..core.snapshot cimport Snapshot
from .state cimport Scheduler

cdef void adopt_trees(Scheduler *s, const Snapshot *snapshot, uint32_t worker) noexcept nogil
