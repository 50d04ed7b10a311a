"""Packets of the switch's own that are for the switch itself: what Linux sends through the device lo."""
from libc.stdint cimport uint8_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.packet cimport Packet
from ..core.snapshot cimport Device

# For a packet that has passed OUTPUT up to nat; `device` is the one that it concerns. PENDING: NAT has found out whom it is
# for, and `packet.dst` is not ours any more. DONE, or a reason to drop it.
cdef uint8_t loop_back(Context *ctx, Frame *frame, Packet *packet, const Device *device) noexcept nogil
