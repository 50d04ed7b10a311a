"""What the switch says about all above layer 2: connections, NAT, rules, neighbours, services, and its own frames.

In the manner of `observe.report`: values, frozen, the same for everybody who looks. `Switch.routing()` builds the report;
counters count from the start of the daemon, or of the network, port or ruleset that they belong to.

Every mapping holds each of its keys from the start, at 0: the words below are all there are.
"""

from __future__ import annotations

import msgspec

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 136: "udplite"}
OTHER_PROTOCOL = "other"
TCP_STATES = ("SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2")
NEIGHBOUR_STATES = ("incomplete", "reachable", "stale", "delay", "probe", "failed", "permanent")
LEASE_STATES = ("offered", "bound", "expired", "declined")


class ConnectionsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The table of connections, and what /proc/net/stat/nf_conntrack would say of it."""

    entries: int
    limit: int
    found: int = 0
    invalid: int = 0
    insertions: int = 0
    insertion_failures: int = 0
    drops: int = 0  # the table was full
    early_drops: int = 0
    clashes: int = 0
    expired: int = 0
    deleted: int = 0
    refused: int = 0  # by a port's budget
    lost_events: int = 0


class ZoneReport(msgspec.Struct, frozen=True, kw_only=True):
    """The connections of a router, of a bridge, or (`kind` "other", no name) of the zones that rules have chosen."""

    kind: str
    name: str
    entries: int


class PortConnections(msgspec.Struct, frozen=True, kw_only=True):
    """The connections that a port has begun and that are still there, how many those may be, and how many were refused."""

    name: str
    entries: int
    limit: int
    refused: int


class NatReport(msgspec.Struct, frozen=True, kw_only=True):
    """Translation. `ports`: how many different ports, or identifiers of ICMP, are in use of an address, by protocol."""

    exhausted: int
    retried: int
    moved: int
    connections: dict[str, int]  # "source", "destination"
    ports: list[tuple[str, str, int]]  # address, protocol, ports


class RulesReport(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in force. `paths`: ways through them that the workers remember."""

    tables: dict[tuple[str, str], int]  # ("ipv4", "filter"): rules
    paths: int
    path_refusals: int


class NeighboursReport(msgspec.Struct, frozen=True, kw_only=True):
    """The neighbour table."""

    states: dict[tuple[str, str], int]  # (device, state): neighbours
    created: int = 0
    recycled: int = 0
    refused: int = 0
    failed: int = 0
    solicited: int = 0
    moved: int = 0
    spoofed: int = 0
    malformed: int = 0
    queued: int = 0
    queue_full: int = 0
    waiting_bytes: int = 0


class PacketsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Reassembly, and the rate limits of ICMP errors."""

    waiting: int = 0
    reassembled: int = 0
    not_reassembled: int = 0
    icmp_allowed: int = 0
    icmp_refused: int = 0


class OwnReport(msgspec.Struct, frozen=True, kw_only=True):
    """The switch's own account in the books: the frames that it makes, and what became of them."""

    generated: int = 0
    copied: int = 0
    delivered: int = 0
    consumed: int = 0
    merged: int = 0
    queued: int = 0
    drops: dict[str, int] = {}  # only reasons that happened


class DhcpReport(msgspec.Struct, frozen=True, kw_only=True):
    """A network's DHCP server."""

    leases: dict[str, int]  # by state
    messages: dict[str, int]  # by kind, received and sent
    ignored: dict[str, int]  # by reason


class DnsReport(msgspec.Struct, frozen=True, kw_only=True):
    """A network's resolver."""

    answered: int
    relayed: int
    ignored: dict[str, int]  # by reason
    failures: dict[str, int]  # by server


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What serves a network. `solicitations_ignored`, by reason, is router advertisement's."""

    network: str
    dhcp: DhcpReport | None = None
    dns: DnsReport | None = None
    solicitations_ignored: dict[str, int] | None = None


class RouterReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, at one moment; `protocols` and `tcp_states` are of a look at every connection just before."""

    connections: ConnectionsReport
    protocols: dict[str, int]
    tcp_states: dict[str, int]
    zones: list[ZoneReport]
    ports: list[PortConnections]
    nat: NatReport
    rules: RulesReport
    neighbours: NeighboursReport
    packets: PacketsReport
    own: OwnReport
    services: list[ServiceReport]
