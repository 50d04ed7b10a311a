"""See answer.pxd."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ..core.context cimport Context, Extra
from ..core.counters cimport SELF_PORT
from ..core.extra cimport extra_add, extra_refused, extra_room
from ..core.frame cimport ENTRY_LINK, ENTRY_OUTPUT, FRAME_MAX, VNET_LEN, Frame
from ..core.ip cimport *
from ..core.native cimport count, load16, store16be
from ..core.packet cimport *
from ..core.snapshot cimport DEVICE_DHCP, DEVICE_DNS, DEVICE_NAME, DEVICE_RA, OFFLOAD_CSUM, Device
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, mac_is_group
from ..filter.confirm cimport ct_attach
from ..io.own cimport OWN_SERVICE, OwnHeader, punt
from .address cimport device_owns, ip_is_link_local, source_for
from .arp cimport arp_hear, arp_request
from .echo cimport echo_is_request, echo_turn, tcp_reset, tcp_resettable
from .icmp cimport *
from .limit cimport icmp_allowed
from .nd cimport ND_ADVERT, ND_SOLICIT, nd_hear, nd_solicit
from .reassemble cimport expire_fragments
from .route cimport Route, route_find
from .resolve cimport *
from .hop cimport set_destination, set_macs

cdef enum:
    ETH_P_IP = 0x0800
    ETH_P_IPV6 = 0x86dd
    ND_ROUTER_SOLICIT = 133
    SERVICE_DHCP = 0x4300               # UDP ports, as they lie in the packet
    SERVICE_DNS = 0x3500


# Frames of the switch's own

cdef uint8_t *begin(Context *ctx, const Frame *frame, const Device *device, uint8_t family) noexcept nogil:
    """Room for an answer to the frame, its Ethernet header written; NULL: there is none. It goes back where the frame came
    from; one that is routed gets other addresses later."""
    cdef uint8_t *data = extra_room(ctx)
    if data == NULL:
        extra_refused(ctx)
        return NULL
    set_macs(data, frame.src, device.mac if device.mac else frame.dst)
    store16be(data + 12, ETH_P_IP if family == 4 else ETH_P_IPV6)
    return data

cdef void finish(Context *ctx, const Frame *frame, const Packet *packet, const Device *device, uint32_t length) noexcept nogil:
    """The answer joins the extra frames: as the router's own packet of the connection, or from a bridge without address
    straight back."""
    cdef Extra *extra = extra_add(ctx, ETH_HLEN + length, SELF_PORT, ENTRY_LINK if device.kind == DEVICE_NAME else ENTRY_OUTPUT,
                                  device.id)
    extra.vid = frame.vid
    if packet.ct_info & CT_UNTRACKED:
        extra.ct_info = CT_RELATED      # as in the kernel: no rule may choose how it is tracked
    if packet.ct == NO_ENTRY or device.kind == DEVICE_NAME:
        return
    ct_attach(ctx.ct, packet)
    extra.ct = packet.ct
    extra.serial = ctx.ct.entry[packet.ct].serial
    extra.ct_info = CT_RELATED if packet.ct_info & CT_REPLY else CT_RELATED | CT_REPLY

cdef const Device *in_device(Context *ctx, const Packet *packet) noexcept nogil:
    """Where the packet came in; for one of the router's own, the device that it concerns."""
    if packet.flags & PACKET_LOCAL and ctx.came_back.device < ctx.snapshot.n_devices:
        return &ctx.snapshot.devices[ctx.came_back.device]
    return &ctx.snapshot.devices[packet.in_dev] if packet.in_dev < ctx.snapshot.n_devices else NULL

cdef void complain(Context *ctx, const Frame *frame, const Packet *packet, uint8_t kind, uint8_t code,
                   uint32_t info) noexcept nogil:
    cdef const Device *device = in_device(ctx, packet)
    cdef Ip source
    cdef uint8_t *data
    if device == NULL or mac_is_group(frame.dst):
        return
    if not icmp_answerable(packet, device, kind, code):
        return
    if not speaker(ctx, packet, device, &source):
        return
    if icmp_is_limited(packet.family, kind, code) and not icmp_allowed(ctx.icmp_limits, device.id, &packet.src, ctx.now_ns):
        return
    data = begin(ctx, frame, device, packet.family)
    if data != NULL:
        finish(ctx, frame, packet, device, icmp_error(data + ETH_HLEN, packet, kind, code, info, &source))

cdef bint speaker(Context *ctx, const Packet *packet, const Device *device, Ip *source) noexcept nogil:
    """Whom an error comes from: the address that was asked, where it is ours, else that of the device by which it will
    leave. A bridge without an address speaks for whom the packet was for, as the kernel's bridge does."""
    cdef const Route *way = route_find(&ctx.snapshot.routers[device.router], &packet.dst)
    source[0] = packet.dst
    if device.kind == DEVICE_NAME or device_owns(device, &packet.dst):
        return True
    if way != NULL and device_owns(&ctx.snapshot.devices[way.device], &packet.dst):
        return True
    way = route_find(&ctx.snapshot.routers[device.router], &packet.src)
    if way != NULL:
        return source_for(&ctx.snapshot.devices[way.device], &packet.src, source)
    return source_for(device, &packet.src, source)

cdef bint reset(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil:
    cdef const Device *device = in_device(ctx, packet)
    cdef uint8_t *data
    if device == NULL or mac_is_group(frame.dst) or not tcp_resettable(packet, frame.needs & OFFLOAD_CSUM):
        return False
    data = begin(ctx, frame, device, packet.family)
    if data != NULL:
        finish(ctx, frame, packet, device, tcp_reset(data + ETH_HLEN, packet, 0))
    return data != NULL

cdef void close_port(Context *ctx, const Frame *frame, const Packet *packet, const Device *device) noexcept nogil:
    """The reset of a host where nobody listens: it keeps the segment's TOS, and finds its connection by itself."""
    cdef uint8_t *data
    if not tcp_resettable(packet, frame.needs & OFFLOAD_CSUM):
        return
    data = begin(ctx, frame, device, packet.family)
    if data != NULL:
        extra_add(ctx, ETH_HLEN + tcp_reset(data + ETH_HLEN, packet, packet.tos), SELF_PORT, ENTRY_OUTPUT, device.id)

cdef void complain_expired(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil:
    complain(ctx, frame, packet, ICMP_TIME_EXCEEDED if packet.family == 4 else ICMP6_TIME_EXCEEDED, 0, 0)

cdef void complain_no_route(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil:
    if packet.family == 4:
        complain(ctx, frame, packet, ICMP_UNREACHABLE, NET_UNREACHABLE, 0)
    else:
        complain(ctx, frame, packet, ICMP6_UNREACHABLE, ICMP6_NO_ROUTE, 0)

cdef void complain_prohibited(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil:
    if packet.family == 4:
        complain(ctx, frame, packet, ICMP_UNREACHABLE, ADMIN_PROHIBITED, 0)
    else:
        complain(ctx, frame, packet, ICMP6_UNREACHABLE, ICMP6_PROHIBITED, 0)

cdef void complain_too_big(Context *ctx, const Frame *frame, const Packet *packet, uint32_t mtu) noexcept nogil:
    if packet.family == 4:
        complain(ctx, frame, packet, ICMP_UNREACHABLE, FRAGMENTATION_NEEDED, mtu)
    else:
        complain(ctx, frame, packet, ICMP6_TOO_BIG, 0, mtu)


# Neighbours

cdef uint8_t hear_arp(Context *ctx, Frame *frame, const Packet *packet) noexcept nogil:
    cdef uint32_t waiting = 0
    cdef const Device *device = in_device(ctx, packet)
    cdef Heard what = arp_hear(device, ctx.neighbours, frame, ctx.now_s, &waiting)
    return heard(ctx, frame, device, what, waiting)

cdef uint8_t heard(Context *ctx, Frame *frame, const Device *device, Heard what, uint32_t waiting) noexcept nogil:
    """What becomes of a message about neighbours, and of the frames that waited for it."""
    cdef uint8_t *data
    send_waiting(ctx, device, waiting)
    if what == HEARD_ANSWERED:
        data = extra_room(ctx)
        if data == NULL:
            extra_refused(ctx)
        else:
            memcpy(data, frame.data, frame.len)
            extra_add(ctx, frame.len, SELF_PORT, ENTRY_LINK, device.id).vid = device.vid
    if what == HEARD_SPOOFED:
        return SPOOFED
    if what == HEARD_MALFORMED:
        return IP_HEADER
    return consumed(ctx)

cdef uint8_t consumed(Context *ctx) noexcept nogil:
    count(&ctx.origin.consumed, 1)
    return DONE

cdef void send_waiting(Context *ctx, const Device *device, uint32_t waiting) noexcept nogil:
    """Frames whose neighbour has answered go on as they are, but for its MAC, which `ENTRY_LINK` looks up."""
    cdef WaitingFrame frame
    cdef uint8_t *data
    while waiting:
        data = extra_room(ctx)
        if data == NULL:
            refuse_waiting(ctx, &waiting, GENERATED_FULL)
            return
        if not neighbour_release(ctx.neighbours, &waiting, data - VNET_LEN, &frame):
            return
        count(&ctx.counters[frame.origin].queued, <uint64_t>-1)
        extra_add_held(ctx, &frame, device.id)

cdef void extra_add_held(Context *ctx, const WaitingFrame *frame, uint16_t device) noexcept nogil:
    """A frame that was in the books all along: it is no generated one."""
    cdef Extra *extra
    if frame.origin == SELF_PORT:
        count(&ctx.counters[SELF_PORT].generated, <uint64_t>-1)
    extra = extra_add(ctx, frame.length - VNET_LEN, frame.origin, ENTRY_LINK, device)
    extra.vid = ctx.snapshot.devices[device].vid

cdef void refuse_waiting(Context *ctx, uint32_t *waiting, uint8_t verdict) noexcept nogil:
    """Nobody will ever hear of these frames; they are read into the bounce memory, for want of another."""
    cdef WaitingFrame frame
    while neighbour_release(ctx.neighbours, waiting, ctx.bounce, &frame):
        count(&ctx.counters[frame.origin].queued, <uint64_t>-1)
        count(&ctx.counters[frame.origin].drops[verdict], 1)

cdef void solicit(Context *ctx, const Device *device, const Ip *ip, uint64_t mac) noexcept nogil:
    """Ask the device's link for a neighbour; `mac` 0: ask everybody."""
    cdef uint8_t *data = extra_room(ctx)
    cdef Ip source
    cdef uint32_t length
    if data == NULL or not source_for(device, ip, &source):
        extra_refused(ctx)
        return
    length = arp_request(data, device, &source, ip, mac) if ip_is_v4(ip) else nd_solicit(data, device, &source, ip, mac)
    extra_add(ctx, length, SELF_PORT, ENTRY_LINK, device.id).vid = device.vid

cdef uint8_t wait_for(Context *ctx, Frame *frame, const Packet *packet, uint16_t device, const Ip *hop,
                      uint64_t *mac) noexcept nogil:
    cdef uint16_t origin = packet.in_port
    cdef uint8_t result = neighbour_wait(ctx.neighbours, device, hop, frame.data - VNET_LEN, VNET_LEN + frame.len, origin,
                                         packet.in_dev, ctx.now_s)
    if result & WAIT_SOLICIT:
        solicit(ctx, &ctx.snapshot.devices[device], hop, 0)
    if result & WAIT_QUEUED:
        count(&ctx.origin.queued, 1)
        return DONE
    if result & WAIT_RESOLVED and neighbour_find(ctx.neighbours, device, hop, ctx.now_s, mac) & NUD_VALID:
        return PENDING
    return NEIGHBOUR_QUEUE

cdef void fail_waiting(Context *ctx, const NeighbourEvent *event) noexcept nogil:
    """Nobody answered: the senders of the frames that waited are told (RFC 1812, 5.3.1), and the frames dropped."""
    cdef WaitingFrame held
    cdef uint32_t waiting = event.waiting
    while neighbour_release(ctx.neighbours, &waiting, ctx.bounce, &held):
        count(&ctx.counters[held.origin].queued, <uint64_t>-1)
        count(&ctx.counters[held.origin].drops[<uint32_t>NEIGHBOUR_FAILED], 1)
        tell_unreachable(ctx, &held)

cdef void tell_unreachable(Context *ctx, const WaitingFrame *held) noexcept nogil:
    """Host unreachable, about the frame in bounce memory, which was whole and well-formed when it was put aside."""
    cdef Frame frame
    cdef Packet packet
    cdef const uint8_t *ip = ctx.bounce + VNET_LEN + ETH_HLEN
    memset(&frame, 0, sizeof(frame))
    memset(&packet, 0, sizeof(packet))
    packet.family = ip[0] >> 4
    packet.l3 = <uint8_t *>ip
    packet.in_dev = held.in_dev
    packet.length = held.length - VNET_LEN - ETH_HLEN
    packet.tos = ip[1] if packet.family == 4 else <uint8_t>(ip[0] << 4 | ip[1] >> 4)
    packet.tuple.proto = ip[9] if packet.family == 4 else ip[6]
    packet.src = ip4_at(ip + 12) if packet.family == 4 else ip6_at(ip + 8)
    packet.dst = ip4_at(ip + 16) if packet.family == 4 else ip6_at(ip + 24)
    packet.l4 = packet.l3 + ((ip[0] & 15) * 4 if packet.family == 4 else IPV6_HLEN)
    packet.l4_length = <uint32_t>(packet.l3 + packet.length - packet.l4)
    if packet.family == 4:
        complain(ctx, &frame, &packet, ICMP_UNREACHABLE, HOST_UNREACHABLE, 0)
    else:
        complain(ctx, &frame, &packet, ICMP6_UNREACHABLE, ICMP6_ADDRESS, 0)

cdef void router_tick(Context *ctx) noexcept nogil:
    cdef NeighbourSweep sweep
    cdef NeighbourEvent event
    expire_fragments(ctx.fragments, ctx.counters, ctx.now_s)
    if not sweep_begin(ctx.neighbours, &sweep, ctx.now_s):
        return
    while sweep_next(ctx.neighbours, &sweep, &event):
        if event.device >= ctx.snapshot.n_devices or not ctx.snapshot.devices[event.device].mac:
            refuse_waiting(ctx, &event.waiting, NEIGHBOUR_FAILED)
        elif event.kind == NEIGHBOUR_SOLICIT:
            solicit(ctx, &ctx.snapshot.devices[event.device], &event.ip, event.mac)
        else:
            fail_waiting(ctx, &event)


# Packets to the switch itself

cdef uint8_t serve_packet(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Device *device = in_device(ctx, packet)
    cdef uint8_t proto = packet.tuple.proto
    if packet.l4 == NULL or packet.flags & (PACKET_SHORT | PACKET_FRAGMENT):
        return NO_SERVICE
    if proto == PROTO_ICMP and packet.family == 4:
        return answer_echo(ctx, frame, packet, device) if echo_is_request(packet) else consumed(ctx)
    if proto == PROTO_ICMPV6 and packet.family == 6:
        return serve_icmp6(ctx, frame, packet, device)
    if proto == PROTO_UDP:
        return serve_udp(ctx, frame, packet, device)
    if proto == PROTO_TCP:
        close_port(ctx, frame, packet, device)
    elif packet.family == 4:
        complain(ctx, frame, packet, ICMP_UNREACHABLE, PROTOCOL_UNREACHABLE, 0)
    else:
        complain(ctx, frame, packet, ICMP6_PARAMETER, 1, 6)
    return NO_SERVICE

cdef uint8_t answer_echo(Context *ctx, Frame *frame, Packet *packet, const Device *device) noexcept nogil:
    """The reply is the request turned around, sent as a packet of the switch's own."""
    cdef uint8_t *data
    cdef Ip source = packet.dst
    if mac_is_group(frame.dst) or packet.flags & PACKET_BAD_CHECKSUM:
        return consumed(ctx)            # as the kernel's icmp_echo_ignore_broadcasts
    if not echo_turn(packet, &source, frame.needs & OFFLOAD_CSUM):
        return consumed(ctx)
    data = extra_room(ctx)
    if data == NULL:
        extra_refused(ctx)
        return consumed(ctx)
    memcpy(data - VNET_LEN, frame.data - VNET_LEN, VNET_LEN + ETH_HLEN + packet.length)
    set_macs(data, frame.src, device.mac)
    extra_add(ctx, ETH_HLEN + packet.length, SELF_PORT, ENTRY_OUTPUT, device.id)
    return consumed(ctx)

cdef uint8_t serve_icmp6(Context *ctx, Frame *frame, Packet *packet, const Device *device) noexcept nogil:
    cdef uint8_t kind = packet.l4[0]
    cdef uint32_t waiting = 0
    cdef Heard what
    if kind == ND_SOLICIT or kind == ND_ADVERT:
        what = nd_hear(device, ctx.neighbours, frame, packet, frame.needs & OFFLOAD_CSUM, ctx.now_s, &waiting)
        return heard(ctx, frame, device, what, waiting)
    if kind == ND_ROUTER_SOLICIT:
        return hand_over(ctx, frame, packet) if device.services & DEVICE_RA else consumed(ctx)
    return answer_echo(ctx, frame, packet, device) if echo_is_request(packet) else consumed(ctx)

cdef uint8_t serve_udp(Context *ctx, Frame *frame, Packet *packet, const Device *device) noexcept nogil:
    if packet.flags & PACKET_BAD_CHECKSUM or (packet.family == 6 and load16(packet.l4 + 6) == 0):
        return IP_CHECKSUM
    if packet.dport == SERVICE_DHCP and packet.family == 4 and device.services & DEVICE_DHCP:
        return hand_over(ctx, frame, packet)
    if packet.dport == SERVICE_DNS and device.services & DEVICE_DNS and not mac_is_group(frame.dst):
        return hand_over(ctx, frame, packet)
    packet.ct_info = CT_NONE
    packet.ct = NO_ENTRY                # what a host says has to find its connection by itself
    if packet.family == 4:
        complain(ctx, frame, packet, ICMP_UNREACHABLE, PORT_UNREACHABLE, 0)
    else:
        complain(ctx, frame, packet, ICMP6_UNREACHABLE, ICMP6_PORT, 0)
    return NO_SERVICE

cdef uint8_t hand_over(Context *ctx, const Frame *frame, const Packet *packet) noexcept nogil:
    """To the control side."""
    cdef OwnHeader header
    memset(&header, 0, sizeof(header))
    header.kind = OWN_SERVICE
    header.device = packet.in_dev
    header.port = packet.in_port
    header.mark = packet.mark
    return consumed(ctx) if punt(ctx, frame.data, frame.len, &header) else PUNT_FULL
