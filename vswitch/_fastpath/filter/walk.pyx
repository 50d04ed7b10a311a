"""One table at one hook: the rules in order, with a bounded stack for the chains that call each other.

See walk.pxd for what a walk is. Compiling has seen to it that chains call each other JUMPS deep at most, and in no
circle. A chain's end, and RETURN, lead back to the last jump; without one they lead to the policy. GOTO leaves no way
back.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport Frame
from ..core.ip cimport Ip
from ..core.native cimport count, mix64
from ..core.packet cimport CT_UNTRACKED, PACKET_SHORT, Packet
from .conntrack cimport CtEntry
from .log cimport log_packet
from .match cimport bswap16, layer4_whole, match_holds
from .match_place cimport interfaces_hold
from .rule cimport *
from .target cimport target_edit

cdef enum:
    GO_ON = 255                         # of run_target: not a verdict


# A rule

cdef inline bint addresses_miss(const Packet *packet, const Rule *rule) noexcept nogil:
    """Most rules that do not match differ here; without branches, as nobody can guess which half does."""
    cdef uint64_t src = (((packet.src.high & rule.src_mask.high) ^ rule.src.high)
                         | ((packet.src.low & rule.src_mask.low) ^ rule.src.low))
    cdef uint64_t dst = (((packet.dst.high & rule.dst_mask.high) ^ rule.dst.high)
                         | ((packet.dst.low & rule.dst_mask.low) ^ rule.dst.low))
    return ((<uint32_t>(src != 0) ^ (rule.flags & RULE_NOT_SRC))
            | (<uint32_t>(dst != 0) ^ (rule.flags & RULE_NOT_DST) >> 1))

cdef bint asks_fragment(const Walk *walk, const Rule *rule) noexcept nogil:
    cdef uint32_t i
    for i in range(rule.first_match, rule.first_match + rule.n_matches):
        if walk.rules.matches[i].op == MATCH_FRAGMENT and not walk.rules.matches[i].invert & MATCH_INVERT:
            return True
    return False

cdef inline bint ports_hold(Walk *walk, const Rule *rule) noexcept nogil:
    cdef uint16_t sport = bswap16(walk.packet.sport), dport = bswap16(walk.packet.dport)
    if walk.layer4 == LAYER4_SHORT and asks_fragment(walk, rule):
        return False                    # `-f` is asked before the ports, and this packet is whole
    if not layer4_whole(walk):
        return False
    if (rule.sport_min <= sport and sport <= rule.sport_max) == (rule.flags & RULE_NOT_SPORT != 0):
        return False
    return (rule.dport_min <= dport and dport <= rule.dport_max) != (rule.flags & RULE_NOT_DPORT != 0)

cdef inline bint rule_holds(Walk *walk, const Rule *rule) noexcept nogil:
    cdef uint32_t i
    if addresses_miss(walk.packet, rule):
        return False
    if rule.flags & RULE_PROTO and (walk.packet.tuple.proto == rule.proto) == (rule.flags & RULE_NOT_PROTO != 0):
        return False
    if rule.flags & (RULE_INTERFACES | RULE_NEVER):
        if rule.flags & RULE_NEVER or not interfaces_hold(walk, rule):
            return False
    if rule.flags & RULE_PORTS and not ports_hold(walk, rule):
        return False
    for i in range(rule.n_matches):
        if not match_holds(walk, &walk.rules.matches[rule.first_match + i]):
            return False
    return True


# What it does

cdef inline void charge_rule(Walk *walk, uint32_t counter) noexcept nogil:
    """Count the packet for the rule, and note that."""
    count(&walk.state.counters[counter].packets, 1)
    count(&walk.state.counters[counter].bytes, walk.packet.length)
    if walk.n_counted == PATH_COUNTERS:
        walk.uncacheable = True
        return
    walk.counted[walk.n_counted] = counter
    walk.n_counted += 1

cdef uint8_t end(Walk *walk, uint8_t verdict, uint16_t arg, const Target *target) noexcept nogil:
    walk.verdict = verdict
    walk.arg = arg
    walk.target = target
    return verdict

cdef void edit(Walk *walk, uint32_t index) noexcept nogil:
    """Edit, and note it. A mark that is moved makes what is later read of it depend on where it came from."""
    cdef const Target *target = &walk.rules.targets[index]
    if target.op == TARGET_CONNMARK:
        if walk.entry == NULL:
            return                      # nor may a path do it, which has a connection
        if target.mode == CONNMARK_RESTORE:
            walk.mask[KEY_MARK] |= <uint64_t>target.mask << 32
        elif target.mode == CONNMARK_SAVE:
            walk.mask[KEY_MARK] |= target.mask2
        elif target.shift:
            walk.mask[KEY_MARK] |= 0xffffffff00000000ULL
    target_edit(target, walk.rules, walk.packet, walk.frame, &walk.connmark if walk.entry != NULL else NULL)
    if target.op == TARGET_CONNMARK and target.mode != CONNMARK_RESTORE:
        walk.entry.mark = walk.connmark
    if target.op == TARGET_TCPMSS:
        walk.uncacheable = True         # it may make the packet longer, between two rules that count
    if walk.n_edits == PATH_EDITS:
        walk.uncacheable = True
        return
    walk.edits[walk.n_edits] = index
    walk.n_edits += 1

cdef uint8_t queue(Walk *walk, const Target *target) noexcept nogil:
    """One of a range of queues; both directions of a connection in the same."""
    cdef const Packet *packet = walk.packet
    cdef uint32_t n = target.mask - target.value + 1
    cdef uint64_t hash = mix64(packet.src.high ^ packet.dst.high ^ 0x9e3779b97f4a7c15ULL,
                               packet.src.low ^ packet.dst.low ^ packet.tuple.proto ^ 0xd1b54a32d192ed03ULL)
    walk.uncacheable = True
    return end(walk, VERDICT_QUEUE, <uint16_t>(target.value + (hash >> 32) % n), target)

cdef void choose_zone(Walk *walk, const Target *target) noexcept nogil:
    """How conntrack is to look at the packet. The first rule that says so decides, and none does behind conntrack."""
    walk.uncacheable = True
    if walk.zones or walk.entry != NULL or walk.packet.ct_info:
        return
    walk.zones = target.mode
    if target.mode & CT_NOTRACK:
        walk.packet.ct_info = CT_UNTRACKED
        walk.key[KEY_PACKET] = key_packet(walk.packet)
        return
    if target.mode & CT_ZONE_ORIG:
        walk.packet.zone = <uint16_t>(walk.packet.mark if target.mode & CT_ZONE_MARK else target.value)
    if target.mode & CT_ZONE_REPLY:
        walk.packet.zone_reply = <uint16_t>(walk.packet.mark if target.mode & CT_ZONE_MARK else target.mask)

cdef uint8_t run_target(Walk *walk, const Rule *rule) noexcept nogil:
    """All targets but verdicts and jumps. GO_ON, or the verdict."""
    cdef const Target *target = &walk.rules.targets[rule.arg]
    if rule.op == TARGET_NONE:
        return GO_ON
    if rule.op == TARGET_QUEUE:
        return queue(walk, target)
    if rule.op == TARGET_REJECT:
        return end(walk, VERDICT_REJECT, <uint16_t>target.value, target)
    if TARGET_SNAT <= rule.op <= TARGET_NETMAP:
        walk.uncacheable = True
        return end(walk, VERDICT_NAT, 0, target)
    if rule.op == TARGET_TCPMSS and walk.packet.flags & PACKET_SHORT:
        walk.uncacheable = True
        return end(walk, VERDICT_DROP, 0, NULL)     # as in the kernel: its header is longer than itself
    if rule.op == TARGET_CT:
        choose_zone(walk, target)
    elif rule.op == TARGET_LOG:
        walk.uncacheable = True
        if walk.state.log != NULL:
            log_packet(walk.state.log, walk.packet, walk.frame, rule.counter, walk.hook, walk.now_ns)
    else:
        edit(walk, rule.arg)
    return GO_ON


# Chains

cdef uint8_t walk_table(Walk *walk, uint32_t table, uint32_t hook) noexcept nogil:
    """Take the packet through a table; an empty one costs a look. Returns VERDICT_*, and Walk has the rest."""
    cdef uint32_t chain = walk.rules.entry[walk.packet.family == 6][table][hook]
    walk.table = <uint8_t>table
    walk.hook = <uint8_t>hook
    if chain == NO_CHAIN:
        return end(walk, VERDICT_ACCEPT, 0, NULL)
    return walk_chain(walk, &walk.rules.chains[chain])

cdef uint8_t walk_chain(Walk *walk, const Chain *base) noexcept nogil:
    cdef uint32_t stack[2 * JUMPS]
    cdef uint32_t depth = 0, at = base.first, stop = base.first + base.n
    cdef const Rule *rule
    cdef uint8_t verdict
    while True:
        while at == stop:
            if not depth:
                return policy(walk, base)
            depth -= 2
            at = stack[depth]
            stop = stack[depth + 1]
        rule = &walk.rules.rules[at]
        at += 1
        if not rule_holds(walk, rule):
            if walk.hotdrop:
                return end(walk, VERDICT_DROP, 0, NULL)
            continue
        charge_rule(walk, rule.counter)
        if rule.op == TARGET_ACCEPT:
            return end(walk, VERDICT_ACCEPT, 0, NULL)
        if rule.op == TARGET_DROP:
            return end(walk, VERDICT_DROP, 0, NULL)
        if rule.op == TARGET_RETURN:
            at = stop
        elif rule.op == TARGET_JUMP or rule.op == TARGET_GOTO:
            if rule.op == TARGET_JUMP:
                stack[depth] = at
                stack[depth + 1] = stop
                depth += 2
            at = walk.rules.chains[rule.arg].first
            stop = at + walk.rules.chains[rule.arg].n
        else:
            verdict = run_target(walk, rule)
            if verdict != GO_ON:
                return verdict

cdef uint8_t policy(Walk *walk, const Chain *base) noexcept nogil:
    charge_rule(walk, base.policy_counter)
    return end(walk, VERDICT_DROP if base.policy == TARGET_DROP else VERDICT_ACCEPT, 0, NULL)

cdef int32_t way_stop(uint8_t way, uint32_t n) noexcept nogil:
    """The n-th table on a way behind conntrack, nat apart, in their order: table | hook << 4; -1: there is none."""
    cdef int32_t hook = HOOK_FORWARD if way == WAY_FORWARD else HOOK_INPUT if way == WAY_INPUT else HOOK_OUTPUT
    if way == WAY_PREROUTING:
        return TABLE_MANGLE | HOOK_PREROUTING << 4 if n == 0 else -1
    if n == 3:
        return TABLE_MANGLE | HOOK_POSTROUTING << 4 if way != WAY_INPUT else -1
    return -1 if n > 3 else (TABLE_MANGLE if n == 0 else TABLE_FILTER if n == 1 else TABLE_SECURITY) | hook << 4

cdef uint8_t walk_from(Walk *walk, uint32_t n) noexcept nogil:
    """The first verdict that is not ACCEPT ends it."""
    cdef int32_t stop = way_stop(walk.way, n)
    while stop >= 0:
        if walk_table(walk, stop & 15, stop >> 4):
            return walk.verdict
        n += 1
        stop = way_stop(walk.way, n)
    return VERDICT_ACCEPT

cdef uint8_t walk_way(Walk *walk) noexcept nogil:
    return walk_from(walk, 0)

cdef uint8_t walk_resume(Walk *walk, uint8_t begin) noexcept nogil:
    """A packet that comes back from a queue goes on behind the table that sent it there. Half a walk is no path."""
    cdef uint32_t n = 0
    cdef int32_t stop = way_stop(walk.way, 0)
    walk.uncacheable = True
    while stop >= 0 and place(stop & 15, stop >> 4) < begin:
        n += 1
        stop = way_stop(walk.way, n)
    return walk_from(walk, n)

cdef void replay(const Ruleset *rules, const uint32_t *edits, uint32_t n, Packet *packet, Frame *frame,
                 CtEntry *entry) noexcept nogil:
    """The edits of a path once more, for another packet."""
    cdef uint32_t i, before = entry.mark, mark = before
    for i in range(n):
        target_edit(&rules.targets[edits[i]], rules, packet, frame, &mark)
    if mark != before:
        entry.mark = mark
