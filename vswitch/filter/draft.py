"""A working copy of one family's rules: edited in place, then frozen into new `Rulesets`, or thrown away.

Only tables that are opened, and in them only chains that change, are copied; so a restore of ten thousand rules costs
ten thousand appends, and whoever holds the old rules keeps them. What the kernel would check when a table is committed
is checked by `verify` as the draft freezes; nothing of a draft shows before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from .command import LONGEST_CHAIN, is_target
from .model import TABLES, UNTOUCHED, Chain, Rule, Rulesets, Spec, Table
from .targets import Goto, Jump
from .verify import verify_rule, verify_table
from .words.complaint import INVALID, MISSING, NO_CHAIN, Complaint, Refused
from .words.readers import octets, savable


class ChainDraft:
    """A chain whose rules become a list as soon as one is to change."""

    __slots__ = ("_frozen", "_rules", "name", "policy", "policy_id")

    def __init__(self, chain: Chain) -> None:
        self.name = chain.name
        self.policy = chain.policy
        self.policy_id = chain.policy_id
        self._frozen = chain
        self._rules: list[Rule] | None = None

    @property
    def builtin(self) -> bool:
        return self.policy is not None

    @property
    def rules(self) -> tuple[Rule, ...] | list[Rule]:
        return self._frozen.rules if self._rules is None else self._rules

    def changing(self) -> list[Rule]:
        if self._rules is None:
            self._rules = list(self._frozen.rules)
        return self._rules

    def clear(self) -> None:
        self._rules = []

    def freeze(self) -> Chain:
        held = self._frozen
        if self._rules is None and (self.name, self.policy, self.policy_id) == (held.name, held.policy, held.policy_id):
            return held
        return Chain(self.name, tuple(self.rules), self.policy, self.policy_id)


class TableDraft:
    """A table being edited."""

    def __init__(self, table: Table, draft: Draft) -> None:
        self.name = table.name
        self.chains = {name: ChainDraft(chain) for name, chain in table.chains.items()}
        self._draft = draft
        if table is UNTOUCHED[table.name]:
            for chain in self.chains.values():
                chain.policy_id = draft.new_id()

    def chain(self, name: str) -> ChainDraft:
        found = self.chains.get(name)
        if found is None:
            raise Refused(NO_CHAIN)
        return found

    def make(self, chain: ChainDraft, spec: Spec) -> Rule:
        """A new rule for a chain, if the kernel would take it there."""
        verify_rule(spec, self.name, chain.name if chain.builtin else None)
        return Rule(self._draft.new_id(), spec)

    def create(self, name: str) -> None:
        if name in self.chains:
            raise Refused("Chain already exists")
        self.chains[name] = ChainDraft(Chain(name))

    def delete(self, name: str) -> None:
        chain = self.chain(name)
        if chain.builtin:
            raise Refused(INVALID, f"{name} is a built-in chain, which cannot be deleted")
        if any(_leads_to(rule, name) for rule in self.rules()):
            raise Refused("Too many links")
        if chain.rules:
            raise Refused("Directory not empty")
        del self.chains[name]

    def rename(self, old: str, new: str) -> None:
        """And have every jump follow, under the ids that the rules have."""
        if new in self.chains or is_target(new, self._draft.family):
            raise Refused("File exists")
        if len(octets(new)) > LONGEST_CHAIN or not savable(new):
            raise Refused(INVALID, f"A chain's name has at most {LONGEST_CHAIN} characters, none of them blank")
        chain = self.chain(old)
        if chain.builtin:
            raise Refused(NO_CHAIN)
        chain.name = new
        self.chains = {new if name == old else name: held for name, held in self.chains.items()}
        for held in self.chains.values():
            if any(_leads_to(rule, old) for rule in held.rules):
                rules = held.changing()
                rules[:] = [_redirected(rule, new) if _leads_to(rule, old) else rule for rule in rules]

    def clear(self) -> None:
        """No rules and no chains of the user's; policies stay."""
        self.chains = {name: chain for name, chain in self.chains.items() if chain.builtin}
        for chain in self.chains.values():
            chain.clear()

    def rules(self) -> Iterator[Rule]:
        for chain in self.chains.values():
            yield from chain.rules

    def freeze(self) -> Table:
        own = {name: chain.freeze() for name, chain in self.chains.items() if chain.builtin}
        for name in sorted(name for name, chain in self.chains.items() if not chain.builtin):
            own[name] = self.chains[name].freeze()
        return Table(self.name, own)


class Draft:
    """The family's tables, opened as they are asked for. `zero` and `counters` go with the change of rules."""

    def __init__(self, rulesets: Rulesets, family: int) -> None:
        self.family = family
        self.zero: set[int] = set()
        self.counters: dict[int, tuple[int, int]] = {}
        self._rulesets = rulesets
        self._ruleset = rulesets.of(family)
        self._next_id = rulesets.next_id
        self._opened: dict[str, TableDraft] = {}

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def table(self, name: str) -> TableDraft:
        """For changing it."""
        if name not in self._opened:
            self._opened[name] = TableDraft(self.look(name), self)
        return self._opened[name]

    def look(self, name: str) -> Table:
        """For reading it, with what this draft has changed so far."""
        if name not in TABLES:
            raise Complaint(f"table '{name}' does not exist", MISSING)
        opened = self._opened.get(name)
        return self._ruleset.table(name) if opened is None else opened.freeze()

    def verify(self, name: str) -> None:
        """As the kernel at the end of a transaction; raises Refused."""
        verify_table(self.table(name).freeze())

    def freeze(self) -> Rulesets:
        """The new rules, all of what was opened verified."""
        if not self._opened:
            return self._rulesets
        frozen = {name: draft.freeze() for name, draft in self._opened.items()}
        for table in frozen.values():
            verify_table(table)
        held = self._ruleset.tables | frozen
        ruleset = msgspec.structs.replace(self._ruleset, tables={name: held[name] for name in TABLES if name in held})
        field = "ipv4" if self.family == 4 else "ipv6"
        return msgspec.structs.replace(self._rulesets, next_id=self._next_id, **{field: ruleset})


def follow(spec: Spec, chains: Mapping[str, ChainDraft | Chain]) -> None:
    """Raise unless the chain that a rule leads to is there, and the user's."""
    target = spec.target
    if type(target) is not Jump and type(target) is not Goto:
        return
    found = chains.get(target.chain)
    if found is None and isinstance(target, Goto):
        raise Complaint(f"goto '{target.chain}' is not a chain")
    if found is None:
        raise Complaint(f"Chain '{target.chain}' does not exist")
    if found.policy is not None:
        raise Refused(INVALID, f"{target.chain} is a built-in chain, which no rule may jump to")


def _leads_to(rule: Rule, chain: str) -> bool:
    target = rule.spec.target
    return isinstance(target, Jump | Goto) and target.chain == chain


def _redirected(rule: Rule, chain: str) -> Rule:
    target = Goto(chain) if isinstance(rule.spec.target, Goto) else Jump(chain)
    return Rule(rule.id, msgspec.structs.replace(rule.spec, target=target))
