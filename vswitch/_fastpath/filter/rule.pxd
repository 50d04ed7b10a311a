"""Rules as the fast path has them: compiled from the tables of iptables, immutable, part of a snapshot.

(The lead's contract: the names below are fixed, what the structs hold beyond them is the rules author's.)
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HOOK_PREROUTING = 0                 # the kernel's enum nf_inet_hooks
    HOOK_INPUT
    HOOK_FORWARD
    HOOK_OUTPUT
    HOOK_POSTROUTING
    HOOKS

    TABLE_RAW = 0
    TABLE_MANGLE
    TABLE_NAT
    TABLE_FILTER
    TABLE_SECURITY
    TABLES

    NO_CHAIN = 0x7fffffff

cdef struct Chain:
    uint32_t first                      # of its rules, which lie one after another
    uint32_t n
    uint32_t policy_counter             # id
    uint8_t policy

cdef struct Ruleset:
    uint64_t generation
    const Chain *chains
    uint32_t entry[2][5][5]             # [family is IPv6][TABLE_*][HOOK_*]: a chain, NO_CHAIN where there is nothing to do
