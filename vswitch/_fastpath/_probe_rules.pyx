"""Test doors onto the rule engine: packets from bytes, connections from keywords, tables and paths to walk; not in
the wheel.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .core.frame cimport HEADROOM, Frame
from .core.ip cimport PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, Ip, ip4_at, ip6_at
from .core.native cimport load16, load16be, monotonic_ns
from .core.packet cimport PACKET_FRAGMENT, PACKET_MORE, CT_REPLY, Packet, Tuple
from .core.wire cimport mac_at
from .filter.conntrack cimport CtEntry
from .filter.counters cimport RuleCounters
from .filter.log cimport LogRings
from .filter.path cimport Path, path_find, path_follow, path_store
from .filter.rule cimport *
from .filter.ruleset cimport CompiledRuleset, ip_of
from .filter.walk cimport *

LAYOUT = {"rule": sizeof(Rule), "match": sizeof(Match), "target": sizeof(Target), "path": sizeof(Path)}
WAYS = {"prerouting": WAY_PREROUTING, "forward": WAY_FORWARD, "input": WAY_INPUT, "output": WAY_OUTPUT}
VERDICTS = ("ACCEPT", "DROP", "QUEUE", "REJECT", "NAT")

#: The numbers that vswitch/filter/view.py must agree with.
LAST_MATCH, LAST_TARGET = MATCH_NEVER, TARGET_CLASSIFY
SOME_OPS = {"PHYSDEV": MATCH_PHYSDEV, "CTSTATE": MATCH_CTSTATE, "CTDIR": MATCH_CTDIR, "LIMIT": MATCH_LIMIT}
SOME_TARGETS = {"GOTO": TARGET_GOTO, "LOG": TARGET_LOG, "NETMAP": TARGET_NETMAP, "TCPMSS": TARGET_TCPMSS}


cdef Tuple tuple_of(ends):
    cdef Tuple tuple
    src, dst, sport, dport, proto = ends
    tuple.src, tuple.dst = ip_of(src), ip_of(dst)
    tuple.sport, tuple.dport = swap(sport), swap(dport)
    tuple.zone, tuple.proto, tuple.pad = 0, proto, 0
    return tuple


cdef class Connection:
    """A conntrack entry that lies alone. Tuples are (src, dst, sport, dport, proto), addresses of 16 bytes."""
    cdef CtEntry entry

    def __init__(self, original, reply, uint32_t status=8, uint32_t mark=0, uint32_t expires_s=0):
        self.entry.original = tuple_of(original)
        self.entry.reply = tuple_of(reply)
        self.entry.status, self.entry.mark, self.entry.expires_s = status, mark, expires_s

    @property
    def mark(self):
        return self.entry.mark

    @mark.setter
    def mark(self, uint32_t mark):
        self.entry.mark = mark

    @property
    def status(self):
        return self.entry.status

    @status.setter
    def status(self, uint32_t status):
        self.entry.status = status


cdef uint16_t swap(uint32_t port):
    return <uint16_t>((port & 0xff) << 8 | port >> 8)


cdef class Parcel:
    """A frame in memory of its own size, and what dissecting makes of it: no VLAN, no IPv6 extension headers."""
    cdef Frame frame
    cdef Packet packet
    cdef uint8_t *_memory

    def __init__(self, bytes content not None, uint16_t in_port=1, uint16_t out_port=0xffff, uint16_t in_dev=0xffff,
                 uint16_t out_dev=0xffff, uint8_t ct_info=0, uint32_t mark=0, uint8_t flags=0, uint64_t hash=0,
                 uint8_t needs=0):
        memset(&self.frame, 0, sizeof(Frame))
        memset(&self.packet, 0, sizeof(Packet))
        self.frame.len = <uint32_t>len(content)
        self._memory = <uint8_t *>malloc(HEADROOM + len(content))
        self.frame.data = self._memory + HEADROOM
        memcpy(self.frame.data, <const char *>content, len(content))
        self.frame.dst, self.frame.src = mac_at(self.frame.data), mac_at(self.frame.data + 6)
        self.frame.needs = needs
        self.packet.flags = flags
        self.packet.in_port, self.packet.out_port = in_port, out_port
        self.packet.in_dev, self.packet.out_dev = in_dev, out_dev
        self.packet.ct_info, self.packet.mark, self.packet.hash = ct_info, mark, hash
        self._dissect(self.frame.data + 14)

    def __dealloc__(self):
        free(self._memory)

    cdef _dissect(self, uint8_t *ip):
        cdef Packet *p = &self.packet
        cdef uint32_t header = (ip[0] & 15) * 4
        p.l3 = ip
        if ip[0] >> 4 == 4:
            p.family, p.tos, p.ttl, p.length = 4, ip[1], ip[8], load16be(ip + 2)
            p.tuple.proto, p.src, p.dst = ip[9], ip4_at(ip + 12), ip4_at(ip + 16)
            p.flags |= (PACKET_FRAGMENT if load16be(ip + 6) & 0x1fff else 0) | (PACKET_MORE if ip[6] & 0x20 else 0)
        else:
            header = 40
            p.family, p.tos, p.ttl = 6, <uint8_t>(load16be(ip) >> 4), ip[7]
            p.length, p.tuple.proto = load16be(ip + 4) + 40, ip[6]
            p.src, p.dst = ip6_at(ip + 8), ip6_at(ip + 24)
        self._dissect_layer4(header)
        p.tuple.src, p.tuple.dst, p.tuple.sport, p.tuple.dport = p.src, p.dst, p.sport, p.dport

    cdef _dissect_layer4(self, uint32_t header):
        cdef Packet *p = &self.packet
        if p.flags & PACKET_FRAGMENT or header >= p.length:
            return
        p.l4, p.l4_length = p.l3 + header, p.length - header
        if p.l4_length >= 4 and p.tuple.proto not in (PROTO_ICMP, PROTO_ICMPV6):
            p.sport, p.dport = load16(p.l4), load16(p.l4 + 2)
        if p.tuple.proto == PROTO_TCP and p.l4_length >= 20:
            p.tcp_flags = p.l4[13]

    @property
    def content(self):
        return (<const char *>self.frame.data)[:self.frame.len]

    def __getattr__(self, str name):
        fields = self.packet
        return {"mark": fields.mark, "tos": fields.tos, "ttl": fields.ttl, "class_id": fields.class_id,
                "zone": fields.zone, "ct_info": fields.ct_info, "length": fields.length}[name]

    def __setattr__(self, str name, value):
        if name != "ct_info":
            raise AttributeError(name)
        self.packet.ct_info = value


cdef class Engine:
    """One worker's view of a ruleset, its counters and its log."""
    cdef readonly CompiledRuleset ruleset
    cdef readonly RuleCounters counters
    cdef readonly LogRings logs
    cdef RuleState state

    def __init__(self, CompiledRuleset ruleset not None, RuleCounters counters not None, LogRings logs=None,
                 uint32_t worker=0):
        self.ruleset, self.counters, self.logs = ruleset, counters, logs
        self.state.counters = counters.of_worker(worker)
        self.state.meters = counters.meters()
        self.state.log = logs.of_worker(worker) if logs is not None else NULL

    cdef dict _outcome(self, Walk *walk, bint hit):
        target = None
        if walk.target != NULL:
            target = {"op": walk.target.op, "mode": walk.target.mode, "flags": walk.target.nat_flags,
                      "min_ip": (<const char *>&walk.target.min_ip)[:16], "min_port": walk.target.min_port,
                      "max_ip": (<const char *>&walk.target.max_ip)[:16], "max_port": walk.target.max_port,
                      "base_port": walk.target.base_port}
        return {"verdict": VERDICTS[walk.verdict], "table": walk.table, "arg": walk.arg, "target": target,
                "zones": walk.zones, "zone_reply": walk.packet.zone_reply, "hit": hit, "uncacheable": bool(walk.uncacheable)}

    def table(self, Parcel parcel not None, uint32_t table, uint32_t hook, Connection connection=None,
              uint64_t now_ns=0):
        """Walk one table at one hook."""
        cdef Walk walk
        walk_begin(&walk, &self.ruleset.rules, &self.state, &parcel.packet, &parcel.frame,
                   NULL if connection is None else &connection.entry, WAY_FORWARD, now_ns)
        walk_table(&walk, table, hook)
        return self._outcome(&walk, False)

    def judge(self, Parcel parcel not None, Connection connection=None, str way="forward", bint cached=True,
              uint64_t now_ns=0):
        """A half of a packet's way as a stage would do it: by its path, or else by walking and keeping the path."""
        cdef Walk walk
        cdef const Path *path = NULL
        cdef CtEntry *entry = NULL if connection is None else &connection.entry
        cdef const Ruleset *rules = &self.ruleset.rules
        cdef uint8_t number = WAYS[way]
        if cached and entry != NULL:
            path = path_find(rules, entry, &parcel.packet, &parcel.frame, number)
        if path != NULL:
            path_follow(path, rules, self.state.counters, &parcel.packet, &parcel.frame, entry)
            return {"verdict": VERDICTS[path.verdict], "table": path.table, "arg": path.arg, "hit": True}
        walk_begin(&walk, rules, &self.state, &parcel.packet, &parcel.frame, entry, number, now_ns)
        walk_way(&walk)
        if cached:
            path_store(&walk)
        return self._outcome(&walk, False)

    def resume(self, Parcel parcel not None, uint32_t table, uint32_t hook):
        """Go on behind a table, on the way of forwarded packets."""
        cdef Walk walk
        walk_begin(&walk, &self.ruleset.rules, &self.state, &parcel.packet, &parcel.frame, NULL, WAY_FORWARD, 0)
        walk_resume(&walk, place(table, hook) + 1)
        return self._outcome(&walk, False)

    def prerouting(self, Parcel parcel not None, uint8_t ct_info, Connection connection=None, bint cached=True):
        """Table raw by a walk, then what conntrack says of the packet, then mangle as `judge` does it."""
        cdef Walk walk
        parcel.packet.ct_info = 0
        walk_begin(&walk, &self.ruleset.rules, &self.state, &parcel.packet, &parcel.frame, NULL, WAY_PREROUTING, 0)
        if walk_table(&walk, TABLE_RAW, HOOK_PREROUTING) != VERDICT_ACCEPT:
            return self._outcome(&walk, False)
        if walk.zones & CT_NOTRACK:
            return self.judge(parcel, None, "prerouting", cached)
        parcel.packet.ct_info = ct_info
        return self.judge(parcel, connection, "prerouting", cached)

    def hammer(self, list parcels not None, Connection connection not None, uint32_t rounds):
        """Judge the parcels in turn, by paths or walks, without the interpreter; how often a walk says otherwise.

        For several threads at once, on one ruleset and one connection: rules that edit would have them meddle.
        """
        cdef Parcel parcel
        cdef Packet *packets[16]
        cdef Frame *frames[16]
        cdef uint8_t expected[16]
        cdef Walk walk
        cdef uint32_t n = min(16, <uint32_t>len(parcels)), i, wrong = 0
        for i in range(n):
            parcel = parcels[i]
            packets[i], frames[i] = &parcel.packet, &parcel.frame
            walk_begin(&walk, &self.ruleset.rules, &self.state, packets[i], frames[i], &connection.entry,
                       WAY_FORWARD, 0)
            expected[i] = walk_way(&walk)
        with nogil:
            for i in range(rounds):
                wrong += self.judged(packets[i % n], frames[i % n], &connection.entry) != expected[i % n]
        return wrong

    cdef uint8_t judged(self, Packet *packet, Frame *frame, CtEntry *entry) noexcept nogil:
        cdef Walk walk
        cdef const Path *path = path_find(&self.ruleset.rules, entry, packet, frame, WAY_FORWARD)
        if path != NULL:
            return path_follow(path, &self.ruleset.rules, self.state.counters, packet, frame, entry)
        walk_begin(&walk, &self.ruleset.rules, &self.state, packet, frame, entry, WAY_FORWARD, 0)
        walk_way(&walk)
        path_store(&walk)
        return walk.verdict

    def time_walk(self, Parcel parcel not None, uint32_t rounds):
        """Nanoseconds for a walk of one table."""
        cdef Walk walk
        cdef uint32_t i
        cdef uint64_t start = monotonic_ns()
        with nogil:
            for i in range(rounds):
                walk_begin(&walk, &self.ruleset.rules, &self.state, &parcel.packet, &parcel.frame, NULL, WAY_FORWARD, 0)
                walk_table(&walk, TABLE_FILTER, HOOK_FORWARD)
        return (monotonic_ns() - start) / <double>rounds

    def time_path(self, Parcel parcel not None, Connection connection not None, uint32_t rounds):
        """Nanoseconds for a hit."""
        cdef uint32_t i, hits = 0
        cdef const Path *path
        cdef uint64_t start = monotonic_ns()
        with nogil:
            for i in range(rounds):
                path = path_find(&self.ruleset.rules, &connection.entry, &parcel.packet, &parcel.frame, WAY_FORWARD)
                if path != NULL:
                    path_follow(path, &self.ruleset.rules, self.state.counters, &parcel.packet, &parcel.frame,
                                &connection.entry)
                    hits += 1
        assert hits == rounds
        return (monotonic_ns() - start) / <double>rounds
