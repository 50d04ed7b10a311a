"""Rules, connections and NAT on real devices: TCP through them, and what a large restore costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.contenders.base import Contender
from bench.contenders.nat import KernelNat, VswitchNat
from bench.contenders.rules import RULES, KernelBridgeRules, VswitchRules
from bench.contenders.vswitch import Vswitch, control
from bench.experiments.base import Experiment, Field, Match, Metric, Sample
from bench.experiments.churn import STREAM_S, stream
from bench.experiments.traffic import TCP_S, TcpTap, tcp_throughput
from bench.shell import BenchError

MANY_RULES = 10_000


class TcpRules(TcpTap):
    key = "tcp-rules"
    metrics = (Metric("tcp-rules", "TCP, tap to tap, 1,000 rules", "Gbit/s", more_is_better=True),)
    contenders = (VswitchRules, Vswitch, KernelBridgeRules)


class TcpNat(Match):
    key = "tcp-nat"
    metrics = (Metric("tcp-nat", "TCP through MASQUERADE", "Gbit/s", more_is_better=True),)
    contenders = (VswitchNat, KernelNat)

    def measure(self, contender: Contender, field: Field) -> float:
        return tcp_throughput(contender, field.window(TCP_S))


class RestoreRules(Experiment):
    """iptables-restore of many rules, again and again, while a steady stream passes by them."""

    key = "restore"
    metrics = (Metric("restore", "iptables-restore of 10,000 rules", "s"),
               Metric("restore-lost", "frames lost while rules are loaded", "frames"))
    rounds = 3

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        switch = field.get(VswitchRules)
        if not isinstance(switch, VswitchRules):
            return
        took: list[float] = []
        try:
            with switch.turn():
                lost = stream(switch, field.window(STREAM_S), _loader(switch, took)).lost
                switch.restore(RULES)
        except BenchError as error:
            field.put_away(VswitchRules, error)
            return
        yield Sample("restore", Vswitch.key, min(took))
        yield Sample("restore-lost", Vswitch.key, lost)


def _loader(switch: VswitchRules, took: list[float]) -> Callable[[], int]:
    """What loads the rules once and notes how long the command took, its own start included."""
    file = switch.write_rules(MANY_RULES)

    def load() -> int:
        began = time.monotonic()
        control(switch.host, switch.run_dir, "iptables-restore", file)
        took.append(time.monotonic() - began)
        return 1

    return load
