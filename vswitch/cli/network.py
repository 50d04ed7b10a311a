"""vswitchctl network, route, neighbours and leases: the router's side of the switch.

Options are the fields of [[network]] and [[route]] in the configuration, by the same names; the daemon judges them in the
same words as a file. What is deeper (reservations, options of DHCP) is said in the file.
"""

from __future__ import annotations

from typing import Any

import click

from ..l2.vlans import split_subinterface
from . import complete, reports
from .output import Session

MODES = ("isolated", "routed", "nat")


class Range(click.ParamType):
    """Addresses that DHCP gives out: FIRST-LAST."""

    name = "FIRST-LAST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        first, dash, last = str(value).partition("-")
        if not dash:
            self.fail(f"{value!r} is no range (right: 10.0.0.100-10.0.0.200)", param, ctx)
        return [first, last]


@click.group(
    epilog="\b\nExamples:\n"
    "  vswitchctl network add br0 --address 10.0.0.1/24 --mode nat --dhcp 10.0.0.100-10.0.0.200\n"
    "  vswitchctl network add br0.10 --address 10.0.10.1/24 --address fd00:10::1/64\n"
    "  vswitchctl network list\n"
    "  vswitchctl network del br0.10"
)
def network() -> None:
    """Gateways: networks that the switch routes for."""


@network.command(
    epilog="\b\nExamples:\n"
    "  vswitchctl network add br0 --address 10.0.0.1/24 --mode nat --uplink eth1 --dhcp 10.0.0.100-10.0.0.200\n"
    "  vswitchctl network add br0.20 --address 10.0.20.1/24 --mode isolated"
)
@click.argument("name", metavar="BRIDGE[.VLAN]", shell_complete=complete.bridges)
@click.option("--address", multiple=True, required=True, metavar="IP/BITS", help="The gateway's own; may be repeated.")
@click.option("--mode", type=click.Choice(MODES), help="How far its guests get. [routed]")
@click.option("--uplink", metavar="PORT", help="nat: the way out; any uplink if left out.")
@click.option("--mac", metavar="MAC", help="The gateway's; made of the machine's identity if left out.")
@click.option("--mtu", type=int, metavar="BYTES", help="The network's; its ports' least if left out.")
@click.option("--router", metavar="NAME", help="Networks of different routers may have the same addresses. [main]")
@click.option("--dhcp", type=Range(), metavar="FIRST-LAST", help="Serve DHCP from this range.")
@click.option("--dns", multiple=True, metavar="IP", help="Answer names of leases, ask these servers for others.")
@click.option("--ra/--no-ra", default=None, help="Advertise the IPv6 prefixes. [off]")
@click.pass_obj
def add(session: Session, name: str, address: tuple[str, ...], dhcp: list[str] | None, dns: tuple[str, ...],
        ra: bool | None, **fields: Any) -> None:
    """Make the switch the gateway of a bridge, or of one VLAN of it."""
    body = {key: value for key, value in fields.items() if value is not None}
    if dhcp:
        body["dhcp"] = {"range": dhcp}
    if dns:
        body["dns"] = {"servers": dns}
    if ra:
        body["ra"] = {}
    session.changed(session.client.post("networks", address=address, **_place(session, name), **body))


def _place(session: Session, name: str) -> dict[str, Any]:
    """Bridge and VLAN of a name: a bridge may have a dot in its own."""
    if any(bridge["name"] == name for bridge in session.client.get("show")["bridges"]):
        return {"bridge": name}
    try:
        bridge, vlan = split_subinterface(name)
    except ValueError:
        return {"bridge": name}
    return {"bridge": bridge, "vlan": vlan}


@network.command("set", epilog="\b\nExamples:\n  vswitchctl network set br0 --mode isolated")
@click.argument("name", metavar="BRIDGE[.VLAN]")
@click.option("--address", multiple=True, metavar="IP/BITS", help="All of the gateway's addresses from now on.")
@click.option("--mode", type=click.Choice(MODES), help="How far its guests get.")
@click.option("--uplink", metavar="PORT", help="nat: the way out.")
@click.option("--mtu", type=int, metavar="BYTES", help="The network's.")
@click.pass_obj
def set_(session: Session, name: str, address: tuple[str, ...], **fields: Any) -> None:
    """Change a network. What is not named stays as it is."""
    change = {key: value for key, value in fields.items() if value is not None}
    if address:
        change["address"] = address
    if not change:
        raise click.UsageError("nothing to change was named")
    session.changed(session.client.patch("networks", name, **change))


@network.command("del", epilog="\b\nExamples:\n  vswitchctl network del br0.10")
@click.argument("name", metavar="BRIDGE[.VLAN]")
@click.pass_obj
def del_(session: Session, name: str) -> None:
    """Remove a network; its bridge stays."""
    session.changed(session.client.delete("networks", name))


@network.command("list", epilog="\b\nExamples:\n  vswitchctl network list")
@click.pass_obj
def list_(session: Session) -> None:
    """List networks, their addresses and modes."""
    session.print(session.client.get("networks"), reports.networks)


@click.group(
    epilog="\b\nExamples:\n"
    "  vswitchctl route add 192.168.0.0/16 --via 10.0.0.254\n"
    "  vswitchctl route add default --via 203.0.113.1\n"
    "  vswitchctl route list\n"
    "  vswitchctl route del 192.168.0.0/16"
)
def route() -> None:
    """Routes of the switch's routers."""


@route.command("add", epilog="\b\nExamples:\n  vswitchctl route add 192.168.0.0/16 --via 10.0.0.254")
@click.argument("to", metavar="PREFIX")
@click.option("--via", required=True, metavar="IP", help="The next router, a neighbour.")
@click.option("--router", default="main", show_default=True, metavar="NAME", help="Whose route it is.")
@click.pass_obj
def add_route(session: Session, to: str, via: str, router: str) -> None:
    """Add a static route, or replace the one to that prefix."""
    session.changed(session.client.post("routes", to=to, via=via, router=router))


@route.command("del", epilog="\b\nExamples:\n  vswitchctl route del 192.168.0.0/16")
@click.argument("to", metavar="PREFIX")
@click.option("--router", default="main", show_default=True, metavar="NAME", help="Whose route it is.")
@click.pass_obj
def del_route(session: Session, to: str, router: str) -> None:
    """Remove a static route."""
    session.changed(session.client.delete("routes", to=to, router=router))


@route.command("list", epilog="\b\nExamples:\n  vswitchctl route list")
@click.pass_obj
def list_routes(session: Session) -> None:
    """List all routes: of networks, of uplinks, and static ones."""
    session.print(session.client.get("routes"), reports.routes)


@click.command(epilog="\b\nExamples:\n  vswitchctl neighbours")
@click.pass_obj
def neighbours(session: Session) -> None:
    """Show which MAC is behind which address on the networks and uplinks."""
    session.print(session.client.get("neighbours"), reports.neighbours)


@click.command(epilog="\b\nExamples:\n  vswitchctl leases\n  vswitchctl -o json leases | jq '.[].address'")
@click.pass_obj
def leases(session: Session) -> None:
    """Show the addresses that DHCP has given out."""
    session.print(session.client.get("leases"), reports.leases)
