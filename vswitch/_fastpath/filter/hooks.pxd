"""The hooks, in Netfilter's order, for a packet that `dissect` has taken apart.

    prerouting (a stage)    fragments | raw | conntrack | mangle | nat: destination
    hook_input              mangle | filter | security | nat: source | confirm
    hook_forward            mangle | filter | security | then POSTROUTING's mangle
    hook_output             raw | conntrack | mangle | nat: destination | filter | security
    hook_postrouting        [mangle, after OUTPUT] | nat: source | confirm

A packet of a known connection walks no rules: `half` finds what its like came to (path.pxd). Table raw alone is walked
for every packet, as no connection is known before it. A packet that a user's process has let pass (QUEUE) comes through
here again, past the tables that it has been through (`Context.resume`).

All return PENDING, DONE where somebody else has the packet now, or why it ends; `forget`, a stage, then sees to its connection.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.context cimport Context, end
from ..core.frame cimport ENTRY_OUTPUT, FRAME_IP, Burst, Frame
from ..core.packet cimport *
from ..core.verdict cimport *
from .ahead cimport ahead_rest
from .binding cimport bind_connection
from .conntrack cimport CT_UNCONFIRMED, IPS_DST_NAT, IPS_SRC_NAT, CtEntry, ct_hash
from .confirm cimport ct_abandon, ct_confirm_answer, ct_detach
from .entries cimport ct_delete
from .fragments cimport hold_fragment
from .nat cimport nat_confirm, nat_rewrite, nat_strayed
from .path cimport Path, path_find, path_follow, path_store
from .quote cimport quote_unbound
from .refuse cimport passed, refuse
from .rule cimport *
from .track cimport ct_burst, ct_track
from .walk cimport (
    VERDICT_ACCEPT, WAY_FORWARD, WAY_INPUT, WAY_OUTPUT, WAY_PREROUTING, Walk, walk_begin, walk_resume, walk_table,
    walk_way,
)

# PREROUTING

cdef inline void prerouting(Context *ctx, Burst *burst) noexcept nogil:
    """`dissect` has set the packets' hashes and had most of what they lead to fetched (ahead.pxd)."""
    cdef uint32_t i
    ct_burst(ctx.ct)
    if burst.entry >= ENTRY_OUTPUT:
        return
    ahead_rest(ctx, burst)
    for i in range(burst.n):
        if not burst.frames[i].verdict and burst.frames[i].flags & FRAME_IP:
            enter_hooks(ctx, &burst.frames[i], &burst.packets[i])

cdef inline void enter_hooks(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef uint8_t verdict
    if packet.flags & (PACKET_FRAGMENT | PACKET_MORE):
        verdict = hold_fragment(ctx, frame, packet)
    else:
        verdict = hook_prerouting(ctx, frame, packet)
    if verdict:
        end(ctx, frame, verdict)

cdef inline bint has_table(const Ruleset *rules, const Packet *packet, uint32_t table, uint32_t hook) noexcept nogil:
    return rules != NULL and rules.entry[packet.family == 6][table][hook] != NO_CHAIN

cdef inline CtEntry *entry_of(Context *ctx, const Packet *packet) noexcept nogil:
    return &ctx.ct.entry[packet.ct] if packet.ct != NO_ENTRY else NULL

cdef inline uint8_t hook_prerouting(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Ruleset *rules = ctx.snapshot.rules
    cdef uint8_t verdict = PENDING
    if has_table(rules, packet, TABLE_RAW, HOOK_PREROUTING) and not passed(ctx, TABLE_RAW, HOOK_PREROUTING):
        verdict = hook_raw(ctx, rules, frame, packet, HOOK_PREROUTING)
        if verdict:
            return verdict
    verdict = track(ctx, packet)
    if verdict:
        return verdict
    if has_table(rules, packet, TABLE_MANGLE, HOOK_PREROUTING):
        verdict = half(ctx, rules, frame, packet, WAY_PREROUTING, HOOK_PREROUTING)
    if verdict or packet.ct == NO_ENTRY or translated(ctx, HOOK_PREROUTING):
        return verdict
    return translate(ctx, frame, packet, HOOK_PREROUTING)

cdef inline uint8_t track(Context *ctx, Packet *packet) noexcept nogil:
    """A packet that comes back behind conntrack has been counted, and judged by its place in a window, once already."""
    return <uint8_t>ct_track(ctx.ct, packet, ctx.now_ns, ctx.now_s) if packet.ct_info == CT_NONE else <uint8_t>PENDING

cdef inline uint8_t hook_raw(Context *ctx, const Ruleset *rules, Frame *frame, Packet *packet,
                             uint32_t hook) noexcept nogil:
    """Table raw, which may exempt the packet from connection tracking or choose its zone."""
    cdef Walk walk
    cdef uint8_t verdict
    walk_begin(&walk, rules, &ctx.rules, packet, frame, entry_of(ctx, packet),
               WAY_PREROUTING if hook == HOOK_PREROUTING else WAY_OUTPUT, ctx.now_ns)
    verdict = walk_table(&walk, TABLE_RAW, hook)
    if verdict != VERDICT_ACCEPT:
        verdict = refuse(ctx, frame, packet, verdict, walk.table, hook, walk.arg, walk.target)
        if verdict:
            return verdict
    if packet.tuple.zone != packet.zone and packet.ct == NO_ENTRY:
        packet.tuple.zone = packet.zone
        packet.hash = ct_hash(ctx.ct, &packet.tuple)
    return PENDING

cdef inline bint translated(const Context *ctx, uint32_t hook) noexcept nogil:
    """Whether the packet came through NAT at this hook, which puts destinations right, before it was queued."""
    return ctx.resume > place(TABLE_NAT, hook) + 1

cdef inline uint8_t translate(Context *ctx, Frame *frame, Packet *packet, uint32_t hook) noexcept nogil:
    """NAT at one of its hooks: bind a new connection, then write what the packet's connection asks for."""
    cdef CtEntry *entry = &ctx.ct.entry[packet.ct]
    cdef uint8_t verdict
    if entry.use == CT_UNCONFIRMED and (ctx.snapshot.nat or hook == HOOK_POSTROUTING):
        verdict = bind_connection(ctx, frame, packet, hook)
        if verdict:
            return verdict
    if entry.status & (IPS_SRC_NAT | IPS_DST_NAT):
        return nat_rewrite(entry, packet, frame, hook)
    if packet.ct_info & CT_RELATED and ctx.snapshot.nat:
        return quote_unbound(entry, packet)
    return PENDING


# What follows the forwarding decision

cdef inline uint8_t half(Context *ctx, const Ruleset *rules, Frame *frame, Packet *packet, uint8_t way,
                         uint32_t hook) noexcept nogil:
    """The tables behind conntrack, nat apart, on one half of the way: by the cache, or by a walk."""
    cdef CtEntry *entry = entry_of(ctx, packet)
    cdef const Path *path
    cdef Walk walk
    if entry != NULL and not ctx.resume:
        path = path_find(rules, entry, packet, frame, way)
        if path != NULL:
            if path_follow(path, rules, ctx.rules.counters, packet, frame, entry) == VERDICT_ACCEPT:
                return PENDING
            return refuse(ctx, frame, packet, path.verdict, path.table, hook, path.arg, NULL)
    walk_begin(&walk, rules, &ctx.rules, packet, frame, entry, way, ctx.now_ns)
    return half_walked(ctx, frame, packet, &walk, hook)

cdef inline uint8_t half_walked(Context *ctx, Frame *frame, Packet *packet, Walk *walk, uint32_t hook) noexcept nogil:
    """Go on with a walk that has been begun, and remember what it comes to."""
    cdef uint8_t verdict = walk_way(walk) if not ctx.resume else walk_resume(walk, ctx.resume)
    cdef uint8_t fate
    if not ctx.resume:
        path_store(walk)
    while verdict != VERDICT_ACCEPT:
        fate = refuse(ctx, frame, packet, verdict, walk.table, walk.hook, walk.arg, walk.target)
        if fate:
            return fate
        verdict = walk_resume(walk, place(walk.table, walk.hook) + 1)   # nobody listens, and the rule does not mind
    return PENDING

cdef inline uint8_t hook_forward(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """FORWARD, and POSTROUTING's mangle: packet.out_port and out_dev are known as far as they are."""
    cdef const Ruleset *rules = ctx.snapshot.rules
    if rules == NULL:
        return PENDING
    return half(ctx, rules, frame, packet, WAY_FORWARD, HOOK_FORWARD)

cdef inline uint8_t hook_input(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Ruleset *rules = ctx.snapshot.rules
    cdef uint8_t verdict = half(ctx, rules, frame, packet, WAY_INPUT, HOOK_INPUT) if rules != NULL else PENDING
    if verdict or packet.ct == NO_ENTRY:
        return verdict
    verdict = translate(ctx, frame, packet, HOOK_INPUT)
    return verdict if verdict else nat_confirm(ctx.ct, ctx.nat, packet, frame, ctx.now_s)

cdef inline uint8_t hook_postrouting(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """Source translation and the end of a connection's probation."""
    cdef CtEntry *entry
    cdef uint8_t verdict
    if packet.ct == NO_ENTRY:
        return PENDING
    entry = &ctx.ct.entry[packet.ct]
    if entry.status & IPS_SRC_NAT and nat_strayed(entry, packet, packet.out_dev):
        ct_delete(ctx.ct, packet.ct, ctx.now_s)
        return NAT_STRAYED
    verdict = translate(ctx, frame, packet, HOOK_POSTROUTING)
    if verdict or entry.use != CT_UNCONFIRMED:
        return verdict
    if packet.flags & PACKET_LOCAL and packet.ct_info == CT_RELATED:
        return <uint8_t>ct_confirm_answer(ctx.ct, packet, ctx.came_back.serial, ctx.now_s)
    return nat_confirm(ctx.ct, ctx.nat, packet, frame, ctx.now_s)

cdef inline uint8_t hook_output(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """OUTPUT up to nat: the caller looks whether the destination has changed, and goes on with hook_output_filter."""
    cdef const Ruleset *rules = ctx.snapshot.rules
    cdef uint8_t verdict
    packet.hash = ct_hash(ctx.ct, &packet.tuple)
    if has_table(rules, packet, TABLE_RAW, HOOK_OUTPUT) and not passed(ctx, TABLE_RAW, HOOK_OUTPUT):
        verdict = hook_raw(ctx, rules, frame, packet, HOOK_OUTPUT)
        if verdict:
            return verdict
    if packet.ct_info == CT_RELATED and packet.ct == NO_ENTRY and not ctx.resume:
        packet.ct_info = CT_NONE        # the answer to an untracked packet: no rule said how, and now it is tracked
    verdict = track(ctx, packet)
    if verdict:
        return verdict
    if has_table(rules, packet, TABLE_MANGLE, HOOK_OUTPUT):
        verdict = one_table(ctx, rules, frame, packet, TABLE_MANGLE, HOOK_OUTPUT)
        if verdict:
            return verdict
    if packet.ct == NO_ENTRY or translated(ctx, HOOK_OUTPUT):
        return PENDING
    return translate(ctx, frame, packet, HOOK_OUTPUT)

cdef inline uint8_t hook_output_filter(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    cdef const Ruleset *rules = ctx.snapshot.rules
    cdef uint8_t verdict
    if rules == NULL:
        return PENDING
    verdict = one_table(ctx, rules, frame, packet, TABLE_FILTER, HOOK_OUTPUT)
    if not verdict:
        verdict = one_table(ctx, rules, frame, packet, TABLE_SECURITY, HOOK_OUTPUT)
    return verdict

cdef inline uint8_t hook_output_mangle(Context *ctx, Frame *frame, Packet *packet) noexcept nogil:
    """POSTROUTING's mangle, for what has passed OUTPUT."""
    cdef const Ruleset *rules = ctx.snapshot.rules
    return one_table(ctx, rules, frame, packet, TABLE_MANGLE, HOOK_POSTROUTING) if rules != NULL else PENDING

cdef inline uint8_t one_table(Context *ctx, const Ruleset *rules, Frame *frame, Packet *packet, uint32_t table,
                              uint32_t hook) noexcept nogil:
    """One table, without the cache: packets of the switch's own are few."""
    cdef Walk walk
    cdef uint8_t verdict
    if passed(ctx, table, hook):
        return PENDING
    walk_begin(&walk, rules, &ctx.rules, packet, frame, entry_of(ctx, packet), WAY_OUTPUT, ctx.now_ns)
    verdict = walk_table(&walk, table, hook)
    if verdict == VERDICT_ACCEPT:
        return PENDING
    return refuse(ctx, frame, packet, verdict, walk.table, hook, walk.arg, walk.target)


cdef inline void forget(Context *ctx, Burst *burst) noexcept nogil:
    """Packets that ended here: the new connections that they would have begun never were."""
    cdef uint32_t i
    for i in range(burst.n):
        if burst.frames[i].verdict and burst.frames[i].flags & FRAME_IP and burst.packets[i].ct != NO_ENTRY:
            ct_abandon(ctx.ct, &burst.packets[i])
    if burst.entry == ENTRY_OUTPUT and ctx.came_back.ct != NO_ENTRY and ctx.came_back.ct_info & CT_RELATED:
        ct_detach(ctx.ct, ctx.came_back.ct, ctx.came_back.serial)
