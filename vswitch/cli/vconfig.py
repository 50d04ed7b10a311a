"""vswitchctl vconfig: the words of vconfig for VLANs of a trunk port.

With the kernel, `vconfig add eth0 10` makes a device eth0.10; here it lets VLAN 10 pass, tagged, on port eth0, and
`vconfig rem eth0.10` takes it off again. Messages and exit codes are those of vconfig 1.9, the last that was more than
a script around ip: 3 when an addition fails, 4 for a removal.
"""

from __future__ import annotations

import sys

import click

from ..l2.vlans import split_subinterface
from .client import Refusal
from .output import Session

NO_DEVICE = "No such device"


@click.group(
    epilog="\b\nExamples:\n"
    "  vswitchctl vconfig add eth1 10\n"
    "  vswitchctl vconfig rem eth1.10\n"
    "  vswitchctl vconfig rem eth1 10            the same"
)
def vconfig() -> None:
    """Speak vconfig: add and rem, the VLANs of a trunk port."""


@vconfig.command(epilog="\b\nExamples:\n  vswitchctl vconfig add eth1 10")
@click.argument("port")
@click.argument("vid", type=int)
@click.pass_context
def add(context: click.Context, port: str, vid: int) -> None:
    """Let a VLAN pass, tagged, on a trunk port."""
    session: Session = context.obj
    try:
        reply = session.client.post("ports", port, "vlans", vid=vid)
    except Refusal as refusal:
        _fail(context, 3, refusal, f"ERROR: trying to add VLAN #{vid} to IF -:{port}:-  error: ")
    else:
        session.print(reply, lambda _: print(f"Added VLAN with VID == {vid} to IF -:{port}:-"))


@vconfig.command(epilog="\b\nExamples:\n  vswitchctl vconfig rem eth1.10\n  vswitchctl vconfig rem eth1 10")
@click.argument("name", metavar="PORT.VID")
@click.argument("vid", type=int, required=False)
@click.pass_context
def rem(context: click.Context, name: str, vid: int | None) -> None:
    """Take a VLAN off a trunk port."""
    session: Session = context.obj
    device = name if vid is None else f"{name}.{vid}"
    try:
        port, number = split_subinterface(device)
        reply = session.client.delete("ports", port, "vlans", str(number))
    except (Refusal, ValueError) as refusal:
        _fail(context, 4, refusal, f"ERROR: trying to remove VLAN -:{device}:- error: ")
    else:
        session.print(reply, lambda _: print(f"Removed VLAN -:{device}:-"))


def _fail(context: click.Context, code: int, refusal: Exception, words: str) -> None:
    """vconfig's line and exit code; a daemon that is not there is no matter of VLANs."""
    status = getattr(refusal, "status", 400)
    if status in (0, 403):
        raise refusal
    print(f"{words}{NO_DEVICE if status == 404 else refusal}", file=sys.stderr)
    context.exit(code)
