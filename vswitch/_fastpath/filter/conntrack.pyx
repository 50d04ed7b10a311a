"""The Python face of connection tracking: list, delete, flush, sweep, limits, timeouts, counters, events.

See conntrack.pxd for the table itself. Listing and sweeping go in pieces, so that no caller holds up the daemon for
long; workers go on meanwhile. A listing may miss what comes and show what goes while it runs, as the kernel's does.
"""
import os
import threading

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..core.native cimport atomic_add64, atomic_load64, atomic_store64, count, monotonic_ns, prefetch, relaxed_load64
from .entries cimport KILL_ANY, KILL_CLOSING, KILL_EXPIRED, ct_kill
from .rows cimport connection_row

from .rows import ConnectionCounters, ConnectionEvent

DEF_TIMEOUTS = {
    "tcp_timeout_none": 0, "tcp_timeout_syn_sent": 120, "tcp_timeout_syn_recv": 60, "tcp_timeout_established": 432000,
    "tcp_timeout_fin_wait": 120, "tcp_timeout_close_wait": 60, "tcp_timeout_last_ack": 30, "tcp_timeout_time_wait": 120,
    "tcp_timeout_close": 10, "tcp_timeout_syn_sent2": 120, "": 0, " ": 0, "tcp_timeout_max_retrans": 300,
    "tcp_timeout_unacknowledged": 300, "udp_timeout": 30, "udp_timeout_stream": 120, "icmp_timeout": 30,
    "icmpv6_timeout": 30, "gre_timeout": 30, "gre_timeout_stream": 180, "generic_timeout": 600, "tcp_loose": 1,
    "tcp_be_liberal": 0, "tcp_max_retrans": 3, "tcp_ignore_invalid_rst": 0, "acct": 0,
}
PREFIX = "nf_conntrack_"
#: The kernel's sysctls by their place in CtSettings, which is numbers only.
SYSCTLS = {PREFIX + name: at for at, name in enumerate(DEF_TIMEOUTS) if name.strip() and name != "tcp_timeout_none"}
DEFAULTS = {PREFIX + name: value for name, value in DEF_TIMEOUTS.items() if PREFIX + name in SYSCTLS}

cdef enum:
    LINE = 64
    LARGE_TABLE = 1 << 18               # connections: more than a processor's TLB reaches in small pages
    SETTLE_STEP = 40000                 # entries that a sweep puts into huge pages, four of them
    NEARLY_FULL = 95                    # per cent; beyond, the sweep takes what is unassured or closing, too


cdef uint32_t clock_s() noexcept:
    return <uint32_t>(monotonic_ns() // 1000000000ULL)


cdef class ConnectionTable:
    """Room for `capacity` connections; a port may have `budget` of them unless set_budget says otherwise.

    Without `budget` a port may have half of the table: one VM alone cannot fill it. 0 sets no bound."""

    def __cinit__(self, uint64_t capacity, budget=None, str name="conntrack"):
        cdef uint64_t buckets = 8         # as many as an early drop looks at
        if not 0 < capacity < 1 << 30:
            raise ValueError(f"{capacity} connections: from 1 to 2^30 - 1 are possible")
        while buckets * 2 < capacity:
            buckets *= 2
        self.lock = threading.Lock()
        self.cursor = 1
        self.shared = <CtShared *>calloc(1, sizeof(CtShared))
        self.views = <Conntrack *>calloc(CT_VIEWS, sizeof(Conntrack))
        if self.shared == NULL or self.views == NULL:
            raise MemoryError()
        self._lay_out(capacity, buckets, name)
        self.set_timeouts(DEFAULTS)
        for port in range(MAX_PORTS):
            self.set_budget(port, max(1, capacity // 2) if budget is None else budget)

    def _lay_out(self, uint64_t capacity, uint64_t buckets, str name):
        cdef uint64_t total = capacity + CT_VIEWS * CT_STORE
        cdef uint64_t at = sizeof(CtHeader) + buckets * sizeof(CtBucket)
        cdef CtHeader *header
        cdef Conntrack *view
        cdef int worker
        self.arena = Arena(name, at + (total + 1) * (sizeof(CtEntry) + sizeof(CtAccount)), "conntrack/2")
        header = <CtHeader *>self.arena.body()
        seed = os.urandom(sizeof(header.seed))
        memcpy(header.seed, <const char *>seed, sizeof(header.seed))
        header.capacity = capacity
        header.total = total
        header.buckets = buckets
        header.fresh = 1
        for worker in range(CT_VIEWS):
            view = &self.views[worker]
            view.header = header
            view.bucket = <CtBucket *>(<char *>header + sizeof(CtHeader))
            view.entry = <CtEntry *>(<char *>header + at)
            view.account = <CtAccount *>(<char *>view.entry + (total + 1) * sizeof(CtEntry))
            view.shared = self.shared
            view.mask = buckets - 1

    def __dealloc__(self):
        if self.shared != NULL:
            free(self.shared.events)
        free(self.shared)
        free(self.views)

    cdef Conntrack *view(self, uint32_t worker) noexcept:
        """A worker's view, or the control side's (CT_CONTROL), which needs `lock`."""
        return &self.views[worker]

    @property
    def capacity(self):
        return self.views[CT_CONTROL].header.capacity

    # Settings

    def set_timeouts(self, dict sysctls):
        """Seconds and switches by the kernel's names, as nf_conntrack_udp_timeout. Raises ValueError."""
        for name, value in sysctls.items():
            if name not in SYSCTLS:
                raise ValueError(f"{name} is no setting of connection tracking")
            if not 0 <= value < 1 << 30:
                raise ValueError(f"{name}: {value} is not within 0 and 2^30 - 1")
        if sysctls.get(PREFIX + "acct") and not self.shared.settings.acct:
            # What was not counted meanwhile begins anew.
            memset(self.views[0].account, 0, (self.views[0].header.fresh) * sizeof(CtAccount))
        for name, value in sysctls.items():
            (<uint32_t *>&self.shared.settings)[<uint32_t>SYSCTLS[name]] = value

    def timeouts(self):
        return {name: (<uint32_t *>&self.shared.settings)[<uint32_t>at] for name, at in SYSCTLS.items()}

    def set_budget(self, uint32_t port, uint32_t connections):
        """How many connections a port may begin; 0: as many as there is room for."""
        if port >= MAX_PORTS:
            raise ValueError(f"{port} is no port id")
        self.shared.budget[port] = connections

    def budget(self, uint32_t port):
        return self.shared.budget[port]

    # Listing

    cdef uint32_t copy(self, uint32_t index, CtEntry *to, CtAccount *account) noexcept nogil:
        """A copy of the entry, as of one moment; returns its `use`."""
        cdef CtEntry *entry = &self.views[CT_CONTROL].entry[index]
        if entry.use != CT_CONFIRMED:   # without the lock: most of a large table is empty
            return entry.use
        spin_lock(ct_lock(&self.views[CT_CONTROL], index))
        to[0] = entry[0]
        account[0] = self.views[CT_CONTROL].account[index]
        spin_unlock(ct_lock(&self.views[CT_CONTROL], index))
        return to.use

    def rows(self, uint64_t start=1, uint64_t count=1024, now_s=None):
        """The connections among `count` entries from index `start` on, and where to go on (0: that was all)."""
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef uint64_t index, end = min(start + count, self.views[CT_CONTROL].header.fresh)
        cdef CtEntry entry
        cdef CtAccount account
        rows = []
        for index in range(max(start, <uint64_t>1), end):
            if self.copy(<uint32_t>index, &entry, &account) == CT_CONFIRMED and not ct_expired(&entry, now):
                rows.append(connection_row(<uint32_t>index, &entry, &account, now))
        return rows, 0 if end >= self.views[CT_CONTROL].header.fresh else end

    def __iter__(self):
        start = 1
        while start:
            rows, start = self.rows(start)
            yield from rows

    # Ending

    def delete(self, uint32_t index, uint32_t serial):
        """End one connection of a listing; False if it has gone meanwhile."""
        cdef Conntrack *ct = &self.views[CT_CONTROL]
        cdef bint gone
        if not 0 < index < ct.header.fresh:
            return False
        with self.lock:
            gone = ct_kill(ct, index, serial, KILL_ANY, clock_s())
            if gone:
                count_one(&ct.counters.deleted)
        return gone

    def flush(self):
        """End all connections; returns how many."""
        cdef Conntrack *ct = &self.views[CT_CONTROL]
        cdef uint64_t index, ended = 0, end = ct.header.fresh
        cdef uint32_t now = clock_s()
        with self.lock, nogil:
            for index in range(1, end):
                if ct.entry[index].use == CT_CONFIRMED:
                    ended += ct_kill(ct, <uint32_t>index, 0, KILL_ANY, now)
            count(&ct.counters.deleted, ended)
        return ended

    def sweep(self, now_s=None, uint64_t budget=65536):
        """Look at the next `budget` entries and end those that have expired; returns how many.

        Of a table that is nearly full also those that are unassured or closing, as the kernel does."""
        cdef Conntrack *ct = &self.views[CT_CONTROL]
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef uint64_t n, ended = 0, early = 0, fresh = ct.header.fresh
        cdef bint full = ct.header.used * 100 > ct.header.capacity * NEARLY_FULL
        with self.lock, nogil:
            for n in range(min(budget, fresh)):
                if self.cursor >= fresh:
                    self.cursor = 1
                prefetch(<const char *>&ct.entry[self.cursor].status + 8 * sizeof(CtEntry))
                if ct.entry[self.cursor].use == CT_CONFIRMED:
                    if ct_expired(&ct.entry[self.cursor], now):
                        ended += ct_kill(ct, <uint32_t>self.cursor, 0, KILL_EXPIRED, now)
                    elif full:
                        early += ct_kill(ct, <uint32_t>self.cursor, 0, KILL_CLOSING, now)
                self.cursor += 1
            count(&ct.counters.expired, ended)
            count(&ct.counters.early_drop, early)
        self._settle()
        return ended + early

    def _settle(self):
        """Put what has come into use of a large table into huge pages, a few at a time: each is copied, which takes its time."""
        cdef CtHeader *h = self.views[CT_CONTROL].header
        cdef uint64_t entries = sizeof(CtHeader) + h.buckets * sizeof(CtBucket)
        cdef uint64_t fresh = relaxed_load64(&h.fresh)
        if h.capacity < LARGE_TABLE or fresh < h.settled + SETTLE_STEP:
            return
        if not h.settled:
            self.arena.collapse(sizeof(CtHeader), entries)
        # From a step before: the page on the border was not whole then.
        h.settled += SETTLE_STEP
        self.arena.collapse(entries + (h.settled - 2 * SETTLE_STEP if h.settled > SETTLE_STEP else 0) * sizeof(CtEntry),
                            entries + h.settled * sizeof(CtEntry))

    # Counting

    def counters(self):
        """The sums over all workers."""
        cdef CtHeader *h = self.views[CT_CONTROL].header
        cdef uint64_t total[10]
        cdef uint64_t *counters
        cdef int worker, at
        for at in range(10):
            total[at] = 0
        for worker in range(CT_VIEWS):
            counters = <uint64_t *>&self.views[worker].counters
            for at in range(10):
                total[at] += relaxed_load64(&counters[at])
        lost = self.shared.events.lost if self.shared.events != NULL else 0
        return ConnectionCounters(relaxed_load64(&h.confirmed), relaxed_load64(&h.used),
                                  *[total[at] for at in range(10)], lost)

    def zone_entries(self):
        """{zone: connections}, by the zone of their original direction."""
        cdef uint64_t *used = self.views[CT_CONTROL].header.zone_used
        cdef uint32_t zone
        return {zone: used[zone] for zone in range(CT_ZONES) if used[zone]}

    def owner_entries(self, uint32_t port):
        """How many connections a port has begun that are still there, and how many its budget has refused."""
        cdef CtHeader *h = self.views[CT_CONTROL].header
        if port >= MAX_PORTS:
            return 0, 0
        return relaxed_load64(&h.owner_used[port]), relaxed_load64(&h.owner_refused[port])

    def forget_refusals(self, uint32_t port):
        """The port id has a new owner, whose budget has refused nothing yet."""
        if port < MAX_PORTS:
            atomic_store64(&self.views[CT_CONTROL].header.owner_refused[port], 0)

    # Events

    def listen(self, bint on):
        """Begin or end to note events; without a listener they cost a branch."""
        if on and self.shared.events == NULL:
            self.shared.events = <CtEvents *>calloc(1, sizeof(CtEvents))
            if self.shared.events == NULL:
                raise MemoryError()
        atomic_store64(&self.shared.listening, on)

    def events(self, uint32_t most=256):
        """What has happened since the last call, at most so much: a list of ConnectionEvent."""
        cdef CtEvents *ring = self.shared.events
        cdef CtEvent event
        found = []
        while ring != NULL and len(found) < most:
            spin_lock(&ring.lock)
            if ring.head == ring.tail:
                spin_unlock(&ring.lock)
                break
            event = ring.event[ring.head % CT_EVENTS]
            ring.head += 1
            spin_unlock(&ring.lock)
            found.append(ConnectionEvent(event.kind, connection_row(event.index, &event.entry, &event.account,
                                                                    event.now_s)))
        return found


cdef inline void count_one(uint64_t *counter) noexcept:
    count(counter, 1)
