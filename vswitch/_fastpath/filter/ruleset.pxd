"""See ruleset.pyx."""
from libc.stdint cimport uint32_t

from ..core.arena cimport Arena
from ..core.blocks cimport BlockOwner
from ..core.ip cimport Ip
from .path cimport PathTable
from .rule cimport Chain, Match, Rule, Ruleset, Target

cdef Ip ip_of(bytes raw) except *

cdef class CompiledRuleset(BlockOwner):
    cdef Ruleset rules                  # what a snapshot points at; this object must live as long
    cdef PathTable paths
    cdef Arena _arena                   # of the paths
    cdef dict _set_of
    cdef Chain *_chains
    cdef Rule *_rules
    cdef Match *_matches
    cdef Target *_targets
    cdef uint32_t _n_matches
    cdef uint32_t _n_targets
    cdef _count_records(self, list chains, size_t *n_rules, size_t *n_matches, size_t *n_targets)
    cdef _fill_chains(self, list v4, list v6)
    cdef _fill_sets(self)
    cdef uint32_t _set(self, interfaces) except? 0xffffffff
    cdef _fill_devices(self, devices, addresses)
    cdef _fill_rule(self, Rule *rule, view, uint32_t chain_offset)
    cdef bint _fill_inline(self, Rule *rule, uint32_t op, uint32_t flags, args) except -1
    cdef _fill_match(self, Match *m, uint32_t op, args, uint32_t counter)
    cdef _fill_ports(self, Match *m, entries)
    cdef _fill_target(self, Target *target, uint32_t op, args, uint32_t counter)
