"""vswitchctl tc: the words of tc, said to this switch.

The daemon understands them (`qos.tc`), under its lock, and answers what the real program would print and end with; here
they are only carried. `-o json` of vswitchctl is tc's own -j.
"""

from __future__ import annotations

import sys

import click

from .output import Session

EXAMPLES = """\b
Examples:
  vswitchctl tc qdisc add dev tapA root handle 1: htb default 12
  vswitchctl tc class add dev tapA parent 1: classid 1:12 htb rate 60mbit ceil 100mbit
  vswitchctl tc filter add dev tapA parent 1: protocol ip u32 match ip dport 80 0xffff flowid 1:12
  vswitchctl tc qdisc add dev tapA ingress
  vswitchctl tc filter add dev tapA ingress matchall action police rate 50mbit burst 64kb conform-exceed drop
  vswitchctl tc -s class show dev tapA
"""


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    help="Speak tc: queueing disciplines, classes and filters of ports.\n\nThe words and the output are those of tc.",
    epilog=EXAMPLES,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
@click.pass_context
def tc(context: click.Context, words: tuple[str, ...]) -> None:
    """One command of tc."""
    session: Session = context.obj
    flags = ["-j"] if session.json else []
    reply = session.client.post("tc", argv=[*flags, *words])
    sys.stdout.write(reply["stdout"])
    sys.stderr.write(reply["stderr"])
    context.exit(reply["code"])
