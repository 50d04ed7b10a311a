"""The IP stages, each a function of its own, called once a burst and out of the way of bursts that need none of them.

Inlined into one another, as those of layer 2 are, they would fight for registers: a plain frame would pay for stages that it
never sees, and one with hooks for what the compiler put aside in memory meanwhile. A call is a nanosecond or two a burst.
"""
from .core.context cimport Context
from .core.frame cimport Burst
from .filter.hooks cimport forget, prerouting
from .l2.forward cimport forward
from .l3.dissect cimport dissect
from .l3.enter cimport come_back, enter
from .l3.router cimport route


cdef void ip_enter(Context *ctx, Burst *burst) noexcept nogil:
    enter(ctx, burst)

cdef void ip_dissect(Context *ctx, Burst *burst) noexcept nogil:
    dissect(ctx, burst)
    come_back(ctx, burst)

cdef void ip_prerouting(Context *ctx, Burst *burst) noexcept nogil:
    prerouting(ctx, burst)

cdef void ip_route(Context *ctx, Burst *burst) noexcept nogil:
    route(ctx, burst)

cdef void ip_forward(Context *ctx, Burst *burst) noexcept nogil:
    forward(ctx, burst, True)
    forget(ctx, burst)
