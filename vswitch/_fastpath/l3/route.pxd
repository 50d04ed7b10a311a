"""Routes of one router: longest prefix first.

Prefixes nest or are apart, never more, so a table of them cuts the address space into ranges that each have one
answer. Looking one up is a binary search among the ranges' first addresses: three or four steps for the routes of a
small router, fourteen for ten thousand, no step a guest could lengthen by its choice of addresses. Each family has
ranges of its own, as numbers in the machine's order; so ::/0 never answers for an IPv4 address, though that is held
as ::ffff:a.b.c.d.

Thread safety: immutable, a part of the snapshot. `Routes` (route.pyx) owns the memory and outlives the pointers to
it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.blocks cimport BlockOwner
from ..core.ip cimport Ip, ip4_word, ip_is_v4

cdef extern from *:
    uint32_t bswap32 "__builtin_bswap32"(uint32_t v) noexcept nogil
    uint64_t bswap64 "__builtin_bswap64"(uint64_t v) noexcept nogil

cdef struct Route:
    Ip network
    Ip mask
    Ip gateway                          # zero: the destination is a neighbour
    uint16_t device                     # index in Snapshot.devices
    uint8_t prefix                      # bits of the mask, 0 to 128; IPv4's are 96 to 128

cdef struct RouteStart:
    uint64_t high                       # the first address of a range, as numbers
    uint64_t low

cdef struct RouteTable:
    uint32_t n
    const Route *routes                 # longest prefix first
    uint32_t n4                         # ranges; 0: no route of the family
    uint32_t n6
    const uint32_t *start4              # ascending from 0
    const RouteStart *start6
    const uint32_t *answer4             # index in `routes`; n: there is no route
    const uint32_t *answer6


cdef inline const Route *route_find(const RouteTable *table, const Ip *ip) noexcept nogil:
    """The route of the longest prefix that contains the address; NULL: there is none."""
    cdef uint32_t answer = route_answer4(table, ip) if ip_is_v4(ip) else route_answer6(table, ip)
    return &table.routes[answer] if answer < table.n else NULL

cdef inline uint32_t route_answer4(const RouteTable *table, const Ip *ip) noexcept nogil:
    cdef uint32_t address = bswap32(ip4_word(ip))
    cdef uint32_t base = 0, left = table.n4, half
    if left == 0:
        return table.n
    while left > 1:
        half = left >> 1
        base += half if table.start4[base + half] <= address else 0
        left -= half
    return table.answer4[base]

cdef inline uint32_t route_answer6(const RouteTable *table, const Ip *ip) noexcept nogil:
    cdef uint64_t high = bswap64(ip.high), low = bswap64(ip.low)
    cdef uint32_t base = 0, left = table.n6, half
    if left == 0:
        return table.n
    while left > 1:
        half = left >> 1
        base += half if route_starts_by(&table.start6[base + half], high, low) else 0
        left -= half
    return table.answer6[base]

cdef inline bint route_starts_by(const RouteStart *start, uint64_t high, uint64_t low) noexcept nogil:
    return start.high < high or (start.high == high and start.low <= low)


cdef class Routes(BlockOwner):
    cdef RouteTable table
    cdef _fill_routes(self, list routes)
    cdef _fill_ranges4(self, list ranges)
    cdef _fill_ranges6(self, list ranges)
