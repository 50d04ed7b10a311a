"""Neighbour discovery (RFC 4861) on a device: the part of ARP for IPv6, link-local addresses included.

A solicitation for an address of ours is turned into the advertisement where it lies, 86 bytes long; it may be 8
bytes shorter than that, for which every frame has room behind it (FRAME_TAIL). What fails the checks of RFC 4861 7.1
is malformed, as is a packet that hides the message behind extension headers (RFC 6980 forbids fragments; nobody
sends others).
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.frame cimport Frame
from ..core.ip cimport IPV6_HLEN, PROTO_ICMPV6, Ip, ip6_at, ip_equal, ip_is_multicast, ip_is_zero, ip_store
from ..core.native cimport atomic_add64, load64, memory_allow, store16, store16be, store64
from ..core.packet cimport Packet
from ..core.snapshot cimport Device
from ..core.wire cimport ETH_HLEN, mac_at, mac_is_group
from ..io.checksum cimport fold, sum_finish, sum_length, sum_pseudo6, sum_words
from .address cimport device_on_link, device_owns, group_mac, solicited_node
from .neighbour cimport Neighbours
from .resolve cimport *
from .hop cimport set_macs

cdef enum:
    ND_SOLICIT = 135
    ND_ADVERT = 136
    ND_LEN = 24                         # without options
    ND_OPTION_LEN = 8                   # of a link-layer address
    ND_SOURCE_MAC = 1
    ND_TARGET_MAC = 2
    ND_ROUTER = 0x80                    # flags of an advertisement
    ND_SOLICITED = 0x40
    ND_OVERRIDE = 0x20
    ND_HOPS = 255                       # a packet that no router has passed on
    ND_FRAME = ETH_HLEN + IPV6_HLEN + ND_LEN + ND_OPTION_LEN

cdef inline bint icmp6_sum_right(const Packet *packet) noexcept nogil:
    """Whether an ICMPv6 packet's checksum is right; never of one whose checksum is partial."""
    return fold(sum_pseudo6(packet.l3, PROTO_ICMPV6) + sum_length(packet.l4_length)
                + sum_words(packet.l4, packet.l4_length)) == 0xffff

cdef inline bint nd_options(const Packet *packet, uint8_t wanted, uint64_t *mac) noexcept nogil:
    """Walk the options; the MAC of the wanted kind goes to *mac, else 0. False: one lies about its length."""
    cdef const uint8_t *option = packet.l4 + ND_LEN
    cdef uint32_t left = packet.l4_length - ND_LEN, size
    mac[0] = 0
    while left:
        if left < 8 or option[1] == 0 or <uint32_t>option[1] * 8 > left:
            return False
        size = <uint32_t>option[1] * 8
        if option[0] == wanted and size == ND_OPTION_LEN:
            mac[0] = load64(option) >> 16
        option += size
        left -= size
    return True

cdef inline bint nd_valid(const Packet *packet, bint partial) noexcept nogil:
    """RFC 4861 7.1.1 and 7.1.2, but for the options. `partial`: the checksum is yet to be completed."""
    cdef const uint8_t *nd = packet.l4
    cdef Ip target
    if packet.ttl != ND_HOPS or packet.l4_length < ND_LEN or nd != packet.l3 + IPV6_HLEN or nd[1] != 0:
        return False
    target = ip6_at(nd + 8)
    if ip_is_multicast(&target) or ip_is_multicast(&packet.src):
        return False
    return partial or icmp6_sum_right(packet)

cdef inline Heard nd_hear(const Device *device, Neighbours *table, Frame *frame, const Packet *packet, bint partial,
                          uint32_t now_s, uint32_t *waiting) noexcept nogil:
    """What a neighbour solicitation or advertisement (ICMPv6 type 135, 136; `packet` is of `frame`) is to the device.
    *waiting: frames that may leave now.

    HEARD_ANSWERED: `frame` is the answer, to go back by the port it came from; `packet` means nothing any more."""
    cdef uint64_t mac
    cdef Heard heard = HEARD_MALFORMED
    waiting[0] = 0
    if nd_valid(packet, partial):
        if packet.l4[0] == ND_SOLICIT:
            if nd_options(packet, ND_SOURCE_MAC, &mac):
                heard = nd_solicited(device, table, frame, packet, mac, now_s, waiting)
        elif nd_options(packet, ND_TARGET_MAC, &mac):
            heard = nd_advertised(device, table, packet, mac, now_s, waiting)
    if heard == HEARD_MALFORMED:
        atomic_add64(&table.header.malformed, 1)
    elif heard == HEARD_SPOOFED:
        atomic_add64(&table.header.spoofed, 1)
    return heard

cdef inline Heard nd_solicited(const Device *device, Neighbours *table, Frame *frame, const Packet *packet,
                               uint64_t mac, uint32_t now_s, uint32_t *waiting) noexcept nogil:
    cdef Ip target = ip6_at(packet.l4 + 8), group
    cdef bint anonymous = ip_is_zero(&packet.src)
    if anonymous:
        # Somebody makes sure that an address is free (RFC 4862): says so to its group, and names no MAC.
        group = solicited_node(&target)
        if mac or not ip_equal(&packet.dst, &group):
            return HEARD_MALFORMED
    elif mac_is_group(mac):
        return HEARD_MALFORMED
    elif device_owns(device, &packet.src):
        return HEARD_OTHER if mac_at(frame.data + 6) == device.mac else HEARD_SPOOFED
    if not device_owns(device, &target):
        return HEARD_OTHER
    if mac and device_on_link(device, &packet.src):
        neighbour_learn(table, device.id, &packet.src, mac, LEARN_CREATE | LEARN_OVERRIDE, now_s, waiting)
    nd_answer(device, frame, packet, &target, mac if mac else mac_at(frame.data + 6))
    return HEARD_ANSWERED

cdef inline Heard nd_advertised(const Device *device, Neighbours *table, const Packet *packet, uint64_t mac,
                                uint32_t now_s, uint32_t *waiting) noexcept nogil:
    cdef Ip target = ip6_at(packet.l4 + 8)
    cdef uint8_t flags = packet.l4[4]
    cdef bint to_all = ip_is_multicast(&packet.dst)
    cdef uint32_t how = 0
    if (to_all and flags & ND_SOLICITED) or mac_is_group(mac):
        return HEARD_MALFORMED
    if device_owns(device, &target):
        return HEARD_OTHER if mac == device.mac else HEARD_SPOOFED
    how |= LEARN_CONFIRM if flags & ND_SOLICITED and device_owns(device, &packet.dst) else 0
    how |= LEARN_OVERRIDE if flags & ND_OVERRIDE else 0
    if device_on_link(device, &target):
        neighbour_learn(table, device.id, &target, mac, how, now_s, waiting)
    return HEARD_LEARNED if device_owns(device, &packet.dst) else HEARD_OTHER

cdef inline void nd_answer(const Device *device, Frame *frame, const Packet *packet, const Ip *target,
                           uint64_t asker_mac) noexcept nogil:
    """RFC 4861 7.2.4: to the asker; to all nodes where it has no address yet."""
    cdef Ip to = packet.src
    cdef uint32_t flags = ND_ROUTER | ND_SOLICITED | ND_OVERRIDE
    cdef Ip own = target[0]
    if ip_is_zero(&to):
        to.high, to.low = 0x02ff, 0x0100000000000000ULL
        flags = ND_ROUTER | ND_OVERRIDE
        asker_mac = group_mac(&to)
    memory_allow(frame.data, ND_FRAME)
    frame.len = nd_write(frame.data, device.mac, asker_mac, &own, &to, ND_ADVERT, flags, &own)

cdef inline uint32_t nd_solicit(uint8_t *out, const Device *device, const Ip *source, const Ip *target,
                                uint64_t mac) noexcept nogil:
    """Ask for `target`: its last known `mac`, or its group where that is 0. A frame of ND_FRAME bytes."""
    cdef Ip to = solicited_node(target) if mac == 0 else target[0]
    return nd_write(out, device.mac, mac if mac else group_mac(&to), source, &to, ND_SOLICIT, 0, target)

cdef inline uint32_t nd_announce(uint8_t *out, const Device *device, const Ip *own) noexcept nogil:
    """Tell all nodes that an address is ours, as gratuitous ARP does. A frame of ND_FRAME bytes."""
    cdef Ip to
    to.high, to.low = 0x02ff, 0x0100000000000000ULL
    return nd_write(out, device.mac, group_mac(&to), own, &to, ND_ADVERT, ND_ROUTER | ND_OVERRIDE, own)

cdef inline uint32_t nd_write(uint8_t *out, uint64_t own_mac, uint64_t to_mac, const Ip *source, const Ip *to,
                              uint8_t kind, uint8_t flags, const Ip *target) noexcept nogil:
    """A whole frame with our MAC as its option. `out` has room for ND_FRAME bytes."""
    cdef uint8_t *ip = out + ETH_HLEN
    cdef uint8_t *nd = ip + IPV6_HLEN
    memset(out, 0, ND_FRAME)
    set_macs(out, to_mac, own_mac)
    store16be(out + 12, 0x86dd)
    ip[0] = 0x60
    store16be(ip + 4, ND_LEN + ND_OPTION_LEN)
    ip[6] = PROTO_ICMPV6
    ip[7] = ND_HOPS
    ip_store(ip + 8, source, False)
    ip_store(ip + 24, to, False)
    nd[0] = kind
    nd[4] = flags
    ip_store(nd + 8, target, False)
    store64(nd + ND_LEN, (ND_SOURCE_MAC if kind == ND_SOLICIT else ND_TARGET_MAC) | 1 << 8 | own_mac << 16)
    store16(nd + 2, sum_finish(sum_pseudo6(ip, PROTO_ICMPV6) + sum_length(ND_LEN + ND_OPTION_LEN)
                               + sum_words(nd, ND_LEN + ND_OPTION_LEN)))
    return ND_FRAME
