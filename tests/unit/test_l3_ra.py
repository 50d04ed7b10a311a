"""Router advertisements in virtual time: what they say, to whom, and how often."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Interface

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest, ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptDNSSL, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS, ICMPv6NDOptSrcLLAddr, IPv6,
)
from scapy.layers.l2 import Ether

from tests.dhcp_client import GATEWAY_MAC, Clock, mac
from vswitch.l3.ra import Router, RouterAdvertiser
from vswitch.l3.settings import Ra

PREFIXES = (IPv6Interface("fd00:5::1/64"), IPv6Interface("fd00:6::1/80"))
ROUTER = Router(GATEWAY_MAC, IPv6Address("fe80::1"), PREFIXES, 1400)


def advertiser(clock: Clock, **settings: object) -> RouterAdvertiser:
    return RouterAdvertiser(Ra(**settings), ROUTER, clock, lambda low, high: high)


def solicitation(src: str = "fe80::5", hlim: int = 255, eth_src: str = mac(1), **fields: object) -> bytes:
    options = ICMPv6NDOptSrcLLAddr(lladdr=eth_src)
    head = Ether(src=eth_src, dst="33:33:00:00:00:02") / IPv6(src=src, dst="ff02::2", hlim=hlim)
    return bytes(head / ICMPv6ND_RS(**fields) / options) if src != "::" else bytes(head / ICMPv6ND_RS(**fields))


def test_what_it_says():
    (frame,) = advertiser(Clock(), domain="lab.example").due()
    packet = Ether(frame)
    sums = packet[ICMPv6ND_RA].cksum
    del packet[ICMPv6ND_RA].cksum
    assert Ether(bytes(packet))[ICMPv6ND_RA].cksum == sums
    assert (packet.dst, packet.src) == ("33:33:00:00:00:01", GATEWAY_MAC)
    assert (packet[IPv6].src, packet[IPv6].dst, packet[IPv6].hlim) == ("fe80::1", "ff02::1", 255)
    ra = packet[ICMPv6ND_RA]
    assert (ra.routerlifetime, ra.M, ra.O) == (1800, 0, 0)
    assert packet[ICMPv6NDOptSrcLLAddr].lladdr == GATEWAY_MAC
    assert packet[ICMPv6NDOptMTU].mtu == 1400
    prefixes = [(info.prefix, info.prefixlen, info.L, info.A, info.validlifetime, info.preferredlifetime)
                for info in (packet.getlayer(ICMPv6NDOptPrefixInfo, n) for n in (1, 2))]
    assert prefixes == [("fd00:5::", 64, 1, 1, 86400, 14400), ("fd00:6::", 80, 1, 0, 86400, 14400)]
    assert (packet[ICMPv6NDOptRDNSS].dns, packet[ICMPv6NDOptRDNSS].lifetime) == (["fd00:5::1"], 1800)
    assert packet[ICMPv6NDOptDNSSL].searchlist == ["lab.example."]


def test_no_resolver_and_no_way_out():
    packet = Ether(advertiser(Clock(), dns=(), lifetime_s=0).due()[0])
    assert ICMPv6NDOptRDNSS not in packet and packet[ICMPv6ND_RA].routerlifetime == 0


def test_times():
    clock = Clock(0.0)
    router = advertiser(clock, interval_s=600)
    times = []
    while clock.now < 1300:
        clock.now = router.next_s
        assert len(router.due()) == 1 and router.due() == []
        times.append(clock.now)
    assert times == [0, 16, 32, 632, 1232, 1832]


def test_solicited():
    clock = Clock(0.0)
    router = advertiser(clock)
    for _ in range(3):
        clock.now = router.next_s
        router.due()
    start = clock.now
    clock.now += 100
    router.handle(solicitation())
    router.handle(solicitation("::"))
    assert router.next_s == start + 100.5
    clock.now = router.next_s
    assert router.due()
    for _ in range(10):  # however many solicit, never two within three seconds
        router.handle(solicitation())
    assert router.next_s == clock.now + 3
    assert not router.ignored


@pytest.mark.parametrize("frame, reason", [
    (solicitation(hlim=64), "hop limit"),
    (solicitation(code=1), "not a solicitation"),
    (solicitation(eth_src="01:00:00:00:00:01"), "source"),
    (solicitation("ff02::9"), "source"),
    (solicitation(cksum=1), "checksum"),
    (bytes(Ether(src=mac(1)) / IPv6(hlim=255) / ICMPv6EchoRequest()), "not a solicitation"),
    (bytes(Ether(src=mac(1)) / IPv6(hlim=255) / ICMPv6ND_RS() / b"\1\0......"), "options"),
    (bytes(Ether(src=mac(1)) / IPv6(hlim=255) / ICMPv6ND_RS() / b"\1\2......"), "options"),
    (bytes(Ether(src=mac(1)) / IPv6(hlim=255) / ICMPv6ND_RS() / b"\1"), "options"),
    (bytes(Ether(src=mac(1)) / IPv6(src="::", hlim=255) / ICMPv6ND_RS() / b"\1\1......"), "source"),
    (b"", "length"),
])
def test_ignored(frame, reason):
    clock = Clock(0.0)
    router = advertiser(clock)
    router.due()
    before = router.next_s
    router.handle(frame)
    assert router.ignored == {reason: 1} and router.next_s == before


def test_farewell():
    assert Ether(advertiser(Clock()).farewell()[0])[ICMPv6ND_RA].routerlifetime == 0
