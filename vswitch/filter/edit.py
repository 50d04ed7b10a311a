"""A command carried out on a draft: what it changes, and what it prints.

`carry_out` is all that others need. Commands that only look leave the draft as it is, so looking at a table does not
make it.
"""

from __future__ import annotations

from collections.abc import Callable

from .command import Command
from .draft import Draft, TableDraft, follow
from .model import Chain, Counters, Rule, Table
from .show import NOTHING, listed, listed_chain, references, saved, saved_chain, told
from .targets import Verdict
from .words.complaint import NO_CHAIN, Refused

NO_RULE = "Bad rule (does a matching rule exist in that chain?)"


def carry_out(command: Command, draft: Draft, counters: Counters) -> str:
    """Returns what goes to stdout; raises Complaint or Refused, and the draft is then to be thrown away."""
    if command.action in LOOKS:
        return LOOKS[command.action](command, draft, counters)
    table = draft.table(command.table)
    follow(command.spec, table.chains)
    return CHANGES[command.action](command, draft, table)


# Rules


def _count(command: Command, draft: Draft, rule: Rule) -> Rule:
    if command.counters is not None:
        draft.counters[rule.id] = command.counters
    return rule


def _append(command: Command, draft: Draft, table: TableDraft) -> str:
    chain = table.chain(command.chain or "")
    specs = command.specs()
    rules = chain.changing()
    for spec in specs:
        rules.append(_count(command, draft, table.make(chain, spec)))
    return _told(command, draft)


def _insert(command: Command, draft: Draft, table: TableDraft) -> str:
    """Each of several rules at the same place, so that the last stands first: as iptables does it."""
    chain = table.chain(command.chain or "")
    if command.number > len(chain.rules) + 1:
        raise Refused("Index of insertion too big")
    for spec in command.specs():
        chain.changing().insert(command.number - 1, _count(command, draft, table.make(chain, spec)))
    return _told(command, draft)


def _replace(command: Command, draft: Draft, table: TableDraft) -> str:
    chain = table.chain(command.chain or "")
    if command.number > len(chain.rules):
        raise Refused("Index of replacement too big")
    (spec,) = command.specs()
    chain.changing()[command.number - 1] = _count(command, draft, table.make(chain, spec))
    return _told(command, draft)


def _delete(command: Command, draft: Draft, table: TableDraft) -> str:
    chain = table.chain(command.chain or "")
    if command.number:
        if command.number > len(chain.rules):
            raise Refused("Index of deletion too big")
        del chain.changing()[command.number - 1]
        return ""
    for spec in command.specs():
        places = [place for place, rule in enumerate(chain.rules) if rule.spec == spec]
        if not places:
            raise Refused(NO_RULE)
        del chain.changing()[places[0]]
    return _told(command, draft)


def _told(command: Command, draft: Draft) -> str:
    if not command.verbose:
        return ""
    return "".join(told(spec, draft.family) for spec in command.specs())


def _check(command: Command, draft: Draft, counters: Counters) -> str:
    table = draft.look(command.table)
    follow(command.spec, table.chains)
    chain = _seen(table, command.chain)[0]
    held = {rule.spec for rule in chain.rules}
    if not all(spec in held for spec in command.specs()):
        raise Refused(NO_RULE)
    return _told(command, draft)


# Chains


def _flush(command: Command, draft: Draft, table: TableDraft) -> str:
    chains = list(table.chains.values()) if command.chain is None else [table.chain(command.chain)]
    for chain in chains:
        chain.clear()
    return _each(command, "Flushing", [chain.name for chain in chains])


def _zero(command: Command, draft: Draft, table: TableDraft) -> str:
    chains = list(table.chains.values()) if command.chain is None else [table.chain(command.chain)]
    if command.number:
        if command.number > len(chains[0].rules):
            raise Refused("Index of counter too big")
        draft.zero.add(chains[0].rules[command.number - 1].id)
        return ""
    for chain in chains:
        draft.zero.update(rule.id for rule in chain.rules)
        if chain.builtin:
            draft.zero.add(chain.policy_id)
    return _each(command, "Zeroing", [chain.name for chain in chains])


def _new(command: Command, draft: Draft, table: TableDraft) -> str:
    table.create(command.chain or "")
    return ""


def _delete_chain(command: Command, draft: Draft, table: TableDraft) -> str:
    names = [command.chain] if command.chain is not None else [c.name for c in table.chains.values() if not c.builtin]
    for name in names:
        table.delete(name)
    return _each(command, "Deleting", names)


def _each(command: Command, doing: str, names: list[str]) -> str:
    return "".join(f"{doing} chain `{name}'\n" for name in names) if command.verbose else ""


def _rename(command: Command, draft: Draft, table: TableDraft) -> str:
    table.rename(command.chain or "", command.name)
    return ""


def _policy(command: Command, draft: Draft, table: TableDraft) -> str:
    set_policy(table, command.chain or "", command.name)
    if command.counters is not None:
        draft.counters[table.chain(command.chain or "").policy_id] = command.counters
    return ""


def set_policy(table: TableDraft, name: str, policy: str) -> None:
    chain = table.chains.get(name)
    if chain is None or not chain.builtin:
        raise Refused("Bad built-in chain name")
    if policy not in ("ACCEPT", "DROP"):
        raise Refused("Bad policy name", "A policy is ACCEPT or DROP")
    chain.policy = Verdict[policy]


# Looking


def _seen(table: Table, chain: str | None) -> list[Chain]:
    if chain is None:
        return list(table.chains.values())
    if chain not in table.chains:
        raise Refused(NO_CHAIN)
    return [table.chains[chain]]


def _also_zero(command: Command, draft: Draft) -> str:
    return _zero(command, draft, draft.table(command.table)) if command.zero else ""


def _list(command: Command, draft: Draft, counters: Counters) -> str:
    table = draft.look(command.table)
    chains = _seen(table, command.chain)
    family = draft.family
    if command.number:
        some = chains[0].rules[command.number - 1 : command.number]
        text = "".join(listed(rule, command.number, family, command, counters) for rule in some)
        return text + _also_zero(command, draft)
    count = references(table)
    parts = []
    for chain in chains:
        lines = [listed(rule, number, family, command, counters) for number, rule in enumerate(chain.rules, 1)]
        parts.append(listed_chain(chain, count.get(chain.name, 0), command, counters) + "".join(lines))
    return "\n".join(parts) + _also_zero(command, draft)


def _list_rules(command: Command, draft: Draft, counters: Counters) -> str:
    chains = _seen(draft.look(command.table), command.chain)
    shown = counters if command.verbose else None
    lines = [] if command.number else [saved_chain(chain, shown) for chain in chains]
    for chain in chains:
        rules = chain.rules[command.number - 1 : command.number] if command.number else chain.rules
        for rule in rules:
            lines.append(saved(rule, chain.name, counters.get(rule.id, NOTHING) if command.verbose else None))
    return "".join(f"{line}\n" for line in lines) + _also_zero(command, draft)


LOOKS: dict[str, Callable[[Command, Draft, Counters], str]] = {"C": _check, "L": _list, "S": _list_rules}
CHANGES: dict[str, Callable[[Command, Draft, TableDraft], str]] = {
    "A": _append,
    "I": _insert,
    "R": _replace,
    "D": _delete,
    "F": _flush,
    "Z": _zero,
    "N": _new,
    "X": _delete_chain,
    "E": _rename,
    "P": _policy,
}
