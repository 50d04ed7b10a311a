"""Settings of the services: faults in words, and tables as a file has them."""

from __future__ import annotations

from ipaddress import IPv4Interface

import msgspec
import pytest

from vswitch.config.save import inline
from vswitch.l3.check import dhcp_problems, dns_problems, ra_problems
from vswitch.l3.settings import Dhcp, Dns, Host, Ra, Reservation, Route

NETWORK = IPv4Interface("10.0.0.1/24")


def lines(problems) -> list[str]:
    return [problem.line() for problem in problems]


def test_as_a_file_has_it():
    entry = {"mac": "52:54:00:00:00:01", "address": "10.0.0.9"}
    table = {"range": ["10.0.0.100", "10.0.0.200"], "reservations": [entry]}
    dhcp = msgspec.convert(table, Dhcp)
    assert dhcp.range == ("10.0.0.100", "10.0.0.200") and not lines(dhcp_problems(dhcp, NETWORK, "dhcp"))
    two = msgspec.convert({"range": [["10.0.0.2", "10.0.0.9"], ["10.0.0.20", "10.0.0.29"]]}, Dhcp)
    assert not lines(dhcp_problems(two, NETWORK, "dhcp"))
    assert inline(two) == '{ range = [["10.0.0.2", "10.0.0.9"], ["10.0.0.20", "10.0.0.29"]] }'


def reserved(**fields: str) -> dict[str, object]:
    return {"reservations": (Reservation(**{"mac": "52:54:00:00:00:01", "address": "10.0.0.9", **fields}),)}


FAULTS = [
    ({"range": ("10.0.0.9",)}, 'dhcp.range: ["10.0.0.9"]: a range is [FIRST, LAST]'),
    ({"range": ("10.0.0.9", "x")}, 'dhcp.range: ["10.0.0.9", "x"]: an IPv4 address, like "10.0.0.1"'),
    ({"range": ("10.0.0.9", "10.0.0.8")}, "a range goes from the lower address to the higher"),
    ({"range": ("10.0.0.9", "10.0.1.8")}, "within 10.0.0.0/24, the network's own"),
    ({"range": ("10.0.0.0", "12.0.0.0")}, "a range has at most 65536 addresses"),
    ({"range": (("10.0.0.5", "10.0.0.9"), ("10.0.0.9", "10.0.0.10"))}, "ranges do not overlap"),
    ({"lease_s": 5}, "dhcp.lease_s: 5: 120 to 31536000 seconds"),
    ({"mtu": 5}, "dhcp.mtu: 5: 68 to 65521"),
    ({"per_port": 0}, "dhcp.per_port: 0: 1 to 65536"),
    ({"router": "10.1.0.1"}, "dhcp.router: \"10.1.0.1\": within 10.0.0.0/24, the network's own"),
    ({"dns": ("x",)}, 'dhcp.dns[0]: "x": an IPv4 address'),
    ({"domain": "-"}, 'dhcp.domain: "-": a domain is labels joined by dots'),
    ({"options": ("53:01",)}, 'dhcp.options[0]: "53:01": options 50 to 59, 61 and 82'),
    ({"options": ("1x",)}, 'dhcp.options[0]: "1x": an option is "CODE:HEX"'),
    ({"routes": (Route(to="10.9.0.1/16", via="10.0.0.9"),)}, 'dhcp.routes[0].to: "10.9.0.1/16": a prefix with nothing'),
    ({"routes": (Route(to="10.9.0.0/16", via="10.1.0.9"),)}, 'dhcp.routes[0].via: "10.1.0.9": within 10.0.0.0/24'),
    (reserved(mac="x"), 'dhcp.reservations[0].mac: "x": a MAC address is six hex pairs'),
    (reserved(address="10.0.0.1"), "dhcp.reservations[0].address: \"10.0.0.1\": an address that a client can have"),
    (reserved(address="10.0.9.1"), "dhcp.reservations[0].address: \"10.0.9.1\": within 10.0.0.0/24"),
    (reserved(name="a.b"), 'dhcp.reservations[0].name: "a.b": a host\'s name is one label'),
    ({"reservations": reserved()["reservations"] * 2}, "dhcp.reservations[1].address: \"10.0.0.9\": reserved once"),
]


@pytest.mark.parametrize("settings, words", FAULTS)
def test_dhcp_faults(settings, words):
    assert words in "\n".join(lines(dhcp_problems(Dhcp(**settings), NETWORK, "dhcp")))


def test_dhcp_needs_an_address():
    assert lines(dhcp_problems(Dhcp(), None, "dhcp")) == ["dhcp: DHCP needs an IPv4 address on the network"]


def test_dns_faults():
    hosts = (Host(name="a b", address="1"),)
    dns = Dns(servers=("x", "fe80::1%eth0"), hosts=hosts, ttl_s=-1, per_client=0, domain="..")
    found = [problem.path for problem in dns_problems(dns, "dns")]
    assert found == ["dns.servers[0]", "dns.servers[1]", "dns.domain", "dns.hosts[0].name", "dns.hosts[0].address",
                     "dns.ttl_s", "dns.per_client"]
    assert not lines(dns_problems(Dns(servers=("9.9.9.9", "2620:fe::fe")), "dns"))


def test_ra_faults():
    ra = Ra(interval_s=3, lifetime_s=2, preferred_s=9, valid_s=8, dns=("10.0.0.1",), mtu=1000)
    assert [problem.path for problem in ra_problems(ra, "ra")] == [
        "ra.interval_s", "ra.lifetime_s", "ra.preferred_s", "ra.dns[0]", "ra.mtu"]
    assert not lines(ra_problems(Ra(), "ra")) and not lines(ra_problems(Ra(lifetime_s=0), "ra"))
