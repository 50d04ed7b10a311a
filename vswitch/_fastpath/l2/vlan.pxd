"""VLANs at the edge (802.1Q-2018, 6.9): which VLAN an arriving frame belongs to, and in which form it leaves.

    port                 untagged in        tagged in                 out
    all VLANs (default)  VLAN 0             its VID                   as it came
    access V             V                  dropped (VID 0: V)        untagged
    trunk LIST           dropped            its VID, if in the list   tagged
      ... native N       N                  its VID, if in the list   N untagged, others tagged

Priority bits are kept from a tag to the next. VLAN 0 is everything outside VLANs.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.context cimport Context, drop
from ..core.frame cimport FRAME_HAS_TAG, FRAME_TAGGED, Burst, Frame
from ..core.packet cimport NO_DEVICE
from ..core.snapshot cimport VLAN_ACCESS, VLAN_ALL, VLAN_TRUNK, Port
from ..core.verdict cimport *
from ..core.wire cimport VID_RESERVED
from .tag cimport strip_tag

cdef inline void ingress(Context *ctx, Burst *burst) noexcept nogil:
    cdef uint32_t i
    cdef Frame *frame
    cdef uint8_t verdict
    for i in range(burst.n):
        frame = &burst.frames[i]
        if frame.verdict:
            continue
        verdict = classify(burst.port, frame)
        if verdict:
            drop(ctx, frame, verdict)

cdef inline uint8_t classify(const Port *port, Frame *frame) noexcept nogil:
    """Set the frame's VLAN by its tag and the port's mode."""
    if port.bridge == NULL:
        return NO_BRIDGE if port.device == NO_DEVICE else TAG_NOT_ALLOWED if frame.vid else PENDING
    if frame.vid == VID_RESERVED:
        return VLAN_RESERVED
    if port.vlan_mode == VLAN_ALL:
        return PENDING
    if frame.vid == 0:
        if not port.pvid:
            return UNTAGGED_NOT_ALLOWED
        if frame.flags & FRAME_TAGGED:
            strip_tag(frame)            # it carries a priority and no VLAN
        frame.vid = port.pvid
        return PENDING
    if port.vlan_mode == VLAN_ACCESS or not in_trunk(port, frame.vid):
        return TAG_NOT_ALLOWED
    return PENDING

cdef inline bint in_trunk(const Port *port, uint32_t vid) noexcept nogil:
    return (port.vlans[vid >> 6] >> (vid & 63)) & 1

cdef inline bint carries(const Port *port, uint32_t vid) noexcept nogil:
    """Whether frames of the VLAN may leave through the port."""
    if port.vlan_mode == VLAN_ALL:
        return True
    return vid == port.pvid if port.vlan_mode == VLAN_ACCESS else in_trunk(port, vid)

cdef inline bint leaves_tagged(const Port *port, const Frame *frame) noexcept nogil:
    """A tag on VID 0 (priority alone) passes between ports that carry everything as it is."""
    if port.vlan_mode == VLAN_ALL:
        return frame.vid != 0 or frame.flags & FRAME_HAS_TAG
    return frame.vid != port.pvid
