"""See binding.pxd.

Leaving by a device of another zone than the one it came from, a connection has a zone for each direction: replies come in
where others' do, and are told apart by their ports. So tenants with the same addresses share an uplink.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.ip cimport Ip, ip_equal
from ..core.packet cimport CT_RELATED, NO_DEVICE, PACKET_LOCAL, Packet
from ..core.snapshot cimport DEVICE_NETWORK, DEVICE_UPLINK, NETWORK_NAT, Device
from ..core.verdict cimport *
from ..l3.address cimport device_on_link, source_for
from .conntrack cimport CT_UNCONFIRMED, CtEntry
from .nat cimport NAT_NO_DEVICE, nat_done, nat_manip, nat_null, nat_setup, nat_setup_to
from .natrange cimport NAT_NETMAP, NatRange
from .refuse cimport passed, refuse
from .rewrite cimport NAT_SRC, NatManip, proto_is_icmp
from .rule cimport (
    HOOK_INPUT, HOOK_OUTPUT, HOOK_POSTROUTING, NO_CHAIN, TABLE_NAT, TARGET_MASQUERADE, TARGET_NETMAP, TARGET_REDIRECT, Chain,
    Ruleset, Target,
)
from .walk cimport (
    VERDICT_ACCEPT, VERDICT_NAT, WAY_FORWARD, WAY_INPUT, WAY_OUTPUT, WAY_PREROUTING, Walk, walk_begin, walk_table,
)

cdef uint8_t bind_connection(Context *ctx, Frame *frame, Packet *packet, uint32_t hook) noexcept nogil:
    cdef CtEntry *entry = &ctx.ct.entry[packet.ct]
    cdef const Ruleset *rules = ctx.snapshot.rules
    cdef NatManip manip = nat_manip(hook)
    cdef Walk walk
    cdef uint8_t verdict
    if packet.ct_info & CT_RELATED and proto_is_icmp(packet.tuple.proto):
        return PENDING                  # it speaks of the connection, and does not bind it
    if hook == HOOK_POSTROUTING:
        settle_zone(ctx, packet, entry)
    if entry.use != CT_UNCONFIRMED or nat_done(entry, manip):
        return PENDING
    if (rules != NULL and rules.entry[packet.family == 6][TABLE_NAT][hook] != NO_CHAIN
            and not passed(ctx, TABLE_NAT, hook)):
        walk_begin(&walk, rules, &ctx.rules, packet, frame, entry, way_of(hook), ctx.now_ns)
        verdict = walk_table(&walk, TABLE_NAT, hook)
        if verdict == VERDICT_NAT:
            return set_up(ctx, packet, walk.target, manip, hook)
        if verdict != VERDICT_ACCEPT:
            verdict = refuse(ctx, frame, packet, verdict, walk.table, hook, walk.arg, walk.target)
            if verdict:
                return verdict
        elif accepted_by_rule(rules, &walk, packet.family == 6, hook):
            nat_null(entry, manip)      # exempt, from the network's own masquerading too
            return PENDING
    if hook == HOOK_POSTROUTING and masquerades(ctx, packet):
        return masquerade(ctx, packet, NULL)
    nat_null(entry, manip)
    return PENDING

cdef bint accepted_by_rule(const Ruleset *rules, const Walk *walk, uint32_t is_v6, uint32_t hook) noexcept nogil:
    """Whether a rule spoke the last word, and not the policy, which counts last where it does."""
    cdef const Chain *chain = &rules.chains[rules.entry[is_v6][TABLE_NAT][hook]]
    return walk.n_counted and walk.counted[walk.n_counted - 1] != chain.policy_counter

cdef uint8_t way_of(uint32_t hook) noexcept nogil:
    if hook == HOOK_POSTROUTING:
        return WAY_FORWARD
    return WAY_INPUT if hook == HOOK_INPUT else WAY_OUTPUT if hook == HOOK_OUTPUT else WAY_PREROUTING

cdef void settle_zone(Context *ctx, const Packet *packet, CtEntry *entry) noexcept nogil:
    """The reply's zone is that of the device it will come in by, unless a rule has chosen the zone."""
    if entry.use != CT_UNCONFIRMED or packet.out_dev == NO_DEVICE or packet.in_dev == NO_DEVICE:
        return
    if packet.zone == ctx.snapshot.devices[packet.in_dev].zone and entry.reply.zone == packet.zone:
        entry.reply.zone = ctx.snapshot.devices[packet.out_dev].zone

cdef uint8_t set_up(Context *ctx, Packet *packet, const Target *target, NatManip manip, uint32_t hook) noexcept nogil:
    """What a target of table nat asks for."""
    cdef NatRange wanted
    cdef Ip address
    if target.op == TARGET_MASQUERADE:
        return masquerade(ctx, packet, target)
    range_of(&wanted, target, manip)
    if target.op == TARGET_REDIRECT:
        if not own_address(ctx, packet, &address):
            return RULE_NAT             # as the kernel: nowhere to redirect to
        return nat_setup_to(ctx.ct, ctx.nat, packet, &wanted, &address, NAT_NO_DEVICE, ctx.now_s)
    return nat_setup(ctx.ct, ctx.nat, packet, &wanted, ctx.now_s)

cdef void range_of(NatRange *wanted, const Target *target, NatManip manip) noexcept nogil:
    memset(wanted, 0, sizeof(NatRange))
    wanted.manip = <uint8_t>manip
    if target == NULL:
        return
    wanted.min_ip = target.min_ip
    wanted.max_ip = target.max_ip
    wanted.min_port = target.min_port
    wanted.max_port = target.max_port
    wanted.base_port = target.base_port
    wanted.flags = <uint8_t>target.nat_flags | (NAT_NETMAP if target.op == TARGET_NETMAP else 0)

cdef bint own_address(Context *ctx, const Packet *packet, Ip *address) noexcept nogil:
    """The switch's address where the packet came in."""
    if packet.in_dev == NO_DEVICE:
        return False
    return source_for(&ctx.snapshot.devices[packet.in_dev], &packet.src, address)

cdef bint masquerades(Context *ctx, const Packet *packet) noexcept nogil:
    """Whether the packet leaves a NAT network by an uplink, and no rule of the user's has said how."""
    if packet.in_dev == NO_DEVICE or packet.out_dev == NO_DEVICE or packet.flags & PACKET_LOCAL:
        return False
    return (ctx.snapshot.devices[packet.in_dev].kind == DEVICE_NETWORK
            and ctx.snapshot.devices[packet.in_dev].mode == NETWORK_NAT
            and ctx.snapshot.devices[packet.out_dev].kind == DEVICE_UPLINK)

cdef uint8_t masquerade(Context *ctx, Packet *packet, const Target *target) noexcept nogil:
    """SNAT to the address of the device that the packet leaves by, which the connection is bound to from now on."""
    cdef NatRange wanted
    cdef Ip address
    if packet.out_dev == NO_DEVICE or not source_for(&ctx.snapshot.devices[packet.out_dev], &packet.dst, &address):
        return RULE_NAT                 # as the kernel: there is no address to hide behind
    range_of(&wanted, target, NAT_SRC)
    return nat_setup_to(ctx.ct, ctx.nat, packet, &wanted, &address, packet.out_dev, ctx.now_s)
