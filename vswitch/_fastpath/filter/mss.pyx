"""See mss.pxd. As in the kernel the option becomes the first, and says no more than a host without one may expect.

What lies before it moves four bytes down, into the headroom that every frame has; so nothing behind it moves.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memmove

from ..core.frame cimport VNET_LEN, Frame
from ..core.native cimport load16, load16be, memory_allow, store16, store16be
from ..core.packet cimport Packet
from ..core.snapshot cimport OFFLOAD_CSUM
from ..io.checksum cimport adjust, adjust_partial, bswap16, delta16

cdef enum:
    TCP_HEADER = 20
    TCP_HEADER_MAX = 60
    TCP_CHECK = 16
    OPTION_MSS = 2
    OPTION_LENGTH = 4
    DEFAULT_MSS4 = 536
    DEFAULT_MSS6 = 1220


cdef void mss_insert(Packet *packet, Frame *frame, uint16_t mss) noexcept nogil:
    cdef uint32_t header = (packet.l4[12] >> 4) * 4
    cdef uint32_t front = <uint32_t>(packet.l4 + TCP_HEADER - frame.data)
    if packet.l4_length > header or header == TCP_HEADER_MAX:
        return
    memory_allow(frame.data - VNET_LEN - OPTION_LENGTH, OPTION_LENGTH)
    memmove(frame.data - VNET_LEN - OPTION_LENGTH, frame.data - VNET_LEN, VNET_LEN + front)
    frame.data -= OPTION_LENGTH
    frame.len += OPTION_LENGTH
    frame.l3_len += OPTION_LENGTH
    packet.l3 -= OPTION_LENGTH
    packet.l4 -= OPTION_LENGTH
    grow(packet)
    write_option(packet, min(mss, <uint16_t>(DEFAULT_MSS4 if packet.family == 4 else DEFAULT_MSS6)),
                 frame.needs & OFFLOAD_CSUM != 0)

cdef void grow(Packet *packet) noexcept nogil:
    """The packet is four bytes longer: its IP header says so."""
    cdef uint8_t *ip = packet.l3
    cdef uint16_t before
    packet.length += OPTION_LENGTH
    packet.l4_length += OPTION_LENGTH
    if packet.family == 6:
        store16be(ip + 4, <uint16_t>(load16be(ip + 4) + OPTION_LENGTH))
        return
    before = load16(ip + 2)
    store16be(ip + 2, <uint16_t>packet.length)
    store16(ip + 10, adjust(load16(ip + 10), delta16(before, load16(ip + 2))))

cdef void write_option(Packet *packet, uint16_t mss, bint partial) noexcept nogil:
    """The option, the header's length, and the checksum: of a partial one the pseudo-header's length alone."""
    cdef uint8_t *tcp = packet.l4
    cdef uint16_t flags = load16(tcp + 12)
    cdef uint32_t length = delta16(bswap16(<uint16_t>(packet.l4_length - OPTION_LENGTH)), bswap16(<uint16_t>packet.l4_length))
    tcp[TCP_HEADER] = OPTION_MSS
    tcp[TCP_HEADER + 1] = OPTION_LENGTH
    store16be(tcp + TCP_HEADER + 2, mss)
    tcp[12] += (OPTION_LENGTH // 4) << 4
    if partial:
        store16(tcp + TCP_CHECK, adjust_partial(load16(tcp + TCP_CHECK), length))
        return
    length += delta16(flags, load16(tcp + 12)) + delta16(0, load16(tcp + TCP_HEADER)) + delta16(0, load16(tcp + TCP_HEADER + 2))
    store16(tcp + TCP_CHECK, adjust(load16(tcp + TCP_CHECK), length))
