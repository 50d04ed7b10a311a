"""vswitchctl bridge: switches within the switch."""

from __future__ import annotations

import click

from . import complete, reports
from .output import Session

AGEING = "Forget a MAC not heard for so long; 0: never."
NAME = click.argument("name", metavar="BRIDGE", shell_complete=complete.bridges)


@click.group(
    epilog="\b\nExamples:\n"
    "  vswitchctl bridge add br0\n"
    "  vswitchctl bridge add br1 --ageing 60 --mac-limit 100000\n"
    "  vswitchctl bridge set br1 --ageing 300\n"
    "  vswitchctl bridge list\n"
    "  vswitchctl bridge del br1"
)
def bridge() -> None:
    """Add, change, remove and list bridges."""


@bridge.command(
    epilog="\b\nExamples:\n  vswitchctl bridge add br0\n  vswitchctl bridge add br1 --ageing 60 --mac-limit 100000"
)
@click.argument("name", metavar="BRIDGE")
@click.option("--ageing", "ageing_s", type=int, metavar="SECONDS", help=f"{AGEING} [300]")
@click.option("--mac-limit", type=int, metavar="N", help="Learn at most N MACs. [8192]")
@click.pass_obj
def add(session: Session, name: str, **settings: int | None) -> None:
    """Add a bridge."""
    given = {key: value for key, value in settings.items() if value is not None}
    session.changed(session.client.post("bridges", name=name, **given))


@bridge.command("set", epilog="\b\nExamples:\n  vswitchctl bridge set br0 --ageing 60")
@NAME
@click.option("--ageing", type=int, required=True, metavar="SECONDS", help=AGEING)
@click.pass_obj
def set_(session: Session, name: str, ageing: int) -> None:
    """Change a bridge."""
    session.changed(session.client.patch("bridges", name, ageing_s=ageing))


@bridge.command("del", epilog="\b\nExamples:\n  vswitchctl bridge del br0\n  vswitchctl bridge del br0 --force")
@NAME
@click.option("--force", is_flag=True, help="Also when it has ports: they stay, on no bridge.")
@click.pass_obj
def del_(session: Session, name: str, force: bool) -> None:
    """Remove a bridge and what it has learned."""
    session.changed(session.client.delete("bridges", name, force="true" if force else None))


@bridge.command(
    "list", epilog="\b\nExamples:\n  vswitchctl bridge list\n  vswitchctl -o json bridge list | jq '.[].name'"
)
@click.pass_obj
def list_(session: Session) -> None:
    """List bridges, their ports and how many MACs they know."""
    session.print(session.client.get("show")["bridges"], reports.bridges)
