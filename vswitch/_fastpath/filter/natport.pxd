"""Finding a port that a new connection can be bound to. See natport.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.packet cimport Tuple
from .conntrack cimport Conntrack, CtEntry
from .natrange cimport NatRange

cdef enum:
    NAT_REFUSALS = 64

cdef struct NatRefusal:                 # a range that was found full for one destination
    uint64_t key
    uint32_t since_s
    uint32_t cursor                     # where to look next

cdef struct NatPorts:                   # one worker's
    uint64_t random
    NatRefusal refused[NAT_REFUSALS]

cdef bint nat_taken(Conntrack *ct, const Tuple *reply, uint32_t now_s) noexcept nogil
cdef bint nat_port(Conntrack *ct, NatPorts *ports, const CtEntry *entry, Tuple *reply, const NatRange *rule,
                   uint32_t now_s) noexcept nogil
