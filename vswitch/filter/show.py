"""Rules as text: a line of `iptables -S` and of a save, and a line of `iptables -L`."""

from __future__ import annotations

from . import words as known
from .command import Command
from .model import Chain, Counters, Rule, Spec, Table
from .targets import Goto, Jump, Verdict
from .values import Net
from .words.base import written
from .words.names import protocol_name
from .words.readers import write_net

NOTHING = (0, 0)
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


# Saved


def saved(rule: Rule, chain: str, counted: tuple[int, int] | None = None) -> str:
    """`-A CHAIN ...`, with `-c` before the target if counters are given."""
    counters = "" if counted is None else f" -c {counted[0]} {counted[1]}"
    return f"-A {chain}{_saved_own(rule.spec)}{_saved_matches(rule.spec)}{counters}{_saved_target(rule.spec)}"


def _saved_own(spec: Spec) -> str:
    words = []
    for field, option in (("source", "-s"), ("destination", "-d"), ("in_interface", "-i"), ("out_interface", "-o")):
        value = getattr(spec, field)
        if value is not None:
            text = write_net(value) if isinstance(value, Net) else value
            words.append(f" {'! ' if field in spec.inverted else ''}{option} {text}")
    if spec.protocol is not None:
        words.append(f" {'! ' if 'protocol' in spec.inverted else ''}-p {protocol_name(spec.protocol)}")
    if spec.fragment:
        words.append(" ! -f" if "fragment" in spec.inverted else " -f")
    return "".join(words)


def _saved_matches(spec: Spec) -> str:
    text = ""
    for match in spec.matches:
        extension = known.of(match)
        text += f" -m {extension.name}{written(extension, match)}"
    return text


def _saved_target(spec: Spec) -> str:
    target = spec.target
    if target is None:
        return ""
    if isinstance(target, Verdict):
        return f" -j {target.name}"
    if isinstance(target, Jump | Goto):
        return f" -{'j' if isinstance(target, Jump) else 'g'} {target.chain}"
    extension = known.of(target)
    return f" -j {extension.name}{written(extension, target)}"


def saved_chain(chain: Chain, counters: Counters | None = None) -> str:
    """`-P` or `-N`"""
    if chain.policy is None:
        return f"-N {chain.name}"
    counted = "" if counters is None else " -c {} {}".format(*counters.get(chain.policy_id, NOTHING))
    return f"-P {chain.name} {chain.policy.name}{counted}"


# Listed


def amount(number: int, exact: bool, wide: bool = True) -> str:
    """A counter, by default in at most five digits and a letter for thousands; with a blank after it."""
    if exact:
        return f"{number:8d} " if wide else f"{number} "
    if number <= 99999:
        return f"{number:5d} " if wide else f"{number} "
    for letter in "KMGT":
        number = (number + 500) // 1000
        if number <= 9999 or letter == "T":
            break
    return f"{number:4d}{letter} " if wide else f"{number}{letter} "


def listed_chain(chain: Chain, references: int, command: Command, counters: Counters) -> str:
    """The two lines that head a chain."""
    if chain.policy is None:
        about = f"{references} references"
    else:
        about = f"policy {chain.policy.name}"
        if command.verbose:
            packets, size = counters.get(chain.policy_id, NOTHING)
            exact = command.exact
            about += f" {amount(packets, exact, False)}packets, {amount(size, exact, False)}bytes"
    columns = "num  " if command.line_numbers else ""
    if command.verbose:
        columns += "    pkts      bytes " if command.exact else " pkts bytes "
    columns += "target     prot opt" + (" in     out    " if command.verbose else "")
    return f"Chain {chain.name} ({about})\n{columns} source               destination         \n"


def listed(rule: Rule, number: int, family: int, command: Command, counters: Counters) -> str:
    """A line of a listing."""
    spec, numeric = rule.spec, command.numeric
    text = f"{number:<4d} " if command.line_numbers else ""
    if command.verbose:
        packets, size = counters.get(rule.id, NOTHING)
        text += amount(packets, command.exact) + amount(size, command.exact)
    text += f"{_target_name(spec):<9s} {_turned(spec, 'protocol')}{_protocol(spec, numeric):<4s} {_fragment(spec)} "
    if command.verbose:
        text += f" {_interface(spec, 'in_interface', numeric):<6s} {_interface(spec, 'out_interface', numeric):<6s} "
    for field in ("source", "destination"):
        text += f"{_turned(spec, field)}{_net(spec, field, family, numeric):<19s} "
    return text + _extensions(spec, numeric) + "\n"


def told(spec: Spec, family: int) -> str:
    """The line that `-v` prints of a rule as it is added or deleted."""
    turned = _turned(spec, "protocol")
    protocol = protocol_name(spec.protocol) if spec.protocol else "all"
    text = f"{_target_name(spec)} {turned}{protocol} opt {_fragment(spec)} "
    text += f"in {_interface(spec, 'in_interface', True)} out {_interface(spec, 'out_interface', True)} "
    text += f"{_turned(spec, 'source')}{_net(spec, 'source', family, True)} "
    text += f"{_turned(spec, 'destination')}-> {_net(spec, 'destination', family, True)}  "
    return text + _extensions(spec, True) + "\n"


def _target_name(spec: Spec) -> str:
    target = spec.target
    if target is None:
        return ""
    if isinstance(target, Verdict):
        return target.name
    if isinstance(target, Jump | Goto):
        return target.chain
    extension = known.of(target)
    return extension.listed or extension.name


def _turned(spec: Spec, field: str) -> str:
    return "!" if field in spec.inverted else " "


def _protocol(spec: Spec, numeric: bool) -> str:
    number = spec.protocol or 0
    if numeric:
        return str(number)
    return protocol_name(number) if number else "all"


def _fragment(spec: Spec) -> str:
    return ("!" if "fragment" in spec.inverted else "-") + ("f" if spec.fragment else "-")


def _interface(spec: Spec, field: str, numeric: bool) -> str:
    name = getattr(spec, field)
    if name is None:
        return "*" if numeric else "any"
    return f"!{name}" if field in spec.inverted else name


def _net(spec: Spec, field: str, family: int, numeric: bool) -> str:
    net: Net | None = getattr(spec, field)
    if net is None or net.is_all:
        return EVERYWHERE[family] if numeric or net is not None else "anywhere"
    return write_net(net, always=False)


def _extensions(spec: Spec, numeric: bool) -> str:
    text = "[goto] " if isinstance(spec.target, Goto) else ""
    for match in spec.matches:
        text += known.of(match).show(match, numeric)
    if spec.target is not None and not isinstance(spec.target, Verdict | Jump | Goto):
        text += known.of(spec.target).show(spec.target, numeric)
    return text


def references(table: Table) -> dict[str, int]:
    """By chain, how many rules lead there."""
    found: dict[str, int] = {}
    for chain in table.chains.values():
        for rule in chain.rules:
            target = rule.spec.target
            if isinstance(target, Jump | Goto):
                found[target.chain] = found.get(target.chain, 0) + 1
    return found
