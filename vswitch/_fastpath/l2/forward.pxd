"""Forward: hand each frame to the transmit queue of the port it goes to, or of every port of its VLAN.

The books: a frame that leaves through n ports was copied n - 1 times, and each copy is delivered or dropped by itself,
charged to the port that the frame came from.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from ..core.context cimport Context, charge, drop, end
from ..core.frame cimport FRAME_CUT, FRAME_FLOOD, FRAME_IP, FRAME_ROUTED, FRAME_TAGGED, VNET_LEN, Burst, Frame
from ..core.native cimport count
from ..core.packet cimport Packet
from ..core.snapshot cimport OFFLOAD_CSUM, PORT_HAIRPIN, PORT_ISOLATED, PORT_UP, Bridge, Port
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..filter.hooks cimport hook_forward, hook_postrouting
from ..io.queue cimport send
from ..io.vnet cimport skip_tags
from .egress cimport enqueue
from .storm cimport storm_verdict
from .vlan cimport carries

cdef enum:
    HEADERS = 256                       # bytes, virtio-net header included, that hooks may edit

cdef inline void forward(Context *ctx, Burst *burst, bint ip) noexcept nogil:
    """`ip`: there may be frames that pass hooks, or that the router has sent. A constant, so that each kind has its own code."""
    cdef uint32_t i
    cdef uint8_t verdict
    cdef Frame *frame
    cdef const Port *source
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict:
            continue
        # What the router sends comes from the switch itself, whoever sent it here.
        source = &ctx.snapshot.self if ip and frame.flags & FRAME_ROUTED else burst.port
        if frame.flags & FRAME_FLOOD:
            flood(ctx, source, frame, &burst.packets[i], ip)
            continue
        verdict = unicast(ctx, source, &ctx.snapshot.ports[frame.out], frame, &burst.packets[i], ip)
        if verdict:
            end(ctx, frame, verdict)

cdef inline uint8_t unicast(Context *ctx, const Port *source, const Port *port, Frame *frame, Packet *packet,
                            bint ip) noexcept nogil:
    cdef uint8_t verdict
    if port.id == source.id and not port.flags & PORT_HAIRPIN:
        return HAIRPIN
    if port.flags & source.flags & PORT_ISOLATED:
        return ISOLATED
    if not carries(port, frame.vid):
        return EGRESS_VLAN
    if ip and (frame.flags & (FRAME_IP | FRAME_ROUTED)) == FRAME_IP:
        verdict = pass_bridged(ctx, port, frame, packet)
        if verdict:
            return verdict
    if not port.flags & PORT_UP:
        return PORT_DOWN
    if exceeds_mtu(port, frame):
        return EXCEEDS_MTU
    enqueue(ctx, port, frame)
    return PENDING

cdef inline uint8_t pass_bridged(Context *ctx, const Port *port, Frame *frame, Packet *packet) noexcept nogil:
    """A bridged packet goes through FORWARD and POSTROUTING for each port out, as Linux's br_netfilter has it."""
    cdef uint8_t verdict
    packet.out_port = port.id
    packet.out_dev = packet.in_dev
    verdict = hook_forward(ctx, frame, packet)
    if not verdict:
        verdict = hook_postrouting(ctx, frame, packet)
    if not verdict and packet.largest and packet.length > port.mtu:
        frame.flags |= FRAME_CUT        # it came in fragments
        frame.cut = packet.largest
    return verdict

cdef inline bint exceeds_mtu(const Port *port, const Frame *frame) noexcept nogil:
    """Tags within are payload, but do not count: a full-sized frame passes with an 802.1ad tag and the customer's."""
    cdef uint32_t l3_off
    if frame.l3_len <= port.mtu or frame.flags & FRAME_CUT:
        return False
    if frame.needs & ~OFFLOAD_CSUM:
        return True                     # of a super-frame's segments it is known exactly
    l3_off = ETH_HLEN + (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0)
    return frame.len - skip_tags(frame.data, frame.len, l3_off) > port.mtu

cdef inline void flood(Context *ctx, const Port *source, Frame *frame, Packet *packet, bint ip) noexcept nogil:
    cdef const Bridge *bridge = source.bridge
    cdef uint32_t copies = 0, first = 0, members = 0, i, id
    cdef uint8_t verdict = storm_verdict(ctx, source, frame)
    if verdict:
        drop(ctx, frame, verdict)
        return
    if ip and frame.flags & FRAME_ROUTED:
        bridge = ctx.snapshot.devices[frame.device].bridge
    if bridge.rows != NULL:
        first = bridge.rows[frame.vid]
        members = bridge.rows[frame.vid + 1] - first
    for i in range(bridge.n_transparent + members):
        id = bridge.transparent[i] if i < bridge.n_transparent else bridge.members[first + i - bridge.n_transparent]
        copies += flood_to(ctx, source, &ctx.snapshot.ports[id], frame, packet, ip)
    if not copies:
        drop(ctx, frame, NO_DESTINATION)
    else:
        count(&ctx.origin.copied, copies - 1)
        if ip and frame.flags & FRAME_IP:
            frame.verdict = DONE

cdef inline bint flood_to(Context *ctx, const Port *source, const Port *port, Frame *frame, Packet *packet,
                          bint ip) noexcept nogil:
    """Whether the port gets a copy; one too long for it is a copy too, and dropped."""
    if (not port.flags & PORT_UP or port.flags & source.flags & PORT_ISOLATED
            or (port.id == source.id and not port.flags & PORT_HAIRPIN)):
        return False
    if ip and (frame.flags & (FRAME_IP | FRAME_ROUTED)) == FRAME_IP:
        flood_packet(ctx, port, frame, packet)
    elif exceeds_mtu(port, frame):
        charge(ctx, EXCEEDS_MTU)
    else:
        enqueue(ctx, port, frame)
    return True

cdef inline void flood_packet(Context *ctx, const Port *port, Frame *frame, Packet *packet) noexcept nogil:
    """A copy by way of the hooks, which may edit it. What they have edited is sent at once, and the headers put back: the
    other copies share them."""
    cdef uint8_t saved[HEADERS]
    cdef Packet saved_packet = packet[0]
    cdef uint32_t length = VNET_LEN + frame.len if VNET_LEN + frame.len < HEADERS else HEADERS
    cdef uint8_t verdict
    memcpy(saved, frame.data - VNET_LEN, length)
    verdict = pass_bridged(ctx, port, frame, packet)
    if verdict:
        if verdict != DONE:             # else it is queued, and in the books as such
            charge(ctx, verdict)
    elif exceeds_mtu(port, frame):
        charge(ctx, EXCEEDS_MTU)
    else:
        enqueue(ctx, port, frame)
    if memcmp(saved, frame.data - VNET_LEN, length):
        send(ctx, port, &ctx.io[port.id])
        memcpy(frame.data - VNET_LEN, saved, length)
    saved_packet.ct = packet.ct
    packet[0] = saved_packet
    frame.flags &= ~FRAME_CUT
