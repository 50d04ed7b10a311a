"""Fragments are held back here until their packet is whole: see l3/reassemble.pxd."""
from libc.stdint cimport uint8_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.packet cimport Packet

# DONE: it waits, or the whole packet has joined the extra frames; else why it ends.
cdef uint8_t hold_fragment(Context *ctx, Frame *frame, const Packet *packet) noexcept nogil
