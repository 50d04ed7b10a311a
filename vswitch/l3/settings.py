"""What an administrator may say about the services of a routed network: `dhcp`, `dns` and `ra` of a [[network]].

    [[network]]
    address = "10.0.0.1/24"
    dhcp = { range = ["10.0.0.100", "10.0.0.200"], domain = "lab.example" }

As in `config/model.py` the structs carry types and defaults; what the values must satisfy is said in `check.py`,
which judges them beside the network's own address. Where a key is left out, the network knows better: its own address
is the router and the resolver, its MTU the MTU.
"""

from __future__ import annotations

from ..config.table import Table


class Reservation(Table):
    """An address that is one station's, inside a range or out of it, and the name it goes by."""

    mac: str
    address: str
    name: str = ""


class Route(Table):
    """A classless static route for clients (RFC 3442): `to` is a prefix, `via` a router on the network."""

    to: str
    via: str


class Dhcp(Table):
    """network.dhcp. `range` is [FIRST, LAST], or a list of such pairs; empty serves reservations alone.

    `dns` and `router` are the network's own address unless given; `dns` [] and `router` "" send none. `options` are
    further ones as "CODE:HEX". `per_port` is how many addresses the clients behind one port may hold together.
    """

    range: tuple[str | tuple[str, str], ...] = ()
    reservations: tuple[Reservation, ...] = ()
    lease_s: int = 3600
    router: str | None = None
    dns: tuple[str, ...] | None = None
    domain: str = ""
    mtu: int | None = None
    routes: tuple[Route, ...] = ()
    options: tuple[str, ...] = ()
    per_port: int = 16


class Host(Table):
    """A name that DNS answers besides those of leases; the address is of either family."""

    name: str
    address: str


class Dns(Table):
    """network.dns: `servers` are asked, in this order, for what the network does not know; `port` is theirs."""

    servers: tuple[str, ...] = ()
    port: int = 53
    domain: str = ""
    hosts: tuple[Host, ...] = ()
    ttl_s: int = 60
    per_client: int = 64


class Ra(Table):
    """network.ra: router advertisements. `lifetime_s` 0 offers prefixes, but no way out of the network.

    `dns` is the network's own address unless given; [] sends none.
    """

    interval_s: int = 600
    lifetime_s: int = 1800
    preferred_s: int = 14_400
    valid_s: int = 86_400
    dns: tuple[str, ...] | None = None
    domain: str = ""
    mtu: int | None = None
