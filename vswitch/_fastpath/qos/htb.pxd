"""Hierarchical token bucket (sch_htb.c): classes with a rate of their own, who borrow what their parents have left.

A class is in one of three modes: CAN_SEND (tokens at its rate), MAY_BORROW (only at its ceil), CANT_SEND. Where anything
below it waits, a class that can send stands in its level's row for that priority, one that may borrow in its parent's
feed. To send is to take the lowest level and in it the best priority that has a row, and to follow turns down to a leaf:
from its own row a leaf sends on its own account, from a higher row it borrows from the class at the top.

Whoever is not CAN_SEND is in the wake-up heap, for the time when that may change. Turns end when `deficit` is used up, a
quantum each (turns.pxd).

As with tbf, what waited is not charged for the scheduler's coming late.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from ..core.native cimport count
from .offer cimport Offer, first_filter
from .state cimport (
    CANT_SEND, CAN_SEND, LATE_NS, MAY_BORROW, MBUFFER_NS, ClassState, QdiscState, Run, Scheduler,
)
from .tree cimport HTB_LEVELS, NO_INDEX, Class, Filter, Filters, Qdisc, Tree, find_class, shape_ns
from .turns cimport feed_of, lowest_bit, row_of, turns_add, turns_leaf, turns_remove
from .wake cimport wake_forget, wake_set

cdef enum:
    MINOR = 0xffff
    MAJOR = 0xffff0000u


# Which class

cdef inline const Class *htb_find(const Tree *tree, const Qdisc *qdisc, uint32_t class_id) noexcept nogil:
    cdef const Class *found = find_class(tree, class_id)
    return found if found != NULL and &tree.qdiscs[found.qdisc] == qdisc else NULL

cdef inline const Class *htb_classify(const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    """The leaf class that an offer goes to; NULL: to none, it leaves unshaped (htb_classify)."""
    cdef const Filters *filters = &qdisc.filters
    cdef const Class *found
    cdef const Filter *filter
    cdef uint32_t class_id = offer.class_id
    if class_id and class_id & MAJOR == qdisc.handle:
        if class_id == qdisc.handle:
            return NULL
        found = htb_find(tree, qdisc, class_id)
        if found != NULL:
            if found.level == 0:
                return found
            filters = &found.filters
    while filters.n:
        filter = first_filter(tree, filters, offer)
        if filter == NULL:
            break
        if filter.class_id == qdisc.handle:
            return NULL
        if filter.cls == NO_INDEX or &tree.qdiscs[tree.classes[filter.cls].qdisc] != qdisc:
            break
        found = &tree.classes[filter.cls]
        if found.level == 0:
            return found
        if &found.filters == filters:
            break
        filters = &found.filters
    return &tree.classes[qdisc.default_class] if qdisc.default_class != NO_INDEX else NULL


# Who is in line

cdef inline void activate(Scheduler *s, const Tree *tree, const Class *cls) noexcept nogil:
    """The class has something to send, in the priorities of `active`: let those above know, or stand in the row."""
    cdef ClassState *state = &s.classes[cls.slot]
    cdef ClassState *parent
    cdef QdiscState *qdisc = &s.qdiscs[tree.qdiscs[cls.qdisc].slot]
    cdef uint32_t mask = state.active, rest, prio
    qdisc.turn = 0
    while state.mode == MAY_BORROW and cls.parent != NO_INDEX and mask:
        parent = &s.classes[tree.classes[cls.parent].slot]
        rest = mask
        while rest:
            prio = lowest_bit(rest)
            rest &= rest - 1
            if parent.feeds[prio].n:
                mask &= ~(1u << prio)   # it has had others before: those above know
            turns_add(feed_of(s, tree, &tree.classes[cls.parent], prio), cls.place)
        parent.active |= mask
        cls, state = &tree.classes[cls.parent], parent
    if state.mode == CAN_SEND and mask:
        qdisc.row_mask[cls.level] |= mask
        while mask:
            prio = lowest_bit(mask)
            mask &= mask - 1
            turns_add(row_of(s, tree, &tree.qdiscs[cls.qdisc], cls.level, prio), cls.row_place)

cdef inline void deactivate(Scheduler *s, const Tree *tree, const Class *cls) noexcept nogil:
    """The reverse."""
    cdef ClassState *state = &s.classes[cls.slot]
    cdef ClassState *parent
    cdef QdiscState *qdisc = &s.qdiscs[tree.qdiscs[cls.qdisc].slot]
    cdef uint32_t mask = state.active, rest, prio
    qdisc.turn = 0
    while state.mode == MAY_BORROW and cls.parent != NO_INDEX and mask:
        parent = &s.classes[tree.classes[cls.parent].slot]
        rest = mask
        mask = 0
        while rest:
            prio = lowest_bit(rest)
            rest &= rest - 1
            turns_remove(feed_of(s, tree, &tree.classes[cls.parent], prio), cls.place)
            if not parent.feeds[prio].n:
                mask |= 1u << prio
        parent.active &= ~mask
        cls, state = &tree.classes[cls.parent], parent
    if state.mode == CAN_SEND:
        while mask:
            prio = lowest_bit(mask)
            mask &= mask - 1
            turns_remove(row_of(s, tree, &tree.qdiscs[cls.qdisc], cls.level, prio), cls.row_place)
            if not qdisc.rows[cls.level][prio].n:
                qdisc.row_mask[cls.level] &= ~(1u << prio)

cdef inline void leaf_active(Scheduler *s, const Tree *tree, const Class *cls) noexcept nogil:
    """Its leaf has something to send, or still has."""
    if not s.classes[cls.slot].active:
        s.classes[cls.slot].active = <uint8_t>(1 << cls.prio)
        activate(s, tree, cls)

cdef inline void leaf_idle(Scheduler *s, const Tree *tree, const Class *cls) noexcept nogil:
    if s.classes[cls.slot].active:
        deactivate(s, tree, cls)
        s.classes[cls.slot].active = 0


# Modes

cdef inline int64_t htb_elapsed(const Scheduler *s, const ClassState *state) noexcept nogil:
    cdef uint64_t elapsed = s.now_ns - state.charged_ns
    return <int64_t>elapsed if elapsed < MBUFFER_NS else <int64_t>MBUFFER_NS

cdef inline uint8_t htb_mode(const ClassState *state, int64_t elapsed, int64_t *wait) noexcept nogil:
    """The mode by the tokens, and in how many nanoseconds it may be another by itself."""
    wait[0] = -(state.ctokens + elapsed)
    if wait[0] > 0:
        return CANT_SEND
    wait[0] = -(state.tokens + elapsed)
    return MAY_BORROW if wait[0] > 0 else CAN_SEND

cdef inline void set_mode(Scheduler *s, const Tree *tree, const Class *cls, uint8_t mode) noexcept nogil:
    cdef ClassState *state = &s.classes[cls.slot]
    if mode == state.mode:
        return
    if mode == CANT_SEND:
        count(&state.counts.overlimits, 1)
        count(&s.qdiscs[tree.qdiscs[cls.qdisc].slot].counts.overlimits, 1)
    if not state.active:
        state.mode = mode
        return
    if state.mode != CANT_SEND:
        deactivate(s, tree, cls)
    state.mode = mode
    if mode != CANT_SEND:
        activate(s, tree, cls)

cdef inline void htb_wait(Scheduler *s, const Class *cls, int64_t wait) noexcept nogil:
    s.classes[cls.slot].due_ns = s.now_ns + <uint64_t>wait
    wake_set(s, cls.slot, s.classes[cls.slot].due_ns)

cdef inline void htb_due(Scheduler *s, const Tree *tree, const Class *cls) noexcept nogil:
    """The time that the class waited for has come (htb_do_events)."""
    cdef ClassState *state = &s.classes[cls.slot]
    cdef int64_t wait = 0
    cdef uint64_t late = s.now_ns - state.due_ns
    cdef uint8_t mode = htb_mode(state, htb_elapsed(s, state), &wait)
    wake_forget(s, cls.slot)
    if state.active and mode < state.mode:
        state.slack = late if late < LATE_NS else LATE_NS
    set_mode(s, tree, cls, mode)
    if mode != CAN_SEND:
        htb_wait(s, cls, wait)


# Sending

cdef inline uint32_t htb_turn(Scheduler *s, const Tree *tree, const Qdisc *qdisc, QdiscState *state, uint32_t *level) noexcept nogil:
    """The slot of the leaf class that may send, and from which level; 0: nobody may.

    It is the same as before until somebody comes into line, leaves it, or has had its turn."""
    cdef uint32_t i, prio
    if state.turn:
        level[0] = state.turn_level
        return state.turn
    for i in range(HTB_LEVELS):
        if state.row_mask[i]:
            prio = lowest_bit(state.row_mask[i])
            level[0] = state.turn_level = i
            state.turn = turns_leaf(s, tree, qdisc, i, prio)
            return state.turn
    return 0

cdef inline uint32_t htb_budget(const Scheduler *s, const Tree *tree, const Class *cls, uint32_t level) noexcept nogil:
    """How many bytes the leaf may send at once with nobody's mode, nor its turn, changed by it; rather too few."""
    cdef const ClassState *state = &s.classes[cls.slot]
    cdef int64_t budget = state.deficit[level], elapsed, room
    while budget > 0:
        state = &s.classes[cls.slot]
        elapsed = htb_elapsed(s, state)
        if state.mode != CAN_SEND or cls.rate.overhead | cls.rate.mpu or state.slack:
            return 0
        if cls.level >= level:
            room = <int64_t>(least(state.tokens + elapsed, cls.burst_ns) * cls.rate_per_ns)
            budget = least(budget, room)
        room = <int64_t>(least(state.ctokens + elapsed, cls.cburst_ns) * cls.ceil_per_ns)
        budget = least(budget, room)
        if cls.parent == NO_INDEX:
            return <uint32_t>budget if budget > 0 else 0
        cls = &tree.classes[cls.parent]
    return 0

cdef inline int64_t least(int64_t a, int64_t b) noexcept nogil:
    return a if a < b else b

cdef inline void htb_sent(Scheduler *s, const Tree *tree, const Class *cls, const Run *run, bint empty) noexcept nogil:
    """The leaf has sent so much: its turn may be over, and it and all above it are charged (htb_charge_class)."""
    cdef ClassState *state = &s.classes[cls.slot]
    cdef QdiscState *qdisc = &s.qdiscs[tree.qdiscs[cls.qdisc].slot]
    state.deficit[run.level] -= <int32_t>run.wire
    if state.deficit[run.level] < 0:
        state.deficit[run.level] += cls.quantum
        qdisc.turn = 0
        if run.level:
            s.classes[tree.classes[cls.parent].slot].feeds[cls.prio].turn = cls.place + 1
        else:
            qdisc.rows[0][cls.prio].turn = cls.row_place + 1
    if empty:
        leaf_idle(s, tree, cls)
    while True:
        htb_charge(s, tree, cls, run)
        if not s.classes[cls.slot].active:
            s.classes[cls.slot].slack = 0   # nobody waits any more
        if cls.parent == NO_INDEX:
            return
        cls = &tree.classes[cls.parent]

cdef inline void htb_charge(Scheduler *s, const Tree *tree, const Class *cls, const Run *run) noexcept nogil:
    cdef ClassState *state = &s.classes[cls.slot]
    cdef int64_t elapsed = htb_elapsed(s, state), wait = 0, slack
    cdef uint8_t mode = state.mode
    count(&state.counts.bytes, run.wire)
    count(&state.counts.packets, run.segments)
    if has_plenty(s, cls, state, run, elapsed):
        return
    if cls.level >= run.level:
        if cls.level == run.level:
            count(&state.lends, run.frames)
        state.tokens = spend(state.tokens + elapsed, cls.burst_ns + state.slack, shape_ns(&cls.rate, run.wire, run.segments))
    else:
        count(&state.borrows, run.frames)
        state.tokens += elapsed
        if state.tokens > cls.burst_ns + state.slack:
            state.tokens = cls.burst_ns + state.slack
    state.ctokens = spend(state.ctokens + elapsed, cls.cburst_ns + state.slack, shape_ns(&cls.ceil, run.wire, run.segments))
    if state.slack:
        slack = state.tokens - cls.burst_ns
        if state.ctokens - cls.cburst_ns > slack:
            slack = state.ctokens - cls.cburst_ns
        state.slack = 0 if slack < 0 else slack if slack < state.slack else state.slack
    state.charged_ns = s.now_ns
    set_mode(s, tree, cls, htb_mode(state, 0, &wait))
    if state.mode == mode:
        return                          # should it be due earlier than it need be, it is asked again then
    if state.mode == CAN_SEND:
        wake_forget(s, cls.slot)
    else:
        htb_wait(s, cls, wait)

cdef inline bint has_plenty(Scheduler *s, const Class *cls, ClassState *state, const Run *run, int64_t elapsed) noexcept nogil:
    """The short way for a class that can send, and still can afterwards; false: nothing has been done."""
    cdef int64_t tokens, ctokens
    if state.mode != CAN_SEND or state.slack or cls.level < run.level:
        return False
    tokens = least(state.tokens + elapsed, cls.burst_ns) - <int64_t>shape_ns(&cls.rate, run.wire, run.segments)
    ctokens = least(state.ctokens + elapsed, cls.cburst_ns) - <int64_t>shape_ns(&cls.ceil, run.wire, run.segments)
    if tokens < 0 or ctokens < 0:
        return False
    if cls.level == run.level:
        count(&state.lends, run.frames)
    state.tokens = tokens
    state.ctokens = ctokens
    state.charged_ns = s.now_ns
    return True

cdef inline int64_t spend(int64_t tokens, int64_t limit, uint64_t cost) noexcept nogil:
    if tokens > limit:
        tokens = limit
    tokens -= <int64_t>cost
    return tokens if tokens > -<int64_t>MBUFFER_NS else 1 - <int64_t>MBUFFER_NS
