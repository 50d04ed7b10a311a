"""One case, two subjects: what they do differently."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass, replace

from tests.oracle.deliberate import is_deliberate
from tests.oracle.driver import Driver, Sent
from tests.oracle.frames import FrameComparison, described, words
from tests.oracle.rules import RuleSet, rule_set
from tests.oracle.scenario import scenario
from tests.oracle.steps import Step
from tests.oracle.subject import Connection, Subject, Tuple
from tests.oracle.translation import Translation
from tests.oracle.twins import about_twins, twins

PACKETS = 100
PACKETS_AT_MOST = 500
TOLD_AT_MOST = 5
RULE_LINE = re.compile(r"^(?:\[\d+:\d+\] -A|:\S+ \S+ \[\d+:\d+\]|\*)")

_plays = itertools.count()


@dataclass(frozen=True)
class Case:
    """Rules, and what happens under them."""

    rules: RuleSet
    steps: tuple[Step, ...]


def case(seed: int, packets: int = PACKETS) -> Case:
    """The case of a seed; the same on every machine."""
    rng = random.Random(seed)
    rules = rule_set(rng)
    return Case(rules, tuple(scenario(rng, packets)))


def compare(here: Subject, there: Subject, seed: int, packets: int = PACKETS) -> list[str]:
    """The differences between two subjects in a seed's case; none if they agree."""
    return compare_case(here, there, case(seed, packets))


def compare_case(here: Subject, there: Subject, case: Case) -> list[str]:
    """The same for a given case. Each play has identifications of its own, as fragments may be left."""
    for subject in (here, there):
        subject.reset()
        subject.load(case.rules.ipv4, case.rules.ipv6)
    translation = Translation(lambda: (_tuples(here), _tuples(there)), case.rules.ipv4, case.rules.ipv6)
    first_ident = next(_plays) * PACKETS_AT_MOST
    drivers = Driver(here, first_ident), Driver(there, first_ident)
    differences = _steps(*drivers, case.steps, FrameComparison(translation))
    differences += _connections(here, there, translation)
    return differences + _counters(here, there)


def _steps(here: Driver, there: Driver, steps: tuple[Step, ...], frames: FrameComparison) -> list[str]:
    differences: list[str] = []
    for number, step in enumerate(steps):
        pairs = zip(here.play(step), there.play(step), strict=True)
        wrong = [pair for pair in pairs if not frames.same(step, *pair) and not _of_twins((here, there), pair)]
        if wrong and len(differences) < TOLD_AT_MOST:
            differences.append(_told(number, step, here.subject.name, there.subject.name, wrong[0]))
    return differences


def _of_twins(drivers: tuple[Driver, Driver], pair: tuple[Sent, Sent]) -> bool:
    """Whether the two may have taken the same frame for another's."""
    both = zip(drivers, pair, strict=True)
    return is_deliberate("twins") and all(about_twins(driver.subject, sent) for driver, sent in both)


def _told(number: int, step: Step, here: str, there: str, pair: tuple[Sent, Sent]) -> str:
    lines = [f"step {number}: {step}"]
    for name, sent in zip((here, there), pair, strict=True):
        lines.append(f"  {name}: in by {described((sent.port, sent.frame))}")
        lines += [f"  {name}:   out by {described(outcome)}" for outcome in sent.out] or [f"  {name}:   nothing out"]
    return "\n".join(lines)


def _connections(here: Subject, there: Subject, translation: Translation) -> list[str]:
    """The tables as sets; what is left over is paired by what may stand for each other."""
    one, other = (Counter(_without_progress(subject.conntrack())) for subject in (here, there))
    left, right = list((one - other).elements()), list((other - one).elements())
    for entry in list(left):
        twin = next((candidate for candidate in right if _same_connection(entry, candidate, translation)), None)
        if twin is not None:
            left.remove(entry)
            right.remove(twin)
    return [f"conntrack: only {subject.name}: {_entry(entry)}"
            for subject, entries in ((here, left), (there, right)) for entry in entries]  # fmt: skip


def _without_progress(entries: list[Connection]) -> list[Connection]:
    """Twins without what their packets, or the other's, have made of them."""
    either = set(twins(entries)) if is_deliberate("twins") else set()
    return [replace(entry, state="", flags=frozenset(), mark=0) if entry in either else entry for entry in entries]


def _tuples(subject: Subject) -> dict[Tuple, frozenset[int]]:
    """Of all connections, in both directions and either order of ends, with the zones that they are in."""
    zones: dict[Tuple, frozenset[int]] = {}
    for entry in subject.conntrack():
        for way, zone in zip((entry.original, entry.reply), entry.zones, strict=True):
            for ends in (way, way.reversed()):
                zones[ends] = zones.get(ends, frozenset()) | {zone}
    return zones


def _same_connection(here: Connection, there: Connection, translation: Translation) -> bool:
    alike = (here.state, here.flags, here.mark, here.zones, here.icmp) == (
        there.state, there.flags, there.mark, there.zones, there.icmp)  # fmt: skip
    return alike and all(
        one == other or translation.same(one, other)
        for one, other in ((here.original, there.original), (here.reply, there.reply))
    )


def _entry(entry: Connection) -> str:
    flags = " ".join(sorted(entry.flags))
    return (f"{words(entry.original)} | {words(entry.reply)} {entry.state} [{flags}] mark={entry.mark} "
            f"zones={entry.zones} icmp={entry.icmp}")  # fmt: skip


def _counters(here: Subject, there: Subject) -> list[str]:
    one, other = here.counters(), there.counters()
    return [f"counters: IPv{family} {table} {chain}: {here.name} has {line!r}, {there.name} {line2!r}"
            for family in one
            for (table, chain), (line, line2) in _different(one[family], other[family])]  # fmt: skip


def _different(here: str, there: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    one, other = _by_chain(here), _by_chain(there)
    different = []
    for key in sorted(one.keys() | other.keys()):
        lines, lines2 = one.get(key, []), other.get(key, [])
        if len(lines) != len(lines2):
            different.append((key, (f"{len(lines)} lines", f"{len(lines2)} lines")))
        different += [(key, pair) for pair in zip(lines, lines2, strict=False) if pair[0] != pair[1]]
    return different


def _by_chain(text: str) -> dict[tuple[str, str], list[str]]:
    """The lines of a save by table and chain, comments and order of tables left out."""
    chains: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in filter(RULE_LINE.match, text.splitlines()):
        if line.startswith("*"):
            table = line[1:]
            continue
        name = line.split()[0][1:] if line.startswith(":") else line.split()[2]
        chains.setdefault((table, name), []).append(line)
    return _without_idle(chains) if is_deliberate("idle-table") else chains


def _without_idle(chains: dict[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[str]]:
    """Without the tables that have no rule and no policy but ACCEPT."""
    busy = {table for (table, _), lines in chains.items() if len(lines) > 1 or " DROP [" in lines[0]}
    return {key: lines for key, lines in chains.items() if key[0] in busy}
