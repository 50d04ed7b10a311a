"""The memory of a worker's scheduler, and what it tells the control side. See state.pxd."""
import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.native cimport relaxed_load64
from ..core.tx cimport TX_QUEUE
from .held cimport HELD_SIZES, Held, size_bytes
from .peel cimport PEEL_BLOCK
from .tree cimport FQ_CODEL, HTB
from .state cimport *

cdef enum:
    INBOX = 1 << 20                     # bytes of frames on their way from one worker to another

SLOTS = (QDISC_SLOTS, CLASS_SLOTS, FLOW_SLOTS, WORD_SLOTS)


cdef uint64_t slots_of(uint64_t limit, uint32_t size):
    """How many of a size the whole pool could be."""
    return limit // size_bytes(size) + 1


cdef class SchedulerOwner:
    """`memory` bounds what may wait, in bytes of the slots that frames take."""

    def __cinit__(self, uint32_t worker, uint64_t memory):
        cdef uint32_t size
        cdef uint64_t helds = slots_of(memory, 0)
        cdef Scheduler *s = &self.scheduler
        cdef char *at
        sizes = (QDISC_SLOTS + 1) * sizeof(QdiscState), (CLASS_SLOTS + 1) * sizeof(ClassState), (FLOW_SLOTS + 1) * sizeof(Flow), (WORD_SLOTS + 1) * sizeof(uint64_t)
        self._states = Arena(f"qos-{worker}", sum(sizes) + TX_QUEUE * PEEL_BLOCK, "qos/1")
        at = <char *>self._states.body()
        s.classes = <ClassState *>at
        s.qdiscs = <QdiscState *>(at + <size_t>sizes[1])
        s.flows = <Flow *>(at + <size_t>(sizes[0] + sizes[1]))
        s.words = <uint64_t *>(at + <size_t>(sizes[0] + sizes[1] + sizes[2]))
        s.blocks = <uint8_t *>(at + <size_t>sum(sizes))
        self._wakes = Arena(f"qos-wakes-{worker}", (WAKES + 1) * (sizeof(Wake) + sizeof(uint32_t)), "qos-wakes/1")
        s.wakes = <Wake *>self._wakes.body()
        s.wake_at = <uint32_t *>(s.wakes + WAKES + 1)
        assert sizeof(Held) == 128
        total = (helds + 1) * sizeof(Held) + sum(slots_of(memory, size) * size_bytes(size) for size in range(HELD_SIZES))
        self._pool = Arena(f"qos-pool-{worker}", total, "qos-pool/1")
        s.pool.helds = <Held *>self._pool.body()
        s.pool.capacity = helds
        s.pool.limit = memory
        at = <char *>(s.pool.helds + helds + 1)
        for size in range(HELD_SIZES):
            s.pool.slots[size] = <uint8_t *>at
            at += slots_of(memory, size) * size_bytes(size)
        s.seed = int.from_bytes(os.urandom(8), "little") | 1

    cpdef meet(self, uint32_t workers):
        """Make the inboxes that the others fill; what is never used takes no memory."""
        cdef uint32_t i
        self._inbox = Arena("qos-inbox", workers * INBOX, "qos-inbox/1")
        self.scheduler.n_peers = workers
        for i in range(workers):
            self.scheduler.inbox[i].bytes = <uint8_t *>self._inbox.body() + i * INBOX
            self.scheduler.inbox[i].size = INBOX

    def qdisc(self, uint32_t slot, uint64_t serial):
        """(bytes, packets, drops, overlimits, requeues, backlog, qlen, extra, delays) of a discipline; None before a worker
        has taken it up."""
        cdef const QdiscState *state = &self.scheduler.qdiscs[slot]
        if state.serial != serial:
            return None
        extra = ()
        if state.kind == HTB:
            extra = (relaxed_load64(&state.direct),)
        elif state.kind == FQ_CODEL:
            extra = (state.max_packet, state.drop_overlimit, state.new_flow_count, state.ecn_mark, state.news.n, state.olds.n,
                     state.ce_mark, state.memory, state.drop_overmemory)
        return (*counts_of(&state.counts), state.backlog, state.qlen, extra,
                tuple([relaxed_load64(&state.delays[place]) for place in range(DELAYS)]))

    def cls(self, uint32_t slot, uint64_t serial):
        """(bytes, packets, drops, overlimits, requeues, lends, borrows, tokens, ctokens) of a class, or None."""
        cdef const ClassState *state = &self.scheduler.classes[slot]
        if state.serial != serial:
            return None
        return (*counts_of(&state.counts), relaxed_load64(&state.lends), relaxed_load64(&state.borrows), state.tokens,
                state.ctokens)

    @property
    def memory(self):
        """Bytes reserved by frames that wait, and how many frames those are."""
        return self.scheduler.pool.bytes, self.scheduler.pool.n

    @property
    def limit(self):
        """Bytes that may be reserved."""
        return self.scheduler.pool.limit


cdef tuple counts_of(const Counts *counts):
    return (relaxed_load64(&counts.bytes), relaxed_load64(&counts.packets), relaxed_load64(&counts.drops),
            relaxed_load64(&counts.overlimits), relaxed_load64(&counts.requeues))
