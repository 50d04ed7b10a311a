"""The services of networks between the workers and the servers: who gets which packet, and what follows a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptRDNSS, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.dhcp_client import mac
from tests.lab import wait_until
from tests.unit.test_l3_devices import builder
from vswitch.config.load import parse
from vswitch.l3 import services
from vswitch.l3.services import Services
from vswitch.own import PLAIN, Own, Punt

LIMIT_S = 10.0
FILE = """
[switch]
state_dir = "{state}"
[[bridge]]
name = "br0"
[[network]]
bridge = "br0"
address = ["10.0.0.1/24", "fd00::1/64"]
mode = "isolated"
mac = "52:54:00:00:00:01"
dhcp = {{ range = ["10.0.0.100", "10.0.0.101"] }}
dns = {{ hosts = [{{ name = "printer", address = "10.0.0.9" }}], domain = "lab.example" }}
ra = {{}}
"""
PORTS = {1: "tapA", 2: "tapB"}


class Plane:
    """Keeps what the services send. `neighbours` are addresses that somebody has, `full` lets nothing out."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[tuple[Own, Packet, int]] = asyncio.Queue()
        self.neighbours: set[IPv4Address] = set()
        self.asked: list[IPv4Address] = []
        self.full = False

    def send_own(self, kind: Own, frame: bytes, device: int) -> bool:
        if not self.full:
            self.sent.put_nowait((kind, Ether(frame), device))
        return not self.full

    def probe(self, device: int, address: IPv4Address) -> None:
        self.asked.append(address)

    def is_neighbour(self, device: int, address: IPv4Address) -> bool:
        return address in self.neighbours


class Bench:
    """Services on a fake plane."""

    def __init__(self, state: Path) -> None:
        self.plane = Plane()
        self.ports = {"tapA", "tapB"}
        self.services = Services(self.plane, lambda number: PORTS.get(number, ""), lambda name: name in self.ports)
        self.text = FILE.format(state=state)

    async def follow(self, *changes: tuple[str, str], hooked: bool = False) -> None:
        """Take over the file with some words replaced."""
        text = self.text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        await self.services.follow(parse(text, "test"), builder(text).devices(hooked))

    def receive(self, packet: Packet, port: int = 1, device: int = 0, vnet: bytes = PLAIN) -> None:
        blank = dict.fromkeys(Punt._fields, 0)
        self.services.receive(
            Punt(**blank | {"kind": Own.SERVICE, "device": device, "port": port, "vnet": vnet, "frame": bytes(packet)})
        )

    async def answer(self) -> tuple[Own, Packet]:
        kind, packet, device = await asyncio.wait_for(self.plane.sent.get(), LIMIT_S)
        assert device == 0
        return kind, packet

    def sent(self) -> list[Packet]:
        """What has been sent and not been looked at."""
        return [self.plane.sent.get_nowait()[1] for _ in range(self.plane.sent.qsize())]

    async def lease(self, client: int = 5, port: int = 1, **fields: str) -> str:
        """The address that a client is given."""
        self.receive(dhcp(client, "discover"), port)
        offer = (await self.answer())[1]
        self.receive(dhcp(client, "request", requested_addr=offer[BOOTP].yiaddr, server_id="10.0.0.1"), port)
        ack = (await self.answer())[1]
        assert options(ack)["message-type"] == 5
        return ack[BOOTP].yiaddr

    def leases(self) -> dict[str, str]:
        return {lease.address: f"{network} {lease.state}" for network, lease in self.services.leases()}


def dhcp(client: int, kind: str, **fields: str) -> Packet:
    chaddr = bytes.fromhex(mac(client).replace(":", ""))
    told = [("message-type", kind), *fields.items(), "end"]
    head = Ether(src=mac(client), dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    return head / UDP(sport=68, dport=67) / BOOTP(chaddr=chaddr, xid=client) / DHCP(options=told)


def options(packet: Packet) -> dict[str, object]:
    return {option[0]: option[1] for option in packet[DHCP].options if isinstance(option, tuple)}


def question(name: str) -> Packet:
    head = Ether(src=mac(5), dst="52:54:00:00:00:01") / IP(src="10.0.0.100", dst="10.0.0.1")
    return head / UDP(sport=5353, dport=53) / DNS(id=7, qd=DNSQR(qname=name))


def solicitation() -> Packet:
    return Ether(src=mac(5), dst="33:33:00:00:00:02") / IPv6(src="fe80::5", dst="ff02::2", hlim=255) / ICMPv6ND_RS()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(services, "PROBE_S", 0.01)
    monkeypatch.setattr(services, "PROBE_STEP_S", 0.001)
    bench = Bench(tmp_path)
    yield bench
    await bench.services.stop()


async def test_dhcp_is_answered_with_a_frame(bench: Bench) -> None:
    await bench.follow()
    bench.receive(dhcp(5, "discover"))
    kind, offer = await bench.answer()
    assert (kind, offer.dst, offer.src) == (Own.FRAME, mac(5), "52:54:00:00:00:01")
    assert (offer[BOOTP].yiaddr, options(offer)["name_server"]) == ("10.0.0.100", "10.0.0.1")
    assert "router" not in options(offer)  # the network is isolated
    assert bench.plane.asked == [IPv4Address("10.0.0.100")]
    assert bench.leases() == {"10.0.0.100": "br0 offered"}


async def test_an_address_that_somebody_has_is_not_given_out(bench: Bench) -> None:
    await bench.follow()
    bench.plane.neighbours = {IPv4Address("10.0.0.100")}
    assert await bench.lease() == "10.0.0.101"
    assert bench.leases() == {"10.0.0.100": "br0 declined", "10.0.0.101": "br0 bound"}


async def test_dns_is_answered_with_a_packet(bench: Bench) -> None:
    await bench.follow()
    bench.receive(question("printer.lab.example"))
    kind, answer = await bench.answer()
    assert (kind, answer[IP].dst, answer[UDP].dport, answer[DNS].an[0].rdata) == (Own.PACKET, "10.0.0.100", 5353, "10.0.0.9")


async def test_advertisements_are_flooded_when_they_are_due(bench: Bench) -> None:
    await bench.follow()
    assert not bench.sent()
    bench.services.tick()
    kind, packet = await bench.answer()
    assert (kind, packet.dst, packet[ICMPv6ND_RA].routerlifetime) == (Own.FRAME, "33:33:00:00:00:01", 0)
    assert packet[ICMPv6NDOptRDNSS].dns == ["fd00::1"]
    bench.receive(solicitation())
    bench.services.tick()
    assert not bench.sent()  # never two within three seconds


async def test_who_leads_somewhere_says_so_and_names_no_resolver_without_one(bench: Bench) -> None:
    await bench.follow(('"isolated"', '"nat"'), ("dns = {", "#"))
    bench.services.tick()
    ra = (await bench.answer())[1]
    assert ra[ICMPv6ND_RA].routerlifetime == 1800 and ICMPv6NDOptRDNSS not in ra
    bench.receive(dhcp(5, "discover"))
    told = options((await bench.answer())[1])
    assert told["router"] == "10.0.0.1" and "name_server" not in told


@pytest.mark.parametrize("packet", [
    dhcp(5, "discover"),
    question("printer.lab.example"),
    solicitation(),
    Ether(bytes(41)),
    Ether(bytes(42)),
    Ether(type=0x86DD) / bytes(30),
    Ether(type=0x0800) / (b"\x4f" + bytes(8) + b"\x11" + bytes(18)),
], ids=["DHCP", "DNS", "RS", "a runt", "nothing", "IPv6 cut short", "IPv4 cut short"])  # fmt: skip
async def test_what_no_server_wants_is_ignored(bench: Bench, packet: Packet) -> None:
    await bench.follow(("dhcp = {", "#"), ("dns = {", "#"), ("ra = {", "#"))
    bench.receive(packet)
    bench.receive(packet, device=77)
    await bench.follow()
    bench.receive(packet, device=77)
    await asyncio.sleep(0)
    assert not bench.sent()


async def test_a_partial_checksum_is_the_guests_right(bench: Bench) -> None:
    await bench.follow()
    packet = dhcp(5, "discover")
    packet[UDP].chksum = 0x1234
    bench.receive(packet)
    bench.receive(packet, vnet=bytes((1,)) + PLAIN[1:])  # NEEDS_CSUM
    await bench.answer()
    await asyncio.sleep(0)
    assert not bench.sent()


async def test_a_network_that_stays_keeps_its_servers(bench: Bench) -> None:
    await bench.follow()
    assert await bench.lease() == "10.0.0.100"
    bench.services.tick()
    bench.sent()
    before = bench.services._served[0]
    await bench.follow(hooked=True)
    assert bench.services._served[0] is before
    bench.services.tick()
    assert not bench.sent()


async def test_leases_outlive_a_change_and_a_restart(bench: Bench, tmp_path: Path) -> None:
    await bench.follow()
    assert await bench.lease() == "10.0.0.100"
    before = bench.services._served[0]
    await bench.follow(('"10.0.0.101"]', '"10.0.0.150"]'))
    assert bench.services._served[0] is not before
    assert bench.leases() == {"10.0.0.100": "br0 bound"}
    await bench.services.stop()
    assert bench.leases() == {}
    again = Bench(tmp_path)
    await again.follow()
    assert again.leases() == {"10.0.0.100": "br0 bound"}
    assert (await again.lease(client=6)) == "10.0.0.101"
    await again.services.stop()


async def test_an_answer_under_way_is_given_up_with_its_server(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PROBE_S", LIMIT_S)
    await bench.follow()
    bench.receive(dhcp(5, "discover"))
    await wait_until(lambda: bench.plane.asked, LIMIT_S, "the probe")
    (task,) = bench.services._served[0].tasks
    await bench.follow(('"10.0.0.101"]', '"10.0.0.150"]'))
    await asyncio.wait([task], timeout=LIMIT_S)
    assert task.cancelled() and not bench.sent()


async def test_a_lease_follows_its_guest_only_when_the_port_is_gone(bench: Bench) -> None:
    await bench.follow()
    assert await bench.lease(port=1) == "10.0.0.100"
    assert await bench.lease(port=2) == "10.0.0.101"  # a stranger in its name
    await bench.follow(('"10.0.0.101"]', '"10.0.0.150"]'))
    assert await bench.lease(client=7, port=1) == "10.0.0.102"
    bench.ports.discard("tapA")
    assert await bench.lease(client=7, port=2) == "10.0.0.102"


async def test_a_router_no_more_says_so(bench: Bench) -> None:
    await bench.follow(('"isolated"', '"routed"'))
    bench.services.tick()
    assert [packet[ICMPv6ND_RA].routerlifetime for packet in bench.sent()] == [1800]
    await bench.follow(('"isolated"', '"routed"'), ("ra = {", "#"))
    assert [packet[ICMPv6ND_RA].routerlifetime for packet in bench.sent()] == [0]
    await bench.follow(('"isolated"', '"routed"'))
    bench.services.tick()
    bench.sent()
    await bench.services.stop()
    assert [packet[ICMPv6ND_RA].routerlifetime for packet in bench.sent()] == [0]


async def test_what_the_workers_do_not_take_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.follow()
    bench.plane.full = True
    bench.services.tick()
    assert "network br0: an answer is lost: the workers take no more" in caplog.text


async def test_a_fault_of_ours_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.follow()
    bench.plane.probe = lambda device, address: 1 / 0  # type: ignore[assignment]
    bench.receive(dhcp(5, "discover"))
    (task,) = bench.services._served[0].tasks
    await asyncio.wait([task], timeout=LIMIT_S)
    await asyncio.sleep(0)
    assert "ZeroDivisionError" in caplog.text
