"""See scheduler.pyx."""
from libc.stdint cimport uint32_t

from ..core.context cimport Context, PortIo
from ..core.snapshot cimport Port

cdef void hold(Context *ctx, const Port *port, PortIo *io) noexcept nogil
cdef void take_handed(Context *ctx) noexcept nogil
cdef void serve(Context *ctx) noexcept nogil
cdef bint fill(Context *ctx, const Port *port, PortIo *io, uint32_t most) noexcept nogil
