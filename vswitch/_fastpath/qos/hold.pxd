"""From a transmit entry to an offer: what disciplines need to know of a frame, read while it lies in the burst's memory."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.context cimport Context
from ..core.frame cimport FRAME_IP, FRAME_TAGGED, VNET_LEN, Frame
from ..core.native cimport load16be
from ..core.packet cimport Packet
from ..core.snapshot cimport OFFLOAD_CSUM
from ..core.tx cimport TxEntry
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..io.gso cimport gso_segments
from ..io.vnet cimport ETH_P_IP, ETH_P_IPV6, IPV4_HLEN, VNET_GSO, GsoInfo, VnetHdr, skip_tags, vnet_check, vnet_load
from .held cimport ECN_IP4, ECN_IP6, ECN_NONE, Held
from .offer cimport Offer
from .state cimport Scheduler

cdef inline void describe(Context *ctx, const TxEntry *entry, Offer *offer) noexcept nogil:
    """The offer of an entry whose frame came with the burst under way."""
    cdef const Frame *frame = &ctx.burst.frames[entry.frame]
    cdef const Packet *packet = &ctx.burst.packets[entry.frame]
    offer.frame = frame.data
    offer.length = frame.len
    offer.l3_off = skip_tags(frame.data, frame.len, ETH_HLEN + (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0))
    offer.ethertype = load16be(frame.data + offer.l3_off - 2)
    offer.tci = frame.priority | frame.vid
    offer.mark = frame.mark
    offer.class_id = 0
    offer.tos = tos_of(offer)
    if frame.flags & FRAME_IP:
        offer.mark = packet.mark
        offer.class_id = packet.class_id

cdef inline uint8_t tos_of(const Offer *offer) noexcept nogil:
    cdef const uint8_t *ip = offer.frame + offer.l3_off
    if offer.l3_off + IPV4_HLEN > offer.length:
        return 0
    if offer.ethertype == ETH_P_IP:
        return ip[1]
    return <uint8_t>(load16be(ip) >> 4) if offer.ethertype == ETH_P_IPV6 else 0

cdef inline void describe_held(Scheduler *s, const Offer *offer, uint32_t l2_len, uint8_t needs, Held *held) noexcept nogil:
    """What is to be known of it once the burst is over: `l2_len` is the length of layer 2 as far as the switch put it there."""
    cdef uint32_t length = held.head_len + held.body_len - VNET_LEN
    held.wire = length
    held.segments = 1
    held.mss = 0
    held.hdr_len = 0
    held.needs = needs
    held.since_ns = s.now_ns
    held.l3_off = <uint16_t>(offer.l3_off + length - offer.length)      # a tag was pushed or popped in front
    held.l2_len = <uint8_t>l2_len
    held.ecn = ECN_NONE
    if offer.tos & 3 and offer.l3_off + IPV4_HLEN <= offer.length:
        held.ecn = ECN_IP4 if offer.ethertype == ETH_P_IP else ECN_IP6
    if needs & ~OFFLOAD_CSUM:
        describe_super(offer, held, length)

cdef inline void describe_super(const Offer *offer, Held *held, uint32_t length) noexcept nogil:
    """Its segments, and what they put on the wire."""
    cdef VnetHdr header
    cdef GsoInfo info
    cdef uint32_t segments
    vnet_load(&header, offer.frame - VNET_LEN)
    if vnet_check(&header, offer.frame, offer.length, offer.l3_off, &info) != VNET_GSO:
        return
    segments = gso_segments(&info, offer.length - info.hdr_len)
    if segments == 0:
        return                          # beyond what transmit cuts up: it will be dropped there
    held.segments = <uint16_t>segments
    held.mss = info.mss
    held.hdr_len = <uint16_t>(info.hdr_len + length - offer.length)
    held.wire = length + (segments - 1) * held.hdr_len
