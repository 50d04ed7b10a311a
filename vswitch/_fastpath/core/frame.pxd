"""A frame and a burst of them.

A burst is what one receive call brought from one port: the frames lie packed in the worker's scratch memory, each with a
virtio-net header in the VNET_LEN bytes before `data` and HEADROOM free bytes before that. The memory is private: no guest
can rewrite it, so what one stage has checked the next may trust. It lives until the burst has been flushed.

A frame is never edited in place once it may have several destinations. Whoever sends it in another form (with or without
a tag, say) builds a small header block of its own and points at the shared rest (io/txqueue.pxd).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .packet cimport Packet
from .snapshot cimport Port

cdef enum:
    BURST = 32                          # frames
    BURST_BYTES = 2 * 65536             # a burst ends early here: more would push super-frames out of the cache
    HEADROOM = 64
    VNET_LEN = 12                       # struct virtio_net_hdr_v1
    FRAME_MAX = 65536 + 64              # the largest IP packet, its Ethernet header and tags
    FRAME_TAIL = 64                     # loads of 8 bytes near the end stay inside the buffer
    # Room for one frame; an odd number of cache lines, so that the heads of a burst spread over the cache's sets.
    SLOT = HEADROOM + FRAME_MAX + FRAME_TAIL
    SCRATCH = BURST * SLOT

    FRAME_TAGGED = 1                    # an 802.1Q tag lies in place, at data + 12
    FRAME_HAS_TAG = 2                   # ... or the kernel took it off (`aux`); its VID may be 0
    FRAME_FLOOD = 4
    FRAME_IP = 8                        # `Burst.packets` tells of it: the IP stages have business with it
    FRAME_TO_US = 16                    # for the switch itself as a router or host: not bridged
    FRAME_CUT = 64                      # to be fragmented: `cut` bytes of layer 3 are the most
    FRAME_ROUTED = 32                   # rewritten for its next link: it leaves as one of the switch's own

cdef enum Entry:
    # Where a burst enters the pipeline.
    ENTRY_RECEIVE = 0
    ENTRY_HOOKS                         # whole again after reassembly
    ENTRY_RETURN                        # handed back by a user's process
    ENTRY_OUTPUT                        # made by the switch: an IP packet to be routed
    ENTRY_LINK                          # made by the switch: a frame whose device and MACs are settled

cdef struct Frame:
    uint8_t *data                       # destination MAC
    uint32_t len                        # bytes from data on
    uint32_t l3_len                     # what the egress MTU is held against: of a super-frame, its largest segment's
    uint8_t verdict
    uint8_t flags
    uint8_t needs                       # OFFLOAD_*: the work that a virtio-net header leaves to be done
    uint16_t vid                        # 0: outside any VLAN
    uint16_t priority                   # PCP and DEI, in their place in the TCI
    uint16_t cut
    uint16_t device                     # of FRAME_ROUTED: the device of layer 3 that it leaves by
    uint16_t out                        # port id; meaningless for FRAME_FLOOD
    uint32_t aux                        # TPID << 16 | TCI that the kernel took off; 0: none
    uint32_t mark                       # that a policer gave it
    uint64_t dst
    uint64_t src
    uint64_t src_key                    # of the FDB
    uint64_t src_hash
    uint64_t dst_key
    uint64_t dst_hash

cdef struct Burst:
    const Port *port                    # where all of it came from
    uint32_t n
    uint64_t bytes
    Entry entry
    Frame frames[BURST]
    Packet packets[BURST]


cdef inline Frame *burst_add(Burst *burst, uint8_t *data, uint32_t length) noexcept nogil:
    cdef Frame *frame = &burst.frames[burst.n]
    burst.n += 1
    burst.bytes += length
    frame.data = data
    frame.len = length
    frame.verdict = 0
    frame.flags = 0
    frame.needs = 0
    frame.vid = 0
    frame.priority = 0
    frame.aux = 0
    frame.mark = 0
    return frame
