"""The results as one picture: how far each requirement is met, and who reached what.

Left, a bar a requirement, drawn so that further right is better and 1 is the must; a tick marks
what is worth reaching. Right, a panel a match, with the rounds as dots.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)
from matplotlib.axes import Axes  # noqa: E402

from bench.experiments.base import Metric  # noqa: E402
from bench.rounds import Series  # noqa: E402
from bench.verdict import Verdict, summarise  # noqa: E402

COLOURS = {"worth": "#2b8a3e", "must": "#74b816", "short": "#e03131", "told": "#868e96"}
SUBJECT, PEER = "#1971c2", "#ced4da"
FULL_SCALE = 2.0
"""Bars end here: twice the must is enough said."""


def draw(series: Series, metrics: list[Metric], titles: dict[str, str],
         verdicts: list[Verdict], path: Path) -> Path:
    """Draw to `path` (SVG) and beside it as PNG; returns the path."""
    matches = [metric for metric in metrics if len(series.get(metric.key, {})) > 1]
    figure = pyplot.figure(figsize=(16, max(7, 1.9 * len(matches))), layout="constrained")
    left, right = figure.subfigures(1, 2)
    _draw_requirements(left.subplots(), [v for v in verdicts if v.figure])
    for axes, metric in zip(_panels(right, len(matches)), matches):
        _draw_match(axes, metric, series[metric.key], titles)
    figure.savefig(path)
    figure.savefig(path.with_suffix(".png"), dpi=110)
    pyplot.close(figure)
    return path


def _panels(figure: matplotlib.figure.SubFigure, count: int) -> list[Axes]:
    return list(figure.subplots(count, 1, squeeze=False)[:, 0]) if count else []


def _draw_requirements(axes: Axes, verdicts: list[Verdict]) -> None:
    axes.set_title("required: 1 is the must (or, without one, what is worth reaching)", fontsize=9)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, FULL_SCALE)
    axes.set_yticks(range(len(verdicts)), [v.requirement.title for v in verdicts], fontsize=8)
    axes.invert_yaxis()
    for row, verdict in enumerate(verdicts):
        required, figure = verdict.requirement, verdict.figure
        mark = required.must if required.must is not None else required.worth
        score = _score(figure.value, mark, required.at_most)
        axes.barh(row, score, color=COLOURS[verdict.outcome], height=0.6)
        axes.text(0.02, row, f"{figure.value:.3g} {required.unit}", va="center", fontsize=8)
        if required.must is not None and required.worth is not None:
            axes.plot(_score(required.worth, mark, required.at_most), row, "k|", markersize=12)


def _score(value: float, mark: float, at_most: bool) -> float:
    """How far `value` meets `mark`: 1 just does, more is better; between 0 and full scale."""
    best, other = (mark, value) if at_most else (value, mark)
    if other <= 0:
        return FULL_SCALE if best >= other else 0
    return min(max(best / other, 0), FULL_SCALE)


def _draw_match(axes: Axes, metric: Metric, contenders: dict[str, list[float]],
                titles: dict[str, str]) -> None:
    better = "more" if metric.more_is_better else "less"
    axes.set_title(f"{metric.title}, {metric.unit} ({better} is better)", fontsize=9)
    axes.set_yticks(range(len(contenders)), [titles.get(key, key) for key in contenders],
                    fontsize=8)
    axes.invert_yaxis()
    for row, (key, values) in enumerate(contenders.items()):
        known = [value for value in values if not math.isnan(value)]
        colour = SUBJECT if key.startswith("vswitch") else PEER
        axes.barh(row, summarise(known).value, color=colour, height=0.6)
        axes.plot(known, [row] * len(known), "k.", markersize=3)
    axes.set_xlim(left=0)
