"""What only a look at every connection tells: how many there are by protocol and TCP state, and which ports NAT has in use.

It runs without the GIL, on any thread, beside the workers, and mostly without locks: one cache line of an entry that is not
translated, two of one that is. So the numbers are those of no one moment; what an address is taken from is read under the
entry's lock, lest there be addresses that nobody has. The bounds of the answer are fixed, however many addresses rules
give away.
"""
from typing import NamedTuple

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ..core.ip cimport PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, Ip, ip_equal
from ..core.native cimport load16be, mix64, monotonic_ns, prefetch, spin_lock, spin_unlock
from ..core.packet cimport Tuple
from .conntrack cimport (
    CT_CONFIRMED, CT_CONTROL, IPS_DST_NAT, IPS_SRC_NAT, ConnectionTable, Conntrack, CtEntry, ct_expired, ct_lock,
)
from .rewrite cimport proto_is_icmp
from .rows cimport ip_text

cdef enum:
    PAIRS = 128                         # of an address and a protocol: the first that are met
    SLOTS = 512                         # a power of two, well above
    NO_PAIR = 0xffff
    AHEAD = 16                          # entries

cdef struct Pair:
    Ip address
    uint32_t proto
    uint32_t ports                      # how many bits of `seen` are set
    uint64_t seen[1024]                 # a bit for each port, or identifier of ICMP

cdef struct Tally:
    uint64_t states[256][16]            # by protocol and TCP state
    uint64_t source                     # translated ones
    uint64_t destination
    uint32_t pairs
    uint16_t slot[SLOTS]                # by hash: number of a pair, from 1 on
    Pair pair[PAIRS]


class Census(NamedTuple):
    states: dict[tuple[int, int], int]  # (protocol, TCP state): connections
    source_nat: int
    destination_nat: int
    ports: dict[tuple[str, int], int]   # (address that NAT gives, protocol): different ports of it


def census(ConnectionTable table, now_s=None):
    """Look at every connection that has not expired at `now_s` (CLOCK_MONOTONIC seconds, by default now)."""
    cdef uint32_t now = <uint32_t>(monotonic_ns() // 1000000000ULL) if now_s is None else now_s
    cdef Conntrack *ct = table.view(CT_CONTROL)
    cdef Tally *tally = <Tally *>calloc(1, sizeof(Tally))
    if tally == NULL:
        raise MemoryError()
    try:
        with nogil:
            count_all(ct, tally, now)
        states = {(proto, state): tally.states[proto][state] for proto in range(256) for state in range(16)
                  if tally.states[proto][state]}
        ports = {(ip_text(&tally.pair[n].address), tally.pair[n].proto): tally.pair[n].ports for n in range(tally.pairs)}
        return Census(states, tally.source, tally.destination, ports)
    finally:
        free(tally)


cdef void count_all(const Conntrack *ct, Tally *tally, uint32_t now_s) noexcept nogil:
    cdef uint64_t index, end = ct.header.fresh
    cdef const CtEntry *entry
    for index in range(1, end):
        entry = &ct.entry[index]
        prefetch(&(entry + AHEAD).use)
        prefetch(&(entry + AHEAD).reply)
        if entry.use != CT_CONFIRMED or ct_expired(entry, now_s):
            continue
        tally.states[entry.reply.proto][entry.state & 15] += 1
        tally.destination += entry.status & IPS_DST_NAT != 0
        if entry.status & IPS_SRC_NAT:
            tally.source += 1
            count_port(ct, tally, <uint32_t>index)

cdef void count_port(const Conntrack *ct, Tally *tally, uint32_t index) noexcept nogil:
    """The port that a connection's source was translated to."""
    cdef const Tuple *reply = &ct.entry[index].reply
    cdef bint icmp = proto_is_icmp(reply.proto)
    cdef uint32_t port = load16be(&reply.sport) if icmp else load16be(&reply.dport)
    cdef uint64_t bit = 1ULL << (port & 63)
    cdef uint32_t number
    if not icmp and reply.proto != PROTO_TCP and reply.proto != PROTO_UDP and reply.proto != PROTO_UDPLITE:
        return
    number = pair_of(ct, tally, index, &reply.dst, reply.proto)
    if number != NO_PAIR and not tally.pair[number].seen[port >> 6] & bit:
        tally.pair[number].seen[port >> 6] |= bit
        tally.pair[number].ports += 1

cdef uint32_t pair_of(const Conntrack *ct, Tally *tally, uint32_t index, const Ip *address, uint32_t proto) noexcept nogil:
    """The number of the pair of address and protocol; NO_PAIR: there are too many."""
    cdef uint32_t at = <uint32_t>mix64(address.high ^ proto, address.low ^ 0x9e3779b97f4a7c15ULL) & (SLOTS - 1)
    cdef const Pair *pair
    while tally.slot[at]:
        pair = &tally.pair[tally.slot[at] - 1]
        if pair.proto == proto and ip_equal(&pair.address, address):
            return tally.slot[at] - 1
        at = (at + 1) & (SLOTS - 1)
    return add_pair(ct, tally, index, at, proto)

cdef uint32_t add_pair(const Conntrack *ct, Tally *tally, uint32_t index, uint32_t at, uint32_t proto) noexcept nogil:
    """A new pair, if the entry still is what it was a moment ago."""
    cdef const CtEntry *entry = &ct.entry[index]
    cdef Pair *pair = &tally.pair[tally.pairs]
    cdef bint still
    if tally.pairs == PAIRS:
        return NO_PAIR
    spin_lock(ct_lock(ct, index))
    still = entry.use == CT_CONFIRMED and entry.status & IPS_SRC_NAT and entry.reply.proto == proto
    pair.address = entry.reply.dst
    spin_unlock(ct_lock(ct, index))
    if not still:
        return NO_PAIR
    pair.proto = proto
    tally.pairs += 1
    tally.slot[at] = <uint16_t>tally.pairs
    return tally.pairs - 1
