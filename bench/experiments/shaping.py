"""Whether shaped TCP gets what it was promised: rates, and shares of what is left over.

A window begins when the first second's bursts are over. What counts is the wire, headers of every segment included, by
the counters of discipline and class, for the kernel's as for ours.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from bench.contenders.shapers import KernelShaper, Shaper, VswitchShaper
from bench.experiments.base import Experiment, Field, Metric, Sample
from bench.shell import BenchError

SHAPERS = (VswitchShaper, KernelShaper)
SETTLE_S, WINDOW_S = 1.0, 10.0
MEGA, BITS = 1_000_000, 8
RATES = {"1mbit": MEGA, "10mbit": 10 * MEGA, "100mbit": 100 * MEGA, "1gbit": 1000 * MEGA, "2gbit": 2000 * MEGA}
TBF_BURST_S, TBF_LEAST_BURST, TBF_LATENCY = 0.001, 16_384, "200ms"
SHARED = 100
GUARANTEED = (10, 20, 30)
QUANTA = (60_000, 40_000, 20_000)
"""Against the order of the rates, and none below what TCP sends at once at such rates: one visit, one quantum."""


def rates(shaper: Shaper, seconds: float) -> dict[str, float]:
    """Bits a second by handle, once the first second is over."""
    time.sleep(SETTLE_S)
    began, before = time.monotonic(), shaper.sent()
    time.sleep(seconds)
    took, after = time.monotonic() - began, shaper.sent()
    return {handle: BITS * (after[handle] - before[handle]) / took for handle in after}


def shapers(field: Field, number: int) -> Iterator[Shaper]:
    """Those that can take part, each the first of every other round."""
    for kind in SHAPERS if number % 2 == 0 else reversed(SHAPERS):
        shaper = field.get(kind)
        if isinstance(shaper, Shaper):
            yield shaper


class Rates(Experiment):
    """One stream through one rate after the other."""

    rounds = 2
    contenders = SHAPERS
    name: ClassVar[str]

    @staticmethod
    @abstractmethod
    def tree(rate: str) -> list[str]:
        """The commands; the root's handle is 1:."""

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for rate, bits in RATES.items():
            for shaper in shapers(field, number):
                try:
                    reached = self._reached(shaper, rate, field.window(WINDOW_S))
                except BenchError as error:
                    field.put_away(type(shaper), error)
                else:
                    yield Sample(f"{self.name}-{rate}", shaper.key, 100 * abs(reached / bits - 1))

    def _reached(self, shaper: Shaper, rate: str, seconds: float) -> float:
        with shaper.turn(), shaper.shaped(self.tree(rate)), shaper.backlogged(shaper.a_port()):
            return rates(shaper, seconds)["1:"]


def _errors(name: str) -> tuple[Metric, ...]:
    return tuple(Metric(f"{name}-{rate}", f"{name.upper()}, TCP at {rate}: error of the rate", "%") for rate in RATES)


class HtbRates(Rates):
    key = "htb-rates"
    name = "htb"
    metrics = _errors(name)

    @staticmethod
    def tree(rate: str) -> list[str]:
        return ["qdisc add root handle 1: htb default 1", f"class add parent 1: classid 1:1 htb rate {rate}"]


class TbfRates(Rates):
    """A burst of a millisecond, but no less than a small super-frame."""

    key = "tbf-rates"
    name = "tbf"
    metrics = _errors(name)

    @staticmethod
    def tree(rate: str) -> list[str]:
        burst = max(TBF_LEAST_BURST, round(RATES[rate] / BITS * TBF_BURST_S))
        return [f"qdisc add root handle 1: tbf rate {rate} burst {burst}b latency {TBF_LATENCY}"]


class HtbShare(Experiment):
    """Three siblings, all backlogged, below a parent that has more than they were promised."""

    key = "htb-share"
    metrics = (Metric("htb-share", "HTB, excess by quantum: the worst class's error", "%"),)
    rounds = 3
    contenders = SHAPERS

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        for shaper in shapers(field, number):
            ports = [shaper.a_port() for _ in GUARANTEED]
            try:
                with shaper.turn(), shaper.shaped(_siblings(ports)), shaper.backlogged(*ports):
                    reached = rates(shaper, field.window(WINDOW_S))
            except BenchError as error:
                field.put_away(type(shaper), error)
            else:
                yield Sample("htb-share", shaper.key, share_error(reached))


def _siblings(ports: list[int]) -> Iterator[str]:
    yield "qdisc add root handle 1: htb default 10"
    yield f"class add parent 1: classid 1:1 htb rate {SHARED}mbit"
    for number, (port, rate, quantum) in enumerate(zip(ports, GUARANTEED, QUANTA, strict=True)):
        minor = 10 + number
        yield f"class add parent 1:1 classid 1:{minor} htb rate {rate}mbit ceil {SHARED}mbit quantum {quantum}"
        yield f"filter add parent 1: protocol ip prio 1 u32 match ip dport {port} 0xffff flowid 1:{minor}"


def share_error(reached: dict[str, float]) -> float:
    """What a class has beyond its promise, beside its quantum's part of all that; in % of the latter."""
    excess = [reached[f"1:{10 + number}"] - rate * MEGA for number, rate in enumerate(GUARANTEED)]
    parts = [quantum / sum(QUANTA) for quantum in QUANTA]
    return 100 * max(abs(have / (sum(excess) * part) - 1) for have, part in zip(excess, parts, strict=True))
