"""The router: what becomes of a packet that is for the switch itself (FRAME_TO_US), and how one that it sends finds its way.

    to us     an address of ours, wherever it is          INPUT, then served (answer.pxd)
              anything else with a unicast address        routed
    routed    TTL, route, the networks' modes             FORWARD, POSTROUTING, next hop, link
    from us   route                                       OUTPUT, POSTROUTING, next hop, link

A packet that has found its next hop has FRAME_ROUTED: its MACs and VLAN are the next link's, and `forward` sends it as one of
the switch's own. The frame is edited in place: nobody else has it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, end
from ..core.frame cimport (
    ENTRY_HOOKS, ENTRY_OUTPUT, FRAME_CUT, FRAME_FLOOD, FRAME_IP, FRAME_ROUTED, FRAME_TAGGED, FRAME_TO_US, Burst, Frame,
)
from ..core.ip cimport *
from ..core.native cimport count, load16be, store16be
from ..core.packet cimport *
from ..core.snapshot cimport (
    DEVICE_NETWORK, DEVICE_UPLINK, NETWORK_ISOLATED, NETWORK_NAT, OFFLOAD_CSUM, PORT_IP, Device, Port,
)
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN, mac_is_group
from ..filter.conntrack cimport CT_UNCONFIRMED, IPS_DST_NAT
from ..filter.hooks cimport hook_forward, hook_input, hook_output, hook_output_filter, hook_output_mangle, hook_postrouting
from ..filter.refuse cimport passed
from ..filter.rule cimport HOOK_FORWARD, TABLE_RAW
from ..l2.fdb cimport FDB_PORT_MASK, fdb_find, fdb_hash, fdb_key
from .address cimport (
    device_broadcast, device_on_link, device_owns, group_mac, ip4_is_ordinary, ip_is_link_local, ip_is_loopback, source_for,
)
from .answer cimport (
    complain_expired, complain_no_route, complain_prohibited, complain_too_big, hear_arp, serve_packet, wait_for,
)
from .loopback cimport loop_back
from .neighbour cimport NUD_VALID, neighbour_find
from .hop cimport set_macs, ttl_decrement, untag
from .route cimport Route, route_find

cdef enum:
    IPV4_DONT_FRAGMENT = 0x4000
    HOST_ROUTE = 128

cdef inline void route(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t verdict
    cdef Frame *frame
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict or not frame.flags & FRAME_TO_US:
            continue
        if burst.entry == ENTRY_OUTPUT:
            verdict = send_own(ctx, frame, &burst.packets[i])
        else:
            verdict = take(ctx, frame, &burst.packets[i])
        if verdict:
            end(ctx, frame, verdict)

cdef inline uint8_t take(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """A frame for the switch. PENDING: it is on its way out."""
    cdef const Route *way
    cdef const Device *device = &ctx.snapshot.devices[packet.in_dev]
    if packet.family == 0:
        untag(frame)
        return hear_arp(ctx, frame, packet)
    untag(frame)
    if packet.family == 4 and stolen(ctx, device, packet):
        return IP_SOURCE
    if device_owns(device, &packet.dst) or for_many(device, packet):
        return local_in(ctx, frame, packet)
    way = route_find(&ctx.snapshot.routers[router_of(ctx, device, packet)], &packet.dst)
    if way != NULL and is_local(ctx, way, &packet.dst):
        return local_in(ctx, frame, packet)
    return forward_packet(ctx, frame, packet, device, way)

cdef inline bint stolen(Context *ctx, const Device *device, const Packet *packet) noexcept nogil:
    """Whether the packet claims to come from an address of ours."""
    cdef const Route *way = route_find(&ctx.snapshot.routers[device.router], &packet.src)
    return way != NULL and way.prefix == HOST_ROUTE and device_owns(&ctx.snapshot.devices[way.device], &packet.src)

cdef inline bint for_many(const Device *device, const Packet *packet) noexcept nogil:
    return ip_is_multicast(&packet.dst) or device_broadcast(device, &packet.dst)

cdef inline uint16_t router_of(Context *ctx, const Device *device, const Packet *packet) noexcept nogil:
    """The device's own; but a reply to a tenant behind a shared uplink goes back to the tenant's router, whose zone the
    connection began in: zones of routers are their numbers."""
    cdef uint16_t zone
    if packet.ct == NO_ENTRY or not packet.ct_info & CT_REPLY or device.kind != DEVICE_UPLINK:
        return device.router
    zone = ctx.ct.entry[packet.ct].original.zone
    return zone if zone < ctx.snapshot.n_routers else device.router

cdef inline bint is_local(Context *ctx, const Route *way, const Ip *ip) noexcept nogil:
    """Whether the route is that of an address of ours, or leads to a broadcast address."""
    cdef const Device *device = &ctx.snapshot.devices[way.device]
    return (way.prefix == HOST_ROUTE and device_owns(device, ip)) or device_broadcast(device, ip)

cdef inline uint8_t local_in(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef uint8_t verdict
    if frame.flags & FRAME_IP == 0:
        return NOT_FORWARDED
    verdict = hook_input(ctx, frame, packet)
    return verdict if verdict else serve_packet(ctx, frame, packet)


# Onward

cdef inline uint8_t forward_packet(Context *ctx, Frame *frame, Packet *packet, const Device *device,
                                   const Route *way) noexcept nogil:
    cdef uint8_t verdict = may_forward(device, packet)
    cdef const Device *out
    cdef bint again = passed(ctx, TABLE_RAW, HOOK_FORWARD)  # it was queued behind here, one hop less already
    if verdict:
        return verdict
    if packet.ttl <= 1 and not again:
        complain_expired(ctx, frame, packet)
        return TTL_EXCEEDED
    if way == NULL:
        complain_no_route(ctx, frame, packet)
        return NO_ROUTE
    out = &ctx.snapshot.devices[way.device]
    verdict = border(ctx, packet, device, out)
    if verdict:
        complain_prohibited(ctx, frame, packet)
        return verdict
    packet.out_dev = out.id
    packet.out_port = out.port          # of a network it is known when the neighbour is; rules name the network
    if not fits(frame, packet, out.mtu):
        complain_too_big(ctx, frame, packet, out.mtu)
        return PACKET_TOO_BIG
    if not again:
        ttl_decrement(packet)
    verdict = hook_forward(ctx, frame, packet)
    if not verdict:
        verdict = hook_postrouting(ctx, frame, packet)
    return verdict if verdict else link_out(ctx, frame, packet, out, way, False)

cdef inline uint8_t may_forward(const Device *device, const Packet *packet) noexcept nogil:
    """Addresses that no router passes on (RFC 1812, 5.3.7; RFC 4291, 2.5.6)."""
    if ip4_is_ordinary(&packet.src) and ip4_is_ordinary(&packet.dst):
        return IP_SOURCE if device_owns(device, &packet.src) else PENDING
    if ip_is_multicast(&packet.src) or ip_is_loopback(&packet.src) or ip_is_zero(&packet.src):
        return IP_SOURCE
    if packet.family == 4 and ((ip4_word(&packet.src) & 0xff) == 0 or ip4_word(&packet.src) == 0xffffffffU):
        return IP_SOURCE
    if device_owns(device, &packet.src) and not packet.flags & PACKET_LOCAL:
        return IP_SOURCE
    if ip_is_loopback(&packet.dst) or ip_is_zero(&packet.dst) or ip_is_link_local(&packet.dst) or ip_is_link_local(&packet.src):
        return NOT_FORWARDED
    if packet.family == 4 and ((ip4_word(&packet.dst) & 0xff) == 0 or (ip4_word(&packet.dst) & 0xff) >= 240):
        return NOT_FORWARDED
    return PENDING

cdef inline uint8_t border(Context *ctx, const Packet *packet, const Device *device, const Device *out) noexcept nogil:
    """What the modes of networks forbid, whatever the rules say."""
    if out == device:
        return PENDING
    if device.kind == DEVICE_NETWORK and device.mode == NETWORK_ISOLATED:
        return ISOLATED_NETWORK
    if out.kind == DEVICE_NETWORK and out.mode == NETWORK_ISOLATED:
        return ISOLATED_NETWORK
    if device.kind == DEVICE_NETWORK and device.mode == NETWORK_NAT and device.uplink != NO_DEVICE \
            and out.kind == DEVICE_UPLINK and out.id != device.uplink:
        return ISOLATED_NETWORK    # its way out is another
    if out.kind == DEVICE_NETWORK and out.mode == NETWORK_NAT and begins_outside(ctx, packet):
        return PRIVATE_NETWORK
    return PENDING

cdef inline bint begins_outside(Context *ctx, const Packet *packet) noexcept nogil:
    """Whether the packet is no answer to a guest's, nor was sent to it by DNAT."""
    if packet.ct_info & (CT_REPLY | CT_RELATED):
        return False
    if packet.ct == NO_ENTRY:
        return True
    return not ctx.ct.entry[packet.ct].status & IPS_DST_NAT

cdef inline bint fits(Frame *frame, const Packet *packet, uint32_t mtu) noexcept nogil:
    """Whether the packet can leave by a link of that MTU: whole, or in fragments where it may be cut up."""
    cdef bint super_frame = frame.needs & ~OFFLOAD_CSUM
    cdef uint32_t length = frame.l3_len if super_frame else packet.length
    if packet.largest and (packet.family == 4 or length > packet.largest or length > mtu):
        # It came in fragments, and leaves in such; of IPv6, unless it is so short now that one would do.
        if packet.family == 6 and packet.largest > mtu:
            return False
        frame.flags |= FRAME_CUT
        frame.cut = packet.largest if packet.largest < mtu else <uint16_t>mtu
        return packet.largest <= mtu or not load16be(packet.l3 + 6) & IPV4_DONT_FRAGMENT
    if length <= mtu:
        return True
    if super_frame or packet.family == 6 or load16be(packet.l3 + 6) & IPV4_DONT_FRAGMENT:
        return False
    frame.flags |= FRAME_CUT
    frame.cut = <uint16_t>mtu
    return True

cdef inline bint cut_own(Frame *frame, const Packet *packet, uint32_t mtu) noexcept nogil:
    """Of IPv6 it is the sender who cuts up (RFC 8200, 4.5): the answer to a large echo request, say. False for others."""
    if packet.family != 6 or packet.largest:
        return False
    frame.flags |= FRAME_CUT
    frame.cut = <uint16_t>mtu
    return True


# The next hop

cdef inline uint8_t link_out(Context *ctx, Frame *frame, Packet *packet, const Device *out, const Route *way,
                             bint many) noexcept nogil:
    """MACs of the next link; or the frame waits for the neighbour's. `many`: it may be for several stations."""
    cdef Ip hop = packet.dst
    cdef uint64_t mac = 0
    cdef uint8_t verdict
    if way != NULL and not ip_is_zero(&way.gateway):
        hop = way.gateway
    store16be(frame.data + 12, 0x0800 if packet.family == 4 else 0x86dd)
    if many and ip_is_multicast(&hop):
        mac = multicast_mac(&hop)
    elif many and device_broadcast(out, &hop):
        mac = 0xffffffffffffULL
    elif not neighbour_find(ctx.neighbours, out.id, &hop, ctx.now_s, &mac) & NUD_VALID:
        set_macs(frame.data, 0, out.mac)
        verdict = wait_for(ctx, frame, packet, out.id, &hop, &mac)
        if verdict:
            return verdict
    set_macs(frame.data, mac, out.mac)
    trim(frame, packet)
    frame.dst = mac
    frame.src = out.mac
    return leave_by(ctx, frame, out, out.vid)

cdef inline void trim(Frame *frame, const Packet *packet) noexcept nogil:
    """A short packet's padding was the last link's."""
    frame.len = <uint32_t>(packet.l3 - frame.data) + packet.length
    if not frame.needs & ~OFFLOAD_CSUM:
        frame.l3_len = packet.length

cdef inline uint64_t multicast_mac(const Ip *ip) noexcept nogil:
    """RFC 1112, 6.4; RFC 2464, 7."""
    if not ip_is_v4(ip):
        return group_mac(ip)
    return 0x5e0001ULL | <uint64_t>(ip4_word(ip) >> 8 & 0x7f) << 24 | <uint64_t>(ip4_word(ip) >> 16 & 0xff) << 32 \
        | <uint64_t>(ip4_word(ip) >> 24) << 40

cdef inline uint8_t leave_by(Context *ctx, Frame *frame, const Device *out, uint32_t vid) noexcept nogil:
    """Settle the port, or flood: MACs are in the frame, whose tag has been taken off."""
    cdef uint64_t key, hash, value
    frame.flags |= FRAME_ROUTED
    frame.vid = <uint16_t>vid
    frame.priority = 0
    frame.device = out.id
    if out.bridge == NULL:
        frame.out = out.port
        return PENDING
    key = fdb_key(frame.dst, vid)
    hash = fdb_hash(out.bridge.fdb, key)
    if not mac_is_group(frame.dst) and fdb_find(out.bridge.fdb, key, hash, ctx.now_s, &value) \
            and value & FDB_PORT_MASK < ctx.snapshot.n_ports \
            and ctx.snapshot.ports[value & FDB_PORT_MASK].bridge == out.bridge:
        frame.out = value & FDB_PORT_MASK
    else:
        frame.flags |= FRAME_FLOOD
    return PENDING


# From us

cdef inline uint8_t send_own(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """A packet of the switch's own: `in_dev` is the device that it concerns, whose router knows the way."""
    cdef const Device *device = &ctx.snapshot.devices[packet.in_dev]
    cdef const Route *way
    cdef const Device *out
    cdef const Device *first
    cdef uint8_t verdict
    cdef Ip before = packet.dst
    way = own_route(ctx, device, packet)
    out = own_device(ctx, device, packet, way)
    if out == NULL and way == NULL:
        return NO_ROUTE
    packet.in_dev = NO_DEVICE
    if not ctx.resume:                  # else that is settled, maybe by a rule
        packet.zone = device.zone if out == NULL else out.zone
        packet.zone_reply = packet.zone
    if not ctx.resume and packet.ct == NO_ENTRY:
        packet.tuple.zone = packet.zone
    leave_towards(packet, out)
    first = out
    verdict = hook_output(ctx, frame, packet)
    if verdict:
        return verdict
    if not ip_equal(&before, &packet.dst):
        way = own_route(ctx, device, packet)
        out = own_device(ctx, device, packet, way)
    if out == NULL:
        verdict = loop_back(ctx, frame, packet, device) if way != NULL else NO_ROUTE
        return verdict if verdict else forward_packet(ctx, frame, packet, device, own_route(ctx, device, packet))
    if not fits(frame, packet, out.mtu) and not cut_own(frame, packet, out.mtu):
        return PACKET_TOO_BIG
    verdict = hook_output_filter(ctx, frame, packet)
    if out != first:
        leave_towards(packet, out)      # as in the kernel, OUTPUT is about the first way, before NAT
    if not verdict:
        verdict = hook_output_mangle(ctx, frame, packet)
    if not verdict:
        verdict = hook_postrouting(ctx, frame, packet)
    return verdict if verdict else link_out(ctx, frame, packet, out, way, True)

cdef inline void leave_towards(Packet *packet, const Device *out) noexcept nogil:
    """NULL: to ourselves, so by no device that a rule could name."""
    packet.out_dev = out.id if out != NULL else <uint16_t>NO_DEVICE
    packet.out_port = out.port if out != NULL else <uint16_t>NO_PORT

cdef inline const Route *own_route(Context *ctx, const Device *device, const Packet *packet) noexcept nogil:
    if ip_is_link_local(&packet.dst) or ip_is_multicast(&packet.dst):
        return NULL
    return route_find(&ctx.snapshot.routers[device.router], &packet.dst)

cdef inline const Device *own_device(Context *ctx, const Device *device, const Packet *packet, const Route *way) noexcept nogil:
    """Where it leaves; NULL: nowhere. What is of the link alone stays on the device that it concerns."""
    if way != NULL:
        return &ctx.snapshot.devices[way.device] if not is_local(ctx, way, &packet.dst) else NULL
    if ip_is_link_local(&packet.dst) or ip_is_multicast(&packet.dst) or device_broadcast(device, &packet.dst):
        return device
    return NULL
