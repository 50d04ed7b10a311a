"""Receive: one burst from one port, counted."""
from libc.stdint cimport uint32_t

from ..core.context cimport Context
from ..core.counters cimport PortCounters
from ..core.frame cimport Burst
from ..core.native cimport EAGAIN, EINTR, count
from ..core.snapshot cimport PORT_MEMORY, PORT_PACKET, PORT_TAP, Port
from .memory cimport receive_memory
from .packet cimport receive_packet
from .tap cimport receive_tap

cdef inline int receive(Context *ctx, Burst *burst, const Port *port) noexcept nogil:
    """Fill the burst with what waits at the port. Returns 0, or the errno of a port that cannot be read."""
    cdef int error = 0
    burst.port = port
    burst.n = 0
    burst.bytes = 0
    if port.kind == PORT_TAP:
        error = receive_tap(ctx, burst, port)
    elif port.kind == PORT_PACKET:
        error = receive_packet(ctx, burst, port.fds[ctx.worker])
    elif port.kind == PORT_MEMORY:
        error = receive_memory(ctx, burst, port.memory)
    account(ctx, burst)
    if error == EAGAIN or error == EINTR:
        return 0
    if error:
        count(&ctx.counters[port.id].rx_errors, 1)
    return error

cdef inline void account(Context *ctx, const Burst *burst) noexcept nogil:
    cdef PortCounters *counters = &ctx.counters[burst.port.id]
    if burst.n:
        count(&counters.rx_frames, burst.n)
        count(&counters.rx_bytes, burst.bytes)
        count(&ctx.stats.bursts, 1)
        count(&ctx.stats.frames, burst.n)
