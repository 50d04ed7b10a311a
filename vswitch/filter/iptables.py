"""iptables, ip6tables, and their -save and -restore, as pure functions of the rules that are there.

`run` takes a program's name, its arguments and its stdin with the rules and counters, and answers what the real
program would print and end with, and the rules as they are then. It does nothing: whoever calls it puts the new rules
to use, then zeroes and sets the counters it names. If the program fails, the rules are those that were given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import help as helptext
from .draft import Draft
from .edit import carry_out
from .model import TABLES, Counters, Rulesets
from .parse import Parser
from .restore import Restore, save
from .words.complaint import VERSION, Complaint, Refused, Usage

PROGRAMS = {
    "iptables": 4,
    "ip6tables": 6,
    "iptables-save": 4,
    "ip6tables-save": 6,
    "iptables-restore": 4,
    "ip6tables-restore": 6,
}


NO_RULES = Rulesets()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. `zero` and `set_counters` are ids of rules and policies; what is set is set after zeroing."""

    rulesets: Rulesets
    stdout: str = ""
    stderr: str = ""
    code: int = 0
    zero: frozenset[int] = frozenset()
    set_counters: Mapping[int, tuple[int, int]] = field(default_factory=dict)


def run(
    program: str,
    argv: Sequence[str],
    stdin: str = "",
    rulesets: Rulesets = NO_RULES,
    counters: Counters | None = None,
    date: str = "",
) -> Outcome:
    """`date` is what a save says that it was made on."""
    family = PROGRAMS[program]
    held = counters or {}
    try:
        if program.endswith("-save"):
            return _save(program, argv, family, rulesets, held, date)
        if program.endswith("-restore"):
            return _restore(program, argv, stdin, family, rulesets, held)
        return _iptables(program, argv, family, rulesets, held)
    except (Complaint, Refused) as error:
        code = error.code if isinstance(error, Complaint) else 1
        return Outcome(rulesets, "", error.said(program), code)
    except Usage as usage:
        return Outcome(rulesets, usage.stdout, usage.stderr, usage.code)


def _iptables(program: str, argv: Sequence[str], family: int, rulesets: Rulesets, held: Counters) -> Outcome:
    command = Parser(family).parse(argv)
    draft = Draft(rulesets, family)
    stdout = carry_out(command, draft, held)
    changed = draft.freeze()
    return Outcome(changed, stdout, "", 0, frozenset(draft.zero), draft.counters)


# -save


def _save(program: str, argv: Sequence[str], family: int, rulesets: Rulesets, held: Counters, date: str) -> Outcome:
    options = _options(program, argv, SAVE)
    if options.rest:
        raise Usage(1, stderr="Unknown arguments found on commandline\n")
    only = options.values.get("t")
    if only is not None and only not in TABLES:
        raise Usage(1, stderr=f"Table `{only}' does not exist\n")
    tables = [only] if only is not None else list(rulesets.of(family).tables)
    stamp = f"{program} {VERSION}" + (f" on {date}" if date else "")
    return Outcome(rulesets, save(rulesets, family, tables, held, "c" in options.given, stamp))


# -restore


def _restore(program: str, argv: Sequence[str], stdin: str, family: int, rulesets: Rulesets, held: Counters) -> Outcome:
    options = _options(program, argv, RESTORE)
    if options.rest:
        raise Usage(1, stderr=f"Can't open {options.rest[0]}: No such file or directory\n")
    draft = Draft(rulesets, family)
    counted, flush = "c" in options.given, "n" not in options.given
    reading = Restore(program, draft, held, counted=counted, flush=flush, only=options.values.get("T"))
    try:
        reading.read(stdin)
        changed = draft.freeze()
    except Complaint as complaint:
        return Outcome(rulesets, "", complaint.said(program, reading.line), complaint.code)
    except Refused as refused:
        return Outcome(rulesets, "", refused.said(program, reading.line), 1)
    stdout = "".join(reading.printed)
    if "t" in options.given:
        return Outcome(rulesets, stdout)
    return Outcome(changed, stdout, "", 0, frozenset(draft.zero), draft.counters)


# The options of both


@dataclass(slots=True)
class Options:
    given: set[str]
    values: dict[str, str]
    rest: list[str]


# By spelling: the letter, and whether an argument follows.
SAVE = {
    "-t": ("t", True), "--table": ("t", True), "-c": ("c", False), "--counters": ("c", False),
    "-M": ("M", True), "--modprobe": ("M", True),
}  # fmt: skip
RESTORE = {
    "-c": ("c", False), "--counters": ("c", False), "-n": ("n", False), "--noflush": ("n", False),
    "-t": ("t", False), "--test": ("t", False), "-v": ("v", False), "--verbose": ("v", False),
    "-T": ("T", True), "--table": ("T", True), "-M": ("M", True), "--modprobe": ("M", True),
    "-w": ("w", False), "--wait": ("w", False), "-W": ("W", True), "--wait-interval": ("W", True),
}  # fmt: skip


def _options(program: str, argv: Sequence[str], known: dict[str, tuple[str, bool]]) -> Options:
    options = Options(set(), {}, [])
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word in ("-V", "--version"):
            raise Usage(0, f"{program} {VERSION}\n")
        if word in ("-h", "--help"):
            raise Usage(0, helptext.of_tool(program))
        if not word.startswith("-") or word == "-":
            options.rest.append(word)
        elif name in known:
            letter, takes = known[name]
            if takes and not equals and not words:
                raise Usage(1, stderr=f"{program}: option requires an argument -- '{letter}'\n")
            options.given.add(letter)
            if takes:
                options.values[letter] = value if equals else words.pop(0)
            elif letter == "w" and words and words[0].isdecimal():
                words.pop(0)
        elif len(word) > 2 and word[1] != "-" and word[:2] in known:
            rest = word[2:]
            words[:0] = [word[:2], rest if known[word[:2]][1] else f"-{rest}"]
        else:
            raise Usage(1, stderr=_unknown(program, word))
    return options


def _unknown(program: str, word: str) -> str:
    what = f"unrecognized option '{word}'" if word.startswith("--") else f"invalid option -- '{word[1:2]}'"
    return f"{program}: {what}\nTry `{program} -h' for more information.\n"
