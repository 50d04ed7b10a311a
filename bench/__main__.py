"""`python -m bench`: choose experiments, run them in a world of their own, report."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from bench import report, world
from bench.catalog import EXPERIMENTS, contender_titles
from bench.experiments.base import Experiment, Field
from bench.plot import draw
from bench.requirements import REQUIREMENTS
from bench.rounds import run_all
from bench.verdict import judge

ROUNDS, QUICK_ROUNDS, QUICK_HASTE = 5, 3, 2.0
LOG_WIDTH = 150
BUSY = 0.5
"""A load average above this before the run is told with the results."""


def main() -> int:
    options = _options(sys.argv[1:])
    if not world.is_inside():
        return world.enter("bench", sys.argv[1:])
    world.furnish()
    return _bench(options)


def _bench(options: argparse.Namespace) -> int:
    console = _console(stderr=options.json)
    about = report.machine()
    field = Field(haste=QUICK_HASTE if options.quick else 1.0)
    if about["load_before"] > BUSY:
        field.notes.append(f"the machine was busy before the run: load {about['load_before']:.1f}")
    experiments = _chosen(options.only)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    try:
        with console.status("setting up") as status:
            progress = status.update if console.is_terminal else console.print
            series = run_all(experiments, field, rounds, progress)
    finally:
        field.close()
    metrics = [metric for experiment in experiments for metric in experiment.metrics]
    asked = {metric.key for metric in metrics}
    verdicts = [judge(requirement, series) for requirement in REQUIREMENTS
                if requirement.subject.metric in asked]
    titles = contender_titles()
    text = report.as_json(about, series, verdicts, field.notes)
    saved = report.save(text, about)
    plotted = draw(series, metrics, titles, verdicts, saved.with_suffix(".svg"))
    report.show(console, series, metrics, titles, verdicts, field.notes)
    console.print(f"{saved}\n{plotted}")
    if options.json:
        print(text)
    return 0


def _console(*, stderr: bool) -> Console:
    """Wide enough for the tables where the output is no terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def _chosen(keys: list[str] | None) -> list[Experiment]:
    return [kind() for kind in EXPERIMENTS if not keys or kind.key in keys]


def _options(arguments: list[str]) -> argparse.Namespace:
    keys = [kind.key for kind in EXPERIMENTS]
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure the switch beside its peers; needs root.")
    parser.add_argument("--rounds", type=_positive, metavar="N",
                        help=f"rounds of each experiment ({ROUNDS}; with --quick {QUICK_ROUNDS})")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY",
                        help=f"only these experiments: {', '.join(keys)}")
    parser.add_argument("--quick", action="store_true",
                        help="shorter windows and fewer rounds: a first look, not a figure")
    parser.add_argument("--json", action="store_true",
                        help="print the results as JSON; tables go to standard error")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
