"""The way of a burst, stage by stage. A stage sees all frames of the burst before the next one begins; a frame with a
verdict is skipped. Stages read no clock, make no system call and know nothing of each other: results travel in the frame.
"""
from .core.context cimport Context
from .core.frame cimport Burst
from .io.queue cimport transmit
from .l2.forward cimport forward
from .l2.lookup cimport lookup
from .l2.parse cimport parse
from .l2.vlan cimport ingress
from .l3.dissect cimport dissect

cdef inline void pipeline(Context *ctx, Burst *burst) noexcept nogil:
    ctx.origin = &ctx.counters[burst.port.id]
    parse(ctx, burst)       # lengths, addresses, tag, virtio-net header
    ingress(ctx, burst)     # which VLAN
    dissect(ctx, burst)     # IP and layer 4, where hooks or the router want it
    lookup(ctx, burst)      # learn, and where to
    forward(ctx, burst)     # one port, or flood: into the transmit queues
    transmit(ctx)           # system calls, once a port
