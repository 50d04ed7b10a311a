"""Dissect: what a frame is to the IP stages, and whether they have business with it at all.

A frame has FRAME_IP when it is to pass the hooks or the router, and then every length in it has been checked here, once.
It has FRAME_TO_US when the switch is to have it as a host or router; then it is not bridged. What is malformed is dropped
as the kernel's bridge and router do it (br_validate_ipv4, ip_rcv, ip6_rcv_core); what is malformed in layer 4 goes on, for
connection tracking to call it INVALID. IPv6 extension headers are skipped up to EXTENSIONS_MAX (RFC 8200, 4.1).

    frame of               arriving with                                     is
    an uplink              its MAC, or a group address                       to us
    a gateway's network    the gateway's MAC                                 to us
                           ARP or ND that asks for the gateway               to us
                           DHCP, router solicitations, where they are served to us
    a bridge with hooks    any other IP packet                               bridged, by way of the hooks
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, drop
from ..core.frame cimport (
    ENTRY_OUTPUT, ENTRY_RECEIVE, FRAME_IP, FRAME_TAGGED, FRAME_TO_US, VNET_LEN, Burst, Frame,
)
from ..core.ip cimport *
from ..core.native cimport load16, load16be, load32be, load64
from ..core.packet cimport *
from ..core.snapshot cimport (
    DEVICE_DHCP, DEVICE_NAME, DEVICE_NETWORK, DEVICE_RA, DEVICE_UPLINK, OFFLOAD_CSUM, Device, Port,
)
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN, mac_is_group
from ..filter.ahead cimport LAG, ahead_bucket, ahead_entry
from ..io.checksum cimport adds_up, sum_header4, sum_length, sum_pseudo4, sum_pseudo6, sum_words
from ..io.vnet cimport VNET_F_DATA_VALID

cdef enum:
    ETH_P_IP = 0x0800
    ETH_P_ARP = 0x0806
    ETH_P_IPV6 = 0x86dd
    EXTENSIONS_MAX = 8
    IPV4_MF = 0x2000
    IPV4_OFFSET = 0x1fff
    ARP_LEN = 28
    ARP_SENDER = 14                     # where the sender's protocol address lies, and the target's
    ARP_TARGET = 24
    PORT_BOOTPS = 67
    ND_ROUTER_SOLICIT = 133
    ND_NEIGHBOUR_SOLICIT = 135
    ND_NEIGHBOUR_ADVERT = 136

cdef inline void dissect(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    if burst.entry >= ENTRY_OUTPUT:
        return                          # enter.pxd has done it
    for i in range(burst.n):
        if not burst.frames[i].verdict:
            dissect_one(ctx, burst, i)
            ahead_bucket(ctx, burst, i)
        if i >= LAG:
            ahead_entry(ctx, burst, i - LAG)

cdef inline void dissect_one(Context *ctx, Burst *burst, uint32_t i) noexcept nogil:
    cdef Packet *packet = &burst.packets[i]
    cdef uint8_t verdict
    if burst.entry == ENTRY_RECEIVE:
        packet.mark = burst.frames[i].mark
        packet.largest = 0
    verdict = dissect_frame(ctx, burst.port, &burst.frames[i], packet)
    if verdict:
        drop(ctx, &burst.frames[i], verdict)

cdef inline uint16_t device_of(const Port *port, uint32_t vid) noexcept nogil:
    """The device that a port's frames of a VLAN belong to, or NO_DEVICE."""
    if port.bridge == NULL:
        return port.device
    return port.bridge.device_of[vid] if port.bridge.device_of != NULL else port.bridge.device

cdef inline uint8_t dissect_frame(Context *ctx, const Port *port, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Device *device
    cdef uint16_t id = device_of(port, frame.vid), ethertype
    cdef uint32_t l3_off = ETH_HLEN + (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0)
    packet.family = 0
    packet.in_dev = id
    packet.in_port = port.id
    packet.ct = NO_ENTRY
    if id == NO_DEVICE:
        return PENDING
    device = &ctx.snapshot.devices[id]
    if frame.src == device.mac and device.mac:
        return SPOOFED
    if device.kind == DEVICE_UPLINK and frame.dst != device.mac and not mac_is_group(frame.dst):
        return NO_DESTINATION           # a packet socket is promiscuous: for some other station of the link
    if device.kind == DEVICE_UPLINK or (frame.dst == device.mac and device.mac):
        frame.flags |= FRAME_TO_US
    ethertype = load16be(frame.data + l3_off - 2)
    if ethertype == ETH_P_ARP:
        return claim_arp(device, frame, l3_off)
    if ethertype == ETH_P_IPV6 and device.kind == DEVICE_NETWORK and speaks_as_us(device, frame, l3_off):
        return SPOOFED
    if not (frame.flags & FRAME_TO_US or device.hooks or (mac_is_group(frame.dst) and device.kind == DEVICE_NETWORK)):
        return PENDING
    return dissect_ip(device, port, frame, packet, ethertype, l3_off)

cdef inline uint8_t claim_arp(const Device *device, Frame *frame, uint32_t l3_off) noexcept nogil:
    """ARP passes no hook. A question for one of the gateway's addresses is for the switch, any other is bridged; but nobody
    speaks in the gateway's name."""
    cdef Ip address
    if device.kind == DEVICE_NETWORK and frame.len >= l3_off + ARP_LEN:
        address = ip4_at(frame.data + l3_off + ARP_SENDER)
        if is_ours(device, &address):
            return SPOOFED
        address = ip4_at(frame.data + l3_off + ARP_TARGET)
        if is_ours(device, &address):
            frame.flags |= FRAME_TO_US
    return PENDING

cdef inline bint speaks_as_us(const Device *device, const Frame *frame, uint32_t l3_off) noexcept nogil:
    """Whether a neighbour advertisement, to whomever it goes, is for an address of the gateway's."""
    cdef const uint8_t *ip = frame.data + l3_off
    cdef Ip target
    if frame.len < l3_off + IPV6_HLEN + 24 or ip[6] != PROTO_ICMPV6 or ip[IPV6_HLEN] != ND_NEIGHBOUR_ADVERT:
        return False
    target = ip6_at(ip + IPV6_HLEN + 8)
    return is_ours(device, &target)

cdef inline bint is_ours(const Device *device, const Ip *ip) noexcept nogil:
    """Whether the switch has the address on this device."""
    cdef uint32_t i
    for i in range(device.n_addresses):
        if ip_equal(&device.addresses[i].ip, ip):
            return True
    return False

cdef inline uint8_t dissect_ip(const Device *device, const Port *port, Frame *frame, Packet *packet, uint16_t ethertype,
                               uint32_t l3_off) noexcept nogil:
    cdef uint8_t verdict
    if ethertype != ETH_P_IP and ethertype != ETH_P_IPV6:
        # To a gateway nothing else can be said; on a bridge it is no concern of the hooks.
        return NO_SERVICE if frame.flags & FRAME_TO_US else PENDING
    start(packet, frame.data + l3_off, port.id, device)
    verdict = network(packet, frame.data + frame.len, ethertype == ETH_P_IP)
    if verdict:
        if frame.flags & FRAME_TO_US or device.hooks:
            return verdict
        packet.family = 0               # bridged as it is
        return PENDING
    if device.kind == DEVICE_NAME:
        packet.zone += frame.vid        # each VLAN is a zone of its own
        packet.zone_reply = packet.zone
        packet.tuple.zone = packet.zone
    claim_service(device, frame, packet)
    if not (frame.flags & FRAME_TO_US or device.hooks):
        packet.family = 0
        return PENDING
    frame.flags |= FRAME_IP
    verify(frame, packet)
    return PENDING

cdef inline void start(Packet *packet, uint8_t *l3, uint16_t port, const Device *device) noexcept nogil:
    """All but mark and `largest`, which a packet that comes back brings along."""
    packet.l3 = l3
    packet.l4 = NULL
    packet.l4_length = 0
    packet.flags = 0
    packet.ct_info = CT_NONE
    packet.tcp_flags = 0
    packet.in_port = port
    packet.in_dev = device.id
    packet.out_port = NO_PORT
    packet.out_dev = NO_DEVICE
    packet.zone = device.zone
    packet.zone_reply = device.zone
    packet.ct = NO_ENTRY
    packet.class_id = 0
    packet.sport = 0
    packet.dport = 0

cdef inline uint8_t network(Packet *packet, const uint8_t *end, bint is_v4) noexcept nogil:
    """Layer 3, then what of layer 4 makes the tuple. end: of the frame."""
    cdef uint8_t verdict = ipv4(packet, end) if is_v4 else ipv6(packet, end)
    if verdict:
        return verdict
    if packet.l4 != NULL and not packet.flags & PACKET_FRAGMENT:
        transport(packet)
    packet.tuple.sport = packet.sport
    packet.tuple.dport = packet.dport
    packet.tuple.zone = packet.zone
    packet.tuple.pad = 0
    return PENDING

cdef inline uint8_t ipv4(Packet *packet, const uint8_t *end) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    cdef uint32_t room = <uint32_t>(end - ip), header, total, fragment
    if room < IPV4_HLEN or ip[0] >> 4 != 4:
        return IP_HEADER
    header = (ip[0] & 15) * 4
    total = load16be(ip + 2)
    if header < IPV4_HLEN or total < header or total > room:
        return IP_HEADER
    if not adds_up(sum_header4(ip) if header == IPV4_HLEN else sum_words(ip, header)):
        return IP_CHECKSUM
    if header > IPV4_HLEN and not options_fit(ip + IPV4_HLEN, header - IPV4_HLEN):
        return IP_HEADER
    fragment = load16be(ip + 6)
    if fragment & IPV4_OFFSET:
        packet.flags |= PACKET_FRAGMENT
    if fragment & IPV4_MF:
        packet.flags |= PACKET_MORE
    packet.family = 4
    packet.length = total
    packet.tos = ip[1]
    packet.ttl = ip[8]
    packet.tuple.proto = ip[9]
    set_addresses(packet, ip4_at(ip + 12), ip4_at(ip + 16))
    packet.l4 = ip + header
    packet.l4_length = total - header
    return PENDING

cdef inline void set_addresses(Packet *packet, Ip src, Ip dst) noexcept nogil:
    packet.src = src
    packet.dst = dst
    packet.tuple.src = src
    packet.tuple.dst = dst

cdef inline bint options_fit(const uint8_t *option, uint32_t room) noexcept nogil:
    """RFC 791, 3.1: each option but the first two kinds says how long it is, itself included."""
    while room:
        if option[0] == 0:
            return True
        if option[0] == 1:
            option += 1
            room -= 1
            continue
        if room < 2 or option[1] < 2 or option[1] > room:
            return False
        room -= option[1]
        option += option[1]
    return True

cdef inline uint8_t ipv6(Packet *packet, const uint8_t *end) noexcept nogil:
    cdef uint8_t *ip = packet.l3
    cdef uint32_t room = <uint32_t>(end - ip), total
    if room < IPV6_HLEN or ip[0] >> 4 != 6:
        return IP_HEADER
    total = IPV6_HLEN + load16be(ip + 4)
    if total > room:
        return IP_HEADER
    packet.family = 6
    packet.length = total
    packet.tos = <uint8_t>(ip[0] << 4 | ip[1] >> 4)
    packet.ttl = ip[7]
    set_addresses(packet, ip6_at(ip + 8), ip6_at(ip + 24))
    # Mapped IPv4 addresses have no business on a wire, and would be taken for IPv4's (core/ip.pxd).
    if (packet.src.high & 0xff) == 0xff or ip_is_v4(&packet.src) or ip_is_v4(&packet.dst):
        return IP_SOURCE
    extensions(packet, ip[6], ip + IPV6_HLEN, ip + total)
    return PENDING

cdef inline void extensions(Packet *packet, uint8_t next_header, uint8_t *at, const uint8_t *end) noexcept nogil:
    """Find layer 4 behind the extension headers; l4 stays NULL where there is none or a header does not fit."""
    cdef uint32_t i, length
    for i in range(EXTENSIONS_MAX):
        packet.tuple.proto = next_header
        if next_header == PROTO_FRAGMENT:
            if end - at < 8:
                packet.flags |= PACKET_SHORT
                return
            if load16be(at + 2) & 0xfff8:
                packet.flags |= PACKET_FRAGMENT
            if load16be(at + 2) & 1:
                packet.flags |= PACKET_MORE
            length = 8
            if not packet.flags & (PACKET_FRAGMENT | PACKET_MORE):
                packet.flags |= PACKET_MORE     # all of it in one fragment: reassembly takes the header off
            elif packet.flags & PACKET_FRAGMENT:
                packet.tuple.proto = at[0]
                packet.l4 = at + length
                packet.l4_length = <uint32_t>(end - at) - length
                return
        elif next_header == PROTO_HOPOPTS or next_header == PROTO_ROUTING or next_header == PROTO_DSTOPTS:
            if end - at < 8:
                packet.flags |= PACKET_SHORT
                return
            length = (at[1] + 1) * 8
        elif next_header == PROTO_NONE:
            return
        else:
            packet.l4 = at
            packet.l4_length = <uint32_t>(end - at)
            return
        if length > end - at:
            packet.flags |= PACKET_SHORT
            return
        next_header = at[0]
        at += length
    packet.flags |= PACKET_SHORT

cdef inline void transport(Packet *packet) noexcept nogil:
    cdef const uint8_t *l4 = packet.l4
    cdef uint8_t proto = packet.tuple.proto
    cdef uint32_t size
    if proto == PROTO_TCP:
        if packet.l4_length < 20:
            packet.flags |= PACKET_SHORT
            return
        size = (l4[12] >> 4) * 4
        if size < 20 or size > packet.l4_length:
            packet.flags |= PACKET_SHORT    # INVALID; rules can ask for ports and flags all the same
        packet.tcp_flags = l4[13]
    elif proto == PROTO_UDP:
        if packet.l4_length < 8:
            packet.flags |= PACKET_SHORT
            return
        size = load16be(l4 + 4)
        if size < 8 or size > packet.l4_length:
            packet.flags |= PACKET_SHORT
    elif proto == PROTO_ICMP or proto == PROTO_ICMPV6:
        if packet.l4_length < 8:
            packet.flags |= PACKET_SHORT
            return
        packet.sport = load16(l4 + 4)
        packet.dport = load16(l4)       # type, code
        return
    elif proto == PROTO_UDPLITE or proto == PROTO_SCTP:
        if packet.l4_length < (8 if proto == PROTO_UDPLITE else 12):
            packet.flags |= PACKET_SHORT
            return
    else:
        return
    packet.sport = load16(l4)
    packet.dport = load16(l4 + 2)

cdef inline void verify(const Frame *frame, Packet *packet) noexcept nogil:
    """Layer 4's checksum, where the kernel's connection tracking looks at it: not of fragments, not where it is still open."""
    cdef const uint8_t *l4 = packet.l4
    cdef uint8_t proto = packet.tuple.proto
    cdef uint64_t total
    if l4 == NULL or packet.flags & (PACKET_FRAGMENT | PACKET_MORE) or frame.needs & OFFLOAD_CSUM or packet.l4_length < 8:
        return
    if (frame.data - VNET_LEN)[0] & VNET_F_DATA_VALID or not (
            proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_ICMP or proto == PROTO_ICMPV6):
        return
    if proto == PROTO_UDP and load16(l4 + 6) == 0:
        return                          # of IPv6 too: tunnels may do without (RFC 6935)
    total = sum_words(l4, packet.l4_length)
    if proto != PROTO_ICMP:
        total += sum_length(packet.l4_length) + (
            sum_pseudo4(packet.l3, proto) if packet.family == 4 else sum_pseudo6(packet.l3, proto))
    if not adds_up(total):
        packet.flags |= PACKET_BAD_CHECKSUM

cdef inline void claim_service(const Device *device, Frame *frame, const Packet *packet) noexcept nogil:
    """What is sent to a group on a gateway's network and yet is meant for the gateway."""
    cdef Ip target
    if frame.flags & FRAME_TO_US or device.kind != DEVICE_NETWORK or packet.l4 == NULL or packet.flags & (
            PACKET_FRAGMENT | PACKET_SHORT):
        return
    if packet.tuple.proto == PROTO_UDP:
        if device.services & DEVICE_DHCP and packet.family == 4 and packet.dport == 0x4300:
            frame.flags |= FRAME_TO_US
    elif packet.tuple.proto == PROTO_ICMPV6 and packet.family == 6:
        if packet.l4[0] == ND_ROUTER_SOLICIT:
            if device.services & DEVICE_RA:
                frame.flags |= FRAME_TO_US
        elif packet.l4[0] == ND_NEIGHBOUR_SOLICIT and packet.l4_length >= 24:
            target = ip6_at(packet.l4 + 8)
            if is_ours(device, &target):
                frame.flags |= FRAME_TO_US
