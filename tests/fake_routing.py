"""What a switch that is only pretended says of routing, connections and services: every part of a report, with numbers."""

from __future__ import annotations

from vswitch.filter.model import TABLES
from vswitch.observe.router import (
    LEASE_STATES,
    NEIGHBOUR_STATES,
    OTHER_PROTOCOL,
    PROTOCOLS,
    TCP_STATES,
    ConnectionsReport,
    DhcpReport,
    DnsReport,
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


def routing(ports: list[str]) -> RouterReport:
    """A router with one NAT network, which serves all, and an uplink."""
    return RouterReport(
        connections=ConnectionsReport(entries=7, limit=1000, insertions=9, drops=2, early_drops=3, refused=1),
        protocols=dict.fromkeys([*PROTOCOLS.values(), OTHER_PROTOCOL], 0) | {"tcp": 5, "udp": 2},
        tcp_states=dict.fromkeys(TCP_STATES, 0) | {"ESTABLISHED": 4, "TIME_WAIT": 1},
        zones=[ZoneReport(kind=k, name=n, entries=e) for k, n, e in (("router", "main", 6), ("bridge", "br0", 1), ("other", "", 0))],
        ports=[PortConnections(name=name, entries=3, limit=500, refused=1) for name in ports],
        nat=NatReport(
            exhausted=4, retried=2, moved=1, connections={"source": 6, "destination": 1}, ports=[("203.0.113.2", "tcp", 5)]
        ),
        rules=RulesReport(
            tables={(f, t): 0 for f in ("ipv4", "ipv6") for t in TABLES} | {("ipv4", "filter"): 12}, paths=8, path_refusals=1
        ),
        neighbours=NeighboursReport(
            states={(d, s): 0 for d in ("br0", "eth1") for s in NEIGHBOUR_STATES} | {("br0", "reachable"): 2}, failed=3
        ),
        packets=PacketsReport(waiting=1, reassembled=20, not_reassembled=2, icmp_allowed=11, icmp_refused=5),
        own=OwnReport(generated=30, copied=2, delivered=31, drops={"tx_full": 1}),
        services=[service()],
    )


def service() -> ServiceReport:
    """The servers of network br0."""
    return ServiceReport(
        network="br0",
        dhcp=DhcpReport(
            leases=dict.fromkeys(LEASE_STATES, 0) | {"bound": 2}, messages={"DISCOVER": 3, "ACK": 2}, ignored={"too fast": 4}
        ),
        dns=DnsReport(answered=6, relayed=5, ignored={"too fast": 1}, failures={"192.0.2.1": 2}),
        solicitations_ignored={"hop limit": 1},
    )
