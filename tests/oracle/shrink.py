"""From a case that differs to a small one that still does: what a person can read.

Packets go first, since each costs time, then rules; both in halves, then quarters, down to one by one (delta debugging:
Zeller and Hildebrandt 2002). Steps name flows, not addresses, so any of them can be left out. A chain that loses all
rules stays, for others may jump to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.oracle.compare import Case
from tests.oracle.rules import RuleSet

T = TypeVar("T")


def shrunk(case: Case, differs: Callable[[Case], bool]) -> Case:
    """A smallest case, in that no single step or rule can be left out of it."""
    before = None
    while before != case:
        before = case
        case = _fewer_steps(case, differs)
        case = _fewer_rules(case, differs)
    return case


def _fewer_steps(case: Case, differs: Callable[[Case], bool]) -> Case:
    return Case(case.rules, tuple(_fewer(case.steps, lambda steps: differs(Case(case.rules, tuple(steps))))))


def _fewer_rules(case: Case, differs: Callable[[Case], bool]) -> Case:
    texts = (case.rules.ipv4.splitlines(), case.rules.ipv6.splitlines())
    lines = [(family, at) for family, text in enumerate(texts) for at in range(len(text)) if text[at].startswith("-A")]

    def made(kept: Sequence[tuple[int, int]]) -> Case:
        chosen = set(kept)
        halves = ("".join(f"{line}\n" for at, line in enumerate(text)
                          if not line.startswith("-A") or (family, at) in chosen)
                  for family, text in enumerate(texts))  # fmt: skip
        return Case(RuleSet(*halves), case.steps)

    return made(_fewer(lines, lambda kept: differs(made(kept))))


def _fewer(items: Sequence[T], differs: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    size = (len(items) + 1) // 2
    while size:
        at = 0
        while at < len(items):
            without = [*items[:at], *items[at + size :]]
            if differs(without):
                items = without
            else:
                at += size
        size //= 2
    return items
