"""Judge live connections as if they were new (`apply --rejudge`): those that the rules would not let begin now are ended.

For each connection its first packet is imagined: the original tuple, no payload, TCP with SYN alone, at the port that began
it. Table mangle's PREROUTING, then INPUT or FORWARD are walked with it, in state NEW; destinations are as NAT has made them.
Nothing counts, is logged or edited. What cannot be known of a packet long gone is left out: of a bridged connection the port
out, the MACs, TOS and TTL; a rule that asks for a port out does not match.

Runs on the control side without the GIL, in steps of so many entries, beside running workers: an entry is copied under its
lock, and ended only if it still is the same connection.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..core.frame cimport Frame
from ..core.ip cimport *
from ..core.native cimport monotonic_ns, spin_lock, spin_unlock, store16, store16be
from ..core.packet cimport *
from ..core.snapshot cimport Device, Port, Snapshot, SnapshotOwner
from ..l3.address cimport device_network, device_owns
from ..l3.route cimport Route, route_find
from .conntrack cimport (
    CT_CONFIRMED, CT_CONTROL, IPS_DST_NAT, ConnectionTable, Conntrack, CtEntry, ct_lock,
)
from .counters cimport RuleCounters
from .entries cimport KILL_ANY, ct_kill
from .rule cimport *
from .walk cimport (
    VERDICT_ACCEPT, VERDICT_DROP, VERDICT_REJECT, WAY_FORWARD, WAY_INPUT, WAY_PREROUTING, RuleState, Walk, walk_begin,
    walk_table,
)

cdef enum:
    STEP = 4096                         # entries between two looks at the interpreter


cdef struct Imagined:
    Frame frame
    Packet packet
    uint8_t bytes[96]                   # headroom and virtio-net header, IP header, the layer 4 header


def rejudge(ConnectionTable table, SnapshotOwner owner, RuleCounters counters):
    """End what the rules of the snapshot would not let begin; returns (judged, ended)."""
    cdef Conntrack *ct = table.view(CT_CONTROL)
    cdef uint64_t at, end = ct.header.fresh
    cdef uint32_t judged = 0, ended = 0
    cdef RuleState state
    if owner.snapshot.rules == NULL:
        return 0, 0
    state.counters = <RuleCounter *>calloc(counters.capacity, sizeof(RuleCounter))
    state.meters = <uint64_t *>calloc(counters.capacity, sizeof(uint64_t))
    state.log = NULL
    try:
        if state.counters == NULL or state.meters == NULL:
            raise MemoryError
        for at in range(1, end, STEP):
            with table.lock, nogil:
                judge_some(ct, &owner.snapshot, &state, at, min(at + STEP, end), &judged, &ended)
    finally:
        free(state.counters)
        free(state.meters)
    return judged, ended


cdef void judge_some(Conntrack *ct, const Snapshot *snapshot, const RuleState *state, uint64_t at, uint64_t end,
                     uint32_t *judged, uint32_t *ended) noexcept nogil:
    cdef CtEntry entry
    cdef uint64_t now_ns = monotonic_ns()
    while at < end:
        spin_lock(ct_lock(ct, at))
        entry = ct.entry[at]
        spin_unlock(ct_lock(ct, at))
        if entry.use == CT_CONFIRMED:
            judged[0] += 1
            if not may_begin(snapshot, state, &entry, now_ns):
                ended[0] += ct_kill(ct, <uint32_t>at, entry.serial, KILL_ANY, <uint32_t>(now_ns // 1000000000ULL))
        at += 1

cdef bint may_begin(const Snapshot *snapshot, const RuleState *state, CtEntry *entry, uint64_t now_ns) noexcept nogil:
    cdef Imagined imagined
    cdef Walk walk
    cdef uint8_t verdict
    cdef uint32_t hook, way
    imagine(&imagined, snapshot, entry)
    walk_begin(&walk, snapshot.rules, state, &imagined.packet, &imagined.frame, entry, WAY_PREROUTING, now_ns)
    verdict = walk_table(&walk, TABLE_MANGLE, HOOK_PREROUTING)
    if verdict == VERDICT_DROP:
        return False
    way = decide(&imagined.packet, snapshot, entry)
    hook = HOOK_INPUT if way == WAY_INPUT else HOOK_FORWARD
    walk_begin(&walk, snapshot.rules, state, &imagined.packet, &imagined.frame, entry, way, now_ns)
    verdict = walk_table(&walk, TABLE_MANGLE, hook)
    if verdict == VERDICT_ACCEPT:
        verdict = walk_table(&walk, TABLE_FILTER, hook)
    if verdict == VERDICT_ACCEPT:
        verdict = walk_table(&walk, TABLE_SECURITY, hook)
    return verdict != VERDICT_DROP and verdict != VERDICT_REJECT

cdef void imagine(Imagined *imagined, const Snapshot *snapshot, const CtEntry *entry) noexcept nogil:
    cdef Packet *packet = &imagined.packet
    cdef uint8_t *ip = imagined.bytes + 28
    cdef bint v4 = ip_is_v4(&entry.original.src)
    memset(imagined, 0, sizeof(Imagined))
    imagined.frame.data = ip
    packet.tuple = entry.original
    packet.family = 4 if v4 else 6
    packet.l3 = ip
    packet.l4 = ip + (IPV4_HLEN if v4 else IPV6_HLEN)
    packet.l4_length = 20
    packet.length = <uint32_t>(packet.l4 - ip) + 20
    packet.ttl = 64
    packet.tcp_flags = TCP_SYN if entry.original.proto == PROTO_TCP else 0
    packet.ct_info = CT_NEW
    packet.src = entry.original.src
    packet.dst = entry.original.dst
    packet.sport = entry.original.sport
    packet.dport = entry.original.dport
    packet.zone = entry.original.zone
    packet.in_port = entry.owner
    packet.in_dev = came_by(snapshot, entry)
    packet.out_port = NO_PORT
    packet.out_dev = NO_DEVICE
    write_headers(packet, v4)

cdef void write_headers(const Packet *packet, bint v4) noexcept nogil:
    """What matches read in place: version, protocol, ports, an ICMP type."""
    cdef uint8_t *ip = packet.l3
    if v4:
        ip[0] = 0x45
        store16be(ip + 2, <uint16_t>packet.length)
        ip[8] = packet.ttl
        ip[9] = packet.tuple.proto
    else:
        ip[0] = 0x60
        ip[6] = packet.tuple.proto
        ip[7] = packet.ttl
    if packet.tuple.proto == PROTO_ICMP or packet.tuple.proto == PROTO_ICMPV6:
        store16(packet.l4, packet.dport)
        return
    store16(packet.l4, packet.sport)
    store16(packet.l4 + 2, packet.dport)
    if packet.tuple.proto == PROTO_TCP:
        packet.l4[12] = 0x50
        packet.l4[13] = packet.tcp_flags

cdef uint16_t came_by(const Snapshot *snapshot, const CtEntry *entry) noexcept nogil:
    """The device that the connection began at: its port's own, or of the port's bridge the one whose network it is of."""
    cdef const Port *port
    cdef uint32_t id
    if entry.owner >= snapshot.n_ports:
        return NO_DEVICE
    port = &snapshot.ports[entry.owner]
    if port.bridge == NULL:
        return port.device
    for id in range(snapshot.n_devices):
        if snapshot.devices[id].bridge == port.bridge and device_network(&snapshot.devices[id], &entry.original.src) != NULL:
            return <uint16_t>id
    return port.bridge.device

cdef uint32_t decide(Packet *packet, const Snapshot *snapshot, const CtEntry *entry) noexcept nogil:
    """Where it goes, with the destination that NAT has given it."""
    cdef const Route *way
    if entry.status & IPS_DST_NAT:
        packet.dst = entry.reply.src
        if packet.tuple.proto != PROTO_ICMP and packet.tuple.proto != PROTO_ICMPV6:
            packet.dport = entry.reply.sport
        write_headers(packet, packet.family == 4)
    if packet.in_dev == NO_DEVICE or packet.in_dev >= snapshot.n_devices:
        return WAY_FORWARD
    packet.out_dev = packet.in_dev
    if packet.zone >= snapshot.n_routers:
        return WAY_FORWARD              # bridged
    if device_owns(&snapshot.devices[packet.in_dev], &packet.dst):
        return WAY_INPUT
    way = route_find(&snapshot.routers[packet.zone], &packet.dst)
    if way == NULL:
        return WAY_FORWARD
    if device_owns(&snapshot.devices[way.device], &packet.dst):
        return WAY_INPUT
    packet.out_dev = way.device
    packet.out_port = snapshot.devices[way.device].port
    return WAY_FORWARD
