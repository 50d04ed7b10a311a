"""Whose an address is: a device's own, of its networks, to all of them, or nobody's at all.

An IPv6 device also owns a link-local address, fe80:: with its MAC as EUI-64 (RFC 4291, appendix A), which no list
holds. Pure functions; a device has few addresses, so they are looked at one by one.
"""
from libc.stdint cimport uint32_t, uint64_t

from ..core.ip cimport Ip, ip4_word, ip_equal, ip_is_multicast, ip_is_v4, ip_within
from ..core.snapshot cimport Address, Device

cdef enum:
    LINK_LOCAL_HIGH = 0x80fe            # fe80::, as loaded

cdef inline bint ip_is_link_local(const Ip *ip) noexcept nogil:
    """fe80::/10"""
    return (ip.high & 0xc0ff) == LINK_LOCAL_HIGH

cdef inline bint ip_is_loopback(const Ip *ip) noexcept nogil:
    """127.0.0.0/8 or ::1"""
    if ip_is_v4(ip):
        return (ip4_word(ip) & 0xff) == 127
    return ip.high == 0 and ip.low == 0x0100000000000000ULL

cdef inline bint ip4_is_ordinary(const Ip *ip) noexcept nogil:
    """Whether it is an IPv4 address of classes A to C, and neither 0.0.0.0/8 nor 127.0.0.0/8."""
    cdef uint32_t first = ip4_word(ip) & 0xff
    return ip_is_v4(ip) and first - 1 < 223 and first != 127

cdef inline Ip link_local_of(uint64_t mac) noexcept nogil:
    """The link-local address that goes with a MAC address."""
    cdef Ip ip
    ip.high = LINK_LOCAL_HIGH
    ip.low = ((mac & 0xffffffULL) ^ 2) | 0xfeff000000ULL | (mac >> 24) << 40
    return ip

cdef inline Ip solicited_node(const Ip *ip) noexcept nogil:
    """ff02::1:ffXX:XXXX, where the neighbours of that address listen (RFC 4291, 2.7.1)."""
    cdef Ip group
    group.high = 0x02ff
    group.low = 0xff01000000ULL | (ip.low & 0xffffff0000000000ULL)
    return group

cdef inline uint64_t group_mac(const Ip *ip) noexcept nogil:
    """33:33 and the last four bytes of an IPv6 multicast address (RFC 2464, 7)."""
    return 0x3333ULL | (ip.low >> 32) << 16

cdef inline bint device_has_ipv6(const Device *device) noexcept nogil:
    cdef uint32_t i
    for i in range(device.n_addresses):
        if not ip_is_v4(&device.addresses[i].ip):
            return True
    return False

cdef inline bint device_owns(const Device *device, const Ip *ip) noexcept nogil:
    """Whether it is one of the device's own addresses, the link-local one included."""
    cdef Ip own
    cdef uint32_t i
    for i in range(device.n_addresses):
        if ip_equal(&device.addresses[i].ip, ip):
            return True
    if not ip_is_link_local(ip) or not device_has_ipv6(device):
        return False
    own = link_local_of(device.mac)
    return ip_equal(&own, ip)

cdef inline const Address *device_network(const Device *device, const Ip *ip) noexcept nogil:
    """The address of the device whose network the other one belongs to; NULL: none."""
    cdef uint32_t i
    for i in range(device.n_addresses):
        if ip_within(ip, &device.addresses[i].network, &device.addresses[i].mask) \
                and ip_is_v4(ip) == ip_is_v4(&device.addresses[i].ip):
            return &device.addresses[i]
    return NULL

cdef inline bint device_on_link(const Device *device, const Ip *ip) noexcept nogil:
    """Whether the address is one that a neighbour on this device may have."""
    if ip_is_link_local(ip):
        return device_has_ipv6(device)
    return device_network(device, ip) != NULL and not ip_is_multicast(ip) and not device_broadcast(device, ip)

cdef inline bint device_broadcast(const Device *device, const Ip *ip) noexcept nogil:
    """255.255.255.255, or all of one of the device's networks."""
    cdef uint32_t i
    if not ip_is_v4(ip):
        return False
    if ip4_word(ip) == 0xffffffffU:
        return True
    for i in range(device.n_addresses):
        if ip_equal(&device.addresses[i].broadcast, ip):
            return True
    return False

cdef inline bint device_joined(const Device *device, const Ip *group) noexcept nogil:
    """Whether the device listens to an IPv6 multicast address: all nodes, all routers, its solicited-node groups."""
    cdef Ip own
    cdef uint32_t i
    if group.high != 0x02ff or not device_has_ipv6(device):
        return False
    if group.low == 0x0100000000000000ULL or group.low == 0x0200000000000000ULL:
        return True
    own = link_local_of(device.mac)
    if solicited_node(&own).low == group.low:
        return True
    for i in range(device.n_addresses):
        if not ip_is_v4(&device.addresses[i].ip) and solicited_node(&device.addresses[i].ip).low == group.low:
            return True
    return False

cdef inline bint martian_source(const Device *device, const Ip *ip) noexcept nogil:
    """Whether no packet from this device may have that source (RFC 1812, 5.3.7).

    "No address" (0.0.0.0, ::) is one: what may have it, DHCP and duplicate address detection, is never routed. Our own
    addresses are: it is we who have them."""
    if ip_is_multicast(ip) or ip_is_loopback(ip):
        return True
    if ip_is_v4(ip):
        if (ip4_word(ip) & 0xff) == 0 or device_broadcast(device, ip):
            return True
    elif ip.high == 0 and ip.low == 0:
        return True
    return device_owns(device, ip)

cdef inline bint source_for(const Device *device, const Ip *destination, Ip *source) noexcept nogil:
    """The device's address to speak to `destination` from: of the same network, else its first of the family."""
    cdef const Address *address = device_network(device, destination)
    cdef bint v4 = ip_is_v4(destination)
    cdef uint32_t i
    if not v4 and (ip_is_link_local(destination) or (destination.high & 0x0fff) == 0x02ff):
        source[0] = link_local_of(device.mac)
        return device_has_ipv6(device)
    if address != NULL:
        source[0] = address.ip
        return True
    for i in range(device.n_addresses):
        if ip_is_v4(&device.addresses[i].ip) == v4:
            source[0] = device.addresses[i].ip
            return True
    return False
