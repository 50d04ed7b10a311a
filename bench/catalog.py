"""The lists: every experiment, in the order they run, and every contender's title."""

from __future__ import annotations

from bench.experiments.base import Experiment
from bench.experiments.churn import PortChurn
from bench.experiments.hooks import HookCost, ManyConnections, NewConnections
from bench.experiments.lifecycle import HundredPorts
from bench.experiments.memory import ClassCost, FrameCost, Instructions, TwoWorkers
from bench.experiments.queues import Fairness, HtbIdle, HtbPing, TcpHtb
from bench.experiments.rules import RestoreRules, TcpNat, TcpRules
from bench.experiments.shaping import HtbRates, HtbShare, TbfRates
from bench.experiments.traffic import (PingEveryMillisecond, PingEverySecond, SmallFrames,
                                       TcpNetdev, TcpTap)

EXPERIMENTS: tuple[type[Experiment], ...] = (
    TcpTap, TcpNetdev, SmallFrames, PingEveryMillisecond, PingEverySecond,
    PortChurn, HundredPorts, FrameCost, TwoWorkers, Instructions,
    ClassCost,
    TcpRules, TcpNat, RestoreRules, HookCost, ManyConnections, NewConnections,
    HtbRates, TbfRates, HtbShare, HtbPing, Fairness, TcpHtb, HtbIdle,
)


def contender_titles() -> dict[str, str]:
    """Titles by key, of all that take part anywhere."""
    return {contender.key: contender.title for experiment in EXPERIMENTS
            for contender in experiment.contenders}
