"""Taking an 802.1Q tag out of a frame that nobody shares yet."""
from libc.string cimport memmove

from ..core.frame cimport FRAME_TAGGED, VNET_LEN, Frame
from ..core.wire cimport ETH_MACS, VLAN_HLEN
from ..io.vnet cimport VnetHdr, vnet_shift

cdef inline void strip_tag(Frame *frame) noexcept nogil:
    """In place: what lies before the tag moves up to it. Its priority lives on in the frame's metadata."""
    memmove(frame.data - VNET_LEN + VLAN_HLEN, frame.data - VNET_LEN, VNET_LEN + ETH_MACS)
    frame.data += VLAN_HLEN
    frame.len -= VLAN_HLEN
    frame.flags &= ~FRAME_TAGGED
    if frame.needs:
        vnet_shift(<VnetHdr *>(frame.data - VNET_LEN), -VLAN_HLEN)
