"""New connections become known, or never were. See confirm.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.packet cimport Packet, Tuple
from .conntrack cimport Conntrack

cdef uint32_t ct_join(Conntrack *ct, const Tuple *tuple, uint64_t hash) noexcept nogil
cdef int ct_confirm(Conntrack *ct, Packet *packet, uint32_t now_s) noexcept nogil
cdef int ct_confirm_answer(Conntrack *ct, Packet *packet, uint32_t serial, uint32_t now_s) noexcept nogil
cdef void ct_abandon(Conntrack *ct, Packet *packet) noexcept nogil
cdef void ct_attach(Conntrack *ct, const Packet *packet) noexcept nogil
cdef void ct_detach(Conntrack *ct, uint32_t index, uint32_t serial) noexcept nogil
