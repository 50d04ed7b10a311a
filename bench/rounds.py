"""Running experiments round by round.

One experiment at a time; within it, every round measures every contender once, so that whatever
else the machine does meanwhile hits all of them alike.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from bench.experiments.base import Experiment, Field
from bench.shell import BenchError

Series = dict[str, dict[str, list[float]]]
"""Samples by metric and contender; the n-th of each is of the same round, NaN where missing."""


def run_all(experiments: Sequence[Experiment], field: Field, rounds: int,
            progress: Callable[[str], None]) -> Series:
    """Run every experiment; `progress` is told each step in a few words."""
    series: Series = defaultdict(dict)
    for experiment in experiments:
        count = min(rounds, experiment.rounds or rounds)
        for number in range(count):
            progress(f"{experiment.metrics[0].title}: round {number + 1} of {count}")
            if not _run_round(experiment, field, number, series):
                break
    return dict(series)


def _run_round(experiment: Experiment, field: Field, number: int, series: Series) -> bool:
    """One round; False if the experiment has to be given up."""
    try:
        for sample in experiment.round(field, number):
            values = series[sample.metric].setdefault(sample.contender, [])
            values.extend([math.nan] * (number - len(values)))
            values.append(sample.value)
    except BenchError as error:
        field.notes.append(f"{experiment.metrics[0].title}: round {number + 1}: {error}")
        return False
    return True
