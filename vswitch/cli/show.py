"""Commands about the switch as a whole: what it is, what it does, and its configuration."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from . import reports
from .client import Refusal
from .output import Session


@click.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl show\n"
    "  vswitchctl -o json show | jq '.ports[] | select(.state != \"up\")'"
)
@click.pass_obj
def show(session: Session) -> None:
    """Show the switch: bridges, ports and their states, networks and uplinks, workers."""
    session.print(session.client.get("show"), reports.show)


@click.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl stats                     counters since each port came to be\n"
    "  vswitchctl stats --interval 1        rates, every second, until Ctrl-C\n"
    "  vswitchctl -o json stats | jq '.[] | select(.drops != {}) | {name, drops}'"
)
@click.option("--interval", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Print rates again and again.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="With --interval: end after N times.")
@click.pass_obj
def stats(session: Session, interval: float | None, count: int | None) -> None:
    """Show what each port received, sent and dropped, and why."""
    if interval is None:
        session.print(session.client.get("stats"), reports.stats)
    elif session.json:
        raise Refusal("--interval prints tables; right: without -o json, or stats twice")
    else:
        _rates(session, interval, count)


def _rates(session: Session, interval: float, count: int | None) -> None:
    before, since = session.client.get("stats"), time.monotonic()
    while count is None or count > 0:
        time.sleep(interval)
        after, now = session.client.get("stats"), time.monotonic()
        print(time.strftime("%H:%M:%S"))
        reports.rates(before, after, now - since)
        print(flush=True)
        before, since = after, now
        count = None if count is None else count - 1


@click.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl apply /etc/vswitch/vswitch.toml --dry-run     what would change?\n"
    "  vswitchctl apply /etc/vswitch/vswitch.toml\n"
    "  vswitchctl apply /etc/vswitch/vswitch.toml --rejudge     end connections that the rules would not allow anew\n"
    "  generate-config | vswitchctl apply -"
)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Print the plan, change nothing.")
@click.option("--rejudge", is_flag=True, help="Judge live connections by the rules as if they were new.")
@click.pass_obj
def apply(session: Session, file: str, dry_run: bool, rejudge: bool) -> None:
    """Bring the configuration in FILE about: all of it, or nothing.

    Only what differs is touched; ports that stay the same lose no frame. FILE is read here and sent, so it need not be
    where the daemon can read it. "-" is standard input. So are the files of rules that [firewall] names.
    """
    text, source = _read(file)
    rules = _rules(text, source, os.curdir if file == "-" else os.path.dirname(source))
    session.changed(session.client.post("apply", text=text, source=source, dry_run=dry_run, rejudge=rejudge, **rules))


def _rules(text: str, source: str, directory: str) -> dict[str, str]:
    """The texts of the files that [firewall] names. What is wrong with the file itself is the daemon's to say."""
    if "firewall" not in text:
        return {}
    import tomllib

    from ..config import rulefile
    from ..config.errors import ConfigError

    try:
        section = tomllib.loads(text).get("firewall")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(section, dict):
        return {}
    try:
        return rulefile.read({key: name for key, name in section.items() if isinstance(name, str)}, directory)
    except ConfigError as error:
        raise Refusal(*(f"{source}: {line}" for line in error.problems)) from None


def _read(file: str) -> tuple[str, str]:
    try:
        with click.open_file(file, encoding="utf-8") as stream:
            return stream.read(), "standard input" if file == "-" else os.path.abspath(file)
    except OSError as error:
        raise Refusal(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{file}: byte {error.start}: TOML is UTF-8 text") from None


@click.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl save > /etc/vswitch/vswitch.toml\n"
    "  vswitchctl save | diff /etc/vswitch/vswitch.toml -"
)
@click.pass_obj
def save(session: Session) -> None:
    """Print the configuration in force as a file.

    What was changed by commands is in it; `vswitchctl apply` of it changes nothing.
    """
    session.print(session.client.get("config"), _print_text)


def _print_text(reply: dict[str, Any]) -> None:
    print(reply["text"], end="")
