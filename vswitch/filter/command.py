"""What one line of iptables asks for, as a value: a command, and the rules it speaks of.

`parse.Parser` makes it from words; `edit` carries it out. A rule with lists of addresses stands for several, so a
command has `specs`, not one spec.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import words as known
from .model import Spec
from .targets import Verdict
from .values import Net
from .words.complaint import Complaint
from .words.readers import number, octets, savable

VERDICTS = {verdict.name: verdict for verdict in Verdict}
LONGEST_CHAIN = 28
TOP_NUMBER = 0xFFFFFFFF

EDITS = "ADIRC"  # the commands that speak of a rule

# Which of the options in the columns a command does not take.
OPTIONS = "nsdpjxio0cf"
ILLEGAL = {
    **dict.fromkeys("AIR", "nx0"),
    **dict.fromkeys("DC", "nx0c"),
    "L": "sdpjiocf",
    "P": "nsdpjxio0f",
    **dict.fromkeys("SFZNXE", OPTIONS),
}
SPELLED = {letter: f"-{letter}" for letter in OPTIONS} | {"0": "--line-numbers"}


@dataclass(slots=True)
class Command:
    """One line. `number` is a rule's place from 1; `zero` is -Z beside -L or -S."""

    action: str = ""
    chain: str | None = None
    number: int = 0
    name: str = ""  # the new name of -E, the policy of -P
    zero: bool = False
    table: str = "filter"
    verbose: int = 0
    numeric: bool = False
    exact: bool = False
    line_numbers: bool = False
    counters: tuple[int, int] | None = None
    spec: Spec = Spec()
    sources: list[Net] = field(default_factory=list)
    destinations: list[Net] = field(default_factory=list)

    def specs(self) -> list[Spec]:
        """The rules that the line stands for: every source with every destination."""
        if not self.sources and not self.destinations:
            return [self.spec]
        spec = self.spec
        return [
            Spec(
                source=_asked(source, "source" in spec.inverted),
                destination=_asked(destination, "destination" in spec.inverted),
                in_interface=spec.in_interface,
                out_interface=spec.out_interface,
                protocol=spec.protocol,
                fragment=spec.fragment,
                inverted=spec.inverted,
                matches=spec.matches,
                target=spec.target,
            )
            for source in self.sources or (None,)
            for destination in self.destinations or (None,)
        ]


def _asked(net: Net | None, inverted: bool) -> Net | None:
    """A network of all addresses asks nothing."""
    return None if net is None or (not inverted and net.is_all) else net


def check(command: Command, given: set[str]) -> None:
    """Refuse what does not go together, in iptables' order."""
    if not command.action:
        raise Complaint("no command specified")
    for letter in ILLEGAL[command.action]:
        if letter in given:
            raise Complaint(f"Illegal option `{SPELLED[letter]}' with this command")
    if command.action == "D" and command.number and given & set("sdpjiof"):
        letter = next(letter for letter in "sdpjiof" if letter in given)
        raise Complaint(f"Illegal option `-{letter}' with this command")
    if command.action in EDITS:
        _check_rule(command, given)


def _check_rule(command: Command, given: set[str]) -> None:
    spec = command.spec
    many = len(command.sources) > 1 or len(command.destinations) > 1
    if many and spec.inverted & {"source", "destination"}:
        raise Complaint("! not allowed with multiple source or destination IP addresses")
    if many and command.action == "R":
        raise Complaint("Replacement rule does not specify a unique address")
    if command.chain in ("PREROUTING", "INPUT") and "o" in given:
        raise Complaint(f"Can't use -o with {command.chain}\n")
    if command.chain in ("POSTROUTING", "OUTPUT") and "i" in given:
        raise Complaint(f"Can't use -i with {command.chain}\n")
    if command.table == "nat" and spec.target is Verdict.DROP:
        raise Complaint('\nThe "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n')


# Names of chains, numbers of rules


def check_length(chain: str) -> None:
    if len(octets(chain)) > LONGEST_CHAIN:
        raise Complaint(f"chain name `{chain}' too long (must be under {LONGEST_CHAIN + 1} chars)")


def is_target(name: str, family: int) -> bool:
    return name in VERDICTS or known.target(name, family) is not None


def check_chain_name(chain: str, family: int) -> None:
    if chain[:1] in ("-", "!"):
        raise Complaint(f"chain name not allowed to start with `{chain[0]}'")
    if not chain or is_target(chain, family):
        raise Complaint("chain name may not clash with target name")
    check_length(chain)
    if not savable(chain):
        raise Complaint(f"Invalid chain name `{chain}'")


def rule_number(text: str) -> int:
    value = number(text)
    if value is None or not 1 <= value <= TOP_NUMBER:
        raise Complaint(f"Invalid rule number `{text}'")
    return value
