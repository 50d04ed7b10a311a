"""Which of iptables' words this machine's kernel knows: each match and each target in scope, loaded on its own.

A kernel without one would make the comparison poorer in silence, so a test asks, and a long run says so at its start.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.oracle.kernel import KernelSubject

MATCHES = {
    "tcp": "-p tcp -m tcp --syn",
    "udp": "-p udp -m udp --dport 53",
    "multiport": "-p tcp -m multiport --dports 22,80",
    "conntrack": "-m conntrack --ctstate NEW",
    "state": "-m state --state NEW",
    "mark": "-m mark --mark 1",
    "connmark": "-m connmark --mark 1",
    "mac": "-m mac --mac-source 02:00:00:00:00:01",
    "physdev": "-m physdev --physdev-in a --physdev-is-bridged",
    "comment": "-m comment --comment x",
    "limit": "-m limit --limit 10/sec",
    "length": "-m length --length 40:80",
    "tos": "-m tos --tos 0x10",
    "dscp": "-m dscp --dscp 0x2e",
    "addrtype": "-m addrtype --dst-type LOCAL",
    "pkttype": "-m pkttype --pkt-type unicast",
}
MATCHES_OF = {
    4: {"icmp": "-p icmp -m icmp --icmp-type 8", "ttl": "-m ttl --ttl-gt 1", "fragment": "-f",
        "iprange": "-m iprange --src-range 10.1.0.2-10.1.0.3"},
    6: {"icmp6": "-p icmpv6 -m icmp6 --icmpv6-type 128", "hl": "-m hl --hl-gt 1",
        "iprange": "-m iprange --src-range fd01::2-fd01::3"},
}  # fmt: skip
TARGETS = {
    "QUEUE": ("filter", "FORWARD", "-j QUEUE"),
    "LOG": ("filter", "FORWARD", "-j LOG"),
    "REJECT": ("filter", "FORWARD", "-j REJECT"),
    "tcp-reset": ("filter", "FORWARD", "-p tcp -j REJECT --reject-with tcp-reset"),
    "MARK": ("mangle", "PREROUTING", "-j MARK --set-mark 1"),
    "CONNMARK": ("mangle", "PREROUTING", "-j CONNMARK --save-mark"),
    "TCPMSS": ("mangle", "FORWARD", "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"),
    "TOS": ("mangle", "PREROUTING", "-j TOS --set-tos 0x10"),
    "DSCP": ("mangle", "PREROUTING", "-j DSCP --set-dscp 0x2e"),
    "CT zone": ("raw", "PREROUTING", "-j CT --zone-orig 1"),
    "CT notrack": ("raw", "PREROUTING", "-j CT --notrack"),
    "NOTRACK": ("raw", "PREROUTING", "-j NOTRACK"),
    "MASQUERADE": ("nat", "POSTROUTING", "-j MASQUERADE --random"),
    "REDIRECT": ("nat", "PREROUTING", "-p tcp -j REDIRECT --to-ports 80"),
    "security": ("security", "FORWARD", "-j ACCEPT"),
}
TARGETS_OF = {
    4: {"SNAT": ("nat", "POSTROUTING", "-j SNAT --to-source 203.0.113.50-203.0.113.51 --persistent"),
        "SNAT in INPUT": ("nat", "INPUT", "-j SNAT --to-source 203.0.113.50"),
        "DNAT": ("nat", "PREROUTING", "-p tcp -j DNAT --to-destination 10.1.0.2:80"),
        "NETMAP": ("nat", "PREROUTING", "-j NETMAP --to 10.1.0.0/28"),
        "TTL": ("mangle", "PREROUTING", "-j TTL --ttl-set 9")},
    6: {"SNAT": ("nat", "POSTROUTING", "-j SNAT --to-source 2001:db8:b::32-2001:db8:b::33"),
        "SNAT in INPUT": ("nat", "INPUT", "-j SNAT --to-source 2001:db8:b::32"),
        "DNAT": ("nat", "PREROUTING", "-p tcp -j DNAT --to-destination [fd01::2]:80"),
        "NETMAP": ("nat", "PREROUTING", "-j NETMAP --to fd01::/124"),
        "HL": ("mangle", "PREROUTING", "-j HL --hl-set 9")},
}  # fmt: skip


def missing(kernel: KernelSubject) -> list[str]:
    """What the kernel, or its iptables, refuses."""
    refused = []
    for family, name, table, rule in _words():
        reason = kernel.refuses(family, f"*{table}\n-A {rule}\nCOMMIT\n")
        if reason:
            refused.append(f"IPv{family} {name}: {reason.splitlines()[0]}")
    return refused


def _words() -> Iterator[tuple[int, str, str, str]]:
    for family in (4, 6):
        for name, match in (MATCHES | MATCHES_OF[family]).items():
            yield family, name, "filter", f"FORWARD {match}"
        for name, (table, chain, rest) in (TARGETS | TARGETS_OF[family]).items():
            yield family, name, table, f"{chain} {rest}"
