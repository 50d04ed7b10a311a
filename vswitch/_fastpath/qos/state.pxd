"""What queueing disciplines hold: queues, tokens, places in line, counters. A worker's `Scheduler` has that of all its ports.

A port has one home worker; its tree's state lies in that worker's arenas, in slots that the control side gives out by
serial number (vswitch/qos/slots.py), and outlives configurations. Lists are joined by slot, 0 being nobody, so slots count
from 1. Only the home worker writes; counters are stored relaxed and read by anybody.

A frame that waits is a `Held` (held.pxd). Its queues are the leaves' own; every discipline above a leaf counts what is
below it in `qlen` and `backlog`.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_PORTS, MAX_WORKERS, PortCounters
from ..core.snapshot cimport Snapshot
from ..io.ring cimport Ring
from .held cimport Held, HeldPool
from .tree cimport FAST_BANDS, HTB_LEVELS, HTB_PRIOS

cdef enum:
    QDISC_SLOTS = 16384                 # a worker
    CLASS_SLOTS = 32768
    FLOW_SLOTS = 1 << 22
    WORD_SLOTS = 1 << 18
    WAKES = CLASS_SLOTS + QDISC_SLOTS   # items of the wake-up heap: classes, then qdiscs
    DELAYS = 24                         # below 1 us, 2 us, 4 us, ...; the last: longer
    LATE_NS = 10000000                  # how much lateness of the scheduler's own is made up for
    MBUFFER_NS = 60000000000            # nothing is counted of longer pauses (htb: mbuffer)

    CAN_SEND = 0                        # ClassState.mode
    MAY_BORROW = 1
    CANT_SEND = 2

cdef struct Queue:
    # Held frames in order; 0: none.
    uint32_t head
    uint32_t tail
    uint32_t n
    uint64_t bytes

cdef struct Row:
    # Classes of one priority that take turns (turns.pxd): the place whose turn it is, and how many have something to send.
    uint32_t turn
    uint32_t n

cdef struct Counts:
    uint64_t bytes
    uint64_t packets                    # segments
    uint64_t drops
    uint64_t overlimits
    uint64_t requeues

cdef struct Flow:
    # One of sfq's or fq_codel's.
    Queue queue
    int32_t deficit
    uint32_t next                       # in the ring or list of active flows
    uint8_t active
    uint8_t dropping                    # CoDel's, as all that follows
    uint16_t inverse_sqrt               # 1 / sqrt(count), times 65536
    uint32_t count
    uint32_t last_count
    uint64_t first_above_ns
    uint64_t drop_next_ns

cdef struct FlowList:
    uint32_t first
    uint32_t last
    uint32_t n

cdef struct QdiscState:
    uint64_t serial                     # of whom the slot belongs to; 0: nobody
    uint64_t seen                       # generation of the snapshot that last named it
    uint16_t port
    uint8_t kind
    uint32_t index                      # in the port's tree
    uint32_t flow                       # its slots for flows
    uint32_t n_flow_slots
    uint32_t qlen
    uint64_t backlog
    Counts counts
    uint64_t delays[DELAYS]
    uint32_t picked                     # chosen to leave next, and not gone yet; 0: none
    uint32_t picked_from                # ... the child, or class, that it comes from
    uint32_t picked_level               # htb
    uint32_t turn                       # ... the leaf class whose turn it is, and its level; 0: to be found
    uint32_t turn_level
    Queue queues[FAST_BANDS]            # of fifos; htb's direct queue
    Queue again                         # of a root: what the device did not take
    # tbf
    int64_t tokens
    int64_t ptokens
    uint64_t charged_ns
    int64_t slack
    uint64_t due_ns                     # when it may send again; 0: at any time
    # sfq, fq_codel
    uint64_t seed                       # of the hash
    uint64_t perturb_ns                 # sfq: when it gets another
    uint32_t n_flows                    # sfq: active
    uint32_t ring                       # sfq: the flow that had its turn last; its `next` is the next
    FlowList news                       # fq_codel
    FlowList olds
    uint32_t mtu                        # of the port, Ethernet header included
    uint64_t max_packet
    uint64_t direct                     # htb: packets that left unshaped
    uint64_t new_flow_count
    uint64_t drop_overlimit
    uint64_t drop_overmemory
    uint64_t ecn_mark
    uint64_t ce_mark
    uint64_t memory
    # htb
    uint8_t row_mask[HTB_LEVELS]        # a bit a priority
    Row rows[HTB_LEVELS][HTB_PRIOS]

cdef struct ClassState:
    uint64_t serial
    uint64_t seen
    uint16_t port
    uint32_t index
    uint8_t mode
    uint8_t active                      # a bit a priority that something below has to send in
    int64_t tokens                      # nanoseconds at its rate
    int64_t ctokens                     # ... at its ceil
    uint64_t charged_ns
    uint64_t due_ns                     # when its mode may change by time alone; 0: not waiting
    int64_t slack                       # tokens beyond the burst, for what the scheduler was late
    int32_t deficit[HTB_LEVELS]
    Counts counts
    uint64_t lends
    uint64_t borrows
    Row feeds[HTB_PRIOS]                # children that borrow

cdef struct Wake:
    uint64_t due_ns
    uint32_t item                       # slot of a class; CLASS_SLOTS + slot of a qdisc

cdef struct Run:
    # Frames of one class of htb that have left one after another and are not charged for yet; `cls` 0: none.
    uint32_t cls                        # slot
    uint32_t level                      # that it has its turn at
    uint32_t wire
    uint32_t segments
    uint32_t frames
    uint32_t budget                     # bytes that change neither modes nor turns
    # Of those that came straight from the fifo, what its and the root's counters do not know yet:
    uint32_t more_wire
    uint32_t more_segments
    uint32_t more_frames
    uint32_t at_once                    # that had not waited at all

cdef struct Peer:
    # Another worker, as one that hands frames over to it knows it.
    Scheduler *scheduler
    uint64_t *parked
    int wakefd

cdef struct Scheduler:
    const Snapshot *snapshot
    uint64_t adopted                    # its generation: these trees are in use
    uint64_t now_ns
    PortCounters *counters              # the worker's, by port id
    QdiscState *qdiscs
    ClassState *classes
    Flow *flows
    uint64_t *words                     # bits of classes in line, in ranges of the trees
    HeldPool pool
    uint32_t n_wakes
    Wake *wakes                         # a heap
    uint32_t *wake_at                   # an item's place in it + 1; 0: not there
    uint32_t n_ready                    # ports that something may leave by
    uint16_t ready[2 * MAX_PORTS]
    uint8_t is_ready[MAX_PORTS]
    uint64_t trees[MAX_PORTS]           # generation of the tree in use by each port; 0: none
    uint32_t used_qdiscs                # slots beyond have never had an owner
    uint32_t used_classes
    Run run
    QdiscState *sending                 # root of the port that is being served
    uint32_t n_peers                    # workers, this one included; 0: it is alone
    Peer peers[MAX_WORKERS]
    Ring inbox[MAX_WORKERS]             # by the worker that fills it (handover.pxd)
    uint8_t *blocks                     # headers of what is peeled off super-frames, one a transmit entry
    uint64_t seed

cdef class SchedulerOwner:
    cdef Scheduler scheduler
    cdef Arena _states
    cdef Arena _wakes
    cdef Arena _pool
    cdef Arena _inbox
    cpdef meet(self, uint32_t workers)


cdef inline void set_ready(Scheduler *s, uint32_t port) noexcept nogil:
    """Something may leave by the port: look at it in this round."""
    if not s.is_ready[port]:
        s.is_ready[port] = 1
        s.ready[s.n_ready] = <uint16_t>port
        s.n_ready += 1
