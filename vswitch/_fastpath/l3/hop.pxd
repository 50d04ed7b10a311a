"""What forwarding changes in a packet: the time to live and the MAC addresses. The frame must be nobody else's."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from ..core.frame cimport FRAME_TAGGED, Frame
from ..core.native cimport load16, store16, store32, store64
from ..core.packet cimport Packet
from ..io.checksum cimport adjust, bswap16, delta16
from ..l2.tag cimport strip_tag

cdef enum:
    DEFAULT_TTL = 64                    # of the packets that the switch makes itself

cdef inline void untag(Frame *frame) noexcept nogil:
    """Without its VLAN tag a frame is the same for every link; layer 3 stays where it lies."""
    if frame.flags & FRAME_TAGGED:
        strip_tag(frame)

cdef inline void set_macs(uint8_t *data, uint64_t dst, uint64_t src) noexcept nogil:
    """Both addresses of an Ethernet header."""
    store64(data, dst | src << 48)
    store32(data + 8, src >> 16)

cdef inline void set_destination(uint8_t *data, uint64_t mac) noexcept nogil:
    store32(data, mac)
    store16(data + 4, mac >> 32)

cdef inline void ttl_set(Packet *packet, uint8_t ttl) noexcept nogil:
    """Another TTL or hop limit; IPv4's checksum follows (RFC 1624)."""
    cdef uint8_t *ip = packet.l3
    cdef uint16_t check
    if packet.family == 6:
        ip[7] = ttl
    else:
        # TTL is the first byte of its word, the protocol the second, and the same in both.
        check = adjust(load16(ip + 10), delta16(bswap16(<uint16_t>(ip[8] << 8)), bswap16(<uint16_t>(ttl << 8))))
        ip[8] = ttl
        store16(ip + 10, check)
    packet.ttl = ttl

cdef inline void ttl_decrement(Packet *packet) noexcept nogil:
    """One hop less. Whoever calls has seen that it is above 1."""
    ttl_set(packet, packet.ttl - 1)
