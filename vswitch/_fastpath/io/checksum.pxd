"""The internet checksum (RFC 1071): sums, pseudo-headers, completing a partial one, incremental update (RFC 1624).

The sum is independent of byte order, so words are loaded and stored as they lie (load16, store16) and nothing is
swapped but lengths and protocol numbers that come from registers. A running sum is a plain uint64_t of 32-bit words:
2^32 of them fit, far more than any frame has, so adding two sums needs no carry and only `fold` reduces. That loop is
also the one that compilers vectorise: 1,448 bytes take 34 ns, against 101 for 64-bit additions with end-around carry.

Checksums are held as stored: `store16(field, sum_finish(...))`. Pure functions over the caller's memory; lengths are
the caller's to check.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.native cimport load16, load32, load64, store16

cdef extern from *:
    uint16_t bswap16 "__builtin_bswap16"(uint16_t v) noexcept nogil
    uint32_t bswap32 "__builtin_bswap32"(uint32_t v) noexcept nogil

cdef inline uint64_t sum_words(const uint8_t *p, uint32_t n) noexcept nogil:
    """Sum of n bytes at any alignment; of several pieces, all but the last must be of even length."""
    cdef uint64_t total = 0, word
    cdef uint32_t i = 0
    while i + 8 <= n:
        word = load64(p + i)
        total += (word & 0xffffffffULL) + (word >> 32)
        i += 8
    if n & 4:
        total += load32(p + i)
        i += 4
    if n & 2:
        total += load16(p + i)
        i += 2
    if n & 1:
        total += p[i]                   # RFC 1071: padded with a zero, which little-endian order has above it
    return total

cdef inline uint16_t fold(uint64_t total) noexcept nogil:
    """The sum reduced to 16 bits, not complemented: what a partial checksum field holds."""
    total = (total & 0xffffffffULL) + (total >> 32)
    total = (total & 0xffff) + ((total >> 16) & 0xffff) + (total >> 32)
    total = (total & 0xffff) + (total >> 16)
    return <uint16_t>((total & 0xffff) + (total >> 16))

cdef inline bint adds_up(uint64_t total) noexcept nogil:
    """Whether a sum over data and its checksum says that they agree: `fold(total) == 0xffff`, quicker."""
    return total and total % 0xffff == 0

cdef inline uint64_t sum_header4(const uint8_t *ip) noexcept nogil:
    """Sum of an IPv4 header without options."""
    return <uint64_t>load32(ip) + load32(ip + 4) + load32(ip + 8) + load32(ip + 12) + load32(ip + 16)

cdef inline uint16_t sum_finish(uint64_t total) noexcept nogil:
    """The checksum of what was summed."""
    return <uint16_t>~fold(total)

cdef inline uint16_t nonzero(uint16_t check) noexcept nogil:
    """UDP's rule (RFC 768): 0 says `no checksum`, so a computed 0 is sent as its other form, 0xffff."""
    return check if check else 0xffff

cdef inline uint64_t sum_length(uint32_t n) noexcept nogil:
    """A length as the pseudo-headers hold it."""
    return bswap32(n)

cdef inline uint64_t sum_pseudo4(const uint8_t *ip, uint8_t protocol) noexcept nogil:
    """IPv4's pseudo-header without its length; ip: the IPv4 header."""
    return <uint64_t>load32(ip + 12) + load32(ip + 16) + bswap16(protocol)

cdef inline uint64_t sum_pseudo6(const uint8_t *ip, uint8_t protocol) noexcept nogil:
    """IPv6's pseudo-header without its length; ip: the IPv6 header, its destination the final one."""
    return sum_words(ip + 8, 32) + bswap16(protocol)

cdef inline uint16_t completed_checksum(const uint8_t *frame, uint32_t length, uint16_t csum_start) noexcept nogil:
    """What belongs in the field of a partial checksum (NEEDS_CSUM): for callers that may not touch the frame.

    The field takes part in the sum, since it holds the pseudo-header's. As in the kernel, a 0 becomes 0xffff whatever
    the protocol: for TCP both are right, for UDP only that one is.
    """
    return nonzero(sum_finish(sum_words(frame + csum_start, length - csum_start)))

cdef inline void complete_checksum(uint8_t *frame, uint32_t length, uint16_t csum_start,
                                   uint16_t csum_offset) noexcept nogil:
    """Fill in a partial checksum. The offsets must have passed vnet_check."""
    store16(frame + csum_start + csum_offset, completed_checksum(frame, length, csum_start))

# RFC 1624. A delta stands for a rewrite (addresses, ports) and is worked out once, not per frame; deltas add up.

cdef inline uint32_t delta16(uint16_t old, uint16_t new) noexcept nogil:
    """Replacing one 16-bit word by another, both as they lie in the frame."""
    return <uint32_t><uint16_t>~old + new

cdef inline uint32_t delta32(uint32_t old, uint32_t new) noexcept nogil:
    """Replacing one 32-bit word by another, both as they lie in the frame."""
    return delta16(<uint16_t>old, <uint16_t>new) + delta16(<uint16_t>(old >> 16), <uint16_t>(new >> 16))

cdef inline uint16_t adjust(uint16_t check, uint32_t delta) noexcept nogil:
    """A full checksum after the rewrite (equation 3). A UDP checksum of 0 stays 0: that is the caller's to see."""
    return sum_finish(<uint64_t><uint16_t>~check + delta)

cdef inline uint16_t adjust_partial(uint16_t check, uint32_t delta) noexcept nogil:
    """A partial checksum after a rewrite of its pseudo-header: the sum itself, not its complement."""
    return fold(<uint64_t>check + delta)
