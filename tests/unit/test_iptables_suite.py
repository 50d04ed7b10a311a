"""iptables' own cases, as far as their extensions are named in docs/iptables.md: taken, refused and printed back alike.

A file names an extension. In it `:A,B` names chains and `*a,b` tables (filter unless said) for the lines after it;
such a line is RULE;EXPECTED;OK or FAIL, where EXPECTED is how a save has it and `=` means just so. The files are
others' work and no part of this repository: they are found beside it, or where VSWITCH_SHARED says.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from vswitch.filter.iptables import Outcome, run

SHARED = Path(os.environ.get("VSWITCH_SHARED") or Path(__file__).parents[2].parent / "shared")
SUITE = SHARED / "suites" / "iptables"
LEAST = 0.95

NOT_OURS = {  # extensions that the switch does not have, so a rule with them is refused as of an unknown extension
    "ECN", "NFLOG", "TRACE", "connbytes", "connlimit", "ecn", "esp", "hashlimit", "quota", "recent", "sctp", "set",
    "statistic", "string", "tcpmss", "time", "u32",
}  # fmt: skip

DIFFERENT: dict[tuple[str, str], str] = {}  # (file, rule): why


class Case(NamedTuple):
    file: str
    family: int
    table: str
    chain: str
    rule: str
    expected: str
    ok: bool

    @property
    def program(self) -> str:
        return "iptables" if self.family == 4 else "ip6tables"


def cases() -> Iterator[Case]:
    for path in sorted(SUITE.glob("*.t")):
        if path.stem.rpartition("_")[2] not in NOT_OURS:
            yield from of_file(path)


def of_file(path: Path) -> Iterator[Case]:
    chains, tables = [], ["filter"]
    families = {"libipt": (4,), "libip6t": (6,)}.get(path.stem.partition("_")[0], (4, 6))
    if path.stem == "libxt_standard" or path.stem == "iptables":
        families = (4,)
    for line in path.read_text().splitlines():
        if line.startswith(":"):
            chains = line[1:].split(",")
        elif line.startswith("*"):
            tables = line[1:].split(",")
        elif line and line[0] not in "#@%":
            rule, expected, result = line.split(";")[:3]
            expected = rule if expected == "=" else expected
            for family in families if not names_address(rule) else (4,):
                for table in tables:
                    for chain in chains:
                        yield Case(path.stem, family, table, chain, rule, expected, result == "OK")


def names_address(rule: str) -> bool:
    return "1.1.1.1" in rule or "1.2." in rule


def judge(case: Case) -> str | None:
    """What is wrong with how it went, or None."""
    outcome = run(case.program, ["-t", case.table, "-A", case.chain, *shlex.split(case.rule)])
    if not case.ok:
        return None if outcome.code else "taken"
    if outcome.code:
        return outcome.stderr
    last = printed(case, outcome)
    return None if last == f"-A {case.chain} {case.expected}".rstrip() else f"printed {last}"


def printed(case: Case, outcome: Outcome) -> str:
    text = run(case.program, ["-t", case.table, "-S", case.chain], "", outcome.rulesets).stdout
    return text.splitlines()[-1]


pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="iptables' own cases are not here")


def test_suite() -> None:
    everything = list(cases())
    wrong = {(case, why) for case in everything if (why := judge(case)) is not None}
    unexpected = {f"{case}: {why}" for case, why in wrong if (case.file, case.rule) not in DIFFERENT}
    assert not unexpected
    assert len(everything) - len(wrong) >= LEAST * len(everything)


def test_listed_differences_are_still_there() -> None:
    seen = {(case.file, case.rule) for case in cases() if judge(case) is not None}
    assert set(DIFFERENT) == seen


@pytest.mark.parametrize("extension", sorted(NOT_OURS))
def test_others_are_refused_by_name(extension: str) -> None:
    option = "-j" if extension.isupper() else "-m"
    outcome = run("iptables", ["-A", "INPUT", option, extension])
    assert outcome.code == 2
    assert extension in outcome.stderr
