"""See scheduler.pyx."""
from libc.stdint cimport uint8_t, uint32_t

from ..core.context cimport Context, PortIo
from ..core.snapshot cimport Port
from .offer cimport Offer
from .state cimport Scheduler
from .tree cimport Tree

cdef void hold(Context *ctx, const Port *port, PortIo *io) noexcept nogil
cdef void take_handed(Context *ctx) noexcept nogil
cdef void serve(Context *ctx) noexcept nogil
cdef void wake_due(Scheduler *s) noexcept nogil
cdef bint fill(Context *ctx, const Port *port, PortIo *io, uint32_t most) noexcept nogil
cdef uint8_t enqueue(Scheduler *s, const Tree *tree, uint32_t index, const Offer *offer) noexcept nogil
