"""What the router says of its own accord: ICMP errors, resets, echo replies, ARP and neighbour discovery, and what it hands
to the control side. A unit of its own, out of the workers' line, since all of it is rare.

Every answer is an extra frame (core/extra.pxd). What the router says as a host passes OUTPUT like any packet of its own;
ARP, neighbour discovery, and the answers of a bridge that has no address (REJECT) are frames that need no route.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.ip cimport Ip
from ..core.packet cimport Packet

# An ICMP error about the packet, if one may be sent. `info`: the second word of its header, the MTU for example.
cdef void complain(Context *ctx, const Frame *frame, const Packet *packet, uint8_t kind, uint8_t code,
                   uint32_t info) noexcept nogil
# A reset for a TCP segment, if it may have one; whether it has.
cdef bint reset(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil
# ICMP errors that say the same in both families; `mtu` for the last.
cdef void complain_expired(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil
cdef void complain_no_route(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil
cdef void complain_prohibited(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil
cdef void complain_too_big(Context *ctx, const Frame *frame, const Packet *packet, uint32_t mtu) noexcept nogil
# ARP that is for the switch, or came by an uplink. DONE, or a reason to drop it.
cdef uint8_t hear_arp(Context *ctx, Frame *frame, const Packet *packet) noexcept nogil
# A packet that has passed INPUT. DONE, or a reason to drop it.
cdef uint8_t serve_packet(Context *ctx, Frame *frame, Packet *packet) noexcept nogil
# Keep the frame, complete but for its destination MAC, until the neighbour has answered. DONE, or a reason to drop it;
# PENDING: the answer has just come, and lies in *mac.
cdef uint8_t wait_for(Context *ctx, Frame *frame, const Packet *packet, uint16_t device, const Ip *hop,
                      uint64_t *mac) noexcept nogil
# Once a second, by one worker.
cdef void router_tick(Context *ctx) noexcept nogil
