"""Every request that the control socket answers, as data.

This table is the only place where a route is said. The server dispatches by it, decodes bodies and queries by its
types, and `openapi.document` describes the API from it, so the document cannot promise what the server does not do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..config.model import Bridge, Network, Port, StaticMac
from ..config.model import Route as StaticRoute
from ..observe.report import (
    Events,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    PortStats,
    RouteReport,
    SwitchReport,
    Words,
)
from . import handlers as do
from .control import Call
from .schema import (
    Apply,
    BridgeChange,
    Changes,
    ConfigText,
    Conntrack,
    EventsQuery,
    FdbKey,
    FdbQuery,
    Flush,
    Flushed,
    ForceQuery,
    Iptables,
    Member,
    NetworkChange,
    NoQuery,
    PortChange,
    RouteKey,
    Tc,
    Vlan,
)

Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One request: what it is called, what it carries (`body`, `query`), what it is answered with (`reply`)."""

    method: str
    path: str
    summary: str
    handler: Handler
    reply: Any
    body: Any = None
    query: type = NoQuery


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/show", "The switch, its bridges, ports and workers", do.show, SwitchReport),
    Route("GET", "/v1/stats", "Counters of every port", do.stats, list[PortStats]),
    Route("GET", "/v1/config", "The configuration in force as a TOML file", do.get_config, ConfigText),
    Route("POST", "/v1/apply", "Bring a configuration about, all or nothing", do.apply, Changes, Apply),
    # Bridges
    Route("POST", "/v1/bridges", "Add a bridge", do.add_bridge, Changes, Bridge),
    Route("PATCH", "/v1/bridges/{bridge}", "Change a bridge", do.change_bridge, Changes, BridgeChange),
    Route("DELETE", "/v1/bridges/{bridge}", "Remove a bridge", do.del_bridge, Changes, query=ForceQuery),
    # ... in the sense of brctl's addif, delif and delbr, which l2.membership explains
    Route("POST", "/v1/bridges/{bridge}/members", "Join a port or a device", do.join_bridge, Changes, Member),
    Route("DELETE", "/v1/bridges/{bridge}/members/{port}", "Take a port off", do.leave_bridge, Changes),
    Route("POST", "/v1/bridges/{bridge}/dissolve", "Take all ports off, then remove it", do.dissolve_bridge, Changes),
    # Ports
    Route("POST", "/v1/ports", "Add a port", do.add_port, Changes, Port),
    Route("PATCH", "/v1/ports/{port}", "Change a port", do.change_port, Changes, PortChange),
    Route("DELETE", "/v1/ports/{port}", "Remove a port", do.del_port, Changes),
    Route("POST", "/v1/ports/{port}/vlans", "Add a VLAN to a trunk port", do.add_vlan, Changes, Vlan),
    Route("DELETE", "/v1/ports/{port}/vlans/{vid}", "Remove a VLAN from a trunk port", do.del_vlan, Changes),
    # Networks and routes
    Route("GET", "/v1/networks", "The networks with a gateway here", do.get_networks, list[Network]),
    Route("POST", "/v1/networks", "Add a network", do.add_network, Changes, Network),
    Route("PATCH", "/v1/networks/{network}", "Change a network", do.change_network, Changes, NetworkChange),
    Route("DELETE", "/v1/networks/{network}", "Remove a network", do.del_network, Changes),
    Route("GET", "/v1/routes", "The routes of every router", do.get_routes, list[RouteReport]),
    Route("POST", "/v1/routes", "Add or replace a static route", do.add_route, Changes, StaticRoute),
    Route("DELETE", "/v1/routes", "Remove a static route", do.del_route, Changes, query=RouteKey),
    Route("GET", "/v1/neighbours", "Who is where on the networks and uplinks", do.neighbours, list[NeighbourReport]),
    Route("GET", "/v1/leases", "What DHCP has given out", do.leases, list[NetworkLease]),
    # In the words of iptables, tc and conntrack
    Route("POST", "/v1/iptables", "Say it in the words of iptables", do.iptables, Words, Iptables),
    Route("POST", "/v1/tc", "Say it in the words of tc", do.tc, Words, Tc),
    Route("POST", "/v1/conntrack", "Say it in the words of conntrack", do.conntrack, Words, Conntrack),
    Route("GET", "/v1/conntrack/events", "What becomes of connections", do.conntrack_events, Events, query=EventsQuery),
    # The forwarding database
    Route("GET", "/v1/fdb", "Known MACs of one bridge or of all", do.fdb, list[FdbEntry], query=FdbQuery),
    Route("POST", "/v1/fdb", "Add a static entry", do.add_static, Changes, StaticMac),
    Route("DELETE", "/v1/fdb", "Remove a static entry or forget a learned one", do.del_mac, Changes, query=FdbKey),
    Route("POST", "/v1/fdb/flush", "Forget learned MACs", do.flush, Flushed, Flush),
)
