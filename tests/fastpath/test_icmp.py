"""What the router says about packets: echoes, ICMP errors, resets; and what forwarding changes. scapy judges every
answer.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Packet, Raw

from tests.gso_model import ones_sum

probe = pytest.importorskip("vswitch._fastpath._probe_router", reason="built without test doors (VSWITCH_PROBE=1)")
from vswitch._fastpath.l3.limit import IcmpLimiter  # noqa: E402

V4, V6 = IP(src="10.0.0.2", dst="10.9.0.1", ttl=9), IPv6(src="fd00::2", dst="fd00:9::1", hlim=9)
GATEWAY4, GATEWAY6 = "10.0.0.1", "fd00::1"
DATA = Raw(bytes(range(200)))


def again(raw: bytes) -> Packet:
    """The packet as scapy reads it, having made sure that every checksum is the one that scapy computes."""
    packet = (IP if raw[0] >> 4 == 4 else IPv6)(raw)
    fresh = packet.copy()
    layer = fresh
    while layer:
        for name in ("chksum", "cksum"):
            if name in layer.fields and not isinstance(layer.underlayer, ICMP):
                del layer.fields[name]
        layer = layer.payload if not isinstance(layer, ICMP | TCP) and "ICMPv6" not in type(layer).__name__ else None
    assert bytes(fresh) == raw
    return packet


@pytest.mark.parametrize("size", [0, 1, 56, 57, 1400])
@pytest.mark.parametrize("source", ["10.9.0.1", GATEWAY4])
def test_an_echo_comes_back(size: int, source: str) -> None:
    data = Raw(b"\xa5" * size)
    request = V4 / ICMP(type=8, id=7, seq=3) / data
    expected = IP(src=source, dst="10.0.0.2", ttl=64) / ICMP(type=0, id=7, seq=3) / data
    assert probe.turn(bytes(request), source) == bytes(expected)


@pytest.mark.parametrize("size", [0, 1, 56, 57])
@pytest.mark.parametrize("source", ["fd00:9::1", GATEWAY6])
def test_an_ipv6_echo_comes_back(size: int, source: str) -> None:
    request = V6 / ICMPv6EchoRequest(id=7, seq=3, data=DATA.load[:size])
    expected = IPv6(src=source, dst="fd00::2", hlim=64) / ICMPv6EchoReply(id=7, seq=3, data=DATA.load[:size])
    assert probe.turn(bytes(request), source) == bytes(expected)


def test_a_partial_checksum_stays_partial() -> None:
    request = V6 / ICMPv6EchoRequest(id=7, seq=3, data=b"abc", cksum=0)
    raw = bytearray(bytes(request))
    raw[42:44] = ones_sum(bytes(raw[8:40]) + (11).to_bytes(4, "big") + (58).to_bytes(4, "big")).to_bytes(2, "big")
    reply = bytearray(probe.turn(bytes(raw), GATEWAY6, True))
    reply[42:44] = (ones_sum(bytes(reply[40:])) ^ 0xFFFF).to_bytes(2, "big")
    assert bytes(reply) == bytes(IPv6(src=GATEWAY6, dst="fd00::2", hlim=64) / ICMPv6EchoReply(id=7, seq=3, data=b"abc"))
    request4 = bytes(V4 / ICMP(type=8, chksum=0) / b"abc")
    assert probe.turn(request4, GATEWAY4, True)[20:24] == bytes(4)


def test_options_stay_behind() -> None:
    request = V4.copy() / ICMP(type=8)
    request.options = [IPOption_Router_Alert()]
    reply = probe.turn(bytes(request), GATEWAY4)
    assert reply[0] == 0x45 and len(reply) == len(bytes(request)) - 4
    assert ones_sum(reply[:20]) == ones_sum(reply[20:]) == 0xFFFF


@pytest.mark.parametrize(
    "packet",
    [
        V4 / ICMP(type=8, chksum=1) / DATA,
        V6 / ICMPv6EchoRequest(cksum=1),
        V4 / ICMP(type=0) / DATA,
        V6 / ICMPv6EchoReply(),
        V4 / UDP(),
        IP(src="10.0.0.2", dst="10.9.0.1", flags="MF") / ICMP(type=8) / DATA,
        IP(src="10.0.0.2", dst="10.9.0.1", frag=1) / ICMP(type=8) / DATA,
        IP(src="10.0.0.2", dst="10.9.0.1", proto=1) / Raw(b"\x08\0\xf7\xff"),
    ],
    ids=["checksum", "IPv6 checksum", "a reply", "an IPv6 reply", "UDP", "first fragment", "later one", "cut short"],
)
def test_no_echo(packet: Packet) -> None:
    assert probe.turn(bytes(packet), GATEWAY4 if IP in packet else GATEWAY6) is None


@pytest.mark.parametrize(
    ("kind", "code", "info"),
    [(11, 0, 0), (3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0), (3, 13, 0), (3, 4, 1400), (12, 0, 20 << 24)],
)
@pytest.mark.parametrize("size", [0, 33, 2000])
def test_an_error(kind: int, code: int, info: int, size: int) -> None:
    packet = IP(src="10.0.0.2", dst="10.9.0.1", tos=0xB8, id=77) / UDP(dport=53) / Raw(bytes(size))
    raw = probe.error(bytes(packet), kind, code, info, GATEWAY4)
    error = again(raw)
    assert (error.src, error.dst, error.ttl, error.tos, error.id) == (GATEWAY4, "10.0.0.2", 64, 0xC0 | 0x18, 77)
    assert (error[ICMP].type, error[ICMP].code, int.from_bytes(raw[24:28], "big")) == (kind, code, info)
    assert raw[28:] == bytes(packet)[: 576 - 28]
    assert len(raw) == min(576, 28 + len(packet))


@pytest.mark.parametrize(
    ("layer", "kind", "code", "info"),
    [
        (ICMPv6TimeExceeded(), 3, 0, 0),
        (ICMPv6DestUnreach(code=0), 1, 0, 0),
        (ICMPv6DestUnreach(code=1), 1, 1, 0),
        (ICMPv6DestUnreach(code=3), 1, 3, 0),
        (ICMPv6DestUnreach(code=4), 1, 4, 0),
        (ICMPv6PacketTooBig(mtu=1400), 2, 0, 1400),
        (ICMPv6ParamProblem(code=1, ptr=6), 4, 1, 6),
    ],
)
@pytest.mark.parametrize("size", [0, 33, 2000])
def test_an_ipv6_error(layer: Packet, kind: int, code: int, info: int, size: int) -> None:
    packet = bytes(V6 / UDP(dport=53) / Raw(bytes(size)))
    expected = IPv6(src=GATEWAY6, dst="fd00::2", hlim=64) / layer / Raw(packet[: 1280 - 48])
    assert probe.error(packet, kind, code, info, GATEWAY6) == bytes(expected)


@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.0.0.2", dst="10.9.0.1", frag=5) / DATA,
        *(V4 / ICMP(type=kind) / Raw(bytes(V4)) for kind in (3, 4, 5, 11, 12, 40)),
        IP(src="10.0.0.2", dst="10.9.0.1", proto=1),
        V6 / ICMPv6DestUnreach() / Raw(bytes(V6)),
        IP(src="0.0.0.0", dst="10.9.0.1") / UDP(),
        IP(src="0.1.2.3", dst="10.9.0.1") / UDP(),
        IP(src="224.0.0.1", dst="10.9.0.1") / UDP(),
        IP(src="127.0.0.1", dst="10.9.0.1") / UDP(),
        IP(src="255.255.255.255", dst="10.9.0.1") / UDP(),
        IP(src="10.0.0.255", dst="10.9.0.1") / UDP(),
        IP(src="10.0.0.2", dst="224.0.0.5") / UDP(),
        IP(src="10.0.0.2", dst="255.255.255.255") / UDP(),
        IP(src="10.0.0.2", dst="10.0.0.255") / UDP(),
        IPv6(src="::", dst="fd00::1") / UDP(),
        IPv6(src="ff02::1", dst="fd00::1") / UDP(),
        IPv6(src="fd00::2", dst="ff02::1") / UDP(),
    ],
    ids=lambda packet: packet.summary(),
)
def test_no_error_about_it(packet: Packet) -> None:
    device = probe.ProbeDevice(1, "02:00:00:00:00:01", "10.0.0.1/24", "fd00::1/64")
    assert probe.error(bytes(packet), 3, 1, 0, GATEWAY4 if IP in packet else GATEWAY6, device) is None


def test_errors_there_are_all_the_same() -> None:
    assert probe.error(bytes(V4 / ICMP(type=8)), 3, 1, 0, GATEWAY4)
    assert probe.error(bytes(V6 / ICMPv6EchoRequest()), 1, 3, 0, GATEWAY6)
    assert probe.error(bytes(IP(src="10.0.0.2", dst="10.9.0.1", flags="MF") / DATA), 11, 0, 0, GATEWAY4)
    to_all = bytes(IPv6(src="fd00::2", dst="ff02::1") / UDP())
    assert probe.error(to_all, 2, 0, 1280, GATEWAY6) and probe.error(to_all, 4, 2, 40, GATEWAY6)
    assert probe.error(to_all, 4, 1, 40, GATEWAY6) is None


@pytest.mark.parametrize("ip", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("flags", "payload", "seq", "ack", "answer"),
    [
        ("S", b"", 0, 0x12345679, "RA"),
        ("SA", b"", 0x9ABCDEF0, 0, "R"),
        ("A", b"data", 0x9ABCDEF0, 0, "R"),
        ("F", b"abc", 0, 0x12345678 + 4, "RA"),
        ("P", b"abc", 0, 0x12345678 + 3, "RA"),
    ],
)
def test_a_reset(ip: Packet, flags: str, payload: bytes, seq: int, ack: int, answer: str) -> None:
    tcp = TCP(sport=40000, dport=22, seq=0x12345678, ack=0x9ABCDEF0, flags=flags, options=[("MSS", 1460)])
    back = IP(src=ip.dst, dst=ip.src, id=0, flags="DF") if IP in ip else IPv6(src=ip.dst, dst=ip.src)
    expected = bytes(back / TCP(sport=22, dport=40000, seq=seq, ack=ack, flags=answer, window=0))
    assert probe.reset(bytes(ip / tcp / Raw(payload))) == expected


@pytest.mark.parametrize(
    "packet",
    [
        V4 / TCP(flags="R"),
        V6 / TCP(flags="RA"),
        V4 / TCP(flags="S", chksum=1),
        V4 / UDP(),
        IP(src="10.0.0.2", dst="10.9.0.1", flags="MF") / TCP(flags="S"),
        IP(src="10.0.0.2", dst="10.9.0.1", proto=6) / Raw(bytes(19)),
    ],
    ids=["a reset", "an IPv6 reset", "checksum", "UDP", "fragment", "cut short"],
)
def test_no_reset(packet: Packet) -> None:
    assert probe.reset(bytes(packet)) is None


@pytest.mark.parametrize("ttl", [2, 64, 255])
@pytest.mark.parametrize("ident", [0, 0xFFFF, 0x1234])
def test_forwarding_takes_one_hop(ttl: int, ident: int) -> None:
    packet = IP(src="10.0.0.2", dst="10.9.0.1", ttl=ttl, id=ident) / UDP() / DATA
    packet6 = IPv6(src="fd00::2", dst="fd00:9::1", hlim=ttl) / UDP()
    after = probe.decrement(bytes(packet))
    assert (after[8], ones_sum(after[:20])) == (ttl - 1, 0xFFFF)
    assert after[20:] == bytes(packet)[20:]
    packet6.hlim = ttl - 1
    assert probe.decrement(bytes(IPv6(src="fd00::2", dst="fd00:9::1", hlim=ttl) / UDP())) == bytes(packet6)


def test_macs_are_rewritten_and_nothing_else() -> None:
    frame = probe.macs(bytes(range(14)), "02:00:00:00:00:01", "02:00:00:00:00:02")
    assert frame.hex(" ", 6) == "0200 000000010200 000000020c0d"


def test_one_host_gets_six_at_once_and_then_one_a_second() -> None:
    limiter = IcmpLimiter()
    assert [probe.allowed(limiter, 1, "10.0.0.2", 10**10) for _ in range(8)] == [True] * 6 + [False] * 2
    later = [probe.allowed(limiter, 1, "10.0.0.2", 10**10 + n * 10**8) for n in (9, 10, 11, 19, 20)]
    assert later == [False, True, False, False, True]
    assert limiter.counters() == (8, 5)


def test_a_device_sends_its_burst_and_then_one_a_millisecond() -> None:
    limiter = IcmpLimiter()
    hosts = [f"10.{n >> 8}.{n & 255}.1" for n in range(400)]
    assert sum(probe.allowed(limiter, 1, host, 10**10) for host in hosts[:200]) == 50
    assert probe.allowed(limiter, 2, hosts[-1], 10**10)
    assert sum(probe.allowed(limiter, 1, host, 10**10 + 10**7) for host in hosts[200:390]) == 10
    with pytest.raises(ValueError, match="at least 1"):
        limiter.set_limits(messages_per_s=0)


SEEDS = [
    V4 / ICMP(type=8) / DATA,
    V6 / ICMPv6EchoRequest(data=b"x" * 40),
    V4 / TCP(flags="S"),
    V6 / TCP(flags="A") / DATA,
]


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from([bytes(seed) for seed in SEEDS]), data=st.data())
def test_a_damaged_packet_is_never_read_beyond_its_end(seed: bytes, data: st.DataObject) -> None:
    packet = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packet[: data.draw(st.integers(1, len(packet)))])
    source = GATEWAY4 if cut[0] >> 4 == 4 else GATEWAY6
    partial = data.draw(st.booleans())
    replies = (probe.turn(cut, source, partial), probe.error(cut, 3, 1, 0, source), probe.reset(cut, partial))
    assert all(reply is None or reply[0] >> 4 == cut[0] >> 4 for reply in replies)
