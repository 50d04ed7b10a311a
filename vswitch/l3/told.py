"""What a network's servers have to say for `observe.router`: their counters, with every word that they may use at 0.

A reason is the text of the exception that it was refused with; the lists here are all there are (tests/unit/test_l3_told.py
looks for them in the code), since a series that begins above 0 tells nothing of its first events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..observe.router import LEASE_STATES, DhcpReport, DnsReport, ServiceReport
from .dhcp.message import Kind
from .dhcp.server import DhcpServer
from .dns.server import DnsServer
from .ra import RouterAdvertiser

IP_IGNORED = ("not IP", "length", "checksum", "fragment")
DHCP_IGNORED = (
    *IP_IGNORED, "not UDP", "not for the server", "not DHCP", "not Ethernet", "options", "not a request", "too fast",
    "speaks for another", "relayed", "over budget", "no free address", "being probed", "overtaken", "for another server",
    "unknown client", "not its lease", "not of this network",
)  # fmt: skip
DNS_IGNORED = (
    *IP_IGNORED, "not UDP", "not for the server", "source", "too fast", "not a query", "FORMAT_ERROR", "NOT_IMPLEMENTED",
    "too many outstanding",
)  # fmt: skip
RA_IGNORED = (*IP_IGNORED, "not ICMPv6", "not a solicitation", "hop limit", "source", "options")


def service_report(
    network: str, dhcp: DhcpServer | None, dns: DnsServer | None, ra: RouterAdvertiser | None
) -> ServiceReport:
    """A network's servers, as far as it has them."""
    return ServiceReport(
        network=network,
        dhcp=_dhcp(dhcp) if dhcp else None,
        dns=_dns(dns) if dns else None,
        solicitations_ignored=_all(RA_IGNORED, ra.ignored) if ra else None,
    )


def _dhcp(server: DhcpServer) -> DhcpReport:
    return DhcpReport(
        leases=_all(LEASE_STATES, server.lease_states()),
        messages=_all((kind.name for kind in Kind), server.messages),
        ignored=_all(DHCP_IGNORED, server.ignored),
    )


def _dns(server: DnsServer) -> DnsReport:
    return DnsReport(
        answered=server.answered,
        relayed=server.relayed,
        ignored=_all(DNS_IGNORED, server.ignored),
        failures=_all(map(str, server.relay.servers), server.relay.failures),
    )


def _all(words: Iterable[str], counted: Mapping[str, int]) -> dict[str, int]:
    return dict.fromkeys(words, 0) | counted
