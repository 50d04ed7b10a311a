"""A frame about to leave by a port."""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    TX_BLOCK = 28                       # a virtio-net header, two MACs and a tag
    TX_QUEUE = 32

cdef struct TxEntry:
    # From its virtio-net header on: `head`, then `body` if that is not empty.
    const uint8_t *head
    const uint8_t *body
    uint32_t head_len
    uint32_t body_len
    uint32_t counted                    # bytes to count once it has left; 0: a segment that is not its frame's last
    uint32_t held                       # number of the held frame that it is, or a part of (qos/held.pxd); 0: of none
    uint8_t block[TX_BLOCK]             # head points here when the frame leaves in another form than it came
    # For a port with queueing disciplines:
    uint8_t frame                       # its place in the burst
    uint8_t l2_len                      # bytes before layer 3, any tag of the switch's own included
    uint8_t needs                       # OFFLOAD_*, as in Frame
    uint8_t last                        # of a held frame: nothing of it is left behind
