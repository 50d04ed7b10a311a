"""The way of a burst, stage by stage. A stage sees all frames of the burst before the next one begins; a frame with a
verdict is skipped. Stages read no clock, make no system call and know nothing of each other: results travel in the frame.
"""
from .core.context cimport Context
from .core.frame cimport ENTRY_RECEIVE, Burst
from .core.snapshot cimport PORT_IP
from .io.queue cimport transmit
from .l2.forward cimport forward
from .l2.lookup cimport lookup
from .l2.parse cimport parse
from .l2.vlan cimport ingress
from .qos.police cimport police
from .stages cimport ip_dissect, ip_enter, ip_forward, ip_prerouting, ip_route

cdef inline void pipeline(Context *ctx, Burst *burst) noexcept nogil:
    cdef bint ip = burst.port.flags & PORT_IP or burst.entry != ENTRY_RECEIVE
    ctx.origin = &ctx.counters[burst.port.id]
    ctx.burst = burst
    parse(ctx, burst)               # lengths, addresses, tag, virtio-net header
    if burst.entry == ENTRY_RECEIVE:
        ingress(ctx, burst)         # which VLAN
        if burst.port.n_policers:
            police(ctx, burst)      # no more than the port may send
    else:
        ip_enter(ctx, burst)        # the same for frames of the switch's own, and such as it has held back
    if ip:
        ip_dissect(ctx, burst)      # IP and layer 4, where hooks or the router want them
        ip_prerouting(ctx, burst)   # fragments, raw, conntrack, mangle, nat
    lookup(ctx, burst)              # learn, and where to
    if ip:
        ip_route(ctx, burst)        # what is for the switch itself, and what it routes
        ip_forward(ctx, burst)      # as `forward`, by way of the hooks; connections whose first packet got no further
    else:
        forward(ctx, burst, False)  # one port, or flood: into the transmit queues
    transmit(ctx)                   # system calls, once a port
