"""Test doors onto connection tracking: packets as bytes in, state out, at a time of the caller's choice. Not in the
wheel.

`dissect_bytes` is a small stand-in for the switch's own dissection: it believes what it is given, apart from lengths.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from .core.ip cimport (
    IPV4_HLEN, IPV6_HLEN, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, Ip, ip4_at, ip6_at,
)
from .core.native cimport load16, load16be, store16be
from .core.packet cimport CT_NEW, CT_REPLY, CT_UNTRACKED, NO_ENTRY, PACKET_SHORT, Packet, Tuple
from .filter.confirm cimport ct_abandon, ct_confirm
from .filter.conntrack cimport (
    CT_CONFIRMED, CT_FREE, CT_STORE, CT_VIEWS, ConnectionTable, Conntrack, CtEntry, ct_candidate, ct_find, ct_hash, ct_tuple,
    ct_prefetch, ct_tuple_to,
)
from .filter.entries cimport ct_delete
from .filter.track_icmp cimport ct_invert
from .filter.rows cimport connection_row
from .filter.track cimport ct_burst, ct_track

NANOSECONDS = 1000000000
INFO = {1: "NEW", 2: "ESTABLISHED", 4: "RELATED", 8: "INVALID", 16: "UNTRACKED"}

cdef enum:
    PACKET_MAX = 2048


cdef void dissect_l4(Packet *p) noexcept nogil:
    cdef uint8_t proto = p.tuple.proto
    if proto == PROTO_TCP:
        if p.l4_length < 20 or p.l4[12] >> 4 < 5 or (p.l4[12] >> 4) * 4 > p.l4_length:
            p.flags |= PACKET_SHORT
            return
        p.tcp_flags = p.l4[13]
    if proto in (PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP, PROTO_UDPLITE) and p.l4_length < 8:
        p.flags |= PACKET_SHORT
        return
    if proto == PROTO_ICMP or proto == PROTO_ICMPV6:
        p.tuple.sport = load16(p.l4 + 4)
        p.tuple.dport = load16(p.l4)
    elif proto in (PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, PROTO_SCTP):
        p.tuple.sport = load16(p.l4)
        p.tuple.dport = load16(p.l4 + 2)

cdef void dissect_bytes(const Conntrack *ct, Packet *p, uint8_t *ip, uint32_t length, uint16_t port,
                        uint16_t zone) noexcept nogil:
    memset(p, 0, sizeof(Packet))
    p.l3 = ip
    p.length = length
    p.in_port = port
    p.zone = p.zone_reply = zone
    p.tuple.zone = zone
    if ip[0] >> 4 == 4:
        p.family = 4
        p.ttl = ip[8]
        p.tuple.proto = ip[9]
        p.tuple.src = ip4_at(ip + 12)
        p.tuple.dst = ip4_at(ip + 16)
        p.l4 = ip + (ip[0] & 15) * 4
    else:
        p.family = 6
        p.ttl = ip[7]
        p.tuple.proto = ip[6]
        p.tuple.src = ip6_at(ip + 8)
        p.tuple.dst = ip6_at(ip + 24)
        p.l4 = ip + IPV6_HLEN
    p.l4_length = length - <uint32_t>(p.l4 - ip)
    dissect_l4(p)
    p.hash = ct_hash(ct, &p.tuple)


cdef class Tracked:
    """A packet on its way: tracked, and not yet confirmed or abandoned."""
    cdef ConnectionTable table
    cdef Packet packet
    cdef uint8_t data[PACKET_MAX]
    cdef uint32_t worker
    cdef readonly int reason

    def __cinit__(self, ConnectionTable table, bytes raw, double now, uint32_t worker=0, uint16_t port=0,
                  uint16_t zone=0, bint untracked=False, uint8_t flags=0):
        cdef Conntrack *ct = table.view(worker)
        cdef uint64_t now_ns = <uint64_t>(now * 1e9)
        self.table = table
        self.worker = worker
        memcpy(self.data, <const char *>raw, min(len(raw), PACKET_MAX))
        dissect_bytes(ct, &self.packet, self.data, <uint32_t>len(raw), port, zone)
        self.packet.flags |= flags
        if untracked:
            self.packet.ct_info = CT_UNTRACKED
        self.reason = ct_track(ct, &self.packet, now_ns, <uint32_t>(now_ns // <uint64_t>NANOSECONDS))

    @property
    def info(self):
        return INFO.get(self.packet.ct_info & 0x7f, "NONE")

    @property
    def reply(self):
        return bool(self.packet.ct_info & CT_REPLY)

    @property
    def index(self):
        return self.packet.ct

    def row(self, uint32_t now=0):
        """The entry as it is, confirmed or not."""
        cdef Conntrack *ct = self.table.view(self.worker)
        return connection_row(self.packet.ct, &ct.entry[self.packet.ct], &ct.account[self.packet.ct], now)

    def translate(self, str what, uint16_t value):
        """Change the reply tuple as NAT or a rule does: "dport" or "zone"."""
        cdef Tuple *reply = &self.table.view(self.worker).entry[self.packet.ct].reply
        if what == "zone":
            reply.zone = value
        else:
            store16be(&reply.dport, value)

    def other(self):
        """Whether the entry still is this packet's connection, for NAT."""
        cdef Tuple tuple
        cdef uint32_t status
        return bool(ct_tuple_to(self.table.view(self.worker), &self.packet, &tuple, &status))

    def confirm(self, uint32_t now):
        return ct_confirm(self.table.view(self.worker), &self.packet, now)

    def abandon(self):
        ct_abandon(self.table.view(self.worker), &self.packet)


def burst(ConnectionTable table, uint32_t worker=0):
    """The worker begins a new burst."""
    ct_burst(table.view(worker))


def entry_lines():
    """In which cache lines of an entry its parts lie: {part: (first, last)}."""
    cdef CtEntry e
    cdef char *start = <char *>&e
    return {"original": lines_of(<char *>&e.original - start, <char *>&e.mark - start),
            "both": lines_of(<char *>&e.expires_s - start, <char *>&e.retrans - start + 1),
            "reply": lines_of(<char *>&e.reply - start, <char *>&e.created_s - start),
            "entry": lines_of(0, sizeof(CtEntry))}

cdef lines_of(size_t start, size_t end):
    return start // 64, (end - 1) // 64


def found(ConnectionTable table, uint32_t index, uint32_t now_s):
    """By which of its two tuples an entry is found: a list of directions."""
    cdef Conntrack *ct = table.view(0)
    cdef uint64_t direction = 2
    cdef Tuple tuple
    ways = []
    for way in range(2):
        tuple = ct_tuple(&ct.entry[index], way)[0]
        if ct_find(ct, &tuple, ct_hash(ct, &tuple), now_s, &direction) == index:
            ways.append(direction)
    return ways


def census(ConnectionTable table):
    """(free entries, used ones, all that were ever laid open): the free ones are followed through every list.

    Raises AssertionError for one that is free twice, or free and used. Only while nobody works on the table."""
    cdef Conntrack *ct
    cdef uint32_t worker, at
    cdef uint64_t index = table.view(0).header.free_head
    free = set()
    while index != NO_ENTRY:
        assert index not in free, "free twice"
        free.add(index)
        index = table.view(0).entry[index].next
    for worker in range(CT_VIEWS):
        ct = table.view(worker)
        for at in range(ct.store_head, ct.store_tail):
            assert ct.store[at % CT_STORE] not in free, "free twice"
            free.add(ct.store[at % CT_STORE])
    ct = table.view(0)
    used = {n for n in range(1, ct.header.fresh) if ct.entry[n].use != CT_FREE}
    assert not used & free, "free and used"
    return len(free), len(used), ct.header.fresh - 1


def slots(ConnectionTable table):
    """Every filled slot of the index: a list of (entry, direction)."""
    cdef Conntrack *ct = table.view(0)
    return [((ct.bucket[n].slot[way] & 0xffffffff) >> 1, ct.bucket[n].slot[way] & 1)
            for n in range(ct.header.buckets) for way in range(8) if ct.bucket[n].slot[way]]


cdef void udp_flow(const Conntrack *ct, Packet *p, uint8_t *ip, uint32_t flow, bint reply) noexcept nogil:
    """A UDP datagram of one of many flows, in one of its directions."""
    memset(ip, 0, 28)
    ip[0] = 0x45
    ip[9] = PROTO_UDP
    ip[12] = ip[16] = 10
    ip[13] = 1 + reply
    ip[17] = 2 - reply
    store16be(ip + (18 if reply else 14), <uint16_t>(flow >> 16))
    store16be(ip + (22 if reply else 20), <uint16_t>flow)
    store16be(ip + (20 if reply else 22), 53)
    dissect_bytes(ct, p, ip, 28, <uint16_t>(flow & 3), 0)


def hammer(ConnectionTable table, uint32_t worker, uint32_t flows, uint64_t rounds, uint64_t seed, uint32_t now_s):
    """Work on `flows` UDP flows at random without the GIL: begin, answer, drop, delete. Returns how often it was told
    that the table is full, or that another was quicker."""
    cdef Conntrack *ct = table.view(worker)
    cdef uint8_t ip[64]
    cdef Packet packet
    cdef uint64_t n, refused = 0
    with nogil:
        for n in range(rounds):
            if n % 8 == 0:
                ct_burst(ct)
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL
            udp_flow(ct, &packet, ip, <uint32_t>(seed >> 33) % flows, (seed >> 20) & 1)
            if ct_track(ct, &packet, (<uint64_t>now_s + n // 4096) * 1000000000ULL, now_s + <uint32_t>(n // 4096)):
                refused += 1
            elif (seed >> 21) & 15 == 0:
                ct_abandon(ct, &packet)
            elif (seed >> 21) & 15 == 1 and packet.ct != NO_ENTRY:
                if ct_confirm(ct, &packet, now_s) == 0 and packet.ct != NO_ENTRY:
                    ct_delete(ct, packet.ct, now_s)
            elif ct_confirm(ct, &packet, now_s + <uint32_t>(n // 4096)):
                refused += 1
    return refused
