"""Where a packet is: interfaces, the bridge's ports (physdev), and what its addresses are to the switch (addrtype).

A rule's `-i NAME` stands for a set of ports and devices, worked out when the rules were compiled. The devices and
addresses of the switch are part of the ruleset, so that a walk needs nothing else.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport Ip, ip_equal, ip_is_multicast
from ..core.native cimport load64
from ..core.packet cimport NO_PORT, PACKET_LOCAL, PACKET_ROUTED, PACKET_TO_US, Packet
from .rule cimport *
from .walk cimport *

cdef enum:
    NO = 0                              # match.pxd's Answer
    ALWAYS = 3
    NEVER = 2
    RTN_ANYCAST = 4
    RTN_UNREACHABLE = 7
    RTN_PROHIBIT = 8
    NO_LIMIT = 0x10000                  # any device

cdef inline void look_in(Walk *walk) noexcept nogil:
    walk.mask[KEY_PACKET] |= 0xffff000000000000ULL
    walk.mask[KEY_PLACE] |= 0xffff0000ULL

cdef inline void look_out(Walk *walk) noexcept nogil:
    walk.mask[KEY_PLACE] |= 0xffff0000ffffULL

cdef inline bint interfaces_hold(Walk *walk, const Rule *rule) noexcept nogil:
    cdef const Packet *packet = walk.packet
    if rule.in_set != NO_SET:
        look_in(walk)
        if set_has(walk.rules, rule.in_set, packet.in_port, packet.in_dev) == (rule.flags & RULE_NOT_IN != 0):
            return False
    if rule.out_set != NO_SET:
        look_out(walk)
        if set_has(walk.rules, rule.out_set, packet.out_port, packet.out_dev) == (rule.flags & RULE_NOT_OUT != 0):
            return False
    return True


# physdev

cdef inline bint physical_in(const Walk *walk) noexcept nogil:
    """Whether the packet came in by a port of a bridge."""
    cdef const Packet *packet = walk.packet
    if packet.flags & PACKET_LOCAL or packet.in_port == NO_PORT:
        return False
    return packet.in_dev >= walk.rules.n_devices or not walk.rules.devices[packet.in_dev].uplink

cdef inline bint physical_out(const Walk *walk) noexcept nogil:
    """Whether it is bridged, and known to which port. What is routed has only a device before it."""
    cdef const Packet *packet = walk.packet
    return packet.out_port != NO_PORT and not packet.flags & (PACKET_LOCAL | PACKET_ROUTED | PACKET_TO_US)

cdef inline bint differs(bint is_so, uint32_t bit, const Match *m) noexcept nogil:
    """Whether a flag is asked for (m.value) and the answer, inverted or not (m.mask), is no."""
    return m.value & bit and is_so == (m.mask & bit != 0)

cdef inline uint32_t match_physdev(Walk *walk, const Match *m) noexcept nogil:
    """The kernel's physdev_mt: without a bridge's port in, inverted questions hold and plain ones do not."""
    cdef const Packet *packet = walk.packet
    cdef bint came = physical_in(walk), goes = came and physical_out(walk)
    look_in(walk)
    look_out(walk)
    if not came:
        return NEVER if m.value & ~m.mask else ALWAYS
    if differs(goes, PHYSDEV_IS_BRIDGED, m) or differs(came, PHYSDEV_IS_IN, m) or differs(goes, PHYSDEV_IS_OUT, m):
        return NEVER
    if differs(m.value & PHYSDEV_IN and set_has(walk.rules, m.set, packet.in_port, NO_LIMIT), PHYSDEV_IN, m):
        return NEVER
    if not m.value & PHYSDEV_OUT:
        return ALWAYS
    if not goes or differs(set_has(walk.rules, m.set2, packet.out_port, NO_LIMIT), PHYSDEV_OUT, m):
        return NEVER
    return ALWAYS


# addrtype

cdef inline uint32_t match_addrtype(Walk *walk, const Match *m) noexcept nogil:
    cdef const Packet *packet = walk.packet
    cdef const Ip *ip = &packet.src if m.mode & ADDRTYPE_SOURCE else &packet.dst
    cdef uint32_t device = NO_LIMIT
    look_in(walk)
    look_out(walk)
    if m.mode & ADDRTYPE_LIMIT_IN:
        device = packet.in_dev
    elif m.mode & ADDRTYPE_LIMIT_OUT:
        device = packet.out_dev
    if packet.family == 4:
        return m.value >> type_of4(walk, ip, device) & 1
    return match_addrtype6(walk, ip, device, m.value)

cdef inline uint32_t type_of4(const Walk *walk, const Ip *ip, uint32_t device) noexcept nogil:
    """The kernel's inet_addr_type: what the local routing table says, UNICAST where it says nothing."""
    cdef uint8_t first = (<const uint8_t *>&ip.low)[4]
    if first == 0 or ip.low >> 32 == 0xffffffffULL:
        return RTN_BROADCAST
    if first & 0xf0 == 0xe0:
        return RTN_MULTICAST
    if first == 127 and device == NO_LIMIT:
        return RTN_LOCAL
    return own_type(walk, ip, device)

cdef inline uint32_t own_type(const Walk *walk, const Ip *ip, uint32_t device) noexcept nogil:
    cdef const Ruleset *rules = walk.rules
    cdef const RuleAddress *own
    cdef uint32_t i, router = router_of(walk)
    for i in range(rules.n_addresses):
        own = &rules.addresses[i]
        if own.router == router and (device == NO_LIMIT or own.device == device) and ip_equal(&own.ip, ip):
            return own.type
    return RTN_UNICAST

cdef inline uint32_t router_of(const Walk *walk) noexcept nogil:
    """Tenants may have the same addresses, each behind a router of its own."""
    cdef uint32_t device = walk.packet.in_dev
    if device >= walk.rules.n_devices:
        device = walk.packet.out_dev
    return walk.rules.devices[device].router if device < walk.rules.n_devices else 0

cdef inline uint32_t match_addrtype6(const Walk *walk, const Ip *ip, uint32_t device, uint32_t asked) noexcept nogil:
    """For IPv6 several types must all hold, and only what a look at the address cannot tell is asked of routes."""
    cdef bint multicast = ip_is_multicast(ip)
    cdef bint unspecified = ip.high == 0 and ip.low == 0
    cdef bint loopback = ip.high == 0 and ip.low == 0x0100000000000000ULL
    if asked >> RTN_MULTICAST & 1 and not multicast:
        return NO
    if asked >> RTN_UNICAST & 1 and (multicast or unspecified):
        return NO
    if asked >> RTN_UNSPEC & 1 and not unspecified:
        return NO
    if asked & (1 << RTN_ANYCAST | 1 << RTN_LOCAL | 1 << RTN_PROHIBIT | 1 << RTN_UNREACHABLE):
        return asked >> RTN_LOCAL & 1 and ((loopback and device == NO_LIMIT) or own_type(walk, ip, device) == RTN_LOCAL)
    return True
