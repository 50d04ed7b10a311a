"""When time alone lets something leave: a heap of due times, one a worker, for classes of htb and for tbf.

An item is in the heap once. Times that have come stay until somebody asks (`wake_due`): a worker without a held frame
does not wake up for them.
"""
from libc.stdint cimport uint32_t, uint64_t

from .state cimport Scheduler, Wake

cdef inline void wake_put(Scheduler *s, uint32_t at, Wake wake) noexcept nogil:
    s.wakes[at] = wake
    s.wake_at[wake.item] = at + 1

cdef inline void wake_up(Scheduler *s, uint32_t at, Wake wake) noexcept nogil:
    """Settle what belongs at `at` or above."""
    cdef uint32_t parent
    while at:
        parent = (at - 1) >> 1
        if s.wakes[parent].due_ns <= wake.due_ns:
            break
        wake_put(s, at, s.wakes[parent])
        at = parent
    wake_put(s, at, wake)

cdef inline void wake_down(Scheduler *s, uint32_t at, Wake wake) noexcept nogil:
    """... or below."""
    cdef uint32_t child
    while True:
        child = 2 * at + 1
        if child >= s.n_wakes:
            break
        if child + 1 < s.n_wakes and s.wakes[child + 1].due_ns < s.wakes[child].due_ns:
            child += 1
        if wake.due_ns <= s.wakes[child].due_ns:
            break
        wake_put(s, at, s.wakes[child])
        at = child
    wake_put(s, at, wake)

cdef inline void wake_set(Scheduler *s, uint32_t item, uint64_t due_ns) noexcept nogil:
    """Wake for the item then, and only then."""
    cdef Wake wake = Wake(due_ns, item)
    cdef uint32_t at = s.wake_at[item]
    if at == 0:
        s.n_wakes += 1
        wake_up(s, s.n_wakes - 1, wake)
    elif due_ns < s.wakes[at - 1].due_ns:
        wake_up(s, at - 1, wake)
    else:
        wake_down(s, at - 1, wake)

cdef inline void wake_forget(Scheduler *s, uint32_t item) noexcept nogil:
    cdef uint32_t at = s.wake_at[item]
    cdef Wake last
    if at == 0:
        return
    s.wake_at[item] = 0
    s.n_wakes -= 1
    if at - 1 == s.n_wakes:
        return
    last = s.wakes[s.n_wakes]
    if at > 1 and last.due_ns < s.wakes[(at - 2) >> 1].due_ns:
        wake_up(s, at - 1, last)
    else:
        wake_down(s, at - 1, last)
