"""vswitchctl iptables and its kin: the words of iptables, said to this switch.

The daemon understands them (`filter.iptables`), under its lock, and answers what the real program would print and end
with; here they are only carried. -restore reads a file or standard input; all else is arguments.
"""

from __future__ import annotations

import sys

import click

from .client import Refusal
from .output import Session

EXAMPLES = {
    "iptables": (
        "  vswitchctl iptables -A FORWARD -i br0 -p tcp --dport 22 -j ACCEPT\n"
        "  vswitchctl iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth1 -j MASQUERADE\n"
        "  vswitchctl iptables -t nat -A PREROUTING -d 203.0.113.2 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.5\n"
        "  vswitchctl iptables -L -v -n --line-numbers"
    ),
    "ip6tables": "  vswitchctl ip6tables -A FORWARD -p ipv6-icmp -j ACCEPT\n  vswitchctl ip6tables -S",
    "iptables-save": "  vswitchctl iptables-save -c > rules.v4",
    "ip6tables-save": "  vswitchctl ip6tables-save > rules.v6",
    "iptables-restore": "  vswitchctl iptables-restore < rules.v4\n  vswitchctl iptables-restore --test rules.v4",
    "ip6tables-restore": "  vswitchctl ip6tables-restore < rules.v6",
}
ABOUT = {
    "iptables": "Speak iptables: rules for IPv4 in all five tables.",
    "ip6tables": "Speak ip6tables: the same for IPv6.",
    "iptables-save": "Print the rules for IPv4 as iptables-save does.",
    "ip6tables-save": "Print the rules for IPv6 as ip6tables-save does.",
    "iptables-restore": "Load rules for IPv4, all or nothing.",
    "ip6tables-restore": "Load rules for IPv6, all or nothing.",
}


def _command(program: str) -> click.Command:
    @click.command(
        program,
        context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
        help=f"{ABOUT[program]}\n\nThe words and the output are those of iptables.",
        epilog=f"\b\nExamples:\n{EXAMPLES[program]}",
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
    @click.pass_context
    def command(context: click.Context, words: tuple[str, ...]) -> None:
        context.exit(_carry(context.obj, program, list(words)))

    return command


def _carry(session: Session, program: str, words: list[str]) -> int:
    text = _input(words) if program.endswith("-restore") else ""
    reply = session.client.post("iptables", program=program, argv=words, stdin=text)
    sys.stdout.write(reply["stdout"])
    sys.stderr.write(reply["stderr"])
    return reply["code"]


def _input(words: list[str]) -> str:
    """The rules to restore: of the file that is named last, which leaves the words, or of standard input."""
    if words and not words[-1].startswith("-") and not (len(words) > 1 and words[-2] in ("-T", "--table", "-w", "-W")):
        path = words.pop()
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(f"{path}: {getattr(error, 'strerror', None) or 'is no UTF-8 text'}") from None
    return sys.stdin.read()


COMMANDS = tuple(map(_command, EXAMPLES))
