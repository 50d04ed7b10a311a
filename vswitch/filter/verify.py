"""What the kernel checks of rules: where an extension may stand, and that no jumps go round.

A rule is checked by itself as it is made: table, protocol, and the chain if that is a built-in one. What hangs on the
way from the built-in chains is checked for the whole table at the end: a rule in a chain of the user's stands in every
hook from which the chain can be reached, and a chain that nothing reaches is not looked at, which is the kernel's way
too. The reasons are those that the kernel writes to its log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import words as known
from .model import Spec, Table
from .targets import Goto, Jump
from .words.base import Extension
from .words.complaint import INVALID, Refused
from .words.names import protocol_name


def _parts(spec: Spec) -> Iterator[tuple[Any, Extension]]:
    """The matches and the target that the kernel does not take everywhere."""
    for value in (*spec.matches, spec.target):
        extension = known.DEMANDING.get(type(value))
        if extension is not None:
            yield value, extension


def verify_rule(spec: Spec, table: str, chain: str | None) -> None:
    """Raise Refused if the rule can stand nowhere in the table, or not in this built-in chain."""
    for value, extension in _parts(spec):
        demands = extension.demands
        if demands.tables and table not in demands.tables:
            raise _refused(extension, f"only valid in the {demands.tables[0]} table, not {table}")
        if demands.protocols and (spec.protocol not in demands.protocols or "protocol" in spec.inverted):
            names = " or ".join(f"-p {protocol_name(number)}" for number in demands.protocols)
            raise _refused(extension, f"needs {names}")
        _verify_hooks(spec, value, extension, frozenset() if chain is None else frozenset((chain,)))


def _verify_hooks(spec: Spec, value: Any, extension: Extension, hooks: frozenset[str]) -> None:
    demands = extension.demands
    wrong = hooks - set(demands.chains) if demands.chains else ()
    if wrong:
        usable = "/".join(demands.chains)
        raise _refused(extension, f"used from hooks {'/'.join(sorted(wrong))}, but only usable from {usable}")
    if demands.further is not None:
        reason = demands.further(value, spec, hooks)
        if reason is not None:
            raise _refused(extension, reason)


def _refused(extension: Extension, reason: str) -> Refused:
    return Refused(INVALID, f"{extension.name}: {reason}")


def verify_table(table: Table) -> None:
    """Raise Refused for jumps that go round, or for a rule of a user's chain reached from the wrong hook."""
    own = {name for name, chain in table.chains.items() if chain.policy is None}
    if not own:
        return
    ways = {name: _jumps(chain.rules) for name, chain in table.chains.items()}
    hooks: dict[str, set[str]] = {name: set() for name in own}
    for builtin in table.chains.keys() - own:
        for name in _reached(builtin, ways):
            hooks[name].add(builtin)
    for name in sorted(own):
        if hooks[name]:
            _verify_chain(table, name, frozenset(hooks[name]))


def _verify_chain(table: Table, name: str, hooks: frozenset[str]) -> None:
    for rule in table.chains[name].rules:
        for value, extension in _parts(rule.spec):
            if extension.demands.chains or extension.demands.further:
                _verify_hooks(rule.spec, value, extension, hooks)


def _jumps(rules: tuple[Any, ...]) -> tuple[str, ...]:
    """The chains that a chain leads to, in the order of its first jumps there."""
    targets = (rule.spec.target for rule in rules)
    return tuple(dict.fromkeys(target.chain for target in targets if type(target) is Jump or type(target) is Goto))


def _reached(start: str, ways: dict[str, tuple[str, ...]]) -> set[str]:
    """Every chain that can be reached, depth first and without recursion; a way back into itself is a loop."""
    done: set[str] = set()
    path = [start]
    pending = [iter(ways[start])]
    while pending:
        following = next(pending[-1], None)
        if following is None:
            pending.pop()
            done.add(path.pop())
        elif following in path:
            raise Refused("Too many levels of symbolic links", f"Chain {following} leads back to itself")
        elif following not in done:
            path.append(following)
            pending.append(iter(ways[following]))
    return done - {start}
