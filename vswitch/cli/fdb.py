"""vswitchctl fdb: which MAC is behind which port."""

from __future__ import annotations

import click

from . import complete, reports
from .output import Session

VLAN = click.option("--vlan", type=int, metavar="VID", help="In this VLAN.")
PORT = {"metavar": "PORT", "shell_complete": complete.ports}


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n"
    "  vswitchctl fdb br0                                             what the bridge knows\n"
    "  vswitchctl fdb br0 add 52:54:00:12:34:56 --port tapA --vlan 10\n"
    "  vswitchctl fdb br0 del 52:54:00:12:34:56 --vlan 10\n"
    "  vswitchctl fdb br0 flush --port tapA",
)
@click.argument("bridge", shell_complete=complete.bridges)
@click.pass_context
def fdb(context: click.Context, bridge: str) -> None:
    """Show the forwarding database of BRIDGE, or change it."""
    if context.invoked_subcommand is None:
        session: Session = context.obj
        session.print(session.client.get("fdb", bridge=bridge), reports.fdb)


@fdb.command(epilog="\b\nExamples:\n  vswitchctl fdb br0 add 52:54:00:12:34:56 --port tapA --vlan 10")
@click.argument("mac")
@click.option("--port", required=True, help="Behind this port.", **PORT)
@VLAN
@click.pass_context
def add(context: click.Context, mac: str, port: str, vlan: int | None) -> None:
    """Pin MAC to a port. It does not age, and is part of the configuration."""
    session: Session = context.obj
    session.changed(session.client.post("fdb", bridge=_bridge(context), mac=mac, port=port, vlan=vlan or 0))


@fdb.command("del", epilog="\b\nExamples:\n  vswitchctl fdb br0 del 52:54:00:12:34:56 --vlan 10")
@click.argument("mac")
@VLAN
@click.pass_context
def del_(context: click.Context, mac: str, vlan: int | None) -> None:
    """Remove a static entry, or forget a learned one."""
    session: Session = context.obj
    session.changed(session.client.delete("fdb", bridge=_bridge(context), mac=mac, vlan=vlan))


@fdb.command(epilog="\b\nExamples:\n  vswitchctl fdb br0 flush\n  vswitchctl fdb br0 flush --port tapA --vlan 10")
@click.option("--port", help="Only those behind this port.", **PORT)
@VLAN
@click.pass_context
def flush(context: click.Context, port: str | None, vlan: int | None) -> None:
    """Forget learned MACs. Static entries stay."""
    session: Session = context.obj
    reply = session.client.post("fdb", "flush", bridge=_bridge(context), port=port, vlan=vlan)
    session.print(reply, lambda value: print(f"forgot {value['flushed']} MACs"))


def _bridge(context: click.Context) -> str:
    assert context.parent is not None
    bridge: str = context.parent.params["bridge"]
    return bridge
