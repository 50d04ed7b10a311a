"""Finding a port that a new connection can be bound to (nf_nat_l4proto_unique_tuple of the kernel).

Unlike the kernel, source translation finds the last free port: it goes through the whole range, by long strides from
a random place. A range found full is remembered for a second by its destination: meanwhile each new connection looks
at the next 32 ports only, so that a stream of them costs microseconds each, and still comes by every port that was
freed.

Where all that were looked at are taken, a SYN takes over the port of a translated connection that is over, in TIME_WAIT
or CLOSE, as long as its sequence numbers are ahead of that one's: so whatever the other end still says of the old one
falls outside the new one's window. The old connection ends there and then. It was judged under its entry's lock, but
other ports were looked at since: that it still is the one it was, and over, is asked again by who ends it (ct_kill).
The port is free then for whoever comes first. If that is another worker, confirming finds the clash, as it does for
every other port.

Destination translation begins with the range's first port, unless --random says otherwise, does its best in 128
attempts and leaves the rest to the source: a clash of reply tuples is resolved by whoever has more freedom.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport PROTO_TCP
from ..core.native cimport count, load16be, mix64, spin_unlock, store16be
from ..core.packet cimport NO_ENTRY, Tuple
from .conntrack cimport (
    CT_ORIGINAL, CT_REPLY_DIR, IPS_SRC_NAT, Conntrack, CtEntry, ct_candidate, ct_find, ct_find_locked, ct_hash, ct_lock,
    ct_prefetch,
)
from .entries cimport KILL_OVER, ct_kill
from .natrange cimport NAT_PROTO_OFFSET, NAT_RANDOM, NatRange, PortRange, ports_of, range_port
from .rewrite cimport NAT_DST
from .states cimport TCP_SYN_SENT, tcp_over

cdef enum:
    ATTEMPTS = 128
    FEW = 32                            # of a range that was full a moment ago
    GROUP = 16
    N_STEPS = 8

# Primes above every range's size, so that steps of such a length come by all of its ports. Neighbours one after the
# other would soon have to walk past long runs of taken ones.
cdef uint32_t[N_STEPS] STEPS = [65537, 72931, 79999, 87211, 94399, 101929, 116881, 131071]

cdef struct Walk:                       # through a range of ports, round and round
    PortRange ports
    uint16_t *port                      # where in the reply tuple
    uint64_t at
    uint32_t step
    uint32_t left                       # ports to try at most
    const CtEntry *heir                 # the new connection, if it may take over a port
    uint32_t over                       # the first connection come by whose port it may have; NO_ENTRY: none
    uint32_t serial
    Tuple reply                         # which that one has


cdef bint nat_taken(Conntrack *ct, const Tuple *reply, uint32_t now_s) noexcept nogil:
    cdef uint64_t direction = 0
    return ct_find(ct, reply, ct_hash(ct, reply), now_s, &direction) != NO_ENTRY

cdef bint nat_port(Conntrack *ct, NatPorts *ports, const CtEntry *entry, Tuple *reply, const NatRange *rule,
                   uint32_t now_s) noexcept nogil:
    """A free port for the address that the unconfirmed entry's reply tuple is to have; false: there is none."""
    cdef Walk walk
    walk.ports = ports_of(reply, rule)
    walk.port = range_port(reply, rule)
    walk.at = random32(ports)
    walk.step = STEPS[random32(ports) % N_STEPS]
    walk.left = ATTEMPTS
    walk.heir = NULL
    walk.over = NO_ENTRY
    if not walk.ports.size:
        return not nat_taken(ct, reply, now_s)
    if rule.flags & NAT_PROTO_OFFSET:
        walk.at = <uint16_t>(load16be(walk.port) - rule.base_port)
        walk.step = 1
    elif rule.manip == NAT_DST and not rule.flags & NAT_RANDOM:
        walk.at = 0
        walk.step = 1
    if rule.manip == NAT_DST:
        return search(ct, reply, &walk, now_s)
    if reply.proto == PROTO_TCP and entry.state == TCP_SYN_SENT:
        walk.heir = entry
    return search_all(ct, ports, reply, rule, &walk, now_s) or take_over(ct, reply, &walk, now_s)

cdef bint search_all(Conntrack *ct, NatPorts *ports, Tuple *reply, const NatRange *rule, Walk *walk,
                     uint32_t now_s) noexcept nogil:
    """All of the range; if it was full a moment ago, the next few ports only."""
    cdef uint64_t key = refusal_key(ct, reply, rule, walk.ports)
    cdef NatRefusal *refusal = &ports.refused[key % NAT_REFUSALS]
    if refusal.key == key and refusal.since_s == now_s:
        walk.at = refusal.cursor
        walk.step = 1
        walk.left = FEW
        refusal.cursor += FEW
        return search(ct, reply, walk, now_s)
    walk.left = walk.ports.size
    if search(ct, reply, walk, now_s):
        return True
    refusal.key = key
    refusal.since_s = now_s
    refusal.cursor = <uint32_t>walk.at
    return False

cdef inline uint32_t random32(NatPorts *ports) noexcept nogil:
    ports.random += 0x9e3779b97f4a7c15ULL
    return <uint32_t>(mix64(ports.random, ports.random ^ 0xd6e8feb86659fd93ULL) >> 16)

cdef inline uint64_t refusal_key(Conntrack *ct, const Tuple *reply, const NatRange *rule,
                                 PortRange ports) noexcept nogil:
    """Of all that makes a port free or taken, but for the port itself."""
    cdef Tuple all = reply[0]
    range_port(&all, rule)[0] = 0
    return ct_hash(ct, &all) ^ mix64(<uint64_t>ports.first << 32 | ports.size, 0x9e3779b97f4a7c15ULL)

cdef inline void step(Walk *walk) noexcept nogil:
    store16be(walk.port, <uint16_t>(walk.ports.first + walk.at % walk.ports.size))
    walk.at += walk.step

cdef bint search(Conntrack *ct, Tuple *reply, Walk *walk, uint32_t now_s) noexcept nogil:
    """Try walk.left ports of the range, or all; the reply tuple keeps the last one.

    The first one alone, for mostly it is free; then by groups, whose places in the index and then the entries there are
    brought near together: one after the other each port would wait for memory twice.
    """
    cdef Tuple group[GROUP]
    cdef uint64_t hash[GROUP]
    cdef uint32_t n, size = 1, left = min(walk.left, walk.ports.size)
    while left:
        for n in range(size):
            step(walk)
            group[n] = reply[0]
            hash[n] = ct_hash(ct, reply)
            ct_prefetch(ct, hash[n])
        if size > 1:
            for n in range(size):
                ct_candidate(ct, hash[n], False)
        for n in range(size):
            if not occupied(ct, &group[n], hash[n], walk, now_s):
                reply[0] = group[n]
                return True
        left -= size
        size = min(left, <uint32_t>GROUP)
    return False

cdef inline bint occupied(Conntrack *ct, const Tuple *reply, uint64_t hash, Walk *walk, uint32_t now_s) noexcept nogil:
    """Whether a connection has the tuple; note it, if it is the first one that is over."""
    cdef uint64_t direction = 0
    cdef uint32_t index = ct_find_locked(ct, reply, hash, now_s, &direction)
    if index == NO_ENTRY:
        return False
    if (walk.heir != NULL and walk.over == NO_ENTRY and direction == CT_REPLY_DIR
            and gives_way(&ct.entry[index], walk.heir)):
        walk.over = index
        walk.serial = ct.entry[index].serial
        walk.reply = reply[0]
    spin_unlock(ct_lock(ct, index))
    return True

cdef inline bint gives_way(const CtEntry *old, const CtEntry *heir) noexcept nogil:
    """Whether a TCP connection is over and the other end can tell the new one's segments from its. Holds: its lock."""
    return (old.status & IPS_SRC_NAT and tcp_over(old.state)
            and <int32_t>(heir.window[CT_ORIGINAL].end - old.window[CT_ORIGINAL].end) > 0)

cdef bint take_over(Conntrack *ct, Tuple *reply, const Walk *walk, uint32_t now_s) noexcept nogil:
    """No port was free: that of the connection that is over, if it still is."""
    if walk.over == NO_ENTRY or not ct_kill(ct, walk.over, walk.serial, KILL_OVER, now_s):
        return False
    count(&ct.counters.deleted, 1)
    reply[0] = walk.reply
    return True
