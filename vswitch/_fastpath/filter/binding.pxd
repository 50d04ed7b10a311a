"""Bind a new connection at one of its two NAT hooks: by the rules of table nat, by a network's mode, or to what it is."""
from libc.stdint cimport uint8_t, uint32_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.packet cimport Packet

# For the packet of an unconfirmed connection. PENDING, DONE, or a reason to drop it.
cdef uint8_t bind_connection(Context *ctx, Frame *frame, Packet *packet, uint32_t hook) noexcept nogil
