"""The firewall's model: for each family tables, in a table chains, in a chain rules. Immutable through and through.

A change makes new structs along the way down to what changed and shares the rest, so any number of readers may keep
what they have. Every rule, and the policy of every built-in chain, has an id: given when it is made, kept by every
edit around it, never given twice by the same `Rulesets`. Counters, and the state of `limit`, live elsewhere by these
ids.

A table exists once it has been touched; `Ruleset.table` answers for an untouched one what the kernel would: its
built-in chains, empty, with policy ACCEPT, and ids of 0 since nothing counts there yet. The mappings are plain dicts
for their speed. Nobody writes to one that a struct holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from .matches import Match
from .targets import Target, Verdict
from .values import NONE, Net

Counters = Mapping[int, tuple[int, int]]  # by id: packets, bytes

TABLES: dict[str, tuple[str, ...]] = {  # with their built-in chains, in the order of a listing
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class Spec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a rule asks and does. `inverted` names fields here (not of the matches) that `!` turns round.

    Interfaces are names of ports, bridges and VLANs of bridges; one that ends in `+` stands for all that begin so.
    `fragment` asks for a fragment other than the first (IPv4). Without a target a rule only counts.
    """

    source: Net | None = None
    destination: Net | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    protocol: int | None = None
    fragment: bool = False
    inverted: frozenset[str] = NONE
    matches: tuple[Match, ...] = ()
    target: Target | None = None


class Rule(msgspec.Struct, frozen=True, gc=False):
    id: int
    spec: Spec


class Chain(msgspec.Struct, frozen=True, gc=False):
    """A built-in chain has a policy, and an id for its counters; a chain of the user's has neither (None, 0)."""

    name: str
    rules: tuple[Rule, ...] = ()
    policy: Verdict | None = None
    policy_id: int = 0


class Table(msgspec.Struct, frozen=True, gc=False):
    """Chains by name: the built-in ones first, the user's in order of their names."""

    name: str
    chains: dict[str, Chain]


class Ruleset(msgspec.Struct, frozen=True, gc=False):
    """The tables of one family (4 or 6), in the order of TABLES; those that were touched."""

    family: int
    tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        return self.tables.get(name) or UNTOUCHED[name]

    def rules(self) -> Iterator[Rule]:
        for table in self.tables.values():
            for chain in table.chains.values():
                yield from chain.rules


class Rulesets(msgspec.Struct, frozen=True, gc=False):
    """Both families, and the next id that nothing has yet."""

    ipv4: Ruleset = Ruleset(4)
    ipv6: Ruleset = Ruleset(6)
    next_id: int = 1

    def of(self, family: int) -> Ruleset:
        return self.ipv4 if family == 4 else self.ipv6


UNTOUCHED = {
    name: Table(name, {chain: Chain(chain, (), Verdict.ACCEPT) for chain in chains}) for name, chains in TABLES.items()
}
