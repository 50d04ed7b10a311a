"""What a worker brings to every stage: the snapshot in force, the time, its counters, its transmit queues.

Thread safety: all of it belongs to one worker, apart from what the snapshot points at; `storm` is shared by all.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..filter.conntrack cimport Conntrack
from ..filter.nat cimport Nat
from ..filter.walk cimport RuleState
from ..l3.limit cimport IcmpLimits
from ..l3.neighbour cimport Neighbours
from ..l3.reassemble cimport Reassembly
from .counters cimport MAX_PORTS, PortCounters, WorkerCounters
from ..qos.state cimport Scheduler
from ..qos.tree cimport PolicerMeter
from .frame cimport Burst, Frame
from .native cimport count
from .snapshot cimport STORM_CLASSES, Snapshot
from .tx cimport TX_QUEUE, TxEntry
from .uring cimport uring
from .verdict cimport DONE

cdef enum:
    EXTRAS = 64                         # slots for frames of the worker's own (core/extra.pxd)

cdef struct PortIo:
    # A worker's own state of one port.
    uint32_t tx_n                       # entries waiting for transmit
    bint dirty                          # is in the context's list of ports to transmit to
    uint32_t rx_batch                   # frames to ask for at once (io/tap.pxd, io/packet.pxd)
    uint8_t frame                       # of the fragments and segments being put there: TxEntry.frame, l2_len
    uint8_t l2_len
    TxEntry tx[TX_QUEUE]

cdef struct StormMeter:
    uint64_t due_ns[STORM_CLASSES]      # theoretical arrival time of the next frame (GCRA)

cdef struct Extra:
    # A frame that waits for its own way through the pipeline.
    uint32_t length
    uint32_t mark
    uint16_t origin                     # port id: whose books it is in
    uint16_t device                     # where it belongs
    uint16_t vid                        # ... and its VLAN there
    uint16_t largest                    # bytes of the largest fragment that it was made of; 0: it is no such packet
    uint8_t entry
    uint8_t ct_info                     # of a packet that has its connection already: one that a user's process has
    uint32_t ct                         # judged, or an answer to one of the connection. The entry is its connection if
    uint32_t serial                     # it still has this serial number
    # Of a packet that comes back from a user's process (ENTRY_RETURN):
    uint8_t resume                      # the table and hook that it was in: `place` + 1 (filter/rule.pxd)
    uint8_t reason                      # why it ends here; 0: it goes on
    uint8_t flags                       # Packet.flags
    uint16_t out                        # the port that it is bridged to; NO_PORT: to be looked up
    uint16_t tci                        # PCP and DEI of the tag that it came with, and bit 0: it had one
    uint16_t zone
    uint16_t zone_reply

cdef struct Context:
    const Snapshot *snapshot
    uint64_t now_ns                     # CLOCK_MONOTONIC, once a round
    uint32_t now_s
    uint32_t worker
    PortCounters *counters              # by port id
    WorkerCounters *stats
    PortCounters *origin                # of the port that the burst came from: every fate is charged there
    StormMeter *storm                   # by port id
    PolicerMeter *policers              # POLICERS a port, all workers'
    PortIo *io                          # by port id
    const Burst *burst                  # under way
    Scheduler *scheduler                # of the ports that have this worker for their home
    uint32_t n_dirty
    uint16_t dirty[MAX_PORTS]           # ports with entries waiting
    Conntrack *ct                       # the worker's view of the connections
    Nat *nat
    RuleState rules                     # counters of rules, the worker's own, and meters, all workers'
    Neighbours *neighbours
    IcmpLimits *icmp_limits
    Reassembly *fragments
    uint8_t *scratch                    # the burst's memory
    uint8_t *bounce                     # BOUNCE bytes, where a super-frame is cut up for a port that cannot take it
    uring ring                          # for batches of tap frames
    uint32_t fragment_id                # of the IPv6 packets that were cut up
    uint32_t extra_head
    uint32_t extra_tail                 # both only grow
    Extra came_back                     # of the burst under way, if its entry is none of a received burst
    uint8_t resume                      # tables up to there have been passed: Extra.resume of the burst under way
    const uint64_t *queues              # a bit for each queue number that somebody listens on; NULL: none
    uint8_t *extra_memory               # EXTRAS slots
    Extra extras[EXTRAS]
    uint8_t in_ring[MAX_PORTS]          # port ids whose tap queue the ring knows; written by the control side


cdef inline void charge(Context *ctx, uint8_t reason) noexcept nogil:
    """One frame, or one copy, ended for this reason."""
    count(&ctx.origin.drops[reason], 1)

cdef inline void end(Context *ctx, Frame *frame, uint8_t verdict) noexcept nogil:
    """End a frame: DONE where its fate is in the books already, else by the name of what it died of."""
    frame.verdict = verdict
    if verdict != DONE:
        charge(ctx, verdict)

cdef inline void drop(Context *ctx, Frame *frame, uint8_t reason) noexcept nogil:
    """End a frame by name, once."""
    frame.verdict = reason
    charge(ctx, reason)
