"""Every request that the control socket answers, as data.

This table is the only place where a route is said. The server dispatches by it, decodes bodies and queries by its
types, and `openapi.document` describes the API from it, so the document cannot promise what the server does not do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..config.model import Bridge, Port, StaticMac
from ..observe.report import FdbEntry, PortStats, SwitchReport
from . import handlers as do
from . import schema
from .control import Call

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
    query: type = schema.NoQuery


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/show", "The switch, its bridges, ports and workers", do.show, SwitchReport),
    Route("GET", "/v1/stats", "Counters of every port", do.stats, list[PortStats]),
    Route("GET", "/v1/config", "The configuration in force as a TOML file", do.get_config, schema.ConfigText),
    Route("POST", "/v1/apply", "Bring a configuration about, all or nothing", do.apply, schema.Changes, schema.Apply),
    # Bridges
    Route("POST", "/v1/bridges", "Add a bridge", do.add_bridge, schema.Changes, Bridge),
    Route("PATCH", "/v1/bridges/{bridge}", "Change a bridge", do.change_bridge, schema.Changes, schema.BridgeChange),
    Route("DELETE", "/v1/bridges/{bridge}", "Remove a bridge", do.del_bridge, schema.Changes, query=schema.ForceQuery),
    Route("POST", "/v1/bridges/{bridge}/dissolve", "Remove a bridge as brctl delbr does", do.dissolve_bridge, schema.Changes),
    Route(
        "POST",
        "/v1/bridges/{bridge}/members",
        "Join a port or a device to a bridge as brctl addif does",
        do.join_bridge,
        schema.Changes,
        schema.Member,
    ),
    Route(
        "DELETE",
        "/v1/bridges/{bridge}/members/{port}",
        "Take a port off a bridge as brctl delif does",
        do.leave_bridge,
        schema.Changes,
    ),
    # Ports
    Route("POST", "/v1/ports", "Add a port", do.add_port, schema.Changes, Port),
    Route("PATCH", "/v1/ports/{port}", "Change a port", do.change_port, schema.Changes, schema.PortChange),
    Route("DELETE", "/v1/ports/{port}", "Remove a port", do.del_port, schema.Changes),
    Route("POST", "/v1/ports/{port}/vlans", "Add a VLAN to a trunk port", do.add_vlan, schema.Changes, schema.Vlan),
    Route("DELETE", "/v1/ports/{port}/vlans/{vid}", "Remove a VLAN from a trunk port", do.del_vlan, schema.Changes),
    # The forwarding database
    Route("GET", "/v1/fdb", "Known MACs of one bridge or of all", do.fdb, list[FdbEntry], query=schema.FdbQuery),
    Route("POST", "/v1/fdb", "Add a static entry", do.add_static, schema.Changes, StaticMac),
    Route("DELETE", "/v1/fdb", "Remove a static entry or forget a learned one", do.del_mac, schema.Changes, query=schema.FdbKey),
    Route("POST", "/v1/fdb/flush", "Forget learned MACs", do.flush, schema.Flushed, schema.Flush),
)
