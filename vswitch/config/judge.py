"""The two judgements of which most checks are made: a text that a reader takes, and a number between two others.

They live apart from `check.py` so that the rooms whose settings it checks can say their own faults in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .errors import Problem


def readable(path: str, value: Any, reader: Callable[[Any], object]) -> Iterator[Problem]:
    """The fault of a value that `reader` refuses with ValueError, in the reader's words."""
    try:
        reader(value)
    except ValueError as error:
        yield Problem(path, str(error), value)


def between(path: str, value: int | None, low: int, high: int, unit: str = "") -> Iterator[Problem]:
    """The fault of a number, if there is one, that is below `low` or above `high`."""
    if value is not None and not low <= value <= high:
        yield Problem(path, " ".join(filter(None, (f"{low} to {high}", unit))), value)
