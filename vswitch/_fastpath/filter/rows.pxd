"""See rows.pyx."""
from libc.stdint cimport uint32_t

from .conntrack cimport CtEntry

cdef object connection_row(uint32_t index, const CtEntry *entry, uint32_t now_s)
