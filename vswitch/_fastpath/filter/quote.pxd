"""See quote.pyx."""
from libc.stdint cimport uint8_t

from ..core.frame cimport Frame
from ..core.packet cimport Packet
from .conntrack cimport CtEntry

cdef uint8_t quote_rewrite(const CtEntry *entry, Packet *packet, Frame *frame, int manip, int direction) noexcept nogil
cdef uint8_t quote_unbound(const CtEntry *entry, const Packet *packet) noexcept nogil
