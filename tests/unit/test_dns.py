"""DNS: what the network knows, what it asks others, and what it does not put up with."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
import uvloop
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.dhcp_client import GATEWAY_MAC, Clock, mac
from vswitch.l3.dns.names import Names
from vswitch.l3.dns.relay import Relay
from vswitch.l3.dns.server import DnsServer
from vswitch.l3.settings import Dns, Host

LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LIMIT_S = 10.0
OK, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
NETWORKS = (IPv4Network("10.0.0.0/24"), IPv6Network("fd00:5::/64"))
HOSTS = (Host(name="printer", address="10.0.0.9"), Host(name="Printer", address="fd00:5::9"))


class Table:
    """One lease, of a guest that would like to be the printer too."""

    def address_of(self, name):
        return IPv4Address("10.0.0.100") if name in ("web", "printer") else None

    def name_of(self, address):
        return "web" if str(address) == "10.0.0.100" else None


def server(clock: Clock | None = None, **settings: object) -> DnsServer:
    dns = Dns(hosts=HOSTS, domain="Lab.example", **settings)
    return DnsServer(dns, Names(dns, "", NETWORKS, (Table(),)), clock or Clock())


def query(name: str, kind: str | int = "A", number: int = 77, **fields: object) -> bytes:
    return bytes(DNS(id=number, rd=1, qd=DNSQR(qname=name, qtype=kind), **fields))


async def ask(dns: DnsServer, payload: bytes, client: str = "tap1") -> DNS:
    answered = asyncio.get_running_loop().create_future()
    dns.handle_query(payload, client, answered.set_result)
    return DNS(await asyncio.wait_for(answered, LIMIT_S))


def data(answer: DNS) -> list[str]:
    found = [record.rdata for record in answer.an or ()]
    return [value.decode() if isinstance(value, bytes) else value for value in found]


REVERSE = ".".join("fd000005000000000000000000000009"[::-1]) + ".ip6.arpa"

OWN = [
    ("a lease", "web.lab.example", "A", OK, ["10.0.0.100"]),
    ("a lease by its bare name", "WEB", "A", OK, ["10.0.0.100"]),
    ("mixed case", "wEb.LAB.exAMple", "A", OK, ["10.0.0.100"]),
    ("a name that has no such record", "web.lab.example", "AAAA", OK, []),
    ("another type", "web", "MX", OK, []),
    ("a host, IPv4", "printer.lab.example", "A", OK, ["10.0.0.9"]),
    ("a host, IPv6", "printer.lab.example", "AAAA", OK, ["fd00:5::9"]),
    ("a host, all", "printer", "ALL", OK, ["10.0.0.9", "fd00:5::9"]),
    ("unknown in the domain", "nobody.lab.example", "A", NXDOMAIN, []),
    ("below a host", "www.web.lab.example", "A", NXDOMAIN, []),
    ("the domain itself", "lab.example", "A", OK, []),
    ("unknown bare name", "nobody", "AAAA", NXDOMAIN, []),
    ("a lease by address", "100.0.0.10.in-addr.arpa", "PTR", OK, ["web.lab.example."]),
    ("a host by address", "9.0.0.10.in-addr.arpa", "PTR", OK, ["printer.lab.example."]),
    ("a host by IPv6 address", REVERSE, "PTR", OK, ["printer.lab.example."]),
    ("unknown address of the network", "8.0.0.10.in-addr.arpa", "PTR", NXDOMAIN, []),
    ("another's address, nobody to ask", "8.8.8.8.in-addr.arpa", "PTR", REFUSED, []),
    ("another's name, nobody to ask", "www.example.org", "A", REFUSED, []),
]


@pytest.mark.parametrize("name, kind, code, found", [row[1:] for row in OWN], ids=[row[0] for row in OWN])
async def test_what_the_network_knows(name, kind, code, found):
    answer = await ask(server(), query(name, kind))
    assert (answer.id, answer.qr, answer.rcode, data(answer)) == (77, 1, code, found)
    assert answer.rd == 1
    if code != REFUSED:
        assert answer.qd[0].qname.decode() == name + "."  # spelt as it was asked


BAD = [
    ("nothing", b"", None),
    ("half a header", query("web")[:11], None),
    ("a reply", query("web", qr=1), None),
    ("too long", query("web") + bytes(5000), None),
    ("no question", bytes(DNS(id=1, qd=[])), FORMERR),
    ("two questions", bytes(DNS(id=1, qd=[DNSQR(qname="a"), DNSQR(qname="b")])), FORMERR),
    ("an update", query("web", opcode=5), NOTIMP),
    ("a label beyond the end", query("web")[:-7], FORMERR),
    ("no type", query("web")[:-2], FORMERR),
    ("a pointer to itself", query("web")[:12] + b"\xc0\x0c\0\1\0\1", FORMERR),
    ("a name too long", query("web")[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", FORMERR),
]


@pytest.mark.parametrize("payload, code", [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_malformed(payload, code):
    dns, replies = server(), []
    dns.handle_query(payload, "tap1", replies.append)
    assert [DNS(reply).rcode for reply in replies] == ([] if code is None else [code])
    assert sum(dns.ignored.values()) == 1


def test_a_label_with_a_dot_is_not_two():
    replies = []
    server().handle_query(query("web")[:12] + b"\x0fweb.lab.example\0\0\1\0\1", "tap1", replies.append)
    assert (DNS(replies[0]).rcode, DNS(replies[0]).ancount) == (REFUSED, 0)


def test_haste():
    clock = Clock()
    dns, replies = server(clock), []
    for _ in range(1200):
        dns.handle_query(query("web"), "tap1", replies.append)
    assert len(replies) == 1000 and dns.ignored == {"too fast": 200}
    dns.handle_query(query("web"), "tap2", replies.append)
    assert len(replies) == 1001


# Asking others


class Upstream(asyncio.DatagramProtocol):
    """A server that answers as it is told to."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked: list[DNS] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, payload: bytes, client) -> None:
        self.asked.append(DNS(payload))
        for reply in self.answer(DNS(payload)):
            self.transport.sendto(bytes(reply), client)


def address(asked: DNS, **fields: object) -> DNS:
    return DNS(**{"id": asked.id, "qr": 1, "ra": 1, "qd": asked.qd,
                  "an": DNSRR(rrname=asked.qd[0].qname, rdata="192.0.2.7"), **fields})


@asynccontextmanager
async def upstreams(*answers, **settings):
    """A DNS server that relays to 127.0.0.1, .2, ... which answer so."""
    loop = asyncio.get_running_loop()
    protocols, port = [], 0
    for index, answer in enumerate(answers, 1):
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: Upstream(answer), local_addr=(f"127.0.0.{index}", port))
        port = transport.get_extra_info("sockname")[1]
        protocols.append(protocol)
    servers = tuple(f"127.0.0.{index}" for index in range(1, len(answers) + 1))
    dns = server(servers=servers, port=port, **settings)
    try:
        yield dns, *protocols
    finally:
        await dns.close()
        for protocol in protocols:
            protocol.transport.close()


async def test_relayed():
    async with upstreams(lambda asked: [address(asked, tc=1)]) as (dns, upstream):
        payload = query("www.example.org", ar=DNSRROPT(rclass=1232))
        answer = await ask(dns, payload)
        assert (answer.id, answer.tc, data(answer)) == (77, 1, ["192.0.2.7"])
        (asked,) = upstream.asked
        assert bytes(asked)[2:] == payload[2:]  # as it came, but for the id
        await ask(dns, payload)
        assert len({asked.id for asked in upstream.asked} | {77}) > 1
        assert (dns.answered, dns.relayed) == (0, 2)


async def test_forged_answers_are_noise():
    def answer(asked):
        yield address(asked, id=asked.id ^ 1, an=DNSRR(rrname="x", rdata="6.6.6.6"))
        yield address(asked, qd=DNSQR(qname="other.example"), an=DNSRR(rrname="x", rdata="6.6.6.6"))
        yield address(asked, qr=0)
        yield b"short"
        yield address(asked)

    async with upstreams(answer) as (dns, _):
        assert data(await ask(dns, query("www.example.org"))) == ["192.0.2.7"]


async def test_the_next_server():
    silent, failing = (lambda asked: []), (lambda asked: [address(asked, rcode=SERVFAIL, an=[])])
    async with upstreams(silent, failing, lambda asked: [address(asked)]) as (dns, *_):
        dns.relay = Relay(dns.relay.servers, dns.relay._port, 8, timeout_s=0.05)
        assert data(await ask(dns, query("www.example.org"))) == ["192.0.2.7"]
        assert dns.relay.failures == {"127.0.0.1": 1}


async def test_nobody_answers():
    async with upstreams(lambda asked: [address(asked, rcode=REFUSED, qd=[], an=[])]) as (dns, _):
        assert (await ask(dns, query("www.example.org"))).rcode == REFUSED
    dns = server(servers=("127.0.0.1",), port=1)  # nobody there: the kernel says so at once
    assert (await ask(dns, query("www.example.org"))).rcode == SERVFAIL


async def test_outstanding_queries_are_bounded():
    async with upstreams(lambda asked: [], per_client=4) as (dns, upstream):
        for _ in range(10):
            dns.handle_query(query("www.example.org"), "tap1", lambda reply: None)
        dns.handle_query(query("www.example.org"), "tap2", lambda reply: None)
        assert (dns.relayed, dns.ignored) == (5, {"too many outstanding": 6})
    assert not dns.relay._asking and not dns.relay._of_client


# Frames


@pytest.mark.parametrize("ip", [IP(src="10.0.0.5", dst="10.0.0.1"), IPv6(src="fd00:5::5", dst="fd00:5::1")])
def test_frames(ip):
    frames = []
    frame = Ether(src=mac(5), dst=GATEWAY_MAC) / ip / UDP(sport=5353, dport=53) / query("web")
    server().handle(bytes(frame), "tap1", frames.append)
    answer = Ether(frames[0])
    assert (answer.src, answer.dst, answer[1].src, answer[1].dst) == (GATEWAY_MAC, mac(5), ip.dst, ip.src)
    assert (answer[UDP].sport, answer[UDP].dport, data(DNS(bytes(answer[UDP].payload)))) == (53, 5353, ["10.0.0.100"])


async def test_an_answer_that_fits_no_frame_is_cut():
    async with upstreams(lambda asked: [bytes(address(asked)) + bytes(1500)]) as (dns, _):
        sent = asyncio.get_running_loop().create_future()
        frame = Ether(src=mac(5), dst=GATEWAY_MAC) / IP(src="10.0.0.5", dst="10.0.0.1") / UDP(dport=53)
        dns.handle(bytes(frame / query("www.example.org")), "tap1", sent.set_result)
        answer = DNS(bytes(Ether(await asyncio.wait_for(sent, LIMIT_S))[UDP].payload))
        assert (answer.tc, answer.ancount, answer.qd[0].qname) == (1, 0, b"www.example.org.")


@pytest.mark.parametrize("frame, reason", [
    (Ether(dst="ff:ff:ff:ff:ff:ff") / IP() / UDP(dport=53), "not for the server"),
    (Ether(dst=GATEWAY_MAC) / IP() / UDP(dport=54), "not for the server"),
    (Ether(dst=GATEWAY_MAC, src=mac(1)) / IP(src="224.0.0.1") / UDP(dport=53), "source"),
    (Ether(dst=GATEWAY_MAC, src=mac(1)) / IP(src="0.0.0.0") / UDP(dport=53), "source"),
    (Ether(dst=GATEWAY_MAC, src="01:00:00:00:00:00") / IP() / UDP(dport=53), "source"),
])
def test_frames_ignored(frame, reason):
    dns = server()
    dns.handle(bytes(frame / query("web")), "tap1", pytest.fail)
    assert dns.ignored == {reason: 1}
