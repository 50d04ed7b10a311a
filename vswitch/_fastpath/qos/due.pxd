"""Times that have come: whoever waited for one may do what it waited for."""
from libc.stdint cimport uint32_t

from .htb cimport htb_due, leaf_active
from .state cimport CLASS_SLOTS, ClassState, QdiscState, Scheduler, set_ready
from .tree cimport NO_INDEX, Class, Tree
from .wake cimport wake_forget

cdef inline const Tree *tree_of(Scheduler *s, uint32_t port) noexcept nogil:
    return s.snapshot.ports[port].tree

cdef inline void wake_due(Scheduler *s) noexcept nogil:
    """Whoever waited for a time up to now may do what it waited for."""
    cdef uint32_t item
    while s.n_wakes and s.wakes[0].due_ns <= s.now_ns:
        item = s.wakes[0].item
        if item < CLASS_SLOTS:
            wake_class(s, &s.classes[item])
        else:
            wake_forget(s, item)
            wake_qdisc(s, &s.qdiscs[item - CLASS_SLOTS])

cdef inline void wake_class(Scheduler *s, ClassState *state) noexcept nogil:
    cdef const Tree *tree = tree_of(s, state.port)
    cdef const Class *cls = &tree.classes[state.index]
    htb_due(s, tree, cls)
    wake_above(s, tree, cls.qdisc)
    if s.qdiscs[tree.qdiscs[cls.qdisc].slot].qlen:
        set_ready(s, state.port)

cdef inline void wake_qdisc(Scheduler *s, QdiscState *state) noexcept nogil:
    wake_above(s, tree_of(s, state.port), state.index)
    set_ready(s, state.port)

cdef inline void wake_above(Scheduler *s, const Tree *tree, uint32_t index) noexcept nogil:
    """Classes of htb above had stood aside for a discipline that held its frames back."""
    while index != NO_INDEX:
        if tree.qdiscs[index].cls != NO_INDEX and s.qdiscs[tree.qdiscs[index].slot].qlen:
            leaf_active(s, tree, &tree.classes[tree.qdiscs[index].cls])
        index = tree.qdiscs[index].parent
