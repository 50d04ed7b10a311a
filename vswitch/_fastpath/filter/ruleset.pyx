"""Lays rules out for the fast path: views (vswitch/filter/view.py) in, arrays out, one pass over them.

A view is trusted to be well-formed, for compile.py makes it; what could send a walk astray is checked all the same:
jumps lead to chains, in no circle and at most JUMPS deep, and every id has its counters.
"""
import os

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.arena cimport Arena
from ..core.ip cimport Ip
from ..core.native cimport relaxed_load64
from .path cimport PATHS, Path
from .rule cimport *
from .jumps import check_jumps

cdef enum:
    IN_RULE = MATCH_OUT                 # operations up to here have a place in the rule itself
    MULTIPORT_MAX = 15


cdef class CompiledRuleset(BlockOwner):
    """`ipv4` and `ipv6` are lists of ChainView, `devices` and `addresses` lists of DeviceView (by device index) and
    AddressView; counter ids must lie below `capacity`, `paths` bounds the verdict cache. Raises ValueError."""

    def __init__(self, uint64_t generation, list ipv4, list ipv6, devices=(), addresses=(),
                 uint32_t capacity=0xffffffffu, uint32_t paths=PATHS):
        cdef size_t n_rules = 0, n_matches = 0, n_targets = 0
        self._set_of = {}
        self.rules.generation = generation
        self._fill_devices(devices, addresses)
        self._count_records(ipv4, &n_rules, &n_matches, &n_targets)
        self._count_records(ipv6, &n_rules, &n_matches, &n_targets)
        self._chains = <Chain *>self._block((len(ipv4) + len(ipv6)) * sizeof(Chain))
        self._rules = <Rule *>self._block(n_rules * sizeof(Rule) + 64)
        self._rules = <Rule *>((<size_t>self._rules + 63) & ~<size_t>63)
        self._matches = <Match *>self._block(n_matches * sizeof(Match))
        self._targets = <Target *>self._block(n_targets * sizeof(Target))
        self._fill_chains(ipv4, ipv6)
        self._fill_sets()
        self.rules.chains, self.rules.rules = self._chains, self._rules
        self.rules.matches, self.rules.targets = self._matches, self._targets
        check_ids(&self.rules, len(ipv4) + len(ipv6), n_rules, capacity)
        self._make_paths(min(paths, <uint32_t>PATHS))

    def _make_paths(self, uint32_t limit):
        """Page-aligned and untouched until used: an unused cache costs nothing."""
        self._arena = Arena("paths", PATHS * sizeof(uint32_t) + limit * sizeof(Path), "paths/1")
        self.paths.path = <Path *>(<char *>self._arena.body() + PATHS * sizeof(uint32_t))
        self.paths.heads = <uint32_t *>self._arena.body()
        self.paths.limit = limit
        self.paths.seed = int.from_bytes(os.urandom(8), "little")
        self.paths.used = 1
        self.rules.paths = &self.paths

    @property
    def generation(self):
        return self.rules.generation

    def path_counters(self):
        """How many paths there are, and how many found no room."""
        return relaxed_load64(&self.paths.used) - 1, relaxed_load64(&self.paths.refused)

    def active(self, int family):
        """The (table, hook) pairs where packets of the family have anything to walk."""
        return [(table, hook) for table in range(TABLES) for hook in range(HOOKS)
                if self.rules.entry[family == 6][table][hook] != NO_CHAIN]

    cdef _count_records(self, list chains, size_t *n_rules, size_t *n_matches, size_t *n_targets):
        """Upper bounds: what lies in the rules themselves is not taken off."""
        for chain in chains:
            n_rules[0] += len(chain.rules)
            for _, matches, (op, _) in chain.rules:
                n_matches[0] += len(matches)
                n_targets[0] += op > TARGET_GOTO

    cdef _fill_chains(self, list v4, list v6):
        cdef uint32_t at = 0, number = 0, i
        cdef Chain *chain
        for i in range(2 * TABLES * HOOKS):
            (&self.rules.entry[0][0][0])[i] = NO_CHAIN
        for is_v6, views in enumerate((v4, v6)):
            check_jumps(views)
            busy = {view.table for view in views if view.rules or view.policy != TARGET_ACCEPT}
            first = number
            for view in views:
                chain = &self._chains[number]
                chain.first, chain.n = at, len(view.rules)
                chain.policy, chain.policy_counter = view.policy, view.policy_id
                if view.hook is not None and view.table in busy:
                    self.rules.entry[<uint32_t>is_v6][<uint32_t>view.table][<uint32_t>view.hook] = number
                for rule in view.rules:
                    self._fill_rule(&self._rules[at], rule, first)
                    at += 1
                number += 1

    cdef _fill_sets(self):
        cdef uint64_t *bits
        cdef uint32_t words = self.rules.set_words
        self.rules.sets = bits = <uint64_t *>self._block(len(self._set_of) * words * sizeof(uint64_t))
        for (ports, devices, _), number in self._set_of.items():
            raw = (ports | devices << 64 * SET_PORT_WORDS).to_bytes(words * 8, "little")
            memcpy(bits + <size_t>number * words, <const char *>raw, words * 8)

    cdef uint32_t _set(self, interfaces) except? 0xffffffff:
        number = self._set_of.get(interfaces)
        if number is None:
            number = self._set_of[interfaces] = len(self._set_of)
            if number >= NO_SET:
                raise ValueError("too many different interfaces in the rules")
        return number

    cdef _fill_devices(self, devices, addresses):
        cdef RuleDevice *device
        cdef RuleAddress *address
        cdef uint32_t i
        self.rules.n_devices, self.rules.n_addresses = len(devices), len(addresses)
        self.rules.set_words = SET_PORT_WORDS + (len(devices) + 63) // 64
        self.rules.devices = device = <RuleDevice *>self._block(len(devices) * sizeof(RuleDevice))
        for i, view in enumerate(devices):
            device[i].mtu, device[i].router, device[i].uplink = view.mtu, view.router, view.uplink
        self.rules.addresses = address = <RuleAddress *>self._block(len(addresses) * sizeof(RuleAddress))
        for i, view in enumerate(addresses):
            address[i].ip = ip_of(view.ip)
            address[i].device, address[i].router = view.device, view.router
            address[i].type = RTN_BROADCAST if view.broadcast else RTN_LOCAL

    cdef _fill_rule(self, Rule *rule, view, uint32_t chain_offset):
        cdef uint32_t op, flags
        cdef bint limited = False
        cdef Match *m
        rule.counter = view[0]
        rule.first_match = self._n_matches
        rule.in_set = rule.out_set = NO_SET
        rule.sport_max = rule.dport_max = 0xffff
        for op, flags, args in view[1]:
            # What stands behind a limit must not be looked at before it: a packet that comes so far has used a token.
            if op <= IN_RULE and not limited and self._fill_inline(rule, op, flags, args):
                continue
            if op == MATCH_LIMIT and limited:
                raise ValueError("a rule can have one limit")
            limited |= op == MATCH_LIMIT
            m = &self._matches[self._n_matches]
            m.op, m.invert = op, flags
            self._fill_match(m, op, args, rule.counter)
            self._n_matches += 1
            rule.n_matches += 1
        op, args = view[2]
        rule.op = op
        if op == TARGET_JUMP or op == TARGET_GOTO:
            rule.arg = chain_offset + <uint32_t>args[0]
        elif op > TARGET_GOTO:
            rule.arg = self._n_targets
            self._fill_target(&self._targets[self._n_targets], op, args, rule.counter)
            self._n_targets += 1

    cdef bint _fill_inline(self, Rule *rule, uint32_t op, uint32_t flags, args) except -1:
        """Whether the rule itself had room for it: a second range of ports, say, has to go elsewhere."""
        cdef uint32_t bit = 1u << (op - MATCH_SRC), inverted = flags & MATCH_INVERT
        if op == MATCH_SRC:
            rule.src, rule.src_mask = ip_of(args[0]), ip_of(args[1])
        elif op == MATCH_DST:
            rule.dst, rule.dst_mask = ip_of(args[0]), ip_of(args[1])
        elif op == MATCH_PROTO:
            rule.proto = args[0]
            rule.flags |= RULE_PROTO
        elif op == MATCH_IN or op == MATCH_OUT:
            if args.any:
                rule.flags |= RULE_NEVER if inverted else 0
                return True
            rule.flags |= RULE_INTERFACES
            if op == MATCH_IN:
                rule.in_set = self._set(args)
            else:
                rule.out_set = self._set(args)
        elif op == MATCH_SPORT and not rule.flags & RULE_SPORT:
            rule.sport_min, rule.sport_max = args
            rule.flags |= RULE_PORTS | RULE_SPORT
        elif op == MATCH_DPORT and not rule.flags & RULE_DPORT:
            rule.dport_min, rule.dport_max = args
            rule.flags |= RULE_PORTS | RULE_DPORT
        else:
            return False
        rule.flags |= bit * inverted
        return True

    cdef _fill_match(self, Match *m, uint32_t op, args, uint32_t counter):
        if op in (MATCH_CTORIGSRC, MATCH_CTORIGDST, MATCH_CTREPLSRC, MATCH_CTREPLDST, MATCH_SRC_RANGE, MATCH_DST_RANGE):
            m.ip, m.ip_mask = ip_of(args[0]), ip_of(args[1])
        elif op == MATCH_PHYSDEV:
            m.value, m.mask = args[0], args[1]
            m.set = self._set(args[2]) if args[2] is not None else NO_SET
            m.set2 = self._set(args[3]) if args[3] is not None else NO_SET
        elif op == MATCH_MULTIPORT:
            m.mode = args[0]
            self._fill_ports(m, args[1])
        elif op == MATCH_ICMP:
            m.mode = args[0] is not None
            m.value, m.mask = args[0] or 0, args[1] | args[2] << 8
        elif op == MATCH_TCP_FLAGS:
            m.mask, m.value = args
        elif op == MATCH_MAC:
            m.ip.high = int.from_bytes(args[0], "little")
        elif op == MATCH_LIMIT:
            m.value = counter
            m.ip.high = args[0]
            m.ip.low = args[0] * (args[1] - 1)
        elif op == MATCH_ADDRTYPE:
            m.mode, m.value = args
        elif args:
            m.value = args[0]
            m.mask = args[1] if len(args) > 1 else 0

    cdef _fill_ports(self, Match *m, entries):
        if len(entries) > MULTIPORT_MAX:
            raise ValueError(f"{len(entries)} ports in one multiport: {MULTIPORT_MAX} are the most")
        for first, last in entries:
            m.ports[2 * m.n], m.ports[2 * m.n + 1] = first, last
            m.n += 1

    cdef _fill_target(self, Target *target, uint32_t op, args, uint32_t counter):
        target.op, target.counter = op, counter
        if TARGET_SNAT <= op <= TARGET_NETMAP:
            target.min_ip, target.max_ip = ip_of(args[0]), ip_of(args[1])
            target.min_port, target.max_port, target.base_port, target.nat_flags = args[2:]
        elif op == TARGET_QUEUE:
            target.value, target.mask, target.mode = args
        elif op == TARGET_CONNMARK:
            target.mode, target.value, target.mask, target.mask2, target.shift = args
        elif op == TARGET_CT:
            target.mode, target.value, target.mask = args
        elif op == TARGET_TCPMSS:
            target.mode = TCPMSS_CLAMP if args[0] is None else 0
            target.value = args[0] or 0
        elif op == TARGET_TTL:
            target.mode, target.value = args
        elif args:
            target.value = args[0]
            target.mask = args[1] if len(args) > 1 else 0


cdef Ip ip_of(bytes raw) except *:
    cdef Ip ip
    if len(raw) != 16:
        raise ValueError("an address has 16 bytes here")
    memcpy(&ip, <const char *>raw, 16)
    return ip


cdef check_ids(const Ruleset *rules, size_t n_chains, size_t n_rules, uint32_t capacity):
    cdef size_t i
    for i in range(n_rules):
        if rules.rules[i].counter >= capacity:
            raise ValueError(f"no counters for rule id {rules.rules[i].counter}")
    for i in range(n_chains):
        if rules.chains[i].policy_counter >= capacity:
            raise ValueError(f"no counters for policy id {rules.chains[i].policy_counter}")
