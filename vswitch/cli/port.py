"""vswitchctl port: where guests, containers and NICs are plugged in.

The options of `add` and `set` are the fields of [[port]] in the configuration, by the same names. What they may be is
judged by the daemon, in the same words as a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..l2.vlans import parse_vlans
from . import complete, reports
from .output import Session

Command = TypeVar("Command", bound=Callable[..., Any])

KINDS = ("tap", "netdev", "memory")
STORM_CLASSES = ("broadcast", "multicast", "unknown_unicast")
CLEARABLE = (
    *("bridge", "netns", "access", "trunk", "native", "mac", "mtu"),
    *("mac_limit", "owner", "group", "queues", "storm"),
)


class Trunk(click.ParamType):
    """VLAN ids and ranges: 10,20,100-200."""

    name = "VLANS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int | str]:
        try:
            return parse_vlans(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Storm(click.ParamType):
    """Limits by class: broadcast=1000,multicast=500."""

    name = "LIMITS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        return value if isinstance(value, dict) else dict(self._limit(item, param, ctx) for item in value.split(","))

    def _limit(self, item: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        name, _, rate = item.partition("=")
        if name not in STORM_CLASSES or not rate.isdecimal():
            known = ", ".join(STORM_CLASSES)
            self.fail(f"{item!r} is no limit (right: CLASS=FRAMES, CLASS one of {known})", param, ctx)
        return name, int(rate)


OPTIONS = (
    click.option("--bridge", metavar="BRIDGE", help="On this bridge.", shell_complete=complete.bridges),
    click.option("--netns", metavar="NAME", help="tap: the device in this network namespace."),
    click.option("--access", type=int, metavar="VID", help="Untagged frames, all in this VLAN."),
    click.option("--trunk", type=Trunk(), help="Tagged frames of these VLANs: 10,20,100-200."),
    click.option("--native", type=int, metavar="VID", help="Trunk: the VLAN of untagged frames."),
    click.option("--mac", metavar="MAC", help="The device's address."),
    click.option("--mtu", type=int, metavar="BYTES", help="The device's MTU."),
    click.option("--offloads/--no-offloads", default=None, help="Checksum and segmentation offloads. [on]"),
    click.option("--isolated/--no-isolated", default=None, help="Reach only ports that are not isolated. [off]"),
    click.option("--hairpin/--no-hairpin", default=None, help="Send frames back out of the port they came by. [off]"),
    click.option("--mac-limit", type=int, metavar="N", help="Learn at most N MACs behind this port."),
    click.option("--create/--no-create", default=None, help="netdev: make the persistent tap that QEMU opens. [off]"),
    click.option("--owner", metavar="USER", help="With --create: who may open it."),
    click.option("--group", metavar="GROUP", help="With --create: which group may open it."),
    click.option("--queues", type=int, metavar="N", help="With --create: queues of the tap, 1 if left out."),
    click.option("--storm", type=Storm(), help="Frames a second: broadcast=1000,multicast=500; or unknown_unicast=N."),
)


def settings(command: Command) -> Command:
    """Give a command an option for every field of a port."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(
    epilog="\b\nExamples:\n"
    "  vswitchctl port add tapA --bridge br0 --netns A --access 10          a container\n"
    "  vswitchctl port add vnet0 --bridge br0 --kind netdev --create        a tap for QEMU\n"
    "  vswitchctl port add eth1 --bridge br0 --kind netdev --trunk 10,20    a NIC as uplink\n"
    "  vswitchctl port set tapA --access 20\n"
    "  vswitchctl port del tapA"
)
def port() -> None:
    """Add, change, remove and list ports."""


@port.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl port add tapA --bridge br0 --netns A --access 10\n"
    "  vswitchctl port add host0 --bridge br0                               the host itself\n"
    "  vswitchctl port add vnet0 --bridge br0 --kind netdev --create --owner libvirt-qemu\n"
    "  vswitchctl port add eth1 --bridge br0 --kind netdev --trunk 10,20,100-200 --native 1\n"
    "  vswitchctl port add tapX --bridge br0 --isolated --mac-limit 4 --storm broadcast=1000,multicast=1000"
)
@click.argument("name", metavar="PORT")
@click.option("--kind", type=click.Choice(KINDS), default="tap", show_default=True, help="What it is.")
@settings
@click.pass_obj
def add(session: Session, name: str, **fields: Any) -> None:
    """Add a port named as its device.

    A tap is made, for the host or for a network namespace; a netdev exists, or is made with --create. With neither
    --access nor --trunk the port passes all VLANs.
    """
    session.changed(session.client.post("ports", name=name, **_given(fields)))


@port.command(
    "set",
    epilog="\b\nExamples:\n"
    "  vswitchctl port set tapA --access 20\n"
    "  vswitchctl port set tapA --trunk 10,20 --native 1        no longer an access port\n"
    "  vswitchctl port set tapA --bridge br1 --isolated\n"
    "  vswitchctl port set tapA --clear trunk --clear native    all VLANs pass again",
)
@click.argument("name", metavar="PORT", shell_complete=complete.ports)
@settings
@click.option("--clear", multiple=True, type=click.Choice(CLEARABLE), help="Set back to its default; may be repeated.")
@click.pass_obj
def set_(session: Session, name: str, clear: tuple[str, ...], **fields: Any) -> None:
    """Change a port. What is not named stays as it is.

    --access ends a trunk, --trunk ends an access port.
    """
    change = {**_vlan_mode(fields), **dict.fromkeys(clear), **_given(fields)}
    if not change:
        raise click.UsageError("nothing to change was named")
    session.changed(session.client.patch("ports", name, **change))


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _vlan_mode(fields: dict[str, Any]) -> dict[str, None]:
    """A port is one of access and trunk: to say one takes the other back."""
    if fields["access"] is not None:
        return {"trunk": None, "native": None}
    return {"access": None} if fields["trunk"] is not None else {}


@port.command("del", epilog="\b\nExamples:\n  vswitchctl port del tapA")
@click.argument("name", metavar="PORT", shell_complete=complete.ports)
@click.pass_obj
def del_(session: Session, name: str) -> None:
    """Remove a port. A device that the switch made goes with it."""
    session.changed(session.client.delete("ports", name))


@port.command("list", epilog="\b\nExamples:\n  vswitchctl port list\n  vswitchctl -o json port list | jq '.[].name'")
@click.pass_obj
def list_(session: Session) -> None:
    """List ports, their VLANs and states."""
    session.print(session.client.get("show")["ports"], reports.ports)
