"""What becomes of a packet that a rule does not simply let pass: DROP, REJECT, QUEUE. A unit of its own, for it is rare."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.packet cimport Packet
from .rule cimport Target, place

# `verdict` is a WalkVerdict, `arg` and `target` what the walk or path brought with it. PENDING: the packet goes on all the
# same; DONE: somebody else has it now; else the reason to drop it.
cdef uint8_t refuse(Context *ctx, Frame *frame, Packet *packet, uint8_t verdict, uint32_t table, uint32_t hook, uint16_t arg,
                    const Target *target) noexcept nogil

cdef inline bint passed(const Context *ctx, uint32_t table, uint32_t hook) noexcept nogil:
    """Whether the packet has been through this table before it was queued."""
    return place(table, hook) < ctx.resume
