"""The life of an entry: taken from the free ones, and given back to them. See entries.pyx."""
from libc.stdint cimport uint32_t, uint64_t

from .conntrack cimport Conntrack

cdef enum:
    # ct_kill: which connections it may end
    KILL_ANY = 0
    KILL_UNASSURED = 1                  # or expired
    KILL_EXPIRED = 2
    KILL_CLOSING = 3                    # unassured, or TCP on its way out: when the table is nearly full
    KILL_OVER = 4                       # TCP that has closed: when another wants its port

    ANY_SERIAL = 0
    ANY_OWNER = 0xffff

cdef uint32_t ct_take(Conntrack *ct, uint64_t hash, uint32_t owner, uint32_t now_s, int *reason) noexcept nogil
cdef void ct_release(Conntrack *ct, uint32_t index) noexcept nogil
cdef void ct_unlink(Conntrack *ct, uint64_t hash, uint64_t slot) noexcept nogil
cdef bint ct_kill(Conntrack *ct, uint32_t index, uint32_t serial, int which, uint32_t now_s) noexcept nogil
cdef bint ct_delete(Conntrack *ct, uint32_t index, uint32_t now_s) noexcept nogil
cdef void ct_event(Conntrack *ct, uint32_t kind, uint32_t index, uint32_t now_s) noexcept nogil
