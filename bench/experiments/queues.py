"""What shaping costs whom: a ping beside a backlog, flows beside each other, TCP that is not held up, ports at rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar

from bench.contenders.base import SERVER_ADDRESS, Contender
from bench.contenders.relays import KernelBridge
from bench.contenders.shapers import NEIGHBOUR_ADDRESS, KernelShaper, Shaper, VswitchShaper
from bench.contenders.vswitch import Vswitch, wait_until_applied
from bench.experiments.base import Experiment, Field, Match, Metric, Sample
from bench.experiments.lifecycle import STOP_LIMIT_S, a_namespace, idle_percent, start_switch
from bench.experiments.shaping import SHAPERS, shapers
from bench.experiments.traffic import TCP_S, round_trip, tcp_throughput
from bench.shell import BenchError, stop, wait_for
from bench.world import SCRATCH

PINGS, PING_INTERVAL_S = 300, 0.01
BACKLOGGED_BYTES = 1_000_000
FLOWS, FLOWS_RATE, FLOWS_S, FLOWS_OMIT_S = 32, "200mbit", 8, 2
WIDE = "100gbit"
IDLE_PORTS, IDLE_S, START_LIMIT_S = 1000, 10.0, 60.0
LIMIT = 'limit = { egress = "100mbit" }'
SIBLINGS = (
    "qdisc add root handle 1: htb default 20",
    "class add parent 1: classid 1:1 htb rate 1gbit",
    "class add parent 1:1 classid 1:10 htb rate 100mbit ceil 1gbit",
    "class add parent 1:1 classid 1:20 htb rate 900mbit ceil 1gbit",
    f"filter add parent 1: protocol ip prio 1 u32 match ip src {NEIGHBOUR_ADDRESS} flowid 1:10",
)


class HtbPing(Experiment):
    """The neighbour pings the server by its own class; then the client fills the class beside it."""

    key = "htb-ping"
    metrics = (Metric("htb-ping", "HTB, ping beside a backlogged class", "us"),
               Metric("htb-ping-idle", "the same, nobody else sending", "us"),
               Metric("htb-ping-allowed", "what it may be: kernel's + more of an idle one", "us"))
    contenders = SHAPERS

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        idle: dict[str, float] = {}
        loaded: dict[str, float] = {}
        for shaper in shapers(field, number):
            try:
                with shaper.turn(), shaper.shaped(SIBLINGS):
                    idle[shaper.key] = self._ping(shaper, field)
                    with shaper.backlogged(shaper.a_port()):
                        _wait_for_backlog(shaper)
                        loaded[shaper.key] = self._ping(shaper, field)
            except BenchError as error:
                field.put_away(type(shaper), error)
                return
        for key, value in loaded.items():
            yield Sample("htb-ping", key, value)
            yield Sample("htb-ping-idle", key, idle[key])
        ours, kernel = VswitchShaper.key, KernelShaper.key
        if {ours, kernel} <= loaded.keys():
            yield Sample("htb-ping-allowed", ours, loaded[kernel] + max(0, idle[ours] - idle[kernel]))

    def _ping(self, shaper: Shaper, field: Field) -> float:
        return round_trip(shaper.neighbour, round(field.window(PINGS)), PING_INTERVAL_S)


def _wait_for_backlog(shaper: Shaper) -> None:
    goal = shaper.sent()["1:20"] + BACKLOGGED_BYTES
    wait_for(lambda: shaper.sent()["1:20"] > goal, f"{shaper.title}: the sibling to be backlogged")


class Fairness(Experiment):
    """TCP streams in one class; as many slots as there may be, so that no two share one by luck of the hash."""

    key = "fairness"
    metrics = (Metric("fair-sfq", f"SFQ, {FLOWS} TCP streams: Jain's index", "", more_is_better=True),
               Metric("fair-fq_codel", f"fq_codel, {FLOWS} TCP streams: Jain's index", "", more_is_better=True))
    queues: ClassVar[dict[str, str]] = {"fair-sfq": "sfq divisor 65536 limit 4000 depth 100",
                                        "fair-fq_codel": "fq_codel flows 65535"}
    rounds = 3
    contenders = (VswitchShaper,)

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        shaper = field.get(VswitchShaper)
        if not isinstance(shaper, VswitchShaper):
            return
        for metric, queue in self.queues.items():
            tree = ("qdisc add root handle 1: htb default 1",
                    f"class add parent 1: classid 1:1 htb rate {FLOWS_RATE}",
                    f"qdisc add parent 1:1 handle 10: {queue}")
            try:
                with shaper.turn(), shaper.shaped(tree):
                    shares = _streams(shaper, round(field.window(FLOWS_S)))
            except BenchError as error:
                field.put_away(VswitchShaper, error)
                return
            yield Sample(metric, shaper.key, jain(shares))


def _streams(contender: Contender, seconds: int) -> list[float]:
    """What each of many streams brought to the server, the beginning left out."""
    told = contender.client.run("iperf3", "--client", SERVER_ADDRESS, "--json", "--parallel", str(FLOWS),
                                "--omit", str(FLOWS_OMIT_S), "--time", str(seconds), limit_s=seconds + 30)
    return [stream["receiver"]["bytes"] for stream in json.loads(told)["end"]["streams"]]


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


class TcpHtb(Match):
    """A class that TCP cannot fill: what is left is what the discipline itself costs."""

    key = "htb-tcp"
    metrics = (Metric("htb-tcp", f"TCP, tap to tap, HTB class of {WIDE}", "Gbit/s", more_is_better=True),)
    contenders = (VswitchShaper, Vswitch, KernelShaper, KernelBridge)
    tree = ("qdisc add root handle 1: htb default 1", f"class add parent 1: classid 1:1 htb rate {WIDE}")

    def measure(self, contender: Contender, field: Field) -> float:
        if not isinstance(contender, Shaper):
            return tcp_throughput(contender, field.window(TCP_S))
        with contender.shaped(self.tree):
            return tcp_throughput(contender, field.window(TCP_S))


class HtbIdle(Experiment):
    """Many taps, each limited, nobody sending."""

    key = "htb-idle"
    metrics = (Metric("htb-idle", f"CPU of {IDLE_PORTS} shaped, idle ports", "% of a core"),)
    rounds = 2

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        ports = (f'name = "shaped-{index}"\nkind = "tap"\n{LIMIT}' for index in range(IDLE_PORTS))
        with a_namespace(f"shaped-{number}") as host:
            directory = SCRATCH / host.name
            directory.mkdir()
            daemon = start_switch(host, directory, ports)
            try:
                wait_until_applied(directory / "run", daemon, START_LIMIT_S)
                yield Sample("htb-idle", Vswitch.key, idle_percent(daemon.pid, field.window(IDLE_S)))
            finally:
                stop(daemon, STOP_LIMIT_S)
