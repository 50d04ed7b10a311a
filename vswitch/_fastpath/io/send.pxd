"""Give a port's transmit entries to its device."""
from ..core.context cimport Context, PortIo
from ..core.snapshot cimport PORT_MEMORY, PORT_PACKET, PORT_TAP, Port
from .memory cimport send_memory
from .packet cimport send_packet
from .tap cimport send_tap

cdef inline void send_now(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    if port.kind == PORT_TAP:
        send_tap(ctx, port, io)
    elif port.kind == PORT_PACKET:
        send_packet(ctx, port, io)
    elif port.kind == PORT_MEMORY:
        send_memory(ctx, port, io)
    io.tx_n = 0
