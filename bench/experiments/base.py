"""What every experiment is: metrics, and one round of samples at a time.

A `Match` measures one metric of several contenders, one after the other, each starting a round
once in turn; other experiments concern the switch alone. All state that lasts for the run (who
is set up, who fell out and why, how long to measure) is in the `Field`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from bench.contenders.base import Contender
from bench.shell import BenchError


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity; `unit` is shown behind its value."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False


class Sample(NamedTuple):
    """One value of one round."""

    metric: str
    contender: str
    value: float


@dataclass(slots=True)
class Field:
    """Contenders that are up, set up on first use and kept for the run."""

    haste: float = 1.0
    """Measuring windows are divided by this."""
    notes: list[str] = field(default_factory=list)
    """Who or what is missing from the results, and why; one line each."""
    _up: dict[type[Contender], Contender | None] = field(default_factory=dict)
    _undo: ExitStack = field(default_factory=ExitStack)

    def get(self, kind: type[Contender]) -> Contender | None:
        """The contender, paused; None if it cannot take part (the notes say why)."""
        if kind not in self._up:
            contender = kind()
            try:
                contender.setup()
                self._undo.callback(contender.teardown)
                self._up[kind] = contender
            except BenchError as error:
                self.notes.append(f"{kind.title}: {error}")
                self._up[kind] = None
        return self._up[kind]

    def put_away(self, kind: type[Contender], why: BenchError) -> None:
        """A contender failed at work: note it, and build it anew the next time it is asked for."""
        self.notes.append(f"{kind.title}: {why}")
        contender = self._up.pop(kind, None)
        if contender is not None:
            contender.teardown()

    def window(self, seconds: float) -> float:
        """How long to measure what a full run measures for `seconds`."""
        return seconds / self.haste

    def close(self) -> None:
        self._undo.close()


class Experiment(ABC):
    """Something that is done once a round and yields samples."""

    key: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    rounds: ClassVar[int | None] = None
    """At most so many rounds (what does not vary needs few); None: as many as asked for."""
    contenders: ClassVar[tuple[type[Contender], ...]] = ()
    """Who takes part, where it is not the switch alone."""

    @abstractmethod
    def round(self, field: Field, number: int) -> Iterator[Sample]:
        """Measure everything once; raises BenchError when it cannot be measured."""


class Match(Experiment):
    """Contenders doing the same work in turn."""

    @abstractmethod
    def measure(self, contender: Contender, field: Field) -> float:
        """The value of one turn, in the metric's unit."""

    def round(self, field: Field, number: int) -> Iterator[Sample]:
        first = number % len(self.contenders)
        for kind in self.contenders[first:] + self.contenders[:first]:
            contender = field.get(kind)
            if contender is None:
                continue
            try:
                with contender.turn():
                    value = self.measure(contender, field)
            except BenchError as error:
                field.put_away(kind, error)
            else:
                yield Sample(self.metrics[0].key, contender.key, value)
