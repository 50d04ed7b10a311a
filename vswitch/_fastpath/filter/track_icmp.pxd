"""ICMP and ICMPv6 for connection tracking: which messages ask, answer, tell of an error, or are not tracked; tuples
inverted.

A tuple's `sport` is the identifier, its `dport` type | code << 8, as the bytes lie in the message.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.ip cimport PROTO_ICMP, PROTO_ICMPV6
from ..core.packet cimport Tuple

cdef enum:
    NO_TYPE = 256

cdef inline uint32_t icmp_inverse(uint32_t type) noexcept nogil:
    """The type that answers this one, or that it answers; NO_TYPE: it stands alone."""
    if type == 0 or type == 8:          # echo
        return 8 - type
    if 13 <= type <= 18:                # timestamp, information, address mask
        return ((type - 13) ^ 1) + 13
    return NO_TYPE

cdef inline uint32_t icmpv6_inverse(uint32_t type) noexcept nogil:
    if type == 128 or type == 129:      # echo
        return type ^ 1
    if type == 139 or type == 140:      # node information (RFC 4620)
        return 279 - type
    return NO_TYPE

cdef inline bint icmp_asks(uint32_t type) noexcept nogil:
    return type == 8 or type == 13 or type == 15 or type == 17

cdef inline bint icmpv6_asks(uint32_t type) noexcept nogil:
    return type == 128 or type == 139

cdef inline bint icmp_is_error(uint32_t type) noexcept nogil:
    """Unreachable, source quench, redirect, time exceeded, parameter problem."""
    return type == 3 or type == 4 or type == 5 or type == 11 or type == 12

cdef inline bint icmpv6_is_untracked(uint32_t type) noexcept nogil:
    """Multicast listener and neighbour discovery: they are no conversation. (137, redirect, is an error.)"""
    return 130 <= type <= 136 or type == 143

cdef inline bint icmpv6_is_error(uint32_t type) noexcept nogil:
    return type < 128 or type == 137

cdef inline bint ct_invert(const Tuple *tuple, Tuple *inverse) noexcept nogil:
    """The tuple of the answer, in the same zone; False: nothing answers this."""
    cdef uint32_t type
    inverse[0] = tuple[0]
    inverse.src = tuple.dst
    inverse.dst = tuple.src
    if tuple.proto != PROTO_ICMP and tuple.proto != PROTO_ICMPV6:
        inverse.sport = tuple.dport
        inverse.dport = tuple.sport
        return True
    type = icmp_inverse(tuple.dport & 0xff) if tuple.proto == PROTO_ICMP else icmpv6_inverse(tuple.dport & 0xff)
    inverse.dport = <uint16_t>(tuple.dport & 0xff00 | type & 0xff)
    return type != NO_TYPE
