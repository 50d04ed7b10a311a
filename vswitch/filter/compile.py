"""From the model to the views that the fast path compiles: tables and chains by number, names resolved, one pass.

Ten thousand rules come through here at each change of one, so nothing is done twice and nothing clever once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .compile_matches import MATCHES, net
from .compile_targets import target
from .interfaces import InterfaceNames
from .model import Rule, Ruleset, Rulesets, Spec
from .targets import Verdict
from .view import ChainView, MatchOp, RuleView, TargetOp

TABLE_NUMBERS = {"raw": 0, "mangle": 1, "nat": 2, "filter": 3, "security": 4}
HOOK_NUMBERS = {"PREROUTING": 0, "INPUT": 1, "FORWARD": 2, "OUTPUT": 3, "POSTROUTING": 4}

SRC, DST, PROTO, IN, OUT, FRAGMENT = (
    int(op) for op in (MatchOp.SRC, MatchOp.DST, MatchOp.PROTO, MatchOp.IN, MatchOp.OUT, MatchOp.FRAGMENT)
)
POLICIES = {Verdict.ACCEPT: int(TargetOp.ACCEPT), Verdict.DROP: int(TargetOp.DROP)}


def compile_rules(
    rulesets: Rulesets, names: InterfaceNames, slots: Mapping[int, int]
) -> tuple[list[ChainView], list[ChainView]]:
    """The chains of IPv4 and of IPv6, for `CompiledRuleset`; `slots` are the places of counters by id.

    Raises ValueError for a jump into nowhere."""
    return _family(rulesets.ipv4, names, slots), _family(rulesets.ipv6, names, slots)


def _family(ruleset: Ruleset, names: InterfaceNames, slots: Mapping[int, int]) -> list[ChainView]:
    views: list[ChainView] = []
    for table in ruleset.tables.values():
        numbers = {name: len(views) + index for index, name in enumerate(table.chains)}
        for chain in table.chains.values():
            built_in = chain.policy is not None
            rules = [_rule(rule, ruleset.family, numbers, names, slots[rule.id]) for rule in chain.rules]
            views.append(
                ChainView(
                    TABLE_NUMBERS[table.name],
                    HOOK_NUMBERS[chain.name] if built_in else None,
                    rules,
                    POLICIES[chain.policy] if chain.policy is not None else TargetOp.ACCEPT,
                    slots[chain.policy_id],
                )
            )
    return views


def _rule(rule: Rule, family: int, chains: dict[str, int], names: InterfaceNames, slot: int) -> RuleView:
    spec = rule.spec
    matches = _own_matches(spec, names)
    for match in spec.matches:
        matches += MATCHES[type(match)](match, names)
    return RuleView(slot, tuple(matches), target(spec.target, family, chains))


def _own_matches(spec: Spec, names: InterfaceNames) -> list[tuple[int, int, Any]]:
    """What every rule can ask without an extension. Protocol 0 is any."""
    inverted = spec.inverted
    found: list[tuple[int, int, Any]] = []
    if spec.source is not None:
        found.append((SRC, "source" in inverted, net(spec.source)))
    if spec.destination is not None:
        found.append((DST, "destination" in inverted, net(spec.destination)))
    if spec.in_interface:
        found.append((IN, "in_interface" in inverted, names.resolve(spec.in_interface)))
    if spec.out_interface:
        found.append((OUT, "out_interface" in inverted, names.resolve(spec.out_interface)))
    if spec.protocol:
        found.append((PROTO, "protocol" in inverted, (spec.protocol,)))
    if spec.fragment:
        found.append((FRAGMENT, "fragment" in inverted, ()))
    return found
