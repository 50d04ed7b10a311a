"""Where frames of the switch's own, and those that it has held back, enter the pipeline (core/extra.pxd): what ingress and
dissect settle for a received frame is settled here. Such a burst is one frame.

    ENTRY_OUTPUT    an IP packet to be routed; `in_dev` is the device that it concerns
    ENTRY_LINK      a frame for the link of `in_dev`; without a destination MAC, its neighbour has just answered
    ENTRY_RETURN    a packet that a user's process has judged: it is dissected again, and has its connection back; one of the
                    switch's own comes back by ENTRY_OUTPUT. `Context.resume` tells how far it had come
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, Extra, drop, end
from ..core.counters cimport SELF_PORT
from ..core.frame cimport (
    ENTRY_HOOKS, ENTRY_LINK, ENTRY_OUTPUT, FRAME_CUT, FRAME_IP, FRAME_TO_US, Burst, Frame,
)
from ..core.ip cimport *
from ..core.native cimport load16be, store16be
from ..core.packet cimport *
from ..core.snapshot cimport OFFLOAD_CSUM, Device
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN
from ..filter.conntrack cimport CT_FREE, CtEntry, ct_hash, ct_tuple
from ..filter.confirm cimport ct_abandon
from .address cimport ip_is_link_local
from .dissect cimport ETH_P_IP, ETH_P_IPV6, network, start
from .neighbour cimport NUD_VALID, neighbour_find
from .hop cimport set_destination
from .route cimport Route, route_find
from .router cimport leave_by

cdef inline void enter(Context *ctx, Burst *burst) noexcept nogil:
    cdef Frame *frame = &burst.frames[0]
    cdef Packet *packet = &burst.packets[0]
    cdef uint8_t verdict
    if frame.verdict:
        return
    if packet.in_dev >= ctx.snapshot.n_devices:
        drop(ctx, frame, NO_DESTINATION)    # the device has gone meanwhile
        return
    if burst.entry == ENTRY_OUTPUT:
        verdict = enter_output(ctx, frame, packet)
    elif burst.entry == ENTRY_LINK:
        verdict = enter_link(ctx, frame, packet)
    elif burst.entry == ENTRY_HOOKS and burst.port.id == SELF_PORT:
        verdict = NO_DESTINATION        # so has the port that the fragments came from, and with it the bridge
    else:
        return
    if verdict:
        end(ctx, frame, verdict)

cdef inline uint8_t enter_output(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Device *device = &ctx.snapshot.devices[packet.in_dev]
    cdef uint16_t ethertype = load16be(frame.data + 12)
    cdef uint8_t verdict
    if not device.mac or (ethertype != ETH_P_IP and ethertype != ETH_P_IPV6):
        return NO_DESTINATION
    start(packet, frame.data + ETH_HLEN, SELF_PORT, device)
    verdict = network(packet, frame.data + frame.len, ethertype == ETH_P_IP)
    packet.flags |= PACKET_LOCAL
    frame.flags |= FRAME_IP | FRAME_TO_US
    if ctx.came_back.ct != NO_ENTRY and not verdict and not ctx.resume:
        answer_to(ctx, packet)
    elif ctx.came_back.ct_info:
        packet.ct_info = ctx.came_back.ct_info
    return verdict

cdef inline void answer_to(Context *ctx, Packet *packet) noexcept nogil:
    """An answer to a packet belongs to that packet's connection (nf_ct_attach), so NAT undoes for it what it has done."""
    cdef const CtEntry *entry = &ctx.ct.entry[ctx.came_back.ct]
    if entry.serial != ctx.came_back.serial or entry.use == CT_FREE:
        return
    packet.ct = ctx.came_back.ct
    packet.ct_info = ctx.came_back.ct_info
    if packet.tuple.proto == PROTO_TCP:     # an ICMP error speaks of the connection, and has a tuple of its own
        packet.tuple = ct_tuple(entry, packet.ct_info & CT_REPLY)[0]

cdef inline uint8_t enter_link(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Device *out = &ctx.snapshot.devices[packet.in_dev]
    packet.family = 0
    packet.ct = NO_ENTRY
    if out.bridge == NULL and not out.mac:
        return NO_DESTINATION
    if frame.dst == 0 and not resolve(ctx, frame, out):
        return NEIGHBOUR_FAILED
    return leave_by(ctx, frame, out, frame.vid)

cdef inline bint resolve(Context *ctx, Frame *frame, const Device *out) noexcept nogil:
    """Find the MAC for a packet that has waited for it, and cut it up if it is too long for the link."""
    cdef const uint8_t *ip = frame.data + ETH_HLEN
    cdef bint v4 = load16be(frame.data + 12) == ETH_P_IP
    cdef Ip hop = ip4_at(ip + 16) if v4 else ip6_at(ip + 24)
    cdef const Route *way = NULL
    if not ip_is_link_local(&hop):
        way = route_find(&ctx.snapshot.routers[out.router], &hop)
    if way != NULL and not ip_is_zero(&way.gateway):
        hop = way.gateway
    if not neighbour_find(ctx.neighbours, out.id, &hop, ctx.now_s, &frame.dst) & NUD_VALID:
        return False
    set_destination(frame.data, frame.dst)
    if v4 and frame.l3_len > out.mtu and not frame.needs & ~OFFLOAD_CSUM:
        frame.flags |= FRAME_CUT
        frame.cut = <uint16_t>out.mtu
    return True


# Back from a queue

cdef inline void come_back(Context *ctx, Burst *burst) noexcept nogil:
    """Give a packet that a user's process has judged its connection again, and end it if that was the verdict. The process
    may have sent another packet in its place, which is trusted no more than a guest's."""
    if ctx.resume:
        come_back_frame(ctx, &burst.frames[0], &burst.packets[0])

cdef inline void come_back_frame(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef uint8_t reason = ctx.came_back.reason
    cdef bint same = rejoin(ctx, frame, packet)
    if not reason and not same:
        reason = QUEUE_STALE
    if not reason and not frame.verdict:
        return
    ct_abandon(ctx.ct, packet)
    packet.ct = NO_ENTRY
    if not frame.verdict:
        drop(ctx, frame, reason)

cdef inline bint rejoin(Context *ctx, const Frame *frame, Packet *packet) noexcept nogil:
    """Whether the packet is what it was to conntrack; `ct` is set if there is a connection to answer for."""
    cdef const Extra *back = &ctx.came_back
    cdef const CtEntry *entry = &ctx.ct.entry[back.ct]
    cdef uint8_t proto = packet.tuple.proto
    cdef bint whole = frame.flags & FRAME_IP and packet.l4 != NULL and not packet.flags & (
        PACKET_SHORT | PACKET_FRAGMENT | PACKET_MORE)
    packet.ct = NO_ENTRY
    packet.ct_info = back.ct_info
    packet.flags |= back.flags & PACKET_CHANGED
    packet.zone = back.zone
    packet.zone_reply = back.zone_reply
    packet.tuple.zone = back.zone
    packet.hash = ct_hash(ctx.ct, &packet.tuple)
    if back.ct == NO_ENTRY:
        return frame.flags & FRAME_IP
    if entry.serial != back.serial or entry.use == CT_FREE:
        return False
    packet.ct = back.ct
    if back.ct_info & CT_RELATED and not (proto == PROTO_TCP and packet.flags & PACKET_LOCAL):
        # An ICMP error, whose tuple is its own; a reset of the switch's own has its connection's.
        return whole and (proto == PROTO_ICMP or proto == PROTO_ICMPV6)
    packet.tuple = ct_tuple(entry, back.ct_info & CT_REPLY)[0]
    packet.hash = ct_hash(ctx.ct, &packet.tuple)
    return whole and proto == packet.tuple.proto and ip_is_v4(&packet.src) == ip_is_v4(&packet.tuple.src)
