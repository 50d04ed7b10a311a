"""Reassembly: fragments are gathered into whole packets before the hooks see them (RFC 791, 3.2; RFC 8200, 4.5; RFC 5722).

Memory is bounded: a fixed number of slots, each with room for the largest packet, of which a port may hold PORT_SLOTS at a
time (its oldest gives way). A slot keeps what has come as sorted runs; a fragment that lies within a run is a duplicate and
ends there, one that overlaps a run in part ends the whole packet, as it does in the kernel (inet_frag_queue_insert). What is
incomplete after TIMEOUT_S ends too. Of IPv4 the first fragment's header is kept, of IPv6 all that lies before the fragment
header.

Books: a fragment that waits is `queued` at the port that it came from; when the packet is whole it is `merged`, but for the
one that completed it, which goes on as the whole packet.

Thread safety: one lock for the table; fragments are rare. Slots lie in an arena, the lock outside.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_PORTS, PortCounters
from ..core.ip cimport Ip
from ..core.packet cimport Packet

cdef enum:
    SLOTS = 256
    PORT_SLOTS = 32
    RUNS = 64
    PIECES = 128                        # fragments of one packet: 64 KiB over a link of 576 bytes
    HEADERS = 256                       # bytes before the payload: IP header, options, extension headers
    PAYLOAD_MAX = 65535
    TIMEOUT_S = 30

cdef struct Run:
    uint32_t start
    uint32_t end

cdef struct Slot:
    bint used
    uint8_t family
    uint8_t proto
    uint16_t zone
    uint32_t id
    Ip src
    Ip dst
    uint32_t expires_s
    uint32_t end                        # of the payload, as far as known
    bint whole_length                   # the last fragment has come
    bint has_first
    uint16_t owner                      # whose share it is of
    uint16_t largest                    # bytes of the largest fragment, a packet by itself
    bint may_fragment                   # the largest one did not forbid it
    uint32_t header_len
    uint32_t next_header                # IPv6: where in `header` the field that named the fragment header lies
    uint32_t n_runs
    uint32_t n_pieces
    Run runs[RUNS]
    uint16_t origins[PIECES]            # the port of each fragment that waits
    uint8_t header[HEADERS]
    uint8_t payload[PAYLOAD_MAX + 1]

cdef struct Reassembly:
    Slot *slots
    uint64_t lock
    uint64_t whole                      # packets completed
    uint64_t failed                     # packets given up
    uint32_t held[MAX_PORTS]            # slots by owner

cdef enum Gathered:
    GATHER_HELD = 0                     # it waits
    GATHER_WHOLE                        # the packet is complete in *whole: release it when it has been copied
    GATHER_DROP                         # *verdict says why

cdef Gathered gather(Reassembly *table, PortCounters *counters, const Packet *packet, uint32_t now_s, Slot **whole,
                     uint8_t *verdict) noexcept nogil
cdef uint32_t copy_whole(const Slot *slot, uint8_t *out) noexcept nogil
cdef void release(Reassembly *table, PortCounters *counters, Slot *slot) noexcept nogil
cdef void expire_fragments(Reassembly *table, PortCounters *counters, uint32_t now_s) noexcept nogil


cdef class ReassemblyTable:
    cdef Arena arena
    cdef Reassembly table
