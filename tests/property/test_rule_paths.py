"""The verdict cache against walks: two engines with the same rules and counters of their own, one of which never
caches.

The packets of a connection differ from a common one in one thing or two, so that nearly all find a path, and many
find one that is not theirs unless the walk noted all it looked at.
"""

from __future__ import annotations

import random
import threading

import pytest

from tests.rules import ESTABLISHED, NEW, NONE16, REPLY, Conn, Pkt, engine, ip16, net16, rule
from vswitch._fastpath._probe_rules import Engine
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.view import ChainView, Interfaces, MatchOp, TargetOp

MARKS, MASKS = (0, 1, 2, 3, 0x100), (0xFFFFFFFF, 1, 3, 0x100)
STATUS = (8, 8, 10, 8 | 16, 8 | 32)
VARYING = {
    "tos": (0, 0x10, 0xB8),
    "ttl": (1, 63, 64, 255),
    "tcp_flags": (0x10, 0x02, 0x18, 0x11),
    "payload": (0, 60, 61),
    "mac_src": ("52:54:00:00:00:01", "52:54:00:00:00:02"),
    "mac_dst": ("52:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"),
    "in_port": (1, 2),
    "in_dev": (0, 1),
    "out_port": (2, 1, NONE16),
    "out_dev": (0, 1, NONE16),
    "mark": MARKS,
}
ASKED = {
    MatchOp.TCP_FLAGS: ((0x17, 0x02), (0x02, 0), (0x10, 0x10), (0x3F, 0x10), (1, 1)),
    MatchOp.CTSTATE: ((2,), (8,), (64,), (128,)),
    MatchOp.MARK: tuple((value & mask, mask) for value in MARKS for mask in MASKS),
    MatchOp.CONNMARK: tuple((value & mask, mask) for value in MARKS for mask in MASKS),
    MatchOp.MAC: ((bytes.fromhex("525400000001"),),),
    MatchOp.LENGTH: ((40, 40), (0, 100), (101, 65535)),
    MatchOp.TOS: ((0, 255), (0x10, 0x10), (0xB8, 0xFC)),
    MatchOp.TTL: ((64, 64), (0, 63), (65, 255)),
    MatchOp.PKTTYPE: ((0,), (1,), (2,)),
    MatchOp.IN: tuple(Interfaces(ports, devices) for ports, devices in ((2, 0), (4, 0), (0, 1), (0, 2))),
    MatchOp.OUT: tuple(Interfaces(ports, devices) for ports, devices in ((2, 0), (4, 0), (0, 1), (0, 2))),
    MatchOp.PHYSDEV: ((1, 0, Interfaces(2, 0), None), (2, 2, None, Interfaces(4, 0)), (16, 0, None, None)),
    MatchOp.ADDRTYPE: ((3, 1 << 1), (4, 1 << 1)),
    MatchOp.CTSTATUS: ((2,), (16,), (6,)),
    MatchOp.CTDIR: ((0,), (1,)),
    MatchOp.DPORT: ((80, 80),),
    MatchOp.SRC: (net16("10.0.0.1/32"),),
    MatchOp.SRC_RANGE: ((ip16("10.0.0.1"), ip16("10.0.0.1")),),
}
OPS = tuple(ASKED)


def random_rule(dice: random.Random, number: int):
    matches = []
    for op in dice.sample(OPS, dice.choice((1, 1, 2))):
        matches.append((int(op), dice.choice((0, 0, 1)), dice.choice(ASKED[op])))
    mask = dice.choice(MASKS)
    do = dice.choice(
        (
            (TargetOp.NONE, ()),
            (TargetOp.ACCEPT, ()),
            (TargetOp.DROP, ()),
            (TargetOp.REJECT, (0x0303,)),
            (TargetOp.MARK, (dice.choice(MARKS) & mask, mask)),
            (TargetOp.CONNMARK, (0, dice.choice(MARKS), mask, 0, 0)),
            (TargetOp.CONNMARK, (dice.choice((0, 1, 2)), 1, mask, dice.choice(MASKS), dice.choice((0, 1, -8)))),
            (TargetOp.TOS, (dice.choice((0x10, 0xB8)), 0xFC)),
            (TargetOp.TTL, (dice.choice((0, 1, 2)), 1)),
        )
    )
    return rule(number, *matches, do=do)


def random_chains(dice: random.Random):
    """FORWARD of mangle and of filter."""
    mangle = [random_rule(dice, 10 + index) for index in range(dice.randint(0, 4))]
    return [
        ChainView(1, 2, mangle, TargetOp.ACCEPT, 1),
        ChainView(3, 2, [random_rule(dice, 20 + index) for index in range(dice.randint(1, 5))], TargetOp.ACCEPT, 2),
    ]


class Pair:
    """The engine that caches and the one that walks, each with the same connections."""

    def __init__(self, chains, paths=65536):
        self.engines = engine(chains, paths=paths), engine(chains)
        self.kinds = [("10.0.0.1", "10.0.0.2", 1000, 80, 6), ("10.0.0.3", "10.0.0.2", 1000, 80, 6)]
        mirrored = [(dst, src, dport, sport, proto) for src, dst, sport, dport, proto in self.kinds]
        both = zip(self.kinds, mirrored, strict=True)
        self.conns = [[Conn(kind, back).entry() for _ in (0, 1)] for kind, back in both]

    def packet(self, which: int, reply: bool, state: int, fields) -> Pkt:
        src, dst, sport, dport, proto = self.kinds[which]
        if reply:
            src, dst, sport, dport = dst, src, dport, sport
        ct_info = state | REPLY * reply
        return Pkt(src, dst, proto, sport, dport, ct_info=ct_info, hash=(which << 1 | reply) << 60, **fields)

    def agree(self, which: int, pkt: Pkt) -> bool:
        """Both judge the packet alike; whether a path was found."""
        parcels = pkt.parcel(), pkt.parcel()
        found = self.engines[0].judge(parcels[0], self.conns[which][0])
        walked = self.engines[1].judge(parcels[1], self.conns[which][1], cached=False)
        for name in ("verdict", "table", "arg"):
            assert found[name] == walked[name], (name, pkt)
        for name in ("mark", "tos", "ttl", "class_id", "content"):
            assert getattr(parcels[0], name) == getattr(parcels[1], name), (name, pkt)
        assert self.conns[which][0].mark == self.conns[which][1].mark
        return found["hit"]

    def set_both(self, which: int, **values) -> None:
        for conn in self.conns[which]:
            for name, value in values.items():
                setattr(conn, name, value)

    def counters(self):
        return [[run.counters.get(number) for number in range(30)] for run in self.engines]


def play(seed: int, steps: int = 60, paths: int = 65536) -> int:
    """One random ruleset and `steps` packets; how many found a path."""
    dice = random.Random(seed)
    pair = Pair(random_chains(dice), paths)
    common, hits = {name: values[0] for name, values in VARYING.items()}, 0
    for _ in range(steps):
        which, fields = dice.choice((0, 0, 0, 1)), dict(common)
        for name in dice.sample(tuple(VARYING), dice.choice((0, 1, 1, 2))):
            fields[name] = dice.choice(VARYING[name])
        if not dice.randrange(5):
            pair.set_both(which, status=dice.choice(STATUS))
        if not dice.randrange(5):
            pair.set_both(which, mark=dice.choice(MARKS))
        state = dice.choice((ESTABLISHED, ESTABLISHED, ESTABLISHED, NEW))
        hits += pair.agree(which, pair.packet(which, not dice.randrange(4), state, fields))
    cached, walked = pair.counters()
    assert cached == walked
    return hits


@pytest.mark.parametrize("block", range(10))
def test_paths_do_what_walks_would(block):
    """A hundred rulesets a block; the seed is in the traceback."""
    hits = sum(play(seed) for seed in range(block * 100, block * 100 + 100))
    assert hits > 1500, "most packets must find a path, or nothing is tested"


def test_a_full_table_walks():
    """Two places and no more: what finds none is walked, and right."""
    for seed in range(50):
        play(seed, paths=3)


def test_workers_share_a_connection_and_two_generations():
    """Four threads, two rulesets with opposite verdicts, one entry: each packet is judged by its own worker's rules."""

    def ruleset(generation: int, first, second):
        rules = [
            rule(1, (MatchOp.LENGTH, 0, (0, 45)), do=(first, ())),
            rule(2, (MatchOp.TOS, 0, (0x10, 0xFF)), do=(first, ())),
            rule(3, do=(second, ())),
        ]
        return CompiledRuleset(generation, [ChainView(3, 2, rules, TargetOp.ACCEPT, 4)], [], capacity=100)

    counters, conn = RuleCounters(100), Conn().entry()
    sets = ruleset(1, TargetOp.DROP, TargetOp.ACCEPT), ruleset(2, TargetOp.ACCEPT, TargetOp.DROP)
    pkts = [Pkt(ct_info=ESTABLISHED, payload=size, tos=tos) for size in range(0, 12, 2) for tos in (0, 0x10)]
    wrong = [-1] * 4

    def work(worker: int) -> None:
        run = Engine(sets[worker & 1], counters, worker=worker)
        wrong[worker] = run.hammer([pkt.parcel() for pkt in pkts], conn, 20_000)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [0, 0, 0, 0]
    assert sum(counters.get(number)[0] for number in (1, 2, 3)) == 4 * (20_000 + len(pkts))
    assert all(one.path_counters() == (9, 0) for one in sets)
