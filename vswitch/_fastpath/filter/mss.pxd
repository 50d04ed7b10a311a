"""TCPMSS for a SYN that names no MSS: the option is put in (RFC 9293, 3.7.1: without one the other end assumes 536)."""
from libc.stdint cimport uint16_t

from ..core.frame cimport Frame
from ..core.packet cimport Packet

# For a whole TCP header in `packet`. Nothing happens to a segment with data, or whose header has no room for an option.
cdef void mss_insert(Packet *packet, Frame *frame, uint16_t mss) noexcept nogil
