"""Judging the samples: medians of per-round values, their spread, and what they reach."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bench import requirements, rounds
from bench.requirements import Requirement

Outcome = Literal["worth", "must", "short", "told", "not measured"]
"""Reached what is worth it, reached the must, fell short, has no must, has no samples."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A summary of rounds and the spread around it."""

    value: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    requirement: Requirement
    figure: Figure | None
    outcome: Outcome


def judge(requirement: Requirement, series: rounds.Series) -> Verdict:
    """Compare one requirement with the samples."""
    values = _compare(requirement, series)
    if not values:
        return Verdict(requirement, None, "not measured")
    figure = summarise(values, requirement.summary, requirement.at_most)
    return Verdict(requirement, figure, _outcome(requirement, figure.value))


def summarise(values: Iterable[float], summary: requirements.Summary = "median",
              at_most: bool = False) -> Figure:
    """Summary and spread of the rounds that were measured."""
    known = [value for value in values if not math.isnan(value)]
    lowest, highest = min(known), max(known)
    best, worst = (lowest, highest) if at_most else (highest, lowest)
    value = {"median": statistics.median(known), "best": best, "worst": worst}[summary]
    return Figure(value, lowest, highest, len(known))


def _compare(requirement: Requirement, series: rounds.Series) -> list[float]:
    subject = _samples(series, requirement.subject)
    if requirement.against is None:
        return [value for value in subject if not math.isnan(value)]
    against = _samples(series, requirement.against)
    if requirement.compare == "difference" and requirement.summary == "best" and against:
        against = [min(against)] * len(subject)
    pairs = [pair for pair in zip(subject, against) if not any(map(math.isnan, pair))]
    if requirement.compare == "ratio":
        return [mine / theirs for mine, theirs in pairs if theirs]
    return [mine - theirs for mine, theirs in pairs]


def _samples(series: rounds.Series, named: requirements.Series) -> list[float]:
    return series.get(named.metric, {}).get(named.contender, [])


def _outcome(requirement: Requirement, value: float) -> Outcome:
    if _reaches(requirement, value, requirement.worth):
        return "worth"
    if requirement.must is None:
        return "told"
    return "must" if _reaches(requirement, value, requirement.must) else "short"


def _reaches(requirement: Requirement, value: float, mark: float | None) -> bool:
    if mark is None:
        return False
    return value <= mark if requirement.at_most else value >= mark
