"""Taking frames: one after another of the same class of htb are a run, and charged for together.

While a run is on neither modes nor turns can change (htb_budget), so its frames come straight from the class's fifo.
"""
from libc.stdint cimport uint32_t

from ..core.native cimport count
from .held cimport Held
from .htb cimport htb_budget, htb_sent
from .peel cimport Part
from .queue cimport charge_bytes, delayed, queue_pop
from .state cimport QdiscState, Run, Scheduler
from .tree cimport BFIFO, Class, Tree

cdef inline void taken(QdiscState *state, const Part *part) noexcept nogil:
    state.backlog -= part.wire
    state.qlen -= part.last
    charge_bytes(&state.counts, part.wire, part.segments)

cdef inline void take_leaf(Scheduler *s, QdiscState *state, uint32_t number, const Part *part) noexcept nogil:
    taken(state, part)
    if part.last:
        state.picked = 0
        delayed(s, state, &s.pool.helds[number])

cdef inline void run_on(Scheduler *s, const Tree *tree, const Class *cls, uint32_t level, const Part *part,
                        uint32_t left) noexcept nogil:
    """Charge for what has left, or leave that for later while neither tokens nor the turn can be used up."""
    cdef Run *run = &s.run
    if run.cls == cls.slot:
        run.wire += part.wire
        run.segments += part.segments
        run.frames += 1
    else:
        run_end(s, tree)
        run.cls = cls.slot
        run.level = level
        run.wire = part.wire
        run.segments = part.segments
        run.frames = 1
        run.more_wire = run.more_segments = run.more_frames = run.at_once = 0
        run.budget = htb_budget(s, tree, cls, level) if left else 0
    if run.wire > run.budget or not left:
        run_end(s, tree)

cdef inline void run_end(Scheduler *s, const Tree *tree) noexcept nogil:
    cdef Run *run = &s.run
    cdef const Class *cls
    cdef QdiscState *below
    if run.cls:
        cls = &tree.classes[s.classes[run.cls].index]
        below = &s.qdiscs[tree.qdiscs[cls.leaf].slot]
        run.cls = 0
        if run.more_frames:
            settle_run(run, s.sending)
            settle_run(run, below)
            count(&below.delays[0], run.at_once)
        htb_sent(s, tree, cls, run, below.qlen == 0)

cdef inline uint32_t follow(Scheduler *s, const Tree *tree) noexcept nogil:
    """The next frame of the run, taken already; 0: there is none, or others are to be asked first."""
    cdef const Class *cls
    cdef QdiscState *below
    cdef const Held *held
    cdef Run *run = &s.run
    cdef uint32_t number
    if not run.cls:
        return 0
    cls = &tree.classes[s.classes[run.cls].index]
    below = &s.qdiscs[tree.qdiscs[cls.leaf].slot]
    if cls.qdisc or below.kind > BFIFO:
        return 0
    held = &s.pool.helds[below.queues[0].head]
    if held.wire > cls.peel and held.segments > 1:
        return 0
    number = queue_pop(s, &below.queues[0])
    if held.since_ns == s.now_ns:
        run.at_once += 1
    else:
        delayed(s, below, held)
    run.wire += held.wire
    run.segments += held.segments
    run.frames += 1
    run.more_wire += held.wire
    run.more_segments += held.segments
    run.more_frames += 1
    if run.wire > run.budget or not below.queues[0].n:
        run_end(s, tree)
    return number

cdef inline void settle_run(Run *run, QdiscState *state) noexcept nogil:
    state.qlen -= run.more_frames
    state.backlog -= run.more_wire
    charge_bytes(&state.counts, run.more_wire, run.more_segments)
