"""Routing, connections and services of the running switch in the words of `observe.router` and `observe.report`. Pure.

What has a name in the configuration is told by that name: routers and bridges for zones of connection tracking, devices
for neighbours. What has none is summed up, so that nobody's traffic can make labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .config.model import Config, Port
from .config.picture import Picture
from .dataplane import Dataplane
from .describe import port_state
from .filter.model import TABLES, Rulesets
from .l3.devices import BLOCK, BLOCKS, BRIDGE_ZONES
from .l3.networks import is_uplink, several
from .observe.report import NetworkReport, UplinkReport
from .observe.router import (
    NEIGHBOUR_STATES,
    OTHER_PROTOCOL,
    PROTOCOLS,
    TCP_STATES,
    ConnectionsReport,
    NatReport,
    NeighboursReport,
    OwnReport,
    PacketsReport,
    PortConnections,
    RouterReport,
    RulesReport,
    ServiceReport,
    ZoneReport,
)
from .own import SELF_PORT
from .views import DeviceView

TCP = 6
#: By the numbers that entries hold, NONE being no state that is shown.
_STATES = dict(enumerate(TCP_STATES, 1))


def router_report(
    picture: Picture, plane: Dataplane, devices: Iterable[DeviceView], services: list[ServiceReport], census: Any
) -> RouterReport:
    """All that there is to say, given a look at every connection."""
    paths, refusals = plane.rule_paths()
    return RouterReport(
        connections=connections(plane),
        protocols=_protocols(census.states),
        tcp_states=_tcp_states(census.states),
        zones=list(_zones(picture.config, plane)),
        ports=list(_ports(picture.config, plane)),
        nat=_nat(plane, census),
        rules=RulesReport(tables=_rules(picture.rulesets), paths=paths, path_refusals=refusals),
        neighbours=_neighbours(plane, devices),
        packets=_packets(plane),
        own=_own(plane),
        services=services,
    )


def connections(plane: Dataplane) -> ConnectionsReport:
    """The table of connections."""
    counters = plane.connections.counters()
    return ConnectionsReport(
        entries=counters.entries,
        limit=plane.connections.capacity,
        found=counters.found,
        invalid=counters.invalid,
        insertions=counters.insert,
        insertion_failures=counters.insert_failed,
        drops=counters.drop,
        early_drops=counters.early_drop,
        clashes=counters.clash,
        expired=counters.expired,
        deleted=counters.deleted,
        refused=counters.refused,
        lost_events=counters.events_lost,
    )


def _protocols(states: Mapping[tuple[int, int], int]) -> dict[str, int]:
    found = dict.fromkeys([*PROTOCOLS.values(), OTHER_PROTOCOL], 0)
    for (protocol, _), entries in states.items():
        found[PROTOCOLS.get(protocol, OTHER_PROTOCOL)] += entries
    return found


def _tcp_states(states: Mapping[tuple[int, int], int]) -> dict[str, int]:
    return {name: states.get((TCP, number), 0) for number, name in _STATES.items()}


def _zones(config: Config, plane: Dataplane) -> Iterator[ZoneReport]:
    """Routers and bridges, and what is left. Bridges that share a block of zones (l3/devices.py) share a line."""
    entries = Counter(plane.connections.zone_entries())
    for name, number in plane.router_ids:
        yield ZoneReport(kind="router", name=name, entries=entries.pop(number, 0))
    blocks: dict[int, list[str]] = {}
    for bridge in config.bridge:
        blocks.setdefault(plane.bridge_ids.get(bridge.name) % BLOCKS, []).append(bridge.name)
    for block, names in blocks.items():
        first = BRIDGE_ZONES + block * BLOCK
        zones = [zone for zone in entries if first <= zone < first + BLOCK]
        yield ZoneReport(kind="bridge", name=",".join(names), entries=sum(entries.pop(zone) for zone in zones))
    yield ZoneReport(kind="other", name="", entries=entries.total())


def _ports(config: Config, plane: Dataplane) -> Iterator[PortConnections]:
    for port in config.port:
        number = plane.port_ids.get(port.name)
        entries, refused = plane.connections.owner_entries(number)
        limit = plane.connections.budget(number) or plane.connections.capacity
        yield PortConnections(name=port.name, entries=entries, limit=limit, refused=refused)


def _nat(plane: Dataplane, census: Any) -> NatReport:
    exhausted, retried, moved = plane.nat_counters()
    return NatReport(
        exhausted=exhausted,
        retried=retried,
        moved=moved,
        connections={"source": census.source_nat, "destination": census.destination_nat},
        ports=sorted((address, PROTOCOLS[protocol], ports) for (address, protocol), ports in census.ports.items()),
    )


def _rules(rulesets: Rulesets) -> dict[tuple[str, str], int]:
    families = {"ipv4": rulesets.ipv4, "ipv6": rulesets.ipv6}
    return {
        (family, table): sum(len(chain.rules) for chain in ruleset.table(table).chains.values())
        for family, ruleset in families.items()
        for table in TABLES
    }


def _neighbours(plane: Dataplane, devices: Iterable[DeviceView]) -> NeighboursReport:
    """By device and state, of devices that can have any: those where the switch has a MAC."""
    counters, found = plane.neighbours.counters(), plane.neighbours.states()
    stations = [device for device in devices if device.mac is not None]
    states = {(view.name, state): found.get((view.id, state), 0) for view in stations for state in NEIGHBOUR_STATES}
    return NeighboursReport(
        states=states,
        created=counters.created,
        recycled=counters.recycled,
        refused=counters.refused,
        failed=counters.failed,
        solicited=counters.solicited,
        moved=counters.moved,
        spoofed=counters.spoofed,
        malformed=counters.malformed,
        queued=counters.queued,
        queue_full=counters.queue_full,
        waiting_bytes=counters.pool_bytes,
    )


def _packets(plane: Dataplane) -> PacketsReport:
    fragments, (allowed, refused) = plane.fragment_counters(), plane.icmp_counters()
    return PacketsReport(
        waiting=fragments.waiting,
        reassembled=fragments.whole,
        not_reassembled=fragments.failed,
        icmp_allowed=allowed,
        icmp_refused=refused,
    )


def _own(plane: Dataplane) -> OwnReport:
    counters = plane.port_counters(SELF_PORT)
    return OwnReport(
        generated=counters.generated,
        copied=counters.copied,
        delivered=counters.delivered,
        consumed=counters.consumed,
        merged=counters.merged,
        queued=counters.queued,
        drops=counters.drops,
    )


# For `show`


def networks(config: Config, devices: Iterable[DeviceView]) -> list[NetworkReport]:
    """Networks, with what the switch is on them."""
    macs = {view.name: view.mac for view in devices}
    return [
        NetworkReport(
            name=network.name,
            address=list(several(network.address)),
            mode=network.mode,
            uplink=network.uplink,
            router=network.router,
            mac=macs.get(network.name),
            serves=[name for name in ("dhcp", "dns", "ra") if getattr(network, name) is not None],
        )
        for network in config.network
    ]


def uplinks(picture: Picture, devices: Iterable[DeviceView]) -> list[UplinkReport]:
    """Ports that lead out."""
    macs = {view.name: view.mac for view in devices}
    return [_uplink(picture, port, macs.get(port.name)) for port in picture.config.port if is_uplink(port)]


def _uplink(picture: Picture, port: Port, mac: str | None) -> UplinkReport:
    return UplinkReport(
        name=port.name,
        address=list(several(port.address)),
        gateway=list(several(port.gateway)),
        router=port.router,
        mac=mac,
        state=port_state(picture, port.name).name,
    )
