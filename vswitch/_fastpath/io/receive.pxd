"""Receive: one burst from one port, counted."""
from libc.stdint cimport uint32_t

from ..core.context cimport Context
from ..core.counters cimport PortCounters
from ..core.frame cimport ENTRY_RECEIVE, FRAME_MAX, SCRATCH, VNET_LEN, Burst, Frame
from ..core.native cimport EAGAIN, EINTR, count, memory_allow, memory_forbid
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
    burst.entry = ENTRY_RECEIVE
    ctx.resume = 0
    memory_allow(ctx.scratch, SCRATCH)
    if port.kind == PORT_TAP:
        error = receive_tap(ctx, burst, port)
    elif port.kind == PORT_PACKET:
        error = receive_packet(ctx, burst, port.fds[ctx.worker])
    elif port.kind == PORT_MEMORY:
        error = receive_memory(ctx, burst, port.memory)
    account(ctx, burst)
    fence(ctx, burst)
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

cdef inline void fence(Context *ctx, const Burst *burst) noexcept nogil:
    """For AddressSanitizer: until the next receive, all of scratch that is no frame's is out of bounds."""
    cdef const Frame *frame
    cdef uint32_t i
    memory_forbid(ctx.scratch, SCRATCH)
    for i in range(burst.n):
        frame = &burst.frames[i]
        memory_allow(frame.data - VNET_LEN, VNET_LEN + (frame.len if frame.len < FRAME_MAX else FRAME_MAX))
