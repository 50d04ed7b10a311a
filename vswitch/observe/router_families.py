"""From a report of routing, connections and services to Prometheus' metric families: see collector.py for the rules.

No rule, connection or neighbour has a series of its own, and no guest can make one: labels are names of the configuration,
words from fixed lists, and addresses that NAT gives, of which the census takes the first 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .families import Samples, Table, families, labelled, singles
from .router import DhcpReport, DnsReport, OwnReport, RouterReport, ServiceReport

CONNECTION_GAUGES: Table = (
    ("entries", "vswitch_conntrack_entries", "Connections in the table."),
    ("limit", "vswitch_conntrack_entries_limit", "Connections that the table has room for."),
)

CONNECTION_COUNTERS: Table = (
    ("insertions", "vswitch_conntrack_insertions", "Connections that entered the table."),
    ("insertion_failures", "vswitch_conntrack_insertion_failures", "Connections that could not enter the table."),
    ("found", "vswitch_conntrack_found", "Packets that belong to a connection that is known."),
    ("invalid", "vswitch_conntrack_invalid_packets", "Packets that belong to no connection and can begin none."),
    ("drops", "vswitch_conntrack_drops", "Packets dropped because the table was full."),
    ("early_drops", "vswitch_conntrack_early_drops", "Connections ended to make room for others."),
    ("clashes", "vswitch_conntrack_clashes", "Packets that joined a connection which another packet made just before."),
    ("expired", "vswitch_conntrack_expired", "Connections ended because nothing was heard of them for their timeout."),
    ("deleted", "vswitch_conntrack_deleted", "Connections ended by a command."),
    ("refused", "vswitch_conntrack_refused", "Connections not let in because their port has its share."),
    ("lost_events", "vswitch_conntrack_lost_events", "Events that came too fast for whoever listened."),
)

PORT_GAUGES: Table = (
    ("entries", "vswitch_conntrack_port_entries", "Connections in the table that the port has begun."),
    ("limit", "vswitch_conntrack_port_entries_limit", "Connections that the port may have in the table."),
)

PORT_COUNTERS: Table = (
    ("refused", "vswitch_conntrack_port_refused", "Connections of the port not let in because it has its share."),
)

NAT_COUNTERS: Table = (
    ("exhausted", "vswitch_nat_exhausted", "Connections that found no free port to be translated to."),
    ("retried", "vswitch_nat_retries", "Second choices of a port, because another took the first at the same time."),
    ("moved", "vswitch_nat_moved", "Connections given another source port though no rule asks, because theirs was taken."),
)

PATH_GAUGES: Table = (("paths", "vswitch_rule_paths", "Ways through the rules in force that are remembered."),)
PATH_COUNTERS: Table = (
    ("path_refusals", "vswitch_rule_path_refusals", "Ways through the rules in force that found no room to be remembered."),
)

NEIGHBOUR_GAUGES: Table = (
    ("waiting_bytes", "vswitch_neighbour_waiting_bytes", "Memory of frames that wait for a neighbour's answer."),
)

NEIGHBOUR_COUNTERS: Table = (
    ("failed", "vswitch_neighbour_failures", "Neighbours that did not answer."),
    ("solicited", "vswitch_neighbour_solicitations", "Questions sent to find neighbours."),
    ("created", "vswitch_neighbour_additions", "Neighbours that entered the table."),
    ("recycled", "vswitch_neighbour_evictions", "Neighbours forgotten to make room for others."),
    ("refused", "vswitch_neighbour_refused", "Neighbours not let in because the table, or the device's share, was full."),
    ("moved", "vswitch_neighbour_moves", "Neighbours that changed their MAC address."),
    ("spoofed", "vswitch_neighbour_spoofed_messages", "ARP and ND messages that spoke for an address of the switch."),
    ("malformed", "vswitch_neighbour_malformed_messages", "ARP and ND messages that make no sense."),
    ("queued", "vswitch_neighbour_queued_frames", "Frames that had to wait for a neighbour's answer."),
    ("queue_full", "vswitch_neighbour_queue_overflows", "Frames that could not wait because too many did."),
)

PACKET_GAUGES: Table = (
    ("waiting", "vswitch_reassembly_waiting_packets", "Packets of which some fragments have come."),
)

PACKET_COUNTERS: Table = (
    ("reassembled", "vswitch_reassembly_packets", "Packets put together from fragments."),
    ("not_reassembled", "vswitch_reassembly_failures", "Packets given up before all of their fragments had come."),
    ("icmp_allowed", "vswitch_icmp_errors_allowed", "ICMP errors that the rate limits let pass."),
    ("icmp_refused", "vswitch_icmp_errors_refused", "ICMP errors not sent because of the rate limits."),
)

OWN_GAUGES: Table = (("queued", "vswitch_own_queued_frames", "Frames of the switch's own that are held back just now."),)

OWN_COUNTERS: Table = (
    ("generated", "vswitch_own_generated_frames", "Frames that the switch made itself."),
    ("copied", "vswitch_own_copied_frames", "Extra copies made of the switch's own frames, by flooding."),
    ("delivered", "vswitch_own_delivered_frames", "Frames of the switch's own, copies included, that left by some port."),
    ("consumed", "vswitch_own_consumed_frames", "Frames of the switch's own that were meant for itself."),
    ("merged", "vswitch_own_merged_frames", "Frames of the switch's own that became part of another."),
)

DNS_COUNTERS: Table = (
    ("answered", "vswitch_dns_answered_queries", "DNS queries that the network itself answered."),
    ("relayed", "vswitch_dns_relayed_queries", "DNS queries passed on to other servers."),
)


def router_families(report: RouterReport, reasons: tuple[str, ...]) -> Iterator[Metric]:
    """All families of the report. `reasons`: why frames may be dropped."""
    yield from _connections(report)
    yield from _translation(report)
    yield from _rules(report)
    yield from _neighbours(report)
    yield from singles(GaugeMetricFamily, report.packets, PACKET_GAUGES)
    yield from singles(CounterMetricFamily, report.packets, PACKET_COUNTERS)
    yield from _own(report.own, reasons)
    yield from _services(report.services)


def _connections(report: RouterReport) -> Iterator[Metric]:
    ports = {port.name: port for port in report.ports}
    zones = (((zone.kind, zone.name), zone.entries) for zone in report.zones)
    yield from singles(GaugeMetricFamily, report.connections, CONNECTION_GAUGES)
    yield from singles(CounterMetricFamily, report.connections, CONNECTION_COUNTERS)
    yield _gauge("vswitch_conntrack_protocol_entries", "Connections by protocol.", ("protocol",), _by(report.protocols))
    yield _gauge("vswitch_conntrack_tcp_entries", "TCP connections by state.", ("state",), _by(report.tcp_states))
    yield _gauge("vswitch_conntrack_zone_entries", "Connections by router or bridge.", ("kind", "zone"), zones)
    yield from families(GaugeMetricFamily, "port", ports, PORT_GAUGES)
    yield from families(CounterMetricFamily, "port", ports, PORT_COUNTERS)


def _translation(report: RouterReport) -> Iterator[Metric]:
    nat = report.nat
    ports = (((address, protocol), number) for address, protocol, number in nat.ports)
    text = "Connections whose source, or destination, is translated."
    yield from singles(CounterMetricFamily, nat, NAT_COUNTERS)
    yield _gauge("vswitch_nat_connections", text, ("translation",), _by(nat.connections))
    text = "Ports in use of an address that NAT gives, or identifiers of ICMP."
    yield _gauge("vswitch_nat_ports", text, ("address", "protocol"), ports)


def _rules(report: RouterReport) -> Iterator[Metric]:
    yield _gauge("vswitch_rules", "Rules in force.", ("family", "table"), report.rules.tables.items())
    yield from singles(GaugeMetricFamily, report.rules, PATH_GAUGES)
    yield from singles(CounterMetricFamily, report.rules, PATH_COUNTERS)


def _neighbours(report: RouterReport) -> Iterator[Metric]:
    states = report.neighbours.states.items()
    yield _gauge("vswitch_neighbours", "Neighbours by device and state.", ("device", "state"), states)
    yield from singles(GaugeMetricFamily, report.neighbours, NEIGHBOUR_GAUGES)
    yield from singles(CounterMetricFamily, report.neighbours, NEIGHBOUR_COUNTERS)


def _own(own: OwnReport, reasons: tuple[str, ...]) -> Iterator[Metric]:
    drops = (((reason,), own.drops.get(reason, 0)) for reason in reasons)
    text = "Frames of the switch's own, copies included, that it dropped."
    yield from singles(GaugeMetricFamily, own, OWN_GAUGES)
    yield from singles(CounterMetricFamily, own, OWN_COUNTERS)
    yield _counter("vswitch_own_dropped_frames", text, ("reason",), drops)


def _services(services: list[ServiceReport]) -> Iterator[Metric]:
    dhcp = {service.network: service.dhcp for service in services if service.dhcp}
    dns = {service.network: service.dns for service in services if service.dns}
    ra = {s.network: s.solicitations_ignored for s in services if s.solicitations_ignored is not None}
    yield from _dhcp(dhcp)
    yield from _dns(dns)
    text = "Router solicitations not answered."
    yield _counter("vswitch_ra_ignored_solicitations", text, ("network", "reason"), _nested(ra))


def _dhcp(servers: Mapping[str, DhcpReport]) -> Iterator[Metric]:
    leases, messages, ignored = ({n: getattr(s, what) for n, s in servers.items()} for what in ("leases", "messages", "ignored"))
    text = "Addresses that DHCP has given out, or keeps from everybody."
    yield _gauge("vswitch_dhcp_leases", text, ("network", "state"), _nested(leases))
    text = "DHCP messages that were heeded, and those sent."
    yield _counter("vswitch_dhcp_messages", text, ("network", "kind"), _nested(messages))
    yield _counter("vswitch_dhcp_ignored_messages", "DHCP messages not answered.", ("network", "reason"), _nested(ignored))


def _dns(servers: Mapping[str, DnsReport]) -> Iterator[Metric]:
    ignored = {name: server.ignored for name, server in servers.items()}
    failures = {name: server.failures for name, server in servers.items()}
    yield from families(CounterMetricFamily, "network", servers, DNS_COUNTERS)
    yield _counter("vswitch_dns_ignored_queries", "DNS queries not relayed or answered.", ("network", "reason"), _nested(ignored))
    text = "DNS queries that another server did not answer."
    yield _counter("vswitch_dns_server_failures", text, ("network", "server"), _nested(failures))


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return labelled(GaugeMetricFamily, name, text, labels, samples)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return labelled(CounterMetricFamily, name, text, labels, samples)


def _by(counted: Mapping[str, int]) -> Samples:
    return (((key,), value) for key, value in counted.items())


def _nested(counted: Mapping[str, Mapping[str, int]]) -> Samples:
    return (((outer, inner), value) for outer, row in counted.items() for inner, value in row.items())
