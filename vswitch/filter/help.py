"""What `-h` prints: the commands, the options, and the options of the extensions that were named beside it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from . import words as known
from .words.base import Extension
from .words.complaint import VERSION

USAGE = """\
{program} {version}

Usage: {program} -[ACD] chain rule-specification [options]
       {program} -I chain [rulenum] rule-specification [options]
       {program} -R chain rulenum rule-specification [options]
       {program} -D chain rulenum [options]
       {program} -[LS] [chain [rulenum]] [options]
       {program} -[FX] [chain] [options]
       {program} -Z [chain [rulenum]] [options]
       {program} -N chain
       {program} -E old-chain-name new-chain-name
       {program} -P chain target [options]

Options:
  -t --table TABLE            raw, mangle, nat, filter (unless said otherwise), security
  [!] -p --protocol PROTO     by number or name
  [!] -s --source ADDRESS[/MASK][,...]
  [!] -d --destination ADDRESS[/MASK][,...]
  [!] -i --in-interface NAME[+]
  [!] -o --out-interface NAME[+]
                              a port, a bridge or a VLAN of a bridge; + stands for all that begin so
  [!] -f --fragment           second or further fragments only (IPv4)
  -m --match MATCH            {matches}
  -j --jump TARGET            a chain, or ACCEPT DROP QUEUE RETURN {targets}
  -g --goto CHAIN             jump to a chain with no return
  -c --set-counters PACKETS BYTES
  -v --verbose, -n --numeric, -x --exact, --line-numbers
  -w --wait [SECONDS]         taken and ignored: there is no lock to wait for
"""

TOOLS = {
    "save": "[-c] [-t TABLE] [-V] [-h]",
    "restore": "[-c] [-n] [-t] [-v] [-T TABLE] [-V] [-h] [FILE]",
}


def usage(program: str, argv: Sequence[str], family: int) -> str:
    matches, targets = known.MATCHES[family], known.TARGETS[family]
    text = USAGE.format(program=program, version=VERSION, matches=" ".join(matches), targets=" ".join(targets))
    for before, word in pairwise(argv):
        if before in ("-m", "--match", "-p", "--protocol") and word in matches:
            text += _of(matches[word], "match")
        elif before in ("-j", "--jump") and word in targets:
            text += _of(targets[word], "target")
    return text


def _of(extension: Extension, kind: str) -> str:
    lines = [f"\n{extension.name} {kind} options:\n"]
    for option in extension.options:
        inverted = "[!] " if option.invert else "    "
        names = " ".join((option.name, *option.also))
        lines.append(f"{inverted}{names}{' VALUE' * (option.words if option.read else 0)}\n")
    return "".join(lines)


def of_tool(program: str) -> str:
    return f"Usage: {program} {TOOLS[program.rpartition('-')[2]]}\n"
