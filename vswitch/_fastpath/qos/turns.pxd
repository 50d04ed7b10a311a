"""Whose turn it is among the classes of htb: of one level (a row), or of one parent (a feed), in one priority.

Members have places by class id. Who has something to send has its bit set; `turn` is the place to look from. So a class that
leaves for a moment and comes back still has its turn, as in the kernel (htb_prio.last_ptr_id): otherwise classes that
borrow now and then would share by chance.
"""
from libc.stdint cimport uint32_t, uint64_t

from .state cimport HTB_LEVELS, Row, Scheduler
from .tree cimport Class, Qdisc, Tree

cdef extern from *:
    int lowest_bit "__builtin_ctz"(unsigned int mask) noexcept nogil
    int lowest_bit64 "__builtin_ctzll"(uint64_t mask) noexcept nogil

cdef enum:
    NO_PLACE = 0xffffffff

cdef struct Turns:
    Row *row
    uint64_t *words                     # a bit a place
    uint32_t n_words
    const uint32_t *members             # slots, by place

cdef inline Turns row_of(Scheduler *s, const Tree *tree, const Qdisc *qdisc, uint32_t level, uint32_t prio) noexcept nogil:
    """The classes of a level that may send on their own account."""
    cdef uint32_t n = qdisc.row_words[level]
    return Turns(&s.qdiscs[qdisc.slot].rows[level][prio], s.words + tree.words + qdisc.row_first_word[level] + prio * n, n,
                 tree.members + qdisc.row_first[level])

cdef inline Turns feed_of(Scheduler *s, const Tree *tree, const Class *parent, uint32_t prio) noexcept nogil:
    """The children of a class that borrow from it."""
    cdef uint32_t n = parent.feed_words
    return Turns(&s.classes[parent.slot].feeds[prio], s.words + tree.words + parent.feed_first_word + prio * n, n,
                 tree.members + parent.feed_first)

cdef inline void turns_add(Turns turns, uint32_t place) noexcept nogil:
    turns.row.n += 1
    turns.words[place >> 6] |= 1ULL << (place & 63)

cdef inline void turns_remove(Turns turns, uint32_t place) noexcept nogil:
    turns.row.n -= 1
    turns.words[place >> 6] &= ~(1ULL << (place & 63))

cdef inline uint32_t turns_next(Turns turns) noexcept nogil:
    """The first place from the turn on that has something to send; NO_PLACE: the round is through."""
    cdef uint32_t word = turns.row.turn >> 6
    cdef uint64_t bits
    if word >= turns.n_words:
        return NO_PLACE
    bits = turns.words[word] >> (turns.row.turn & 63) << (turns.row.turn & 63)
    while not bits:
        word += 1
        if word == turns.n_words:
            return NO_PLACE
        bits = turns.words[word]
    return word * 64 + lowest_bit64(bits)

cdef inline uint32_t turns_leaf(Scheduler *s, const Tree *tree, const Qdisc *qdisc, uint32_t level, uint32_t prio) noexcept nogil:
    """The slot of the leaf class whose turn it is, down from a row; 0: the row is empty (htb_lookup_leaf)."""
    cdef Turns path[HTB_LEVELS + 1]
    cdef uint32_t depth = 0, place, slot
    cdef const Class *cls
    path[0] = row_of(s, tree, qdisc, level, prio)
    while True:
        place = turns_next(path[depth])
        if place == NO_PLACE:           # from the start again, and the next one above has its turn
            path[depth].row.turn = 0
            if depth:
                depth -= 1
                path[depth].row.turn += 1
            elif not path[0].row.n:
                return 0
            continue
        path[depth].row.turn = place
        slot = path[depth].members[place]
        cls = &tree.classes[s.classes[slot].index]
        if cls.level == 0:
            return slot
        depth += 1
        path[depth] = feed_of(s, tree, cls, prio)
