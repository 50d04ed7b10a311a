"""Where frames of the switch's own, and those that it has held back, enter the pipeline (core/extra.pxd): what ingress and
dissect settle for a received frame is settled here. Such a burst is one frame.

    ENTRY_OUTPUT    an IP packet to be routed; `in_dev` is the device that it concerns
    ENTRY_LINK      a frame for the link of `in_dev`; without a destination MAC, its neighbour has just answered
    ENTRY_RETURN    a packet that a user's process has judged: it is dissected again, and has its connection back
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, drop, end
from ..core.counters cimport SELF_PORT
from ..core.frame cimport (
    ENTRY_LINK, ENTRY_OUTPUT, ENTRY_RETURN, FRAME_CUT, FRAME_IP, FRAME_TO_US, Burst, Frame,
)
from ..core.ip cimport *
from ..core.native cimport load16be, store16be
from ..core.packet cimport *
from ..core.snapshot cimport OFFLOAD_CSUM, Device
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN
from ..filter.conntrack cimport CT_FREE, CtEntry, ct_hash
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
    if ctx.came_back.ct != NO_ENTRY and not verdict:
        answer_to(ctx, packet)
    return verdict

cdef inline void answer_to(Context *ctx, Packet *packet) noexcept nogil:
    """An answer to a packet belongs to that packet's connection (nf_ct_attach), so NAT undoes for it what it has done."""
    cdef const CtEntry *entry = &ctx.ct.entry[ctx.came_back.ct]
    if entry.serial != ctx.came_back.serial or entry.use == CT_FREE:
        return
    packet.ct = ctx.came_back.ct
    packet.ct_info = ctx.came_back.ct_info
    if packet.tuple.proto == PROTO_TCP:     # an ICMP error speaks of the connection, and has a tuple of its own
        packet.tuple = entry.tuple[1 if packet.ct_info & CT_REPLY else 0]

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

cdef inline void come_back(Context *ctx, Burst *burst) noexcept nogil:
    """Give a packet that a user's process has judged its connection again, if that still is the same one."""
    cdef Frame *frame = &burst.frames[0]
    cdef Packet *packet = &burst.packets[0]
    cdef CtEntry *entry
    if burst.entry != ENTRY_RETURN:
        return
    if ctx.came_back.ct != NO_ENTRY:
        entry = &ctx.ct.entry[ctx.came_back.ct]
        if entry.serial == ctx.came_back.serial and entry.use != CT_FREE:
            packet.ct = ctx.came_back.ct
            packet.tuple = entry.tuple[1 if ctx.came_back.ct_info & CT_REPLY else 0]
            packet.hash = ct_hash(ctx.ct, &packet.tuple)
    packet.ct_info = ctx.came_back.ct_info
    packet.flags |= ctx.came_back.flags & PACKET_CHANGED
    if ctx.came_back.discard or frame.verdict or not frame.flags & FRAME_IP:
        ct_abandon(ctx.ct, packet)
        if not frame.verdict:
            drop(ctx, frame, QUEUE_DROP)
