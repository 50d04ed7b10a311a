"""The worker: poll, receive a burst, pipeline, flush; with stages.pyx the hot compilation units.

A worker is one thread in `Worker.run`, which holds no GIL until it is told to stop. Its descriptors sit in an epoll set of
its own, so a switch of a hundred idle ports costs what one costs. Ports that had frames a moment ago are hot: they are read
without asking, which saves a system call a burst; the others are looked after every LOOK_NS meanwhile.

Snapshots. Whoever publishes stores one pointer. A worker adopts it between rounds and says so (`adopted`); while it sleeps
it is `parked` and holds none. Both sides store first and load after, sequentially consistent, so a worker that wakes up
cannot take up a snapshot that its publisher believes abandoned.

Polling adapts. A port stays hot for `busy_poll_ns` after its last frame, but only while frames have lately been following
each other faster than that; without hot ports the worker sleeps. A sleeping worker costs a frame tens of microseconds, a
spinning one a core. So spinning ends where it does not pay:

- A loaded worker does not spin: frames gather while it sleeps, and what it leaves of the processor is for those who send
  and receive them.
- Where others want the core, spinning takes from them, and the scheduler pays it back when frames come. Two rounds within
  STOLEN_AGAIN_NS that brought nothing and yet took STOLEN_NS, because the worker had been put aside, end it for BACKOFF_NS.
"""
import os

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from .core.arena cimport Arena
from .core.counters cimport MAX_PORTS, SELF_PORT, PortCounters
from .core.context cimport EXTRAS, PortIo, StormMeter
from .core.extra cimport next_extra
from .core.frame cimport BURST, ENTRY_RECEIVE, SCRATCH, SLOT
from .core.native cimport *
from .core.snapshot cimport PORT_MEMORY, PORT_NONE, PORT_SELF, Port, Snapshot, SnapshotOwner
from .core.uring cimport uring_close, uring_file, uring_open, uring_suits
from .core.verdict import DROP_REASONS
from .io.own cimport take_own
from .io.receive cimport receive
from .filter.nat cimport nat_init
from .io.segment cimport BOUNCE
from .l3.answer cimport router_tick
from .pipeline cimport pipeline
from .qos.adopt cimport adopt_trees
from .qos.handover cimport inbox_waits
from .qos.scheduler cimport serve as serve_queues
from .qos.scheduler cimport take_handed
from .qos.state cimport SchedulerOwner
from .qos.tree cimport POLICERS, PolicerMeter

cdef enum:
    EVENTS = 64
    LOOK_NS = 50000
    GAP_CAP = 4                         # gaps longer than this many busy_poll_ns count as that long
    STOLEN_NS = 500000
    STOLEN_AGAIN_NS = 20000000
    BACKOFF_NS = 100000000
    WINDOW_NS = 2000000
    LOADED_SHARE = 5                    # a worker that is busy for a fifth of a window or more is loaded


QUEUE_MEMORY = 64 << 20                 # bytes that may wait in a worker's queueing disciplines, unless told otherwise


cdef void work(WorkerState *w) noexcept nogil:
    """Until told to stop: the loop that frames pass through."""
    cdef uint64_t moved
    w.stats.started_ns = monotonic_ns()
    w.last_ns = w.stats.started_ns
    tick(w, w.stats.started_ns)
    atomic_store64_seq(&w.parked, 0)
    while not atomic_load64(&w.stopping):
        adopt(w)
        moved = serve_hot(w)
        if not w.n_hot or w.ctx.now_ns - w.looked_ns >= LOOK_NS:
            moved += serve_ready(w)
        queues_due(w)
        account(w, moved)
    atomic_store64_seq(&w.parked, 1)

cdef inline void tick(WorkerState *w, uint64_t now_ns) noexcept nogil:
    w.ctx.now_ns = now_ns
    w.ctx.now_s = <uint32_t>(now_ns // 1000000000ULL)
    w.stats.heartbeat_ns = now_ns
    count(&w.stats.polls, 1)

cdef void adopt(WorkerState *w) noexcept nogil:
    cdef const Snapshot *snapshot = <const Snapshot *>atomic_load64_seq(<uint64_t *>w.current)
    # By generation: a new snapshot may lie where one that was freed while this worker slept has lain.
    if snapshot.generation != w.adopted:
        w.ctx.snapshot = snapshot
        w.scheduler.now_ns = w.ctx.now_ns
        adopt_trees(w.scheduler, snapshot, w.ctx.worker)
        atomic_store64_seq(&w.adopted, snapshot.generation)

cdef void queues_due(WorkerState *w) noexcept nogil:
    """What other workers have handed over, and what has waited for its time."""
    if w.scheduler.n_peers:
        take_handed(&w.ctx)
    if w.scheduler.n_ready or w.scheduler.n_wakes and w.scheduler.wakes[0].due_ns <= w.ctx.now_ns:
        serve_queues(&w.ctx)

cdef inline uint64_t serve_hot(WorkerState *w) noexcept nogil:
    """A burst from each hot port; those that have been empty for long enough cool down."""
    cdef uint64_t moved = 0, frames
    cdef uint32_t i = 0
    while i < w.n_hot:
        frames = serve(w, w.hot[i].tag)
        moved += frames
        if frames:
            w.hot[i].last_ns = w.ctx.now_ns
        elif w.ctx.now_ns - w.hot[i].last_ns >= w.busy_poll_ns or not spinning_pays(w):
            w.n_hot -= 1
            w.hot[i] = w.hot[w.n_hot]
            continue
        i += 1
    return moved

cdef inline uint64_t serve_ready(WorkerState *w) noexcept nogil:
    """A burst from each port that the epoll set names; sleeps for one if no port is hot."""
    cdef epoll_event events[EVENTS]
    cdef uint64_t moved = 0, frames
    cdef int i, n = epoll_wait(w.epfd, events, EVENTS, 0) if w.n_hot else sleep(w, events)
    w.looked_ns = w.ctx.now_ns
    for i in range(n):
        if is_hot(w, events[i].data.u64):
            continue
        frames = serve(w, events[i].data.u64)
        moved += frames
        if frames and w.n_hot < HOT and spinning_pays(w):
            w.hot[w.n_hot].tag = events[i].data.u64
            w.hot[w.n_hot].last_ns = w.ctx.now_ns
            w.n_hot += 1
        elif frames:
            w.looked_ns = 0             # more may wait there: ask again at once
    return moved

cdef inline int sleep(WorkerState *w, epoll_event *events) noexcept nogil:
    cdef int n
    count(&w.stats.sleeps, 1)
    atomic_store64_seq(&w.parked, 1)
    n = epoll_wait_ns(w.epfd, events, EVENTS, sleep_ns(w))
    atomic_store64_seq(&w.parked, 0)
    adopt(w)
    tick(w, monotonic_ns())
    return n

cdef inline int64_t sleep_ns(const WorkerState *w) noexcept nogil:
    """How long nothing will happen by itself; -1: for ever. Times that nobody waits for wake nobody."""
    cdef uint64_t now_ns
    if w.scheduler.n_ready or inbox_waits(w.scheduler):
        return 0
    if w.scheduler.pool.n == 0 or w.scheduler.n_wakes == 0:
        return -1
    now_ns = monotonic_ns()
    return w.scheduler.wakes[0].due_ns - now_ns if w.scheduler.wakes[0].due_ns > now_ns else 0

cdef inline bint is_hot(const WorkerState *w, uint64_t tag) noexcept nogil:
    cdef uint32_t i
    for i in range(w.n_hot):
        if w.hot[i].tag == tag:
            return True
    return False

cdef inline bint spinning_pays(const WorkerState *w) noexcept nogil:
    return w.gap_ns < w.busy_poll_ns and not w.loaded and w.ctx.now_ns >= w.spin_again_ns

cdef uint64_t serve(WorkerState *w, uint64_t tag) noexcept nogil:
    """One burst from the port that an event names; returns how many frames. The event may be older than the snapshot."""
    cdef uint32_t id = tag & 0xffffffffULL
    cdef int fd = <int>(tag >> 32)
    cdef const Port *port
    cdef uint32_t received
    cdef int error
    if fd == w.wakefd:
        drain(fd)
        return 0
    if id == SELF_PORT:
        return serve_own(w, fd)
    if id >= w.ctx.snapshot.n_ports or w.ctx.snapshot.ports[id].kind == PORT_NONE:
        return 0
    port = &w.ctx.snapshot.ports[id]
    if fd != (port.memory.event if port.kind == PORT_MEMORY else port.fds[w.ctx.worker]):
        return 0
    if port.kind == PORT_MEMORY:
        drain(fd)
    error = receive(&w.ctx, &w.burst, port)
    received = w.burst.n                # the burst is another when the switch has had its say
    if received:
        run(&w.ctx, &w.burst)
    if port.kind == PORT_MEMORY and received:
        rearm(fd)
    if error == EBADFD or error == EBADF or error == EIO:
        # The device is gone and its descriptor would report that without end; the control side hears it by netlink.
        epoll_ctl(w.epfd, EPOLL_CTL_DEL, fd, NULL)
    return received

cdef void run(Context *ctx, Burst *burst) noexcept nogil:
    """The burst, and whatever frames of the switch's own it gives rise to."""
    while True:
        pipeline(ctx, burst)
        if not next_extra(ctx, burst):
            return

cdef uint64_t serve_own(WorkerState *w, int fd) noexcept nogil:
    """What the control side has sent, as often as there is more."""
    cdef uint64_t taken = 0
    if w.ctx.snapshot.self.kind != PORT_SELF:
        return 0
    drain(fd)
    while True:
        if take_own(&w.ctx):
            router_tick(&w.ctx)
        if not next_extra(&w.ctx, &w.burst):
            return taken
        taken += 1
        run(&w.ctx, &w.burst)

cdef inline void drain(int fd) noexcept nogil:
    cdef uint64_t value
    read(fd, &value, sizeof(value))

cdef inline void rearm(int fd) noexcept nogil:
    """A memory port's ring may hold more than one burst."""
    cdef uint64_t value = 1
    write(fd, &value, sizeof(value))

cdef inline void account(WorkerState *w, uint64_t moved) noexcept nogil:
    """At the end of a round: how long it took, and if it brought frames, how long we had waited for them."""
    cdef uint64_t now = monotonic_ns()
    cdef uint64_t gap
    if moved:
        gap = w.ctx.now_ns - w.last_ns
        if gap > GAP_CAP * w.busy_poll_ns:
            gap = GAP_CAP * w.busy_poll_ns
        w.gap_ns = (3 * w.gap_ns + gap) >> 2
        count(&w.stats.busy_ns, now - w.ctx.now_ns)
        w.window_busy_ns += now - w.ctx.now_ns
        w.last_ns = now
    elif now - w.ctx.now_ns >= STOLEN_NS:
        if now - w.stolen_ns < STOLEN_AGAIN_NS:
            w.spin_again_ns = now + BACKOFF_NS
        w.stolen_ns = now
    if now - w.window_ns >= WINDOW_NS:
        w.loaded = w.window_busy_ns * LOADED_SHARE > now - w.window_ns
        w.window_busy_ns = 0
        w.window_ns = now
    tick(w, now)


cdef class Shared:
    """What all workers of a dataplane share: the published snapshot, and the tables that outlive it."""

    def __cinit__(self, uint64_t connections=4096, uint32_t rules=65536):
        """`connections` and `rules` are how many the tables have room for."""
        self.owner = SnapshotOwner(0, [], [], {}, {})
        self.current = &self.owner.snapshot
        self.meters = Arena("storm", MAX_PORTS * sizeof(StormMeter), "storm/1")
        self.policers = Arena("policers", MAX_PORTS * POLICERS * sizeof(PolicerMeter), "policers/1")
        self.connections = ConnectionTable(connections)
        self.neighbours = NeighbourTable()
        self.icmp_limits = IcmpLimiter()
        self.fragments = ReassemblyTable()
        self.rule_counters = RuleCounters(rules)
        self.log = LogRings()

    def attend(self, uint16_t queue, bint on):
        """Whether somebody listens on a queue number: else its packets are dropped, or pass by --queue-bypass."""
        cdef uint64_t bit = 1ULL << (queue & 63)
        self.queues[queue >> 6] = self.queues[queue >> 6] | bit if on else self.queues[queue >> 6] & ~bit

    def publish(self, SnapshotOwner owner):
        """Returns the owner of the snapshot that was in force: keep it until every worker has `passed` the new one."""
        previous = self.owner
        self.owner = owner
        atomic_store64_seq(<uint64_t *>&self.current, <uint64_t>&owner.snapshot)
        return previous

    def reset_meters(self, uint32_t port):
        """Let a port's storm limits and policers begin anew: what was used of others is no debt."""
        memset(<StormMeter *>self.meters.body() + port, 0, sizeof(StormMeter))
        memset(<PolicerMeter *>self.policers.body() + port * POLICERS, 0, POLICERS * sizeof(PolicerMeter))


cdef class Worker:
    """One worker; `run` it in a thread. All other methods are for the control side and may be called meanwhile."""

    def __cinit__(self, uint32_t index, Shared shared, uint64_t busy_poll_us, uint64_t queue_memory=QUEUE_MEMORY):
        self.shared = shared
        self.state.epfd = self.state.ctx.ring.fd = -1   # should what follows fail, none is ours to close
        self.counters = Arena(f"counters-{index}", MAX_PORTS * sizeof(PortCounters), "counters/1")
        self.memory = Arena(f"worker-{index}", SCRATCH + BOUNCE + EXTRAS * SLOT + MAX_PORTS * sizeof(PortIo), "scratch/1")
        self.state.ctx.worker = index
        self.state.ctx.snapshot = shared.current
        self.state.ctx.counters = <PortCounters *>self.counters.body()
        self.state.ctx.stats = &self.state.stats
        self.state.ctx.storm = <StormMeter *>shared.meters.body()
        self.state.ctx.policers = <PolicerMeter *>shared.policers.body()
        self.state.ctx.scratch = <uint8_t *>self.memory.body()
        self.state.ctx.bounce = self.state.ctx.scratch + SCRATCH
        self.state.ctx.extra_memory = self.state.ctx.bounce + BOUNCE
        self.state.ctx.io = <PortIo *>(self.state.ctx.extra_memory + EXTRAS * SLOT)
        self.scheduler = SchedulerOwner(index, queue_memory)
        self.state.scheduler = self.state.ctx.scheduler = &self.scheduler.scheduler
        self.state.scheduler.counters = self.state.ctx.counters
        self.state.scheduler.snapshot = shared.current
        self._share(shared, index)
        self.state.current = &shared.current
        self.state.busy_poll_ns = busy_poll_us * 1000
        self.state.gap_ns = GAP_CAP * self.state.busy_poll_ns
        self.state.parked = 1
        self.state.epfd = epoll_create1(os.O_CLOEXEC)
        self.state.wakefd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if self.state.epfd < 0:
            raise OSError(errno, os.strerror(errno))
        uring_open(&self.state.ctx.ring, BURST, MAX_PORTS)
        self.watch(0, self.state.wakefd)

    cdef _share(self, Shared shared, uint32_t index):
        """The tables that this worker has in common with the others."""
        cdef Context *ctx = &self.state.ctx
        seed = os.urandom(8)
        nat_init(&self.state.nat, int.from_bytes(seed, "little") | 1)
        ctx.nat = &self.state.nat
        ctx.ct = shared.connections.view(index)
        ctx.neighbours = &shared.neighbours.table
        ctx.icmp_limits = shared.icmp_limits.limits
        ctx.fragments = &shared.fragments.table
        ctx.rules.counters = shared.rule_counters.of_worker(index)
        ctx.rules.meters = shared.rule_counters.meters()
        ctx.rules.log = shared.log.of_worker(index)
        ctx.queues = shared.queues

    def meet(self, list workers):
        """Know all workers, this one included, before any of them runs: they hand frames over to each other."""
        cdef Worker other
        self.scheduler.meet(len(workers))
        for index, other in enumerate(workers):
            self.state.scheduler.peers[<uint32_t>index].scheduler = other.state.scheduler
            self.state.scheduler.peers[<uint32_t>index].parked = &other.state.parked
            self.state.scheduler.peers[<uint32_t>index].wakefd = other.state.wakefd

    def kick(self):
        """Have it look at the newest snapshot now, even if no frame comes."""
        os.eventfd_write(self.state.wakefd, 1)

    def run(self):
        """The thread's body; returns after `stop`."""
        with nogil:
            exact_timers()
            work(&self.state)

    def stop(self):
        atomic_store64(&self.state.stopping, 1)
        os.eventfd_write(self.state.wakefd, 1)

    def watch(self, uint32_t port, int fd, bint tap=False):
        """Serve the port whenever fd is readable. The port must be in the published snapshot first."""
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u64 = <uint64_t>fd << 32 | port
        if epoll_ctl(self.state.epfd, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        if tap and uring_suits(fd):
            self.state.ctx.in_ring[port] = uring_file(&self.state.ctx.ring, port, fd) == 0

    def unwatch(self, uint32_t port, int fd):
        """Forget fd, and let go of it; one that is forgotten already, or gone, is no error."""
        epoll_ctl(self.state.epfd, EPOLL_CTL_DEL, fd, NULL)
        if self.state.ctx.in_ring[port]:
            self.state.ctx.in_ring[port] = 0
            uring_file(&self.state.ctx.ring, port, -1)

    def passed(self, uint64_t generation):
        """Whether no snapshot older than `generation` is in use here any more."""
        return bool(atomic_load64_seq(&self.state.parked)) or atomic_load64_seq(&self.state.adopted) >= generation

    def port_counters(self, uint32_t port):
        """This worker's share of a port's counters: a dict by name, the drops a list by verdict under "drops"."""
        cdef PortCounters *c = &self.state.ctx.counters[port]
        return {
            "rx_frames": relaxed_load64(&c.rx_frames), "rx_bytes": relaxed_load64(&c.rx_bytes),
            "tx_frames": relaxed_load64(&c.tx_frames), "tx_bytes": relaxed_load64(&c.tx_bytes),
            "copied": relaxed_load64(&c.copied), "generated": relaxed_load64(&c.generated),
            "delivered": relaxed_load64(&c.delivered), "consumed": relaxed_load64(&c.consumed),
            "merged": relaxed_load64(&c.merged), "queued": relaxed_load64(&c.queued),
            "segments": relaxed_load64(&c.segments), "segments_lost": relaxed_load64(&c.segments_lost),
            "rx_errors": relaxed_load64(&c.rx_errors),
            "drops": {name: relaxed_load64(&c.drops[<uint32_t>number]) for number, name in DROP_REASONS.items()},
        }

    def nat_counters(self):
        """Connections that found no free port, second choices after a clash, source ports changed with no rule asking."""
        cdef Nat *nat = &self.state.nat
        return relaxed_load64(&nat.exhausted), relaxed_load64(&nat.retried), relaxed_load64(&nat.moved)

    def reset_port(self, uint32_t port):
        """Zero the counters of an id that gets a new owner; no worker may be serving it."""
        memset(&self.state.ctx.counters[port], 0, sizeof(PortCounters))
        memset(&self.state.ctx.io[port], 0, sizeof(PortIo))

    def stats(self):
        """This worker's own counters, times in nanoseconds of CLOCK_MONOTONIC."""
        return {
            "bursts": relaxed_load64(&self.state.stats.bursts), "frames": relaxed_load64(&self.state.stats.frames),
            "polls": relaxed_load64(&self.state.stats.polls), "sleeps": relaxed_load64(&self.state.stats.sleeps),
            "busy_ns": relaxed_load64(&self.state.stats.busy_ns), "started_ns": self.state.stats.started_ns,
            "heartbeat_ns": relaxed_load64(&self.state.stats.heartbeat_ns), "parked": bool(self.state.parked),
        }

    def __dealloc__(self):
        uring_close(&self.state.ctx.ring)
        close(self.state.epfd)
        if self.state.wakefd > 0:
            close(self.state.wakefd)
