"""Rules as the fast path has them: compiled from the tables of iptables, immutable, part of a snapshot.

A rule is two cache lines: the addresses in the first, everything else that most rules ask for in the second. What is
left is a run of `Match` records; a target with arguments is a `Target` record. Chains are runs of rules, so a walk
reads memory forwards. Both families share the arrays, but no chain. Ports are kept in host order, addresses as they
lie in a packet.

Nothing here changes once published, save for the paths (path.pxd) and what lies outside: counters and the meters of
`limit`, both by the rule's id, which outlives the ruleset.
"""
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport Ip

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

    PLACES = 8                          # room for a hook's tables
    PLACE_NAT_LAST = 5                  # nat comes after the others where it rewrites sources

    NO_CHAIN = 0x7fffffff
    NO_SET = 0xffff                     # Rule.in_set: any interface
    JUMPS = 64                          # how deep chains may call each other

cdef enum:
    # Rule.flags
    RULE_NOT_SRC = 1
    RULE_NOT_DST = 2
    RULE_NOT_PROTO = 4
    RULE_NOT_SPORT = 8
    RULE_NOT_DPORT = 16
    RULE_NOT_IN = 32
    RULE_NOT_OUT = 64
    RULE_PROTO = 128                    # asks for a protocol
    RULE_PORTS = 256                    # ... for ports, which fragments and stubs of a header do not have
    RULE_INTERFACES = 512
    RULE_NEVER = 1024                   # contradicts itself: an inverted `any`
    RULE_SPORT = 2048                   # the place for a range of source ports is taken
    RULE_DPORT = 4096

cdef enum MatchOp:
    # Match.op; vswitch/filter/view.py has the same numbers and says what the arguments are.
    MATCH_SRC = 1                       # 1 to 7 mostly lie in the rule itself
    MATCH_DST
    MATCH_PROTO
    MATCH_SPORT
    MATCH_DPORT
    MATCH_IN
    MATCH_OUT
    MATCH_SRC_RANGE
    MATCH_DST_RANGE
    MATCH_PHYSDEV
    MATCH_FRAGMENT
    MATCH_MULTIPORT
    MATCH_TCP_FLAGS
    MATCH_TCP_OPTION
    MATCH_ICMP
    MATCH_CTSTATE
    MATCH_CTPROTO
    MATCH_CTORIGSRC
    MATCH_CTORIGDST
    MATCH_CTREPLSRC
    MATCH_CTREPLDST
    MATCH_CTORIGSRCPORT
    MATCH_CTORIGDSTPORT
    MATCH_CTREPLSRCPORT
    MATCH_CTREPLDSTPORT
    MATCH_CTSTATUS
    MATCH_CTEXPIRE
    MATCH_CTDIR
    MATCH_MARK
    MATCH_CONNMARK
    MATCH_MAC
    MATCH_LIMIT
    MATCH_LENGTH
    MATCH_TOS
    MATCH_TTL
    MATCH_ADDRTYPE
    MATCH_PKTTYPE
    MATCH_NEVER

cdef enum TargetOp:
    # Rule.op and Target.op
    TARGET_NONE = 0                     # counts, and goes on to the next rule
    TARGET_ACCEPT
    TARGET_DROP
    TARGET_RETURN
    TARGET_JUMP
    TARGET_GOTO
    TARGET_QUEUE
    TARGET_REJECT
    TARGET_LOG
    TARGET_SNAT
    TARGET_DNAT
    TARGET_MASQUERADE
    TARGET_REDIRECT
    TARGET_NETMAP
    TARGET_MARK
    TARGET_CONNMARK
    TARGET_CT
    TARGET_TCPMSS
    TARGET_TOS
    TARGET_TTL
    TARGET_CLASSIFY

cdef enum:
    MATCH_INVERT = 1                    # Match.invert
    MATCH_LENIENT = 2                   # holds without a connection: --ctstate in the same match let it through

    CTSTATE_INVALID = 1                 # MATCH_CTSTATE: the kernel's XT_CONNTRACK_STATE_BIT
    CTSTATE_ESTABLISHED = 2
    CTSTATE_RELATED = 4
    CTSTATE_NEW = 8
    CTSTATE_SNAT = 64
    CTSTATE_DNAT = 128
    CTSTATE_UNTRACKED = 256

    PORTS_SOURCE = 0                    # Match.mode of MATCH_MULTIPORT
    PORTS_DESTINATION
    PORTS_EITHER

    PHYSDEV_IN = 1                      # Match.value of MATCH_PHYSDEV: what is asked, Match.mask: what is inverted
    PHYSDEV_OUT = 2
    PHYSDEV_IS_BRIDGED = 4
    PHYSDEV_IS_IN = 8
    PHYSDEV_IS_OUT = 16

    ADDRTYPE_SOURCE = 1                 # Match.mode of MATCH_ADDRTYPE; Match.value: a bit a type, the kernel's RTN_*
    ADDRTYPE_LIMIT_IN = 2
    ADDRTYPE_LIMIT_OUT = 4
    RTN_UNSPEC = 0
    RTN_UNICAST = 1
    RTN_LOCAL = 2
    RTN_BROADCAST = 3
    RTN_MULTICAST = 5

    CONNMARK_SET = 0                    # Target.mode
    CONNMARK_SAVE
    CONNMARK_RESTORE
    TTL_SET = 0
    TTL_INC
    TTL_DEC
    CT_NOTRACK = 1
    CT_ZONE_ORIG = 2
    CT_ZONE_REPLY = 4
    CT_ZONE_MARK = 8                    # the zone is the packet's mark
    TCPMSS_CLAMP = 1
    QUEUE_BYPASS = 1                    # ACCEPT when nobody listens

cdef struct Match:
    uint8_t op
    uint8_t invert                      # MATCH_INVERT, MATCH_LENIENT
    uint8_t mode
    uint8_t n                           # of `ports`
    uint16_t set                        # of MATCH_PHYSDEV: interface sets, in and out
    uint16_t set2
    uint32_t value
    uint32_t mask                       # ... or the upper end of a range
    Ip ip                               # ... or the lower end; of MATCH_LIMIT: nanoseconds a packet, and of burst
    Ip ip_mask                          # ... or the upper end
    uint16_t ports[30]                  # pairs: from, to
    uint32_t pad

cdef struct Target:
    uint8_t op
    uint8_t mode
    int16_t shift                       # CONNMARK: left, negative right
    uint32_t value                      # a mark, REJECT's type, an MSS, the first queue, the original direction's zone
    uint32_t mask                       # ... the last queue, the reply direction's zone
    uint32_t mask2                      # CONNMARK: nfmask
    Ip min_ip                           # of a NatRange; MASQUERADE and REDIRECT: zero
    Ip max_ip
    uint16_t min_port                   # host order; 0: keep
    uint16_t max_port
    uint16_t base_port
    uint16_t nat_flags                  # the kernel's NF_NAT_RANGE_*
    uint32_t counter                    # id of its rule
    uint32_t pad

cdef struct Rule:
    Ip src
    Ip src_mask
    Ip dst
    Ip dst_mask
    uint32_t flags                      # RULE_*
    uint32_t counter                    # id, stable
    uint16_t sport_min
    uint16_t sport_max
    uint16_t dport_min
    uint16_t dport_max
    uint16_t in_set                     # NO_SET: any
    uint16_t out_set
    uint8_t proto
    uint8_t op                          # TARGET_*
    uint16_t n_matches
    uint32_t first_match
    uint32_t arg                        # a chain of JUMP and GOTO; else index of the Target
    uint32_t pad[7]

cdef struct Chain:
    uint32_t first                      # of its rules, which lie one after another
    uint32_t n
    uint32_t policy_counter             # id
    uint8_t policy                      # TARGET_ACCEPT, TARGET_DROP

cdef struct RuleDevice:
    # What rules ask of a Device of the snapshot.
    uint32_t mtu
    uint16_t router
    uint8_t uplink                      # no bridge: physdev has nothing to say
    uint8_t pad

cdef struct RuleAddress:
    # An address of the switch, or an IPv4 network's broadcast address, for addrtype.
    Ip ip
    uint16_t device
    uint16_t router
    uint32_t type                       # RTN_LOCAL, RTN_BROADCAST

cdef struct RuleCounter:
    uint64_t packets
    uint64_t bytes

cdef struct Ruleset:
    uint64_t generation
    const Chain *chains
    uint32_t entry[2][5][5]             # [family is IPv6][TABLE_*][HOOK_*]: a chain; NO_CHAIN: nothing to do
    const Rule *rules
    const Match *matches
    const Target *targets
    const uint64_t *sets                # interface sets, `set_words` each: a bit a port id, then a bit a device
    uint32_t set_words
    uint32_t n_devices
    const RuleDevice *devices
    uint32_t n_addresses
    const RuleAddress *addresses
    void *paths                         # a PathTable (path.pxd), which knows this file and not the other way round

cdef enum:
    SET_PORT_WORDS = 64                 # of an interface set: MAX_PORTS bits, the devices' after them


cdef inline uint8_t place(uint32_t table, uint32_t hook) noexcept nogil:
    """Where on a packet's way a table is: what comes later has the greater number. Below 64."""
    if table == TABLE_NAT and (hook == HOOK_INPUT or hook == HOOK_POSTROUTING):
        table = PLACE_NAT_LAST
    return <uint8_t>(hook * PLACES + table)

cdef inline const uint64_t *rule_set(const Ruleset *rules, uint32_t number) noexcept nogil:
    return rules.sets + <uint64_t>number * rules.set_words

cdef inline bint set_has_port(const uint64_t *bits, uint32_t port) noexcept nogil:
    """An id beyond all ports (NO_PORT) is in no set."""
    return port < 64 * SET_PORT_WORDS and bits[port >> 6] >> (port & 63) & 1

cdef inline bint set_has(const Ruleset *rules, uint32_t number, uint32_t port, uint32_t device) noexcept nogil:
    """Whether the port or its device is one of the set's."""
    cdef const uint64_t *bits = rule_set(rules, number)
    if set_has_port(bits, port):
        return True
    return device < rules.n_devices and bits[SET_PORT_WORDS + (device >> 6)] >> (device & 63) & 1
