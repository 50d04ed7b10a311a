"""A walk: one packet through one table at one hook, and what it learns for the verdict cache on the way.

A `Walk` lives on the caller's stack for one half of a packet's way (path.pxd): begun once, then taken through the
tables in Netfilter's order. It notes the rules that counted, the targets that edited, and which bits beyond the
connection's own tuple were looked at: any other packet of the connection that agrees in these bits takes the same
path.

    walk_begin(&walk, ...)              before the first table
    walk_table(&walk, TABLE_*, HOOK_*)  -> VERDICT_*; anything but VERDICT_ACCEPT ends the way
    walk_way(&walk)                     the same for all tables behind conntrack on the walk's way, nat apart
    walk_resume(&walk, begin)           ... for those from a place on (rule.pxd): QUEUE had stopped the packet

These lie in walk.pyx, once, out of the workers' line: they are as large as they are rare.

Thread safety: a Walk belongs to one worker, as do the counters it charges; meters are shared and swapped atomically.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport Frame
from ..core.native cimport load32
from ..core.ip cimport PROTO_TCP
from ..core.packet cimport PACKET_BAD_CHECKSUM, PACKET_CHANGED, PACKET_FRAGMENT, Packet
from ..core.wire cimport mac_is_broadcast, mac_is_group
from .conntrack cimport CtEntry
from .log cimport LogRing
from .rule cimport RuleCounter, Ruleset, Target

cdef enum WalkVerdict:
    VERDICT_ACCEPT = 0
    VERDICT_DROP                        # Walk.table says where: the drop's name is RULE_RAW + table
    VERDICT_QUEUE                       # Walk.arg is the queue's number, Walk.target.mode may have QUEUE_BYPASS
    VERDICT_REJECT                      # Walk.arg says with what: ICMP type << 8 | code, or 0: a TCP reset
    VERDICT_NAT                         # Walk.target has the operation (TARGET_SNAT ...) and its range

cdef enum Way:
    # Which hooks: half 0 is the first, half 1 any other.
    WAY_PREROUTING = 1
    WAY_FORWARD                         # FORWARD, POSTROUTING
    WAY_INPUT
    WAY_OUTPUT                          # OUTPUT, POSTROUTING

cdef enum:
    PATH_COUNTERS = 16                  # more rules that count, or more edits, and a path is not cached
    PATH_EDITS = 8
    KEYS = 5

    # Walk.key, and the bits of each that Walk.mask may hold
    KEY_PACKET = 0                      # family, flags, ct_info, tos, ttl, tcp_flags, in_port
    KEY_PLACE = 1                       # out_port, in_dev, out_dev, way
    KEY_STATUS = 2                      # of the connection; length of the packet << 32
    KEY_MARK = 3                        # of the packet; of the connection << 32
    KEY_LINK = 4                        # source MAC; packet type << 48

    KEY_TOS_SHIFT = 24                  # in KEY_PACKET
    KEY_TTL_SHIFT = 32
    KEY_TCP_FLAGS_SHIFT = 40

    LAYER4_WHOLE = 0                    # Walk.layer4: ports and flags can be looked at
    LAYER4_FRAGMENT = 1                 # ... are elsewhere: no rule that asks for them matches
    LAYER4_SHORT = 2                    # ... should be there and are not: such a rule ends the packet, as in the kernel

cdef struct RuleState:
    # What rules have to themselves beside the ruleset, as one worker sees it.
    RuleCounter *counters               # the worker's own, by id
    uint64_t *meters                    # of `limit`, by id, shared by all workers
    LogRing *log                        # the worker's own; NULL: nobody listens

cdef struct Walk:
    const Ruleset *rules
    const RuleState *state
    Packet *packet
    Frame *frame
    CtEntry *entry                      # NULL: none, or not known yet
    uint64_t now_ns
    # What came out, of the last walk_table
    uint8_t verdict
    uint8_t table
    uint8_t hook
    uint8_t zones                       # a CT rule spoke: CT_NOTRACK, CT_ZONE_ORIG (see Packet.zone), CT_ZONE_REPLY
    uint16_t arg
    const Target *target
    # On the way
    uint8_t layer4
    uint8_t hotdrop
    uint8_t way
    uint8_t uncacheable
    uint8_t n_counted
    uint8_t n_edits
    uint32_t connmark                   # as the walk sees it, whatever other workers do meanwhile
    uint64_t key[KEYS]                  # as the packet was when the half began
    uint64_t mask[KEYS]                 # the bits that were looked at
    uint32_t counted[PATH_COUNTERS]     # ids
    uint32_t edits[PATH_EDITS]          # indices of Targets


cdef uint8_t walk_table(Walk *walk, uint32_t table, uint32_t hook) noexcept nogil
cdef uint8_t walk_way(Walk *walk) noexcept nogil
cdef uint8_t walk_resume(Walk *walk, uint8_t begin) noexcept nogil
cdef void replay(const Ruleset *rules, const uint32_t *edits, uint32_t n, Packet *packet, Frame *frame,
                 CtEntry *entry) noexcept nogil


cdef inline uint64_t key_packet(const Packet *packet) noexcept nogil:
    """Eight bytes of Packet that lie together, from `family` on; the later ones one by one, which may just have been written."""
    return (load32(&packet.family) | <uint64_t>packet.ttl << KEY_TTL_SHIFT | <uint64_t>packet.tcp_flags << KEY_TCP_FLAGS_SHIFT
            | <uint64_t>packet.in_port << 48)

cdef inline uint64_t key_place(const Packet *packet, uint64_t way) noexcept nogil:
    """The port out, both devices, and the way: not the zone, which the connection settles."""
    return packet.out_port | <uint64_t>packet.in_dev << 16 | <uint64_t>packet.out_dev << 32 | way << 48

cdef inline uint64_t key_status(const Packet *packet, const CtEntry *entry) noexcept nogil:
    return entry.status | <uint64_t>packet.length << 32

cdef inline uint64_t key_mark(const Packet *packet, const CtEntry *entry) noexcept nogil:
    return packet.mark | <uint64_t>entry.mark << 32

cdef inline uint64_t packet_type(const Frame *frame) noexcept nogil:
    """The kernel's PACKET_HOST, _BROADCAST, _MULTICAST. A bridged frame is HOST to the hooks, whomever it is for."""
    return 0 if not mac_is_group(frame.dst) else 1 if mac_is_broadcast(frame.dst) else 2

cdef inline uint64_t key_link(const Frame *frame) noexcept nogil:
    return (frame.src & 0xffffffffffffULL) | packet_type(frame) << 48

cdef inline uint8_t layer4_of(const Packet *packet) noexcept nogil:
    """What rules that ask for ports, flags or ICMP types will find."""
    cdef uint8_t proto = packet.tuple.proto
    cdef uint32_t least = 20 if proto == PROTO_TCP else 8
    if packet.flags & PACKET_FRAGMENT:
        return LAYER4_FRAGMENT
    return LAYER4_SHORT if packet.l4 == NULL or packet.l4_length < least else LAYER4_WHOLE

cdef inline void walk_begin(Walk *walk, const Ruleset *rules, const RuleState *state, Packet *packet, Frame *frame,
                            CtEntry *entry, uint8_t way, uint64_t now_ns) noexcept nogil:
    """Before the first table of a half; entry: NULL where conntrack has not looked yet."""
    walk.rules = rules
    walk.state = state
    walk.packet = packet
    walk.frame = frame
    walk.now_ns = now_ns
    walk.verdict = VERDICT_ACCEPT
    walk.table = 0
    walk.hook = 0
    walk.arg = 0
    walk.zones = 0
    walk.target = NULL
    walk.layer4 = layer4_of(packet)
    walk.hotdrop = False
    walk.way = way
    walk.uncacheable = False
    walk.n_counted = 0
    walk.n_edits = 0
    walk.entry = entry
    walk.connmark = entry.mark if entry != NULL else 0
    walk_key(walk)

cdef inline void walk_key(Walk *walk) noexcept nogil:
    """Note what the packet is like, and that family, flags, state and way are always looked at."""
    walk.key[KEY_PACKET] = key_packet(walk.packet)
    walk.key[KEY_PLACE] = key_place(walk.packet, walk.way)
    walk.key[KEY_STATUS] = <uint64_t>walk.packet.length << 32 | (walk.entry.status if walk.entry != NULL else 0)
    walk.key[KEY_MARK] = <uint64_t>walk.connmark << 32 | walk.packet.mark
    walk.key[KEY_LINK] = key_link(walk.frame)
    walk.mask[KEY_PACKET] = 0xff0000 | (0xff & ~(PACKET_BAD_CHECKSUM | PACKET_CHANGED)) << 8 | 0xff
    walk.mask[KEY_PLACE] = 0xffULL << 48
    walk.mask[KEY_STATUS] = 0
    walk.mask[KEY_MARK] = 0
    walk.mask[KEY_LINK] = 0
