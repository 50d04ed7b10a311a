"""Transmit queues: entries wait, a queue a port, until the burst is through; then each port's leave together."""
from libc.stdint cimport uint32_t

from ..core.context cimport TX_QUEUE, Context, PortIo, TxEntry
from ..core.snapshot cimport PORT_MEMORY, PORT_PACKET, PORT_TAP, Port
from .memory cimport send_memory
from .packet cimport send_packet
from .tap cimport send_tap

cdef inline TxEntry *next_entry(Context *ctx, const Port *port) noexcept nogil:
    """Room for one more. A queue holds a burst, and a frame of it goes to a port once; only fragments fill it, and send it."""
    cdef PortIo *io = &ctx.io[port.id]
    if not io.dirty:
        io.dirty = True
        ctx.dirty[ctx.n_dirty] = port.id
        ctx.n_dirty += 1
    if io.tx_n == TX_QUEUE:
        send(ctx, port, io)
    io.tx_n += 1
    return &io.tx[io.tx_n - 1]

cdef inline void transmit(Context *ctx) noexcept nogil:
    cdef uint32_t i, id
    for i in range(ctx.n_dirty):
        id = ctx.dirty[i]
        ctx.io[id].dirty = False
        send(ctx, &ctx.snapshot.ports[id], &ctx.io[id])
    ctx.n_dirty = 0

cdef inline void send(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    if port.kind == PORT_TAP:
        send_tap(ctx, port, io)
    elif port.kind == PORT_PACKET:
        send_packet(ctx, port, io)
    elif port.kind == PORT_MEMORY:
        send_memory(ctx, port, io)
    io.tx_n = 0
