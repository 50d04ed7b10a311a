"""Parse: check every length once, and note what later stages need. After it they read freely.

A frame that passes has 14 bytes of Ethernet header and, if it claims a tag, the tag; a virtio-net header whose offsets lie
inside it; and the source address of one station.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from ..core.context cimport Context, drop
from ..core.frame cimport FRAME_HAS_TAG, FRAME_MAX, FRAME_TAGGED, VNET_LEN, Burst, Frame
from ..core.native cimport load16be
from ..core.snapshot cimport OFFLOAD_CSUM
from ..core.verdict cimport *
from ..core.wire cimport *
from ..io.vnet cimport (
    VNET_BAD, VNET_F_NEEDS_CSUM, VNET_GSO, VNET_PLAIN, GsoInfo, VnetHdr, VnetKind, gso_l3_len, gso_offload, vnet_check, vnet_is_plain,
    vnet_load,
)

cdef inline void parse(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    cdef Frame *frame
    cdef uint8_t verdict
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict:
            continue
        verdict = parse_frame(frame)
        if verdict:
            drop(ctx, frame, verdict)

cdef inline uint8_t parse_frame(Frame *frame) noexcept nogil:
    cdef uint8_t verdict
    if frame.len < ETH_HLEN:
        return RUNT
    if frame.len > FRAME_MAX:
        return OVERSIZED
    frame.dst = mac_at(frame.data)
    frame.src = mac_at(frame.data + ETH_ALEN)
    if mac_is_group(frame.src):
        return SOURCE_MULTICAST
    if frame.src == 0:
        return SOURCE_ZERO
    if mac_is_link_local(frame.dst):
        return LINK_LOCAL
    verdict = parse_tag(frame)
    if verdict:
        return verdict
    frame.l3_len = frame.len - ETH_HLEN - (VLAN_HLEN if frame.flags & FRAME_TAGGED else 0)
    return PENDING if vnet_is_plain(frame.data - VNET_LEN) else parse_vnet(frame)

cdef inline uint8_t parse_tag(Frame *frame) noexcept nogil:
    """The outer 802.1Q tag, from the frame or as the kernel set it aside. 802.1ad tags are payload to this bridge."""
    cdef uint32_t tci
    if frame.aux:
        tci = frame.aux & 0xffff
        frame.flags |= FRAME_HAS_TAG
    elif load16be(frame.data + ETH_MACS) == ETH_P_8021Q:
        if frame.len < ETH_HLEN + VLAN_HLEN:
            return TRUNCATED_TAG
        tci = load16be(frame.data + ETH_HLEN)
        frame.flags |= FRAME_HAS_TAG | FRAME_TAGGED
    else:
        return PENDING
    frame.vid = tci & VID_MASK
    frame.priority = tci & TCI_PRIORITY
    return PENDING

cdef inline uint8_t parse_vnet(Frame *frame) noexcept nogil:
    """A frame with offload work left in it: a partial checksum, or a super-frame."""
    cdef GsoInfo info
    cdef VnetHdr header
    cdef VnetKind kind
    vnet_load(&header, frame.data - VNET_LEN)
    kind = vnet_check(&header, frame.data, frame.len, frame.len - frame.l3_len, &info)
    if kind == VNET_BAD:
        return BAD_VNET_HEADER
    if kind == VNET_PLAIN:
        # Hints to nothing, which might not fit the frame any more in another form.
        memset(frame.data - VNET_LEN, 0, VNET_LEN)
        return PENDING
    frame.needs = OFFLOAD_CSUM if header.flags & VNET_F_NEEDS_CSUM else 0
    if kind == VNET_GSO:
        frame.needs |= gso_offload(&info)
        frame.l3_len = gso_l3_len(&info, frame.len)
    return PENDING
