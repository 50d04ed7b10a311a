"""Whatever a frame holds, the services of a network answer, or count why not; and any clients' doings keep the books.

Random bytes come raw, and as the payload of frames that are right so far, so that every layer meets some. The lease
table is held against its invariants after any messages from any clients behind any ports.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dhcp_client import EVERYBODY, GATEWAY, GATEWAY_MAC, Client, Clock, mac, server
from vswitch.l3.dhcp.message import Message, build, parse
from vswitch.l3.dns.names import Names
from vswitch.l3.dns.server import DnsServer
from vswitch.l3.ra import Router, RouterAdvertiser
from vswitch.l3.settings import Dhcp, Dns, Ra, Reservation
from vswitch.l3.wire import Datagram, Icmp6, Malformed, build_icmp6, build_udp, mac_bytes, parse_icmp6, parse_udp

SRC, DST = mac_bytes(mac(1)), mac_bytes(GATEWAY_MAC)
COOKIE = b"\x63\x82\x53\x63"
FIXED = bytes((1, 1, 6, 0)) + bytes(24) + SRC + bytes(10 + 192) + COOKIE


def dhcp_frame(payload: bytes) -> bytes:
    return build_udp(Datagram(SRC, b"\xff" * 6, IPv4Address(0), IPv4Address(EVERYBODY), 68, 67, payload))


def dns_frame(payload: bytes) -> bytes:
    return build_udp(Datagram(SRC, DST, IPv4Address("10.0.0.5"), IPv4Address(GATEWAY), 5353, 53, payload))


def icmp_frame(body: bytes) -> bytes:
    return build_icmp6(Icmp6(SRC, DST, IPv6Address("fe80::5"), IPv6Address("ff02::2"), 255, 133, 0, body))


def mutated(frame: bytes, at: int, value: int, cut: int) -> bytes:
    changed = bytearray(frame)
    changed[at % len(changed)] = value
    return bytes(changed[: len(changed) - cut % 32])


rubbish = st.binary(max_size=120)
kinds = st.builds(lambda kind, rest: FIXED + bytes((53, 1, kind)) + rest, st.integers(0, 9), rubbish)
options = st.builds(lambda rest: FIXED + rest, rubbish)
queries = st.builds(lambda rest: b"\0\1\1\0\0\1" + bytes(6) + rest, rubbish)
sound = st.one_of(
    st.builds(dhcp_frame, st.one_of(kinds, options, rubbish)),
    st.builds(dns_frame, st.one_of(queries, rubbish)),
    st.builds(icmp_frame, rubbish),
)
bytes_ = st.integers(0, 255)
frames = st.one_of(rubbish, sound, st.builds(mutated, sound, st.integers(0, 400), bytes_, bytes_))


@settings(max_examples=400, deadline=None)
@given(st.lists(frames, min_size=1, max_size=5), st.booleans())
def test_no_frame_is_too_strange(sent, checked):
    async def run() -> None:
        dhcp, dns = server(), DnsServer(Dns(), Names(Dns(), "lab.example"))
        router = RouterAdvertiser(Ra(), Router(GATEWAY_MAC, IPv6Address("fe80::1"), ()), Clock())
        replies: list[bytes] = []
        for frame in sent:
            replies += await dhcp.handle(frame, "tap1", checked)
            dns.handle(frame, "tap1", replies.append, checked=checked)
            router.handle(frame, checked)
        replies += router.due()
        for reply in replies:
            read(reply)

    asyncio.run(run())


def read(frame: bytes) -> None:
    """A reply is sound in every layer."""
    if frame[12:14] == b"\x86\xdd":
        parse_icmp6(frame)
        return
    datagram = parse_udp(frame)
    if datagram.sport == 67:
        assert parse(datagram.payload).op == 2
    assert len(frame) <= 14 + 1500


@given(st.dictionaries(st.integers(1, 254).filter(lambda code: code != 52), st.binary(max_size=600), max_size=5))
@settings(max_examples=100, deadline=None)
def test_options_come_back(options):
    message = Message(1, 7, SRC, options=options)
    assert parse(build(message, 100_000)) == message
    assert len(build(message, 576)) <= 576 - 28


@given(rubbish)
@settings(max_examples=200, deadline=None)
def test_parsers_raise_nothing_else(payload):
    for parser in (parse, parse_udp, parse_icmp6, lambda area: parse(FIXED + area)):
        try:
            parser(payload)
        except Malformed:
            pass


# Any clients, any messages

POOL = [f"10.0.0.{host}" for host in range(100, 106)]
addresses = st.sampled_from([*POOL, "10.0.0.50", "10.0.0.7", "192.168.0.1"])
steps = st.one_of(
    st.tuples(st.sampled_from(["discover", "take", "reboot", "renew", "release", "decline", "inform"]),
              st.integers(1, 5), st.sampled_from(["a", "b"]), st.sampled_from([None, b"\xff1", b"\xff2"]), addresses),
    st.tuples(st.just("wait"), st.sampled_from([1, 61, 601, 3601])),
)
FIELDS = {
    "discover": ("discover", lambda address: {"requested_addr": address}),
    "take": ("request", lambda address: {"requested_addr": address, "server_id": GATEWAY}),
    "reboot": ("request", lambda address: {"requested_addr": address}),
    "renew": ("request", lambda address: {"ciaddr": address}),
    "release": ("release", lambda address: {"ciaddr": address, "server_id": GATEWAY}),
    "decline": ("decline", lambda address: {"requested_addr": address, "server_id": GATEWAY}),
    "inform": ("inform", lambda address: {"ciaddr": address}),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=25))
def test_the_books_of_leases(steps):
    clock = Clock()
    entry = Reservation(mac=mac(5), address="10.0.0.50", name="reserved")
    table = Dhcp(range=(POOL[0], POOL[-1]), per_port=2, reservations=(entry,))
    dhcp = server(clock=clock, **{key: getattr(table, key) for key in ("range", "per_port", "reservations")})
    given_out: dict[str, tuple[str, bytes | None]] = {}

    async def run() -> None:
        for step in steps:
            if step[0] == "wait":
                clock.now += step[1]
            else:
                word, number, port, called, address = step
                kind, fields = FIELDS[word]
                client = Client(dhcp, number, port, **({"client_id": called} if called else {}), hostname=f"h{number}")
                answer = await client.send(kind, **fields(address))
                if answer and answer.kind == "ack" and word != "inform":
                    given_out[answer.address] = (mac(number), called)
            check(dhcp, given_out)

    asyncio.run(run())


def check(dhcp, given_out) -> None:
    reports = dhcp.reports()
    assert len({report.address for report in reports}) == len(reports)
    held = [report for report in reports if report.state in ("offered", "bound")]
    for port, count in Counter(report.port for report in held if report.address != "10.0.0.50").items():
        assert count <= 2, port
    for report in held:
        assert (report.mac == mac(5)) == (report.address == "10.0.0.50")
        if report.state == "bound":
            assert given_out[report.address][0] == report.mac
    leases = dhcp.leases
    busy = {report.address for report in reports if report.state != "expired"}
    assert {str(address) for address in leases._free} == set(POOL) - busy
    counted = Counter(report.port for report in held)
    assert +leases._held == counted
    names = [report.name for report in held if report.name and report.state == "bound"]
    assert len(names) == len(set(names)) and all(leases.address_of(name) for name in names)
