"""A port's queueing disciplines as configured: immutable, part of a snapshot, made from vswitch/qos/view.py.

What a discipline holds (queues, tokens, counters) outlives the configuration: it lies in a slot of the home worker's
scheduler (state.pxd), which the record here names. `index` numbers are places in the tree's own arrays.

A rate is kept as the kernel keeps it (struct psched_ratecfg): the time of n bytes is n * mult >> shift.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.blocks cimport BlockOwner

cdef enum QdiscKind:
    # vswitch/qos/view.py has the same.
    PFIFO = 1
    BFIFO
    PFIFO_FAST
    PRIO
    SFQ
    TBF
    HTB
    FQ_CODEL

cdef enum KeyBase:
    KEY_NETWORK = 1
    KEY_TRANSPORT
    KEY_FWMARK
    KEY_PROTOCOL
    KEY_VLAN

cdef enum:
    RUN_MIN = 8                         # filters of one shape in a row that are worth a table
    RUN_KEYS = 8                        # ... with so many keys at most
    POLICERS = 16                       # a port
    NO_INDEX = 0xffffffff
    HTB_LEVELS = 8                      # TC_HTB_MAXDEPTH
    HTB_PRIOS = 8                       # TC_HTB_NUMPRIO
    PRIOMAP = 16
    FAST_BANDS = 3
    PEEL_NS = 1000000                   # a super-frame must not hold the line for longer at its class's ceil

cdef struct Shape:
    uint32_t mult
    uint16_t overhead
    uint16_t mpu
    uint8_t shift

cdef struct Key:
    uint32_t value
    uint32_t mask
    int32_t offset
    uint8_t base

cdef struct Filter:
    uint32_t first_key
    uint32_t n_keys
    uint32_t class_id
    uint16_t protocol                   # EtherType behind all tags; 0: any
    uint32_t run                        # how many from this one on ask the same of different values; 0: no such run
    uint32_t run_mask                   # of the table that finds them by value, and its place in Tree.runs
    uint32_t run_slots
    uint32_t cls                        # index of the class with that id; NO_INDEX: there is none

cdef struct RunSlot:
    # Of a run's table: the value of a filter's first key, and the filter's index + 1; 0: empty.
    uint32_t value
    uint32_t filter

cdef struct Filters:
    uint32_t first
    uint32_t n

cdef struct Class:
    uint64_t serial
    uint32_t slot                       # of ClassState
    uint32_t class_id
    uint32_t parent                     # index; NO_INDEX: a root class
    uint32_t leaf                       # index of its qdisc; NO_INDEX: it has children
    uint32_t qdisc                      # index of the htb that it belongs to
    uint32_t quantum
    uint32_t peel                       # bytes that pass in PEEL_NS at ceil
    uint32_t place                      # among its parent's children, by class id
    uint32_t row_place                  # among the classes of its level
    uint32_t feed_first                 # of an inner class: its children in Tree.members
    uint32_t feed_words                 # ... and the words that have a bit each, for each priority
    uint32_t feed_first_word
    uint8_t level                       # 0: a leaf
    uint8_t prio
    Shape rate
    Shape ceil
    int64_t burst_ns
    int64_t cburst_ns
    double rate_per_ns                  # bytes
    double ceil_per_ns
    Filters filters

cdef struct Qdisc:
    uint64_t serial
    uint32_t slot                       # of QdiscState
    uint32_t flow                       # first of its slots for flows
    uint32_t handle
    uint32_t parent                     # index of the qdisc above; NO_INDEX: the root
    uint32_t cls                        # index of the class that it is the leaf of; NO_INDEX: of none
    uint32_t first_child                # in Tree.children
    uint32_t n_children
    Filters filters
    uint8_t kind
    uint32_t row_first[HTB_LEVELS]      # htb, as feed_first: the classes of each level
    uint32_t row_words[HTB_LEVELS]
    uint32_t row_first_word[HTB_LEVELS]
    bint headdrop                       # sfq
    bint ecn                            # fq_codel
    bint has_peak                       # tbf
    uint8_t priomap[PRIOMAP]            # prio
    uint32_t limit                      # packets; bytes of bfifo
    uint32_t depth                      # sfq: packets a flow
    uint32_t flows                      # sfq: active at once; fq_codel: all
    uint32_t divisor                    # sfq
    uint32_t quantum                    # sfq, fq_codel
    uint32_t max_size                   # tbf
    uint32_t default_minor              # htb
    uint32_t default_class              # ... the index of that leaf; NO_INDEX: there is none
    uint32_t drop_batch                 # fq_codel, as the next ones
    uint32_t memory_limit
    uint64_t target_ns
    uint64_t interval_ns
    uint64_t ce_threshold_ns            # all ones: none
    uint64_t perturb_ns                 # sfq
    Shape rate                          # tbf
    Shape peak
    int64_t burst_ns
    int64_t mtu_ns

cdef struct Tree:
    uint64_t generation                 # of no other tree
    uint16_t home                       # the worker that owns it
    uint32_t n_qdiscs
    const Qdisc *qdiscs
    uint32_t n_classes
    const Class *classes
    const uint32_t *children
    const uint32_t *members             # slots of classes, in order of their ids
    uint32_t words                      # first of its words in Scheduler.words
    uint32_t n_words
    const Filter *filters
    const Key *keys
    const RunSlot *runs
    uint32_t id_mask                    # of the table that finds classes by id
    const uint32_t *by_id               # index + 1; 0: empty

cdef struct Policer:
    # What may come in from a port, or from one of its VLANs, as two meters (GCRA, ingress.pxd).
    uint16_t vlan
    bint any_vlan
    bint marks                          # ... rather than drops
    uint32_t mark
    Shape rate                          # mult 0: any
    uint64_t burst_ns
    uint64_t frame_ns                   # between two frames; 0: any
    uint64_t frame_burst_ns

cdef struct PolicerMeter:
    uint64_t bytes_ns
    uint64_t frames_ns

cdef class CompiledTree(BlockOwner):
    cdef Tree tree
    cdef readonly object view
    cdef object _slots
    cdef Qdisc *_qdiscs
    cdef Class *_classes
    cdef Filter *_filters
    cdef Key *_keys
    cdef RunSlot *_runs
    cdef uint32_t *_children
    cdef uint32_t *_members
    cdef uint32_t _n_filters
    cdef uint32_t _n_keys
    cdef uint32_t _n_runs
    cdef uint32_t _n_children
    cdef uint32_t _n_members
    cdef _fill_qdisc(self, Qdisc *qdisc, view, uint32_t parent)
    cdef _fill_parameters(self, Qdisc *qdisc, parameters)
    cdef _fill_classes(self, uint32_t number, view)
    cdef _fill_class(self, Class *cls, view, uint32_t first, uint32_t qdisc)
    cdef _set_levels(self)
    cdef _set_places(self)
    cdef list _line_up(self, list indices, uint32_t *first, uint32_t *words, uint32_t *first_word)
    cdef Filters _fill_filters(self, views) except *
    cdef _fill_run(self, uint32_t first, uint32_t n)
    cdef _fill_ids(self)


cdef Shape shape_of(view) except *

cdef inline uint64_t shape_ns(const Shape *shape, uint32_t bytes, uint32_t segments) noexcept nogil:
    """How long `bytes` take at the rate; of a super-frame each segment has its overhead and its minimum."""
    cdef uint64_t length = bytes
    if not (shape.overhead | shape.mpu):
        return length * shape.mult >> shape.shift
    length += <uint64_t>shape.overhead * segments
    if length < <uint64_t>shape.mpu * segments:
        length = <uint64_t>shape.mpu * segments
    return length * shape.mult >> shape.shift

cdef inline bint is_leaf(uint8_t kind) noexcept nogil:
    """A discipline of the kind has none below it."""
    return kind != HTB and kind != TBF and kind != PRIO

cdef inline uint64_t value_hash(uint64_t hash, uint32_t value) noexcept nogil:
    """Of the values of a filter's keys, one after another. Who sends can make them collide, at the price of a few looks: a
    run is half empty, and holds what the administrator put there."""
    return (hash ^ value) * 0x9e3779b97f4a7c15ULL + (hash >> 29)

cdef inline uint32_t class_hash(uint32_t class_id) noexcept nogil:
    return class_id * 0x9e3779b1U >> 7

cdef inline const Class *find_class(const Tree *tree, uint32_t class_id) noexcept nogil:
    """The class of htb with that id; NULL: there is none."""
    cdef uint32_t at = class_hash(class_id) & tree.id_mask, found
    while True:
        found = tree.by_id[at]
        if found == 0:
            return NULL
        if tree.classes[found - 1].class_id == class_id:
            return &tree.classes[found - 1]
        at = (at + 1) & tree.id_mask
