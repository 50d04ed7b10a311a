"""Real clients at the services of a network: busybox's udhcpc, ISC's dhclient, the kernel's SLAAC, and a resolver."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.gateway import ADDRESS, Gateway, Net
from tests.lab import Lab, wait_for
from tests.udhcpc import LIMIT_S, Udhcpc, ask, news_of, script, upstream
from vswitch.l3.settings import Dhcp, Dns, Host, Ra, Route

GATEWAY = str(ADDRESS.ip)
SETTINGS = Dhcp(
    range=("10.0.0.100", "10.0.0.103"),
    domain="lab.example",
    mtu=1400,
    routes=(Route(to="10.9.0.0/16", via="10.0.0.9"),),
)
FIRST = "10.0.0.100"

# What dhclient calls with the news: the address is set, and a line is written of what the server said.
DHCLIENT = """#!/bin/sh
case $reason in
    BOUND|REBOOT|RENEW|REBIND) ip address replace "$new_ip_address/24" dev "$interface" ;;
    EXPIRE|FAIL|RELEASE|STOP) ip address flush dev "$interface" ;;
esac
echo "$reason ip=$new_ip_address router=$new_routers dns=$new_domain_name_servers domain=$new_domain_name" >>"$NEWS"
"""
DHCLIENT_CONF = """
send host-name "isc";
supersede dhcp-renewal-time 1;
"""


@pytest.fixture
def net(lab: Lab) -> Net:
    return Net(lab)


def test_udhcpc_takes_renews_and_releases(lab: Lab, net: Net):
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        client = Udhcpc(lab, *net.guest("a"), "-x", "hostname:guest")
        news = client.heard("bound")
        assert news == (
            f"bound ip={FIRST} router=10.0.0.1 dns=10.0.0.1 domain=lab.example mtu=1400 lease=3600 "
            "routes=10.9.0.0/16 10.0.0.9 0.0.0.0/0 10.0.0.1"
        )
        (lease,) = gateway.call(gateway.dhcp.reports)
        assert (lease.address, lease.name, lease.state) == (FIRST, "guest", "bound")
        client.process.process.send_signal(signal.SIGUSR1)  # renew, by unicast
        client.heard("renew")
        assert gateway.dhcp.messages["ACK"] >= 2  # more where a slow machine had it ask again
        client.process.process.send_signal(signal.SIGUSR2)  # release
        wait_for(lambda: gateway.states() == {FIRST: "expired"}, LIMIT_S, "the release")
        assert not gateway.dhcp.messages["NAK"] and not gateway.dhcp.ignored


def test_a_restart_forgets_no_lease(lab: Lab, net: Net):
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        client = Udhcpc(lab, *net.guest("a"))
        client.heard("bound")
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        assert gateway.states() == {FIRST: "bound"}
        assert "ip=10.0.0.101 " in Udhcpc(lab, *net.guest("b")).heard("bound")
        client.process.process.send_signal(signal.SIGUSR1)
        assert f"ip={FIRST} " in client.heard("renew")


def test_a_lease_that_is_gone_is_refused(lab: Lab, net: Net):
    with Gateway(net, lab.path("leases"), SETTINGS):
        client = Udhcpc(lab, *net.guest("a"))
        client.heard("bound")
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        lease = gateway.dhcp.leases.holder(ADDRESS.ip + 99)
        gateway.call(lambda: gateway.dhcp.leases.quarantine(lease, lease.expires - 3600, blame=False))
        client.process.process.send_signal(signal.SIGUSR1)
        client.heard("nak")
        assert "ip=10.0.0.101 " in client.heard("bound", 2)


def test_addresses_in_use_are_passed_over(lab: Lab, net: Net):
    """One by the server's probe, the next by the client's own, which it declines."""
    netns, device = net.guest("squat")
    lab.address(device, "10.0.0.101/24", netns=netns)
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        gateway.used.add(FIRST)
        client = Udhcpc(lab, *net.guest("a"), "-a")
        assert "ip=10.0.0.102 " in client.heard("bound")
        assert gateway.states() == {FIRST: "declined", "10.0.0.101": "declined", "10.0.0.102": "bound"}
        assert gateway.dhcp.messages["DECLINE"] == 1


def dhclient(lab: Lab, device: str, *words: str) -> list[str]:
    """The words that start, or with -r end, dhclient on a device, with its files in the lab."""
    path = lab.path
    path("dhclient.conf").write_text(DHCLIENT_CONF)
    hook = script(lab, "dhclient.sh", DHCLIENT)
    files = ["-cf", path("dhclient.conf"), "-lf", path("dhclient.leases"), "-pf", path("dhclient.pid"), "-sf", hook]
    return ["dhclient", "-4", "-v", *words, *map(str, files), "-e", f"NEWS={path('dhclient.news')}", device]


@pytest.mark.skipif(not shutil.which("dhclient"), reason="needs dhclient (Debian: isc-dhcp-client)")
def test_dhclient_takes_renews_and_releases(lab: Lab, net: Net):
    netns, device = net.guest("a")
    lab.path("dhclient.leases").touch()
    with Gateway(net, lab.path("leases"), SETTINGS) as gateway:
        running = lab.start(*dhclient(lab, device, "-d"), netns=netns)
        news = wait_for(lambda: news_of(lab.path("dhclient.news"), "BOUND", 1), LIMIT_S, "dhclient to be bound")
        assert news == f"BOUND ip={FIRST} router=10.0.0.1 dns=10.0.0.1 domain=lab.example"
        wait_for(lambda: news_of(lab.path("dhclient.news"), "RENEW", 1), LIMIT_S, "dhclient to renew")
        (lease,) = gateway.call(gateway.dhcp.reports)
        assert (lease.address, lease.name, lease.state) == (FIRST, "isc", "bound")
        running.stop()
        again = lab.start(*dhclient(lab, device, "-d"), netns=netns)  # it remembers: init-reboot
        wait_for(lambda: news_of(lab.path("dhclient.news"), "REBOOT", 1), LIMIT_S, "dhclient to reboot")
        again.stop()
        lab.run(*dhclient(lab, device, "-r"), netns=netns)
        wait_for(lambda: gateway.states() == {FIRST: "expired"}, LIMIT_S, "the release")
        assert not gateway.dhcp.messages["NAK"] and not gateway.dhcp.ignored


def test_hosts_configure_themselves(lab: Lab, net: Net):
    """The kernel takes address, route and MTU from an advertisement."""
    with Gateway(net, lab.path("leases"), SETTINGS, ra=Ra(interval_s=4)):
        netns, device = net.guest("a", ipv6=True)
        address = ("-6", "address", "show", device)
        wait_for(lambda: "inet6 fd00:5::" in lab.ip(*address, netns=netns), LIMIT_S, "an address of the prefix")
        routes = lab.ip("-6", "route", netns=netns)
        assert "default via fe80::1" in routes and "fd00:5::/64" in routes and "mtu 1400" in routes


def test_names_of_leases_and_of_the_world(lab: Lab, net: Net):
    with upstream(net.netns, "127.0.0.1") as port:
        dns = Dns(servers=("127.0.0.1",), port=port, hosts=(Host(name="printer", address="10.0.0.9"),))
        with Gateway(net, lab.path("leases"), SETTINGS, dns) as gateway:
            client = Udhcpc(lab, *net.guest("a"), "-x", "hostname:web")
            client.heard("bound")
            assert ask(client.netns, GATEWAY, "web.lab.example") == (0, bytes((10, 0, 0, 100)))
            assert ask(client.netns, GATEWAY, "WEB") == (0, bytes((10, 0, 0, 100)))
            assert ask(client.netns, GATEWAY, "printer") == (0, bytes((10, 0, 0, 9)))
            assert ask(client.netns, GATEWAY, "nobody.lab.example")[0] == 3
            assert ask(client.netns, GATEWAY, "100.0.0.10.in-addr.arpa", 12) == (0, b"ple\0")
            assert ask(client.netns, GATEWAY, "www.example.org") == (0, bytes((192, 0, 2, 7)))
            assert (gateway.dns.answered, gateway.dns.relayed) == (5, 1)
