"""See stages.pyx."""
from .core.context cimport Context
from .core.frame cimport Burst

cdef void ip_enter(Context *ctx, Burst *burst) noexcept nogil
cdef void ip_dissect(Context *ctx, Burst *burst) noexcept nogil
cdef void ip_prerouting(Context *ctx, Burst *burst) noexcept nogil
cdef void ip_route(Context *ctx, Burst *burst) noexcept nogil
cdef void ip_forward(Context *ctx, Burst *burst) noexcept nogil
