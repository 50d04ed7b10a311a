"""Queueing disciplines in plain Python, as the Linux kernel has them: what property tests hold the fast path against.

    port = Port(tree)                           # a TreeView (vswitch/qos/view.py)
    port.offer(Packet(label=1, payload=946), now)   # None: taken; else why it, or another, was dropped
    port.serve(now)                             # the packets that leave at now
    port.due()                                  # when something may leave next, if nothing else is offered

The model hashes perfectly: a flow is a number. It differs from the kernel where the switch does on purpose: HTB and TBF
peel segments off super-frames. It knows no lateness: whoever serves it when something is due gets the kernel's times.
"""

from .packet import Packet
from .port import Port
from .rate import Rate

__all__ = ["Packet", "Port", "Rate"]
