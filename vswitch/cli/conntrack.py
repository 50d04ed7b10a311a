"""vswitchctl conntrack: the words of conntrack-tools, said to this switch.

The daemon understands them (`filter.connections`) and answers what conntrack would print and end with; here they are
only carried. -E prints events as they come: it asks again and again from where the last answer ended, until it is
interrupted.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time

import click

from .output import Session

POLL_S = 0.2


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    epilog="\b\nExamples:\n"
    "  vswitchctl conntrack -L                              every connection\n"
    "  vswitchctl conntrack -L -p tcp --dport 22 -u ASSURED\n"
    "  vswitchctl conntrack -C                              how many there are\n"
    "  vswitchctl conntrack -D -s 10.0.0.5                  end those that 10.0.0.5 began\n"
    "  vswitchctl conntrack -E -e NEW,DESTROY -o timestamp  what comes and goes, until Ctrl-C\n"
    "  vswitchctl conntrack -F                              forget all",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
@click.pass_context
def conntrack(context: click.Context, words: tuple[str, ...]) -> None:
    """Speak conntrack: list, watch, count and end connections.

    The words and the output are those of conntrack: -L, -E, -C, -D, -F and what chooses among connections.
    """
    context.exit(_events(context.obj, words) if _asks_for_events(words) else _carry(context.obj, words))


def _asks_for_events(words: tuple[str, ...]) -> bool:
    """Whether the words are a sound -E, and nothing besides: all else is the daemon's to judge."""
    from ..filter.connections import ACTIONS

    return [ACTIONS[word] for word in words if word in ACTIONS] == ["events"]


def _carry(session: Session, words: tuple[str, ...]) -> int:
    reply = session.client.post("conntrack", argv=words)
    sys.stdout.write(reply["stdout"])
    sys.stderr.write(reply["stderr"])
    return reply["code"]


def _events(session: Session, words: tuple[str, ...]) -> int:
    from ..filter.connections import events_shown

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    count, after = 0, None
    try:
        while True:
            reply = session.client.get("conntrack", "events", after=after, words=shlex.join(words))
            sys.stdout.writelines(f"{line}\n" for line in reply["lines"])
            sys.stdout.flush()
            sys.stderr.write(reply["stderr"])
            if reply["code"]:
                return reply["code"]
            count, after = count + len(reply["lines"]), reply["next"]
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        sys.stderr.write(events_shown(count))
        return 0
