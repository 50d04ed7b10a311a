"""Bridged frames, and tenants, before the rules of a running switch: what -i and -o name, states, policies, zones."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, require_root, wait_for
from tests.routerhost import RouterHost, datagram, listening, probe, reach
from tests.switchhost import LIMIT_S, Guest

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
TWINS = ("10.9.0.1", "10.9.0.2")
PORT, TWIN_PORT = 7000, 7777
TRACKING = "-m conntrack --ctstate INVALID -j DROP"  # without rules bridged frames are not tracked


class Site:
    """Three guests without VLAN, and in each of two VLANs two guests with the same addresses; no network anywhere."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = host = RouterHost(lab, "h")
        self.a, self.b, self.c = (
            host.station(stem, f"{address}/24", f"fd00::{stem}/64") for stem, address in zip("abc", (A, B, C))
        )
        self.twins = {
            vlan: [host.guest(f"t{vlan}{i}", f"{address}/24", access=vlan) for i, address in enumerate(TWINS)]
            for vlan in (10, 20)
        }
        host.start()

    def filter(self, *rules: str, policy: str = "ACCEPT") -> None:
        """Replace all rules: FORWARD has these, those without an address of IPv4 for IPv6 too."""
        for program in ("iptables-restore", "ip6tables-restore"):
            chosen = [rule for rule in rules if program == "iptables-restore" or "10." not in rule]
            commands = "".join(f"-A FORWARD {rule}\n" for rule in chosen)
            self.host.rules(program, f"*filter\n:FORWARD {policy} [0:0]\n{commands}COMMIT\n")
        self.host.flush()

    def passes(self, source: Guest, address: str) -> bool:
        """Whether an echo request is answered."""
        return self.lab.ping(address, netns=source.netns, limit_s=0.3)


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    require_root()
    with Lab() as lab:
        yield Site(lab)


@pytest.fixture
def site(made: Site) -> Iterator[Site]:
    made.filter()
    yield made


# -i, -o and physdev: how the rule names where a goes to b, which c does not


@pytest.mark.parametrize(
    "rule",
    [
        "-i {a} -o {b} -j DROP",
        "-i {a} -d 10.0.0.2 -j DROP",
        "! -i {c} -o {b} -j DROP",
        "-i br0 -o {b} -s 10.0.0.1 -j DROP",
        "-m physdev --physdev-in {a} --physdev-out {b} -j DROP",
        "-m physdev --physdev-is-bridged --physdev-in {a} -d 10.0.0.2 -j DROP",
        "-m mac --mac-source {mac} -d 10.0.0.2 -j DROP",
    ],
)
def test_a_rule_names_the_ports_of_a_bridged_frame(site: Site, rule: str) -> None:
    site.filter(rule.format(a=site.a.name, b=site.b.name, c=site.c.name, mac=mac_of(site, site.a)))
    assert not site.passes(site.a, B)
    assert site.passes(site.c, B) and site.passes(site.a, C)
    assert site.host.packets("-A FORWARD") == 1


def mac_of(site: Site, guest: Guest) -> str:
    return site.lab.run("cat", f"/sys/class/net/{guest.name}/address", netns=guest.netns).stdout.strip()


@pytest.mark.parametrize("rule", ["-i br0 -o br0 -j DROP", "-i br+ -j DROP"])
def test_a_rule_names_the_bridge(site: Site, rule: str) -> None:
    site.filter(rule)
    assert not site.passes(site.a, B) and not site.passes(site.twins[10][0], TWINS[1])


def test_a_rule_names_a_vlan_of_the_bridge(site: Site) -> None:
    site.filter("-i br0.10 -j DROP")
    assert not site.passes(site.twins[10][0], TWINS[1])
    assert site.passes(site.twins[20][0], TWINS[1]) and site.passes(site.a, B)


# Policies and states


def test_a_policy_of_drop_lets_arp_pass(site: Site) -> None:
    site.filter(policy="DROP")
    site.lab.ip("neigh", "flush", "all", netns=site.a.netns)
    assert not site.passes(site.a, B)
    assert "lladdr" in site.lab.ip("neigh", "show", B, netns=site.a.netns)
    assert site.host.drops()["rule_filter"]


def test_only_answers_pass(site: Site) -> None:
    site.filter(
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"-i {site.a.name} -m conntrack --ctstate NEW -j ACCEPT",
        policy="DROP",
    )
    for listener, client, address in ((site.b, site.a, B), (site.a, site.b, A)):
        with listening(listener.netns, address, port=PORT) as server:
            if client is site.b:
                with pytest.raises(TimeoutError):
                    reach(client.netns, address, PORT, limit_s=0.3)
            else:
                reach(client.netns, address, PORT).close()
                server.accept()[0].close()
    complaint = probe(site.a.netns, B)  # RELATED
    assert (complaint.sender, complaint.error) == (B, errno.ECONNREFUSED)


@pytest.mark.parametrize("source", ["fd00::a", "10.0.0.1"])
def test_a_rejected_datagram_is_answered(site: Site, source: str) -> None:
    six = ":" in source
    site.filter("-p udp -j REJECT")
    complaint = probe(site.a.netns, "fd00::b" if six else B)
    assert (complaint.error, complaint.kind, complaint.code) == (errno.ECONNREFUSED, 1 if six else 3, 4 if six else 3)


def test_a_connection_is_tracked_by_its_states(site: Site) -> None:
    site.filter(TRACKING)
    with listening(site.b.netns, B, port=PORT) as server, reach(site.a.netns, B, PORT):
        accepted = server.accept()[0]
        (shown,) = site.host.connections("-p", "tcp")
        assert "ESTABLISHED" in shown and "[ASSURED]" in shown
        accepted.close()
    wait_for(lambda: "ESTABLISHED" not in site.host.connections("-p", "tcp")[0], LIMIT_S, "the end to be seen")


# The same addresses more than once


def test_vlans_with_the_same_addresses_do_not_mix(site: Site) -> None:
    """One five-tuple in two VLANs is two connections."""
    site.filter(TRACKING)
    for near, far in site.twins.values():
        with listening(far.netns, TWINS[1], socket.SOCK_DGRAM, TWIN_PORT) as server, datagram(near.netns) as client:
            client.bind((TWINS[0], TWIN_PORT))
            client.sendto(near.name.encode(), (TWINS[1], TWIN_PORT))
            assert server.recv(64) == near.name.encode()
    shown = site.host.connections("-p", "udp", "-s", TWINS[0])
    assert len(shown) == 2
    assert len({line.split("zone")[1].split()[0] for line in shown}) == 2, shown


def test_tenants_with_the_same_addresses_share_an_uplink(lab: Lab) -> None:
    host = RouterHost(lab, "h")
    world = host.uplink("w", "203.0.113.2/24", "203.0.113.254/24")
    tenants = [host.station(f"g{vlan}", "10.0.0.2/24", gateway="10.0.0.1", access=vlan) for vlan in (10, 20)]
    uplink = host.name_of_uplink(world)
    for vlan, router in ((10, "red"), (20, "blue")):
        host.network(f"br0.{vlan}", "10.0.0.1/24", mode="nat", uplink=uplink, router=router)
    host.start()
    with listening(world.netns, "203.0.113.254", socket.SOCK_DGRAM) as server:
        clients = [datagram(tenant.netns) for tenant in tenants]
        peers = []
        for client, tenant in zip(clients, tenants):
            client.bind(("10.0.0.2", TWIN_PORT))
            client.sendto(tenant.name.encode(), server.getsockname())
            name, peer = server.recvfrom(64)
            assert (name, peer[0]) == (tenant.name.encode(), "203.0.113.2")
            peers.append(peer)
        assert len(set(peers)) == 2
        for peer, tenant in zip(reversed(peers), reversed(tenants)):
            server.sendto(tenant.name.encode(), peer)
        for client, tenant in zip(clients, tenants):
            assert client.recv(64) == tenant.name.encode()
            client.close()
    assert not lab.ping("10.0.0.2", netns=world.netns, limit_s=0.3)


def test_a_bridge_without_hooks_asks_no_rule(lab: Lab) -> None:
    host = RouterHost(lab, "h")
    host.bridge_keys["hooks"] = False
    a, _ = host.guest("a", f"{A}/24"), host.guest("b", f"{B}/24")
    host.start()
    host.iptables("-P", "FORWARD", "DROP")
    assert lab.ping(B, netns=a.netns)
    assert host.count() == 0
    host.bridge_keys["hooks"] = True
    host.apply()
    assert not lab.ping(B, netns=a.netns, limit_s=0.3)
