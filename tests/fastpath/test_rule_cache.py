"""The verdict cache: what is kept at all, for how long, and for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rules import ESTABLISHED, NEW, RELATED, REPLY, Conn, Pkt, engine, forward, rule
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch.filter.view import ChainView, MatchOp, TargetOp

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
RAW, MANGLE, NAT, FILTER, SECURITY = range(5)
M = MatchOp
ACCEPT, DROP, COUNT = ((op, ()) for op in (TargetOp.ACCEPT, TargetOp.DROP, TargetOp.NONE))


def second(run, pkt, conn, way="forward"):
    """Whether the same packet finds a path after its like has walked."""
    run.judge(pkt.parcel(), conn, way)
    return run.judge(pkt.parcel(), conn, way)["hit"]


FORWARDED = Pkt(ct_info=ESTABLISHED)


@pytest.mark.parametrize(("rules", "pkt", "status", "cached"), [
    ([rule(1)], FORWARDED, 8, True),
    ([rule(1)], Pkt(ct_info=NEW), 8, True),
    ([rule(1)], FORWARDED, 0, False),                                   # unconfirmed
    ([rule(1)], Pkt(ct_info=RELATED | REPLY), 8, False),                # an ICMP error's addresses are another's
    ([rule(1, do=DROP)], FORWARDED, 8, True),
    ([rule(1, do=(TargetOp.REJECT, (0,)))], FORWARDED, 8, True),
    ([rule(1, (M.LIMIT, 0, (1, 1)))], FORWARDED, 8, False),
    ([rule(1, (M.CTEXPIRE, 0, (0, 1)))], FORWARDED, 8, False),
    ([rule(1, (M.TCP_OPTION, 0, (5,)))], FORWARDED, 8, False),
    ([rule(1), rule(2, (M.LIMIT, 0, (1, 1)))], FORWARDED, 8, True),     # never came to the limit
    ([rule(1, do=(TargetOp.LOG, ()))], FORWARDED, 8, False),
    ([rule(1, do=(TargetOp.QUEUE, (0, 0, 0)))], FORWARDED, 8, False),
    ([rule(number, do=COUNT) for number in range(15)], FORWARDED, 8, True),
    ([rule(number, do=COUNT) for number in range(16)], FORWARDED, 8, False),
])  # fmt: skip
def test_what_is_cached(rules, pkt, status, cached):
    assert second(engine(forward(rules)), pkt, Conn(status=status).entry()) == cached


def test_a_path_ends_with_its_generation():
    counters, conn = RuleCounters(1000), Conn().entry()
    old = engine(forward([rule(1, do=ACCEPT)]), generation=1, counters=counters)
    new = engine(forward([rule(1, do=DROP)]), generation=2, counters=counters)
    assert second(old, FORWARDED, conn)
    first = new.judge(FORWARDED.parcel(), conn)
    assert (first["verdict"], first["hit"]) == ("DROP", False) and new.judge(FORWARDED.parcel(), conn)["hit"]
    assert old.judge(FORWARDED.parcel(), conn)["verdict"] == "ACCEPT"


def test_a_path_is_not_for_the_next_connection_in_the_entry():
    """Another hash: the entry was freed and taken again between a worker's walk and its note of it."""
    run, conn = engine(forward([rule(1)])), Conn().entry()
    assert second(run, replace(FORWARDED, hash=1 << 60), conn)
    assert not run.judge(replace(FORWARDED, hash=2 << 60).parcel(), conn)["hit"]


def test_rules_not_reached_cost_no_paths():
    """An early ACCEPT is one path, whatever later rules read."""
    run = engine(forward([rule(1, (M.CTSTATE, 0, (2,))), rule(2, (M.LENGTH, 0, (0, 99)))]))
    conn = Conn().entry()
    pkts = [Pkt(ct_info=ESTABLISHED, payload=size, tos=size, mark=size) for size in range(20)]
    hits = [run.judge(pkt.parcel(), conn)["hit"] for pkt in pkts]
    assert hits == [False] + [True] * 19 and run.ruleset.path_counters() == (1, 0)


def test_prerouting_walks_raw_and_finds_the_rest():
    """Not even what no path can hold, such as a choice of zone, keeps the tables behind raw from being found."""
    zone = rule(3, do=(TargetOp.CT, (6, 1, 1)))
    chains = forward([rule(1, (M.DPORT, 0, (80, 80)), do=COUNT), zone], table=RAW, hook=PREROUTING)
    chains += forward([rule(2, (M.CTSTATE, 0, (2,)), do=(TargetOp.MARK, (1, 1)))], table=MANGLE, hook=PREROUTING)
    run, conn = engine(chains), Conn().entry()
    assert [run.prerouting(Pkt().parcel(), ESTABLISHED, conn)["hit"] for _ in range(3)] == [False, True, True]
    assert not run.prerouting(Pkt().parcel(), NEW, conn)["hit"]
    assert [run.counters.get(place)[0] for place in (1, 2, 3)] == [4, 3, 4]


def test_a_shifted_mark_makes_its_readers_look_at_all_of_it():
    shifts = (TargetOp.CONNMARK, (0, 0, 0, 0, 1))
    run = engine(forward([rule(1, do=shifts), rule(2, (M.CONNMARK, 0, (2, 2)), do=DROP)]))
    conn, verdicts = Conn(mark=1).entry(), []
    for mark in (1, 0, 1):
        conn.mark = mark
        verdicts.append(run.judge(FORWARDED.parcel(), conn)["verdict"])
    assert verdicts == ["DROP", "ACCEPT", "DROP"]


@pytest.mark.parametrize(
    "edit", [(TargetOp.MARK, (7, 0xFF)), (TargetOp.CONNMARK, (0, 5, 0xFF, 0, 0)), (TargetOp.TTL, (0, 9))]
)
def test_mangle_is_found_by_what_raw_made_of_the_packet(edit):
    """Raw sees no connection, so CONNMARK does nothing there, by a path no more than by a walk."""
    raw = [rule(1, (M.MARK, 0, (1, 1)), do=edit)]
    mangle = [rule(2, (M.MARK, 0, (7, 0xFF)), do=DROP), rule(3, (M.TTL, 0, (9, 9)), do=DROP)]
    chains = forward(raw, table=RAW, hook=PREROUTING) + forward(mangle, table=MANGLE, hook=PREROUTING)
    run, conn = engine(chains), Conn().entry()
    for mark in (1, 0, 1, 1, 0, 0):
        parcels = Pkt(mark=mark).parcel(), Pkt(mark=mark).parcel()
        found = run.prerouting(parcels[0], ESTABLISHED, conn)
        walked = run.prerouting(parcels[1], ESTABLISHED, conn, cached=False)
        assert found["verdict"] == walked["verdict"] == ("DROP" if mark and edit[0] != TargetOp.CONNMARK else "ACCEPT")
        assert (parcels[0].mark, parcels[0].content, conn.mark) == (parcels[1].mark, parcels[1].content, 0)
    assert found["hit"]


def test_ways_are_kept_apart():
    chains = forward([rule(1, do=DROP)]) + [ChainView(FILTER, INPUT, [rule(2)], TargetOp.ACCEPT, 998)]
    run, conn = engine(chains), Conn().entry()
    for _ in range(2):
        assert run.judge(FORWARDED.parcel(), conn)["verdict"] == "DROP"
        assert run.judge(FORWARDED.parcel(), conn, "input")["verdict"] == "ACCEPT"
