"""Connection tracking: the table, its entries and their layout.

(The lead's contract: entry layout and the names below are fixed, the rest is the conntrack author's.)

An entry holds both directions of a connection as tuples; NAT shows in the reply tuple being no mere mirror of the original.
An index of cache-line buckets, 8 slots of (tag 32 | entry index 31 | direction 1), holds each connection twice, by the hash
of either tuple. 224 bytes an entry and 32 of index: 256 bytes a connection.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.packet cimport Tuple

cdef enum:
    CT_ORIGINAL = 0
    CT_REPLY_DIR = 1

    # CtEntry.status: the kernel's enum ip_conntrack_status
    IPS_EXPECTED = 1
    IPS_SEEN_REPLY = 2
    IPS_ASSURED = 4
    IPS_CONFIRMED = 8
    IPS_SRC_NAT = 16
    IPS_DST_NAT = 32
    IPS_SRC_NAT_DONE = 128
    IPS_DST_NAT_DONE = 256
    IPS_DYING = 512

cdef struct CtWindow:
    # One direction of TCP (struct ip_ct_tcp_state).
    uint32_t end
    uint32_t maxend
    uint32_t maxwin
    uint32_t maxack
    uint8_t scale
    uint8_t flags
    uint16_t pad

cdef struct CtEntry:
    Tuple tuple[2]
    uint32_t status                     # IPS_*
    uint32_t mark                       # connmark
    uint32_t expires_s                  # CLOCK_MONOTONIC
    uint16_t owner                      # port id whose budget it is charged to
    uint8_t state                       # of TCP; others: 0
    uint8_t use                         # free, unconfirmed, confirmed
    uint32_t cache_generation           # of the rules that `path` was made under
    uint32_t path[4]                    # verdict cache: [direction * 2 + half]; 0: none (filter/path.pxd)
    uint32_t next                       # free list
    CtWindow window[2]
    uint32_t last_seq
    uint32_t last_ack
    uint32_t last_end
    uint16_t last_win
    uint8_t last_dir
    uint8_t last_index
    uint8_t retrans
    uint8_t last_flags
    uint16_t masquerade_dev             # device index whose address it borrows; 0xffff: none
    uint32_t spare
    uint64_t packets[2]
    uint64_t bytes[2]
