"""The virtio-net header in front of a frame: what it promises, and whether the frame keeps the promise.

A guest writes this header, so nothing in it is believed. What passes `vnet_check` is safe to complete (checksum.pxd),
to segment (gso.pxd) and to hand to the kernel, whose own rules (virtio_net_hdr_to_skb, tun_get_user) are nowhere
stricter:

- a partial checksum's field lies inside the frame, behind the smallest layer 3 header;
- a super-frame is one unfragmented IP packet that fills the frame exactly, of the protocol that its type names, all
  its headers inside the frame, and a partial checksum is that protocol's own. TCP may come with a complete checksum (a
  NIC that merges); UDP may not, nor may it make more than UDP_SEGMENTS_MAX segments;
- hdr_len is a hint, 0 if absent: the true header length is worked out here. But a tap refuses one beyond the frame or,
  where no partial checksum stretches it, within the Ethernet header.

UDP fragmentation offload, tunnel segmentation and flags unknown here are refused: no port of ours offers them.

Ordinary frames promise nothing and cost one comparison (`vnet_is_plain`). DATA_VALID alone is plain: the device has
seen a right checksum, which whoever reads the frame next may check again. Fields are little-endian, and so is the
machine (core/native.h). Pure functions of their arguments.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.native cimport load16be, load64
from ..core.snapshot cimport OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_USO4, OFFLOAD_USO6
from ..core.wire cimport ETH_HLEN, ETH_P_8021AD, ETH_P_8021Q, VLAN_HLEN

cdef enum:
    VNET_F_NEEDS_CSUM = 1
    VNET_F_DATA_VALID = 2
    VNET_FLAGS = VNET_F_NEEDS_CSUM | VNET_F_DATA_VALID

    VNET_GSO_NONE = 0
    VNET_GSO_TCPV4 = 1
    VNET_GSO_TCPV6 = 4
    VNET_GSO_UDP_L4 = 5
    VNET_GSO_ECN = 0x80                 # TCP only: CWR may be set
    GSO_BY_FRAGS = 0xffff               # a size with a meaning of its own inside the kernel
    UDP_SEGMENTS_MAX = 128

    ETH_P_IP = 0x0800
    ETH_P_IPV6 = 0x86dd
    PROTO_TCP = 6
    PROTO_UDP = 17
    TCP_CHECKSUM = 16                   # where the field lies in its header
    UDP_CHECKSUM = 6

    IPV4_HLEN = 20
    IPV4_FRAGMENT = 0x3fff              # more fragments, or an offset
    IPV6_HLEN = 40
    TCP_HLEN = 20
    UDP_HLEN = 8
    HOP_BY_HOP = 0
    ROUTING = 43
    DESTINATION = 60
    IPV6_EXTENSIONS = 8                 # headers walked; more are refused
    TAGS_INSIDE = 2                     # tags walked beyond what the caller knows of: 802.1ad over 802.1Q
    CSUM_START_MAX = 0x7fff             # headers are never that long; leaves room to push tags without wrapping

cdef enum VnetKind:
    VNET_BAD = -1                       # drop: BAD_VNET_HEADER
    VNET_PLAIN = 0                      # nothing is left undone
    VNET_PARTIAL = 1                    # the checksum is partial
    VNET_GSO = 2                        # a super-frame; GsoInfo is filled in

cdef struct VnetHdr:                    # struct virtio_net_hdr_v1
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset
    uint16_t num_buffers

cdef struct GsoInfo:                    # of a super-frame
    uint16_t l3_off
    uint16_t l4_off
    uint16_t hdr_len                    # layers 2 to 4: where the payload begins
    uint16_t mss                        # payload bytes of a segment, the last one excepted
    bint is_ipv6
    bint is_udp
    bint partial                        # the layer 4 checksum holds the pseudo-header's sum

cdef inline bint vnet_is_plain(const uint8_t *header) noexcept nogil:
    """True of a header that promises nothing: all but DATA_VALID, csum_offset and num_buffers zero."""
    return (load64(header) & ~<uint64_t>VNET_F_DATA_VALID) == 0

cdef inline void vnet_load(VnetHdr *h, const uint8_t *header) noexcept nogil:
    memcpy(h, header, sizeof(VnetHdr))

cdef inline void vnet_store(uint8_t *header, const VnetHdr *h) noexcept nogil:
    memcpy(header, h, sizeof(VnetHdr))

cdef inline VnetKind vnet_check(const VnetHdr *h, const uint8_t *frame, uint32_t length, uint32_t l2_len,
                                GsoInfo *info) noexcept nogil:
    """What the header promises; `info` is for VNET_GSO only. l2_len (14, with tags 18 or 22) lies within length."""
    if h.flags & ~VNET_FLAGS or h.hdr_len > length:
        return VNET_BAD
    if h.flags & VNET_F_NEEDS_CSUM:
        if not _csum_inside(h, length, l2_len):
            return VNET_BAD
    elif 0 < h.hdr_len < ETH_HLEN:
        return VNET_BAD
    if h.gso_type != VNET_GSO_NONE:
        return VNET_GSO if _gso_parse(h, frame, length, l2_len, info) else VNET_BAD
    return VNET_PARTIAL if h.flags & VNET_F_NEEDS_CSUM else VNET_PLAIN

cdef inline bint _csum_inside(const VnetHdr *h, uint32_t length, uint32_t l2_len) noexcept nogil:
    return (h.csum_start >= l2_len + IPV4_HLEN and h.csum_start <= CSUM_START_MAX
            and <uint32_t>h.csum_start + h.csum_offset + 2 <= length)

cdef inline bint _gso_parse(const VnetHdr *h, const uint8_t *frame, uint32_t length, uint32_t l2_len,
                            GsoInfo *info) noexcept nogil:
    """Fill in info; false where header and frame disagree."""
    cdef uint32_t l3_off = skip_tags(frame, length, l2_len), l4_off
    cdef uint16_t ethertype = load16be(frame + l3_off - 2)
    cdef uint8_t protocol = PROTO_UDP if h.gso_type == VNET_GSO_UDP_L4 else PROTO_TCP
    if h.gso_size == 0 or h.gso_size == GSO_BY_FRAGS or not _type_fits(h.gso_type, ethertype):
        return False
    info.is_ipv6 = ethertype == ETH_P_IPV6
    info.is_udp = protocol == PROTO_UDP
    info.partial = h.flags & VNET_F_NEEDS_CSUM
    if info.is_ipv6:
        l4_off = _ipv6_payload(frame, length, l3_off, protocol)
    else:
        l4_off = _ipv4_payload(frame, length, l3_off, protocol)
    info.mss = h.gso_size
    info.l3_off = <uint16_t>l3_off
    info.l4_off = <uint16_t>l4_off
    return l4_off and _l4_parse(h, frame, length, info)

cdef inline uint32_t skip_tags(const uint8_t *frame, uint32_t length, uint32_t l2_len) noexcept nogil:
    """Where layer 3 begins, behind tags that the caller does not know of too."""
    cdef uint32_t tags = 0
    cdef uint16_t tpid = load16be(frame + l2_len - 2)
    while (tpid == ETH_P_8021Q or tpid == ETH_P_8021AD) and tags < TAGS_INSIDE and l2_len + VLAN_HLEN <= length:
        l2_len += VLAN_HLEN
        tags += 1
        tpid = load16be(frame + l2_len - 2)
    return l2_len

cdef inline bint _type_fits(uint8_t gso_type, uint16_t ethertype) noexcept nogil:
    if gso_type == VNET_GSO_UDP_L4:
        return ethertype == ETH_P_IP or ethertype == ETH_P_IPV6
    gso_type &= <uint8_t>~VNET_GSO_ECN
    if gso_type == VNET_GSO_TCPV4:
        return ethertype == ETH_P_IP
    return gso_type == VNET_GSO_TCPV6 and ethertype == ETH_P_IPV6

cdef inline uint32_t _ipv4_payload(const uint8_t *frame, uint32_t length, uint32_t l3_off,
                                   uint8_t protocol) noexcept nogil:
    """Where layer 4 begins; 0: not a whole IPv4 packet of that protocol."""
    cdef const uint8_t *ip = frame + l3_off
    cdef uint32_t room = length - l3_off, ihl
    if room < IPV4_HLEN or ip[0] >> 4 != 4:
        return 0
    ihl = (ip[0] & 15) * 4
    if ihl < IPV4_HLEN or ihl > room or load16be(ip + 2) != room:
        return 0
    if load16be(ip + 6) & IPV4_FRAGMENT or ip[9] != protocol:
        return 0
    return l3_off + ihl

cdef inline uint32_t _ipv6_payload(const uint8_t *frame, uint32_t length, uint32_t l3_off,
                                   uint8_t protocol) noexcept nogil:
    """The same for IPv6: behind hop-by-hop, routing and destination headers."""
    cdef uint32_t at = l3_off + IPV6_HLEN, extensions = 0
    cdef uint8_t next_header
    if length < at or frame[l3_off] >> 4 != 6 or load16be(frame + l3_off + 4) != length - at:
        return 0
    next_header = frame[l3_off + 6]
    while next_header == HOP_BY_HOP or next_header == ROUTING or next_header == DESTINATION:
        if extensions == IPV6_EXTENSIONS or length - at < 8:
            return 0
        next_header = frame[at]
        at += (frame[at + 1] + 1) * 8
        extensions += 1
        if at > length:
            return 0
    return at if next_header == protocol else 0

cdef inline bint _l4_parse(const VnetHdr *h, const uint8_t *frame, uint32_t length, GsoInfo *info) noexcept nogil:
    """The header length, once the layer 4 header is whole and the partial checksum, if any, is its own."""
    cdef const uint8_t *l4 = frame + info.l4_off
    cdef uint32_t room = length - info.l4_off
    cdef uint32_t size = UDP_HLEN if info.is_udp else TCP_HLEN
    if room < size:
        return False
    if info.is_udp:
        if load16be(l4 + 4) != room or not info.partial or room - UDP_HLEN > <uint32_t>info.mss * UDP_SEGMENTS_MAX:
            return False
    else:
        size = (l4[12] >> 4) * 4
        if size < TCP_HLEN or size > room:
            return False
    info.hdr_len = <uint16_t>(info.l4_off + size)
    return not info.partial or (h.csum_start == info.l4_off and h.csum_offset == gso_checksum(info))

cdef inline uint16_t gso_checksum(const GsoInfo *info) noexcept nogil:
    """Where in the layer 4 header its checksum lies."""
    return UDP_CHECKSUM if info.is_udp else TCP_CHECKSUM

cdef inline void vnet_shift(VnetHdr *h, int delta) noexcept nogil:
    """Follow a tag pushed (delta 4) or popped (-4) in front of layer 3; a hint that makes no sense then is dropped."""
    cdef int hdr_len = h.hdr_len + delta
    if h.flags & VNET_F_NEEDS_CSUM:
        h.csum_start = <uint16_t>(h.csum_start + delta)
    if h.hdr_len:
        h.hdr_len = <uint16_t>hdr_len if ETH_HLEN <= hdr_len <= 0xffff else 0

cdef inline uint32_t gso_l3_len(const GsoInfo *info, uint32_t length) noexcept nogil:
    """Layer 3 bytes of the largest segment: what an MTU is held against. length: the super-frame's."""
    cdef uint32_t payload = length - info.hdr_len
    return info.hdr_len - info.l3_off + (payload if payload < info.mss else info.mss)

cdef inline uint8_t gso_offload(const GsoInfo *info) noexcept nogil:
    """The offload that a port must have to take the super-frame whole."""
    if info.is_udp:
        return OFFLOAD_USO6 if info.is_ipv6 else OFFLOAD_USO4
    return OFFLOAD_TSO6 if info.is_ipv6 else OFFLOAD_TSO4
