"""Walks: chains that call each other, what is counted and by whom, where a queued packet goes on, which tables are
skipped.
"""

from __future__ import annotations

import pytest

from tests.rules import Pkt, engine, forward, rule
from vswitch._fastpath import _probe_rules as probe
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.view import ChainView, MatchOp, TargetOp

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
RAW, MANGLE, NAT, FILTER, SECURITY = range(5)
M = MatchOp
V6 = Pkt(src="2001:db8::1", dst="2001:db8::2")
DROP, RETURN, COUNT = ((op, ()) for op in (TargetOp.DROP, TargetOp.RETURN, TargetOp.NONE))


def chains_of(*chains, table=FILTER):
    """The first is FORWARD's, the rest are the user's."""
    first, *others = chains
    return forward(list(first), TargetOp.DROP, table) + [ChainView(table, None, list(rules)) for rules in others]


def jump(number, chain, *matches):
    return rule(number, *matches, do=(TargetOp.JUMP, (chain,)))


def goto(number, chain):
    return rule(number, do=(TargetOp.GOTO, (chain,)))


@pytest.mark.parametrize(("chains", "verdict", "counted"), [
    ([[]], "DROP", [999]),
    ([[rule(1), rule(2)]], "ACCEPT", [1]),
    ([[rule(1, do=RETURN), rule(2)]], "DROP", [1, 999]),
    ([[jump(1, 1), rule(2)], [rule(3, do=COUNT)]], "ACCEPT", [1, 2, 3]),
    ([[jump(1, 1), rule(2)], [rule(3, do=RETURN), rule(4, do=DROP)]], "ACCEPT", [1, 2, 3]),
    ([[jump(1, 1), rule(2)], [jump(3, 2), rule(4, do=COUNT)], [rule(5, do=RETURN)]], "ACCEPT", [1, 2, 3, 4, 5]),
    ([[goto(1, 1), rule(2)], [rule(3, do=RETURN)]], "DROP", [1, 3, 999]),
    ([[goto(1, 1), rule(2)], []], "DROP", [1, 999]),
    ([[jump(1, 1), rule(2)], [goto(3, 2), rule(4, do=DROP)], [rule(5, do=COUNT)]], "ACCEPT", [1, 2, 3, 5]),
    ([[jump(1, 1), jump(2, 1), rule(3)], []], "ACCEPT", [1, 2, 3]),
    ([[jump(1, 1, (M.DPORT, 0, (81, 81))), rule(2)], [rule(3, do=DROP)]], "ACCEPT", [2]),
    ([[jump(1, 1)], []], "DROP", [1, 999]),
])  # fmt: skip
def test_chains(chains, verdict, counted):
    run, pkt = engine(chains_of(*chains)), Pkt(payload=60)
    assert run.table(pkt.parcel(), FILTER, FORWARD)["verdict"] == verdict
    ids = [1, 2, 3, 4, 5, 999]
    assert [number for number in ids if run.counters.get(number) == (1, 100)] == counted
    assert sum(run.counters.get(number)[0] for number in ids) == len(counted)


def test_chains_too_deep_or_in_circles_are_refused():
    deep = [[jump(1, number + 1)] for number in range(64)] + [[]]
    assert engine(chains_of(*deep)).table(Pkt().parcel(), FILTER, FORWARD)["verdict"] == "DROP"
    with pytest.raises(ValueError, match="64 deep"):
        engine(chains_of(*deep[:-1], [jump(1, 65)], []))
    through_gotos = [[goto(1, number + 1)] for number in range(200)] + [[rule(2)]]
    assert engine(chains_of(*through_gotos)).table(Pkt().parcel(), FILTER, FORWARD)["verdict"] == "ACCEPT"
    for circle in ([[jump(1, 1)], [goto(2, 1)]], [[], [jump(1, 2)], [goto(2, 1)]]):
        with pytest.raises(ValueError, match="circle"):
            engine(chains_of(*circle))
    for astray in ([[jump(1, 7)]], [[jump(1, 0)]]):
        with pytest.raises(ValueError, match="not one of its table"):
            engine(chains_of(*astray))
    with pytest.raises(ValueError, match="no counters"):
        engine(chains_of([rule(1000)]))


def test_untouched_tables_are_skipped_whole():
    chains = [ChainView(FILTER, hook, [], TargetOp.ACCEPT, 10 + hook) for hook in (INPUT, FORWARD, OUTPUT)]
    rules = {INPUT: [rule(1, do=COUNT)]}
    chains += [ChainView(MANGLE, hook, rules.get(hook, []), TargetOp.ACCEPT, 20 + hook) for hook in range(5)]
    run = engine(chains)
    assert run.ruleset.active(4) == [(MANGLE, hook) for hook in range(5)] and run.ruleset.active(6) == []
    run.table(Pkt().parcel(), FILTER, FORWARD)
    assert run.counters.get(10 + FORWARD) == (0, 0)


def test_families_have_rules_of_their_own():
    compiled = CompiledRuleset(1, chains_of([rule(1)]), chains_of([jump(2, 1)], [rule(3)]), capacity=1000)
    counters = RuleCounters(1000)
    run = probe.Engine(compiled, counters)
    assert run.table(Pkt().parcel(), FILTER, FORWARD)["verdict"] == "ACCEPT"
    assert run.table(V6.parcel(), FILTER, FORWARD)["verdict"] == "ACCEPT"
    assert [counters.get(number)[0] for number in (1, 2, 3)] == [1, 1, 1]


def test_counters_of_workers_add_up_and_can_be_set():
    compiled, counters = CompiledRuleset(1, chains_of([rule(1)]), [], capacity=10000), RuleCounters(10000)
    for worker in (0, 1, 15):
        probe.Engine(compiled, counters, worker=worker).table(Pkt().parcel(), FILTER, FORWARD)
    assert counters.get(1) == (3, 120)
    assert counters.take(1) == (3, 120) and counters.read([1, 2]) == {1: (0, 0), 2: (0, 0)}
    counters.set(1, 1000, 5000)
    probe.Engine(compiled, counters).table(Pkt().parcel(), FILTER, FORWARD)
    assert counters.get(1) == (1001, 5040)


def test_a_queued_packet_goes_on_behind_its_table():
    chains = forward([rule(1)]) + forward([rule(2)], table=SECURITY)
    chains += [ChainView(MANGLE, hook, [rule(3 + hook)], TargetOp.ACCEPT, 20) for hook in (FORWARD, POSTROUTING)]
    run = engine(chains)
    for table, hook in ((FILTER, FORWARD), (MANGLE, POSTROUTING), (MANGLE, FORWARD)):
        assert run.resume(Pkt().parcel(), table, hook)["uncacheable"]
    counted = {number: run.counters.get(number)[0] for number in (1, 2, 3 + FORWARD, 3 + POSTROUTING)}
    assert counted == {1: 1, 2: 2, 3 + FORWARD: 0, 3 + POSTROUTING: 2}
