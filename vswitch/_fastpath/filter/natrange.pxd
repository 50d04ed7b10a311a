"""A rule's range of addresses and ports, applied to the reply tuple of a new connection.

Source translation shows in the reply's destination, destination translation in its source. Addresses are counted in the
host's order, of IPv6 in the lower half within one upper half. Pure functions of their arguments: which address a
client gets depends on nothing else, so it is the same for every worker, and after a restart.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, Ip, ip_equal
from ..core.native cimport load16be, mix64
from ..core.packet cimport Tuple
from .rewrite cimport NAT_SRC, proto_is_icmp

cdef extern from *:
    uint64_t bswap64 "__builtin_bswap64"(uint64_t v) noexcept nogil

cdef enum:
    # NatRange.flags: the kernel's NF_NAT_RANGE_*
    NAT_MAP_IPS = 1                     # the addresses are given
    NAT_PROTO_SPECIFIED = 2             # the ports are
    NAT_PROTO_RANDOM = 4                # --random
    NAT_PERSISTENT = 8                  # the same address for a client, whatever its destination
    NAT_RANDOM_FULLY = 16
    NAT_PROTO_OFFSET = 32               # DNAT to ports shifted by as much as the packet's is away from base_port
    NAT_NETMAP = 64                     # the network is replaced, the host part stays
    NAT_RANDOM = NAT_PROTO_RANDOM | NAT_RANDOM_FULLY

    # Any two odd numbers do; addresses that collide harm nobody.
    SPREAD_A = 0x9e3779b97f4a7c15
    SPREAD_B = 0xd6e8feb86659fd93

cdef struct NatRange:                   # of a rule
    Ip min_ip
    Ip max_ip
    uint16_t min_port                   # host order, as are all ports of this struct; of ICMP: identifiers
    uint16_t max_port
    uint16_t base_port
    uint8_t manip                       # NatManip
    uint8_t flags

cdef struct PortRange:
    uint32_t first
    uint32_t size                       # 0: the protocol has no ports, or they may not change


cdef inline Ip *range_address(Tuple *reply, const NatRange *rule) noexcept nogil:
    return &reply.dst if rule.manip == NAT_SRC else &reply.src

cdef inline uint16_t *range_port(Tuple *reply, const NatRange *rule) noexcept nogil:
    """Of ICMP the identifier, which is the same for either direction."""
    return &reply.dport if rule.manip == NAT_SRC and not proto_is_icmp(reply.proto) else &reply.sport

cdef inline bint has_ports(const Tuple *reply) noexcept nogil:
    """Whether it has ports, or an identifier, that can be rewritten."""
    cdef uint8_t proto = reply.proto
    return proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_UDPLITE or proto_is_icmp(proto)


cdef inline bint address_in_range(const Ip *ip, const NatRange *rule) noexcept nogil:
    cdef uint64_t high = bswap64(ip.high), low = bswap64(ip.low)
    cdef uint64_t first = bswap64(rule.min_ip.high), last = bswap64(rule.max_ip.high)
    if high < first or high > last:
        return False
    return (high > first or low >= bswap64(rule.min_ip.low)) and (high < last or low <= bswap64(rule.max_ip.low))

cdef inline bint port_in_range(Tuple *reply, const NatRange *rule) noexcept nogil:
    cdef uint16_t port = load16be(range_port(reply, rule))
    if not has_ports(reply):
        return True
    return (min(rule.min_port, rule.max_port) <= port <= max(rule.min_port, rule.max_port)
            and not rule.flags & NAT_PROTO_OFFSET)

cdef inline bint in_range(Tuple *reply, const NatRange *rule) noexcept nogil:
    """Whether the tuple satisfies the rule as it is."""
    if rule.flags & NAT_NETMAP or (rule.flags & NAT_MAP_IPS and not address_in_range(range_address(reply, rule), rule)):
        return False
    return not rule.flags & NAT_PROTO_SPECIFIED or port_in_range(reply, rule)


cdef inline uint64_t range_addresses(const NatRange *rule) noexcept nogil:
    """How many addresses a connection may try: one if the client must keep its own."""
    cdef uint64_t n = bswap64(rule.max_ip.low) - bswap64(rule.min_ip.low) + 1
    if not rule.flags & NAT_MAP_IPS or rule.flags & (NAT_NETMAP | NAT_PERSISTENT):
        return 1
    return n if n and rule.min_ip.high == rule.max_ip.high else 0xffffffff

cdef inline uint64_t address_hash(const Tuple *reply, const NatRange *rule) noexcept nogil:
    """Of the client's address and, unless it is to keep one for all, of the server's. The reply goes to the client."""
    cdef uint64_t hash = mix64(reply.dst.high ^ SPREAD_A, reply.dst.low ^ SPREAD_B)
    if not rule.flags & NAT_PERSISTENT:
        hash ^= mix64(reply.src.high ^ SPREAD_B, reply.src.low ^ reply.zone ^ SPREAD_A)
    return mix64(hash ^ SPREAD_A, SPREAD_B)

cdef inline uint64_t spread(uint64_t hash, uint64_t first, uint64_t last) noexcept nogil:
    """A number from first to last, both included."""
    cdef uint64_t size = last - first + 1
    return first + (hash % size if size else hash)

cdef inline void map_address(Tuple *reply, const Tuple *mirror, const NatRange *rule, uint64_t n) noexcept nogil:
    """The n-th address to try for the connection, whose reply tuple is `mirror` so far."""
    cdef Ip *ip = range_address(reply, rule)
    if not rule.flags & NAT_MAP_IPS:
        return
    if rule.flags & NAT_NETMAP:
        map_network(ip, range_address(<Tuple *>mirror, rule), rule)
    elif ip_equal(&rule.min_ip, &rule.max_ip):
        ip[0] = rule.min_ip
    else:
        pick_address(ip, address_hash(mirror, rule) + n, rule)

cdef inline void map_network(Ip *ip, const Ip *now, const NatRange *rule) noexcept nogil:
    """The range is a network: where its first and last address differ is the host part."""
    cdef uint64_t high = rule.min_ip.high ^ rule.max_ip.high, low = rule.min_ip.low ^ rule.max_ip.low
    ip.high = (now.high & high) | (rule.min_ip.high & ~high)
    ip.low = (now.low & low) | (rule.min_ip.low & ~low)

cdef inline void pick_address(Ip *ip, uint64_t hash, const NatRange *rule) noexcept nogil:
    cdef uint64_t first = bswap64(rule.min_ip.high), last = bswap64(rule.max_ip.high)
    cdef uint64_t high = spread(mix64(hash, SPREAD_A), first, last) if first != last else first
    cdef uint64_t low = bswap64(rule.min_ip.low) if high == first else 0
    cdef uint64_t low_last = bswap64(rule.max_ip.low) if high == last else ~<uint64_t>0
    ip.high = bswap64(high)
    ip.low = bswap64(spread(hash, low, low_last))


cdef inline PortRange ports_of(Tuple *reply, const NatRange *rule) noexcept nogil:
    """What the port may be chosen from, for a reply tuple that still has the connection's own."""
    cdef uint32_t port = load16be(range_port(reply, rule)), first
    if not has_ports(reply):
        return PortRange(0, 0)
    if rule.flags & NAT_PROTO_SPECIFIED:
        first = min(rule.min_port, rule.max_port)
        return PortRange(first, max(rule.min_port, rule.max_port) - first + 1)
    if proto_is_icmp(reply.proto):
        return PortRange(0, 65536)
    if rule.manip != NAT_SRC:
        return PortRange(0, 0)
    if port < 512:
        return PortRange(1, 511)
    return PortRange(600, 424) if port < 1024 else PortRange(1024, 64512)
