"""Queueing disciplines and policers for the fuzzer: any kind, nested, small, and never the same twice."""

from __future__ import annotations

import itertools
import random

from tests.qostrees import GBIT, KBIT, MBIT, bfifo, cls, fq_codel, htb, pfifo, pfifo_fast, prio, sfq, tbf, tree as built
from vswitch.qos.view import PolicerView, TreeView

RATES = (100 * KBIT, 10 * MBIT, GBIT, 40 * GBIT)
_serials = itertools.count(1)


def tree(rng: random.Random) -> TreeView | None:
    """Half of the ports have none."""
    if rng.random() < 0.5:
        return None
    view = built(_root(rng))
    return TreeView(tuple(
        qdisc._replace(serial=next(_serials), classes=tuple(one._replace(serial=next(_serials)) for one in qdisc.classes))
        for qdisc in view.qdiscs
    ))


def policers(rng: random.Random) -> tuple[PolicerView, ...]:
    if rng.random() < 0.8:
        return ()
    return (PolicerView(rng.choice((None, 1, 10)), rng.choice((0, 1000, 10**8)), 10_000, rng.choice((0, 10, 10**6)), 5,
                        rng.choice((None, 7))),)


def _root(rng: random.Random):
    kind = rng.randrange(4)
    if kind == 0:
        return _leaf(rng)
    if kind == 1:
        return tbf(rng.choice(RATES), rng.choice((1600, 100_000)), _leaf(rng))
    if kind == 2:
        return prio(*(_leaf(rng) for _ in range(3)))
    rate = rng.choice(RATES)
    leaves = [cls(minor, rate // 4, parent=1, leaf=_leaf(rng), prio=rng.randrange(3)) for minor in (10, 11)]
    return htb([cls(1, rate), *leaves], default=rng.choice((10, 11, 99)))


def _leaf(rng: random.Random):
    return rng.choice((
        pfifo(rng.choice((0, 1, 20))), bfifo(5000), pfifo_fast(3),
        sfq(rng.choice((2, 30)), divisor=16, perturb_ns=rng.choice((0, GBIT))), fq_codel(limit=10, flows=16),
    ))
