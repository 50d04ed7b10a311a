"""See worker.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from .core.arena cimport Arena
from .core.context cimport Context
from .core.counters cimport WorkerCounters
from .core.frame cimport Burst
from .core.snapshot cimport Snapshot, SnapshotOwner
from .filter.conntrack cimport ConnectionTable
from .filter.counters cimport RuleCounters
from .filter.log cimport LogRings
from .filter.nat cimport Nat
from .l3.limit cimport IcmpLimiter
from .l3.neighbour cimport NeighbourTable
from .l3.reassemble cimport ReassemblyTable
from .qos.state cimport Scheduler, SchedulerOwner

cdef enum:
    HOT = 16
    QUEUE_WORDS = 1024                  # a bit for each of 65,536 queue numbers

cdef struct HotPort:
    uint64_t tag                        # descriptor << 32 | port id, as in the epoll set
    uint64_t last_ns                    # when it last had frames

cdef struct WorkerState:
    Context ctx
    Burst burst
    Scheduler *scheduler
    WorkerCounters stats
    Nat nat
    const Snapshot **current            # where the newest snapshot is published
    uint64_t busy_poll_ns
    uint64_t gap_ns                     # running mean of recent gaps between rounds that brought frames
    uint64_t last_ns                    # when the last such round ended
    uint64_t window_ns                  # when the load began to be measured anew
    uint64_t window_busy_ns             # time since then on rounds that brought frames
    bint loaded                         # by the last window's measure
    uint64_t stolen_ns                  # when the worker was last put aside while it spun
    uint64_t spin_again_ns              # not before this time: others want the processor
    uint64_t looked_ns                  # when the epoll set was last asked
    uint32_t n_hot
    HotPort hot[HOT]                    # ports read without asking first
    int epfd
    int wakefd
    # Written by the worker, read by whoever publishes.
    uint64_t adopted                    # generation of the snapshot in use
    uint64_t parked                     # asleep, or not running: holds no snapshot
    # Written by the control side.
    uint64_t stopping

cdef void run(Context *ctx, Burst *burst) noexcept nogil
cdef void adopt(WorkerState *w) noexcept nogil
cdef void queues_due(WorkerState *w) noexcept nogil
cdef uint64_t serve_own(WorkerState *w, int fd) noexcept nogil

cdef class Shared:
    cdef const Snapshot *current
    cdef SnapshotOwner owner
    cdef Arena meters
    cdef Arena policers
    cdef readonly ConnectionTable connections
    cdef readonly NeighbourTable neighbours
    cdef readonly IcmpLimiter icmp_limits
    cdef readonly ReassemblyTable fragments
    cdef readonly RuleCounters rule_counters
    cdef readonly LogRings log
    cdef uint64_t queues[QUEUE_WORDS]

cdef class Worker:
    cdef WorkerState state
    cdef Shared shared
    cdef Arena counters
    cdef Arena memory
    cdef readonly SchedulerOwner scheduler
    cdef _share(self, Shared shared, uint32_t index)
