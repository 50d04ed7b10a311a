"""Transmit queues: entries wait, a queue a port, until the burst is through; then each port's leave together.

A port with queueing disciplines has its entries held (qos/scheduler.pyx) instead, and sends what these let go.
"""
from libc.stdint cimport uint32_t

from ..core.context cimport Context, PortIo
from ..core.snapshot cimport Port
from ..core.tx cimport TX_QUEUE, TxEntry
from ..qos.held cimport keep_lent
from ..qos.scheduler cimport hold, serve
from .send cimport send_now

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
    cdef const Port *port
    for i in range(ctx.n_dirty):
        id = ctx.dirty[i]
        ctx.io[id].dirty = False
        port = &ctx.snapshot.ports[id]
        if port.tree == NULL:
            send_now(ctx, port, &ctx.io[id])
        else:
            hold(ctx, port, &ctx.io[id])
    ctx.n_dirty = 0
    if ctx.scheduler.n_ready:
        serve(ctx)

cdef inline void send(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    """Send in the midst of a burst: the entries' memory is about to become another frame's."""
    if port.tree == NULL:
        send_now(ctx, port, io)
    else:
        hold(ctx, port, io)
        keep_lent(&ctx.scheduler.pool)
