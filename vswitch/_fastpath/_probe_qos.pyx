"""Test doors: a port's queueing disciplines without a worker, frame by frame and at a time of the caller's choice.

The code is the scheduler's own. Not in the wheel.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from .core.arena cimport Arena
from .core.context cimport Context, PortIo
from .core.counters cimport MAX_PORTS, PortCounters
from .core.frame cimport FRAME_IP, FRAME_MAX, HEADROOM, SLOT, VNET_LEN, Burst, burst_add
from .core.native cimport memory_allow
from .core.snapshot cimport SnapshotOwner
from .core.verdict import DROP_REASONS
from .io.ring import MemoryRings
from .io.segment cimport BOUNCE
from .l2.egress cimport enqueue
from .l2.parse cimport parse_frame
from .qos.adopt cimport adopt_trees
from .qos.due cimport wake_due
from .qos.held cimport keep_lent
from .io.send cimport send_now
from .qos.scheduler cimport fill, hold, serve
from .qos.state cimport SchedulerOwner, set_ready
from .qos.state import SLOTS
from .qos.tree cimport CompiledTree

from vswitch.qos.slots import Slots
from vswitch.qos.view import QdiscStats
from vswitch.views import Offload, PortView, VlanMode

cdef enum:
    ORIGIN = 0
    OUT = 1


cdef class QosProbe:
    """One port with the disciplines of `tree` (vswitch/qos/view.py), which takes the offloads of `offloads`. Frames are on
    offer from another port; at most `memory` bytes of them wait."""

    cdef Context ctx
    cdef Burst burst
    cdef SchedulerOwner scheduler
    cdef SnapshotOwner snapshot
    cdef CompiledTree tree
    cdef Arena memory
    cdef object slots
    cdef object rings
    cdef object offloads
    cdef uint64_t generation

    def __init__(self, tree, uint64_t memory=64 << 20, int offloads=0x1f):
        self.memory = Arena("probe", SLOT + BOUNCE + MAX_PORTS * (sizeof(PortIo) + sizeof(PortCounters)), "probe/1")
        self.scheduler = SchedulerOwner(0, memory)
        self.slots = Slots(*SLOTS)
        self.rings = [MemoryRings("in"), MemoryRings("out", size=1 << 26)]
        self.ctx.scratch = <uint8_t *>self.memory.body()
        self.ctx.bounce = self.ctx.scratch + SLOT
        self.ctx.io = <PortIo *>(self.ctx.bounce + BOUNCE)
        self.ctx.counters = <PortCounters *>(self.ctx.io + MAX_PORTS)
        self.ctx.origin = &self.ctx.counters[ORIGIN]
        self.ctx.burst = &self.burst
        self.ctx.scheduler = &self.scheduler.scheduler
        self.scheduler.scheduler.counters = self.ctx.counters
        self.offloads = Offload(offloads)
        self.change(tree)

    def change(self, tree):
        """Give the port another tree, as `apply` does; None: none."""
        views = [PortView(id=ORIGIN, name="in", kind="memory", fds=(), bridge=None, memory=self.rings[0]),
                 PortView(id=OUT, name="out", kind="memory", fds=(), bridge=None, memory=self.rings[1], offloads=self.offloads)]
        self.generation += 1
        compiled = CompiledTree(tree, self.slots, 0) if tree is not None else None
        snapshot = SnapshotOwner(self.generation, [], views, {}, dict(enumerate(self.rings)), None,
                                 {OUT: compiled} if compiled else {}, {ORIGIN: 1, OUT: 1})
        adopt_trees(self.ctx.scheduler, &snapshot.snapshot, 0)
        self.ctx.snapshot = &snapshot.snapshot
        self.snapshot, self.tree = snapshot, compiled
        if tree is not None:
            self.slots.keep(compiled.serials, {compiled.generation})

    def offer(self, bytes frame not None, uint64_t now_ns, uint32_t mark=0, uint32_t class_id=0, bytes vnet=bytes(VNET_LEN),
              uint32_t vid=0):
        """Put a frame in the port's queues at that time; None, or the name of why it, or another in its place, was dropped.
        Nothing leaves yet."""
        cdef uint8_t *at = self.ctx.scratch + HEADROOM
        cdef uint8_t verdict
        before = self.drops()
        cdef uint64_t queued = self.ctx.counters[ORIGIN].queued
        if len(frame) > FRAME_MAX or len(vnet) != VNET_LEN:
            raise ValueError("no frame")
        self.ctx.now_ns = now_ns
        memcpy(at - VNET_LEN, <const char *>vnet, VNET_LEN)
        memcpy(at, <const char *>frame, len(frame))
        self.burst.n = 0
        burst_add(&self.burst, at, len(frame))
        self.burst.port = &self.ctx.snapshot.ports[ORIGIN]
        verdict = parse_frame(&self.burst.frames[0])
        if verdict:
            return DROP_REASONS[verdict]
        self.ctx.counters[ORIGIN].rx_frames += 1
        if vid:
            self.burst.frames[0].vid = vid
        self.burst.frames[0].flags |= FRAME_IP
        memset(&self.burst.packets[0], 0, sizeof(self.burst.packets[0]))
        self.burst.packets[0].mark = mark
        self.burst.packets[0].class_id = class_id
        enqueue(&self.ctx, &self.ctx.snapshot.ports[OUT], &self.burst.frames[0])
        hold(&self.ctx, &self.ctx.snapshot.ports[OUT], &self.ctx.io[OUT])
        self.ctx.io[OUT].dirty = False
        self.ctx.n_dirty = 0
        keep_lent(&self.ctx.scheduler.pool)
        if self.ctx.counters[ORIGIN].queued == queued + 1:
            return None                 # ... and no other lost its place to it
        return next((name for name, number in self.drops().items() if number > before.get(name, 0)), None)

    def serve(self, uint64_t now_ns, most=None):
        """What leaves at that time: virtio-net header and frame in one; at most that many."""
        cdef PortIo *io = &self.ctx.io[OUT]
        self.ctx.now_ns = now_ns
        self.ctx.scheduler.now_ns = now_ns
        if most is not None:
            wake_due(self.ctx.scheduler)
            for _ in range(most):
                if fill(&self.ctx, &self.ctx.snapshot.ports[OUT], io, 1):
                    send_now(&self.ctx, &self.ctx.snapshot.ports[OUT], io)
        else:
            set_ready(self.ctx.scheduler, OUT)
            while self.ctx.scheduler.n_ready:
                serve(&self.ctx)
        return [header + frame for header, frame in self.rings[1].collect(vnet=True)]

    def due(self):
        """When time alone lets something leave; None: never."""
        cdef uint32_t i
        if self.ctx.scheduler.pool.n == 0 or self.ctx.scheduler.n_wakes == 0:
            return None
        return self.ctx.scheduler.wakes[0].due_ns

    def stats(self, serial):
        """QdiscStats of a discipline or class."""
        for qdisc in self.tree.view.qdiscs:
            if qdisc.serial == serial:
                *counts, extra, delays = self.scheduler.qdisc(self.slots.qdisc(serial), serial)
                return QdiscStats(*counts, extra, delays)
            for cls in qdisc.classes:
                if cls.serial == serial:
                    found = self.scheduler.cls(self.slots.cls(serial), serial)
                    return QdiscStats(*found[:5], extra=found[5:])
        raise KeyError(serial)

    def drops(self):
        """Of frames offered, by name; also what the books say of them under "queued" and "delivered"."""
        cdef uint32_t number
        cdef PortCounters *counters = &self.ctx.counters[ORIGIN]
        return {name: counters.drops[<uint32_t>number] for number, name in DROP_REASONS.items() if counters.drops[<uint32_t>number]}

    def books(self):
        """received, queued, delivered, dropped, lost segments."""
        cdef PortCounters *counters = &self.ctx.counters[ORIGIN]
        return counters.rx_frames, counters.queued, counters.delivered, sum(self.drops().values()), counters.segments_lost

    def memory_used(self):
        """Bytes reserved, and frames held."""
        return self.scheduler.memory
