"""ARP and neighbour discovery at a gateway: a frame in, what it was, the answer out; scapy judges every answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

probe = pytest.importorskip("vswitch._fastpath._probe_router", reason="built without test doors (VSWITCH_PROBE=1)")
from vswitch._fastpath.l3.neighbour import NeighbourTable  # noqa: E402

OWN, PEER, OTHER = "02:00:00:00:00:fe", "52:54:00:00:00:01", "52:54:00:00:00:02"
ALL = "ff:ff:ff:ff:ff:ff"
LINK_LOCAL = "fe80::ff:fe00:fe"
NO_MAC = "00:00:00:00:00:00"


def gateway() -> probe.ProbeDevice:
    """A device with an address of each family, and two networks of IPv4."""
    return probe.ProbeDevice(7, OWN, "10.0.0.1/24", "fd00::1/64", "192.0.2.1/28")


def arp(dst: str = ALL, **fields: object) -> bytes:
    """An ARP frame of the peer's, by default a request for the gateway."""
    fields = {"op": 1, "hwsrc": PEER, "psrc": "10.0.0.2", "hwdst": NO_MAC, "pdst": "10.0.0.1"} | fields
    return bytes(Ether(dst=dst, src=PEER) / ARP(**fields))


def patched(frame: bytes, at: int, value: bytes) -> bytes:
    """The frame with other bytes at a place."""
    return frame[:at] + value + frame[at + len(value) :]


def neighbours(table: NeighbourTable) -> list[tuple]:
    """Address, MAC and state of all."""
    return [(row.address, row.mac, row.state) for row in table.rows(100)]


@pytest.mark.parametrize("sender", ["10.0.0.2", "0.0.0.0"], ids=["request", "probe (RFC 5227)"])
def test_a_request_for_the_gateway_is_answered(sender: str) -> None:
    table = NeighbourTable(limit=64)
    heard, answer, _ = probe.hear_arp(gateway(), table, arp(psrc=sender))
    assert heard == probe.ANSWERED
    assert len(answer) == 60
    assert answer == bytes(
        Ether(dst=PEER, src=OWN) / ARP(op=2, hwsrc=OWN, psrc="10.0.0.1", hwdst=PEER, pdst=sender) / Raw(bytes(18))
    )
    assert neighbours(table) == ([] if sender == "0.0.0.0" else [("10.0.0.2", PEER, "stale")])


@pytest.mark.parametrize(
    ("frame", "heard", "known"),
    [
        pytest.param(arp(pdst="10.0.0.3"), probe.OTHER, [], id="for another"),
        pytest.param(arp(psrc="172.16.0.1"), probe.ANSWERED, [], id="of a stranger to the networks"),
        pytest.param(arp(psrc="192.0.2.15"), probe.ANSWERED, [], id="of a broadcast address"),
        pytest.param(arp(psrc="192.0.2.2"), probe.ANSWERED, [("192.0.2.2", PEER, "stale")], id="across networks"),
        pytest.param(arp(psrc="10.0.0.1"), probe.SPOOFED, [], id="claims the gateway's address"),
        pytest.param(arp(psrc="10.0.0.1", op=2), probe.SPOOFED, [], id="claims it in an answer"),
        pytest.param(arp(psrc="10.0.0.1", hwsrc=OWN), probe.OTHER, [], id="our own, come round"),
        pytest.param(arp(dst=OWN, op=2, hwdst=OWN), probe.LEARNED, [], id="an answer nobody asked for"),
        pytest.param(
            arp(dst=OWN, op=2, hwdst=OWN, pdst="0.0.0.0"),
            probe.LEARNED,
            [("10.0.0.2", PEER, "stale")],
            id="the answer to a probe",
        ),
        pytest.param(arp(op=2, pdst="10.0.0.2"), probe.OTHER, [], id="gratuitous, of an unknown one"),
        pytest.param(arp(dst=OWN, pdst="10.0.0.9"), probe.LEARNED, [], id="asks us for another: no proxy"),
        pytest.param(arp()[:41], probe.MALFORMED, [], id="cut short"),
        pytest.param(arp(hwsrc=NO_MAC), probe.MALFORMED, [], id="sender's MAC zero"),
        pytest.param(arp(hwsrc="01:00:5e:00:00:01"), probe.MALFORMED, [], id="sender's MAC a group"),
        pytest.param(arp(psrc="224.0.0.1"), probe.MALFORMED, [], id="sender multicast"),
        pytest.param(arp(pdst="127.0.0.1"), probe.MALFORMED, [], id="target loopback"),
        pytest.param(patched(arp(), 14, b"\0\x07"), probe.MALFORMED, [], id="hardware type"),
        pytest.param(patched(arp(), 14, b"\0\x06"), probe.ANSWERED, [("10.0.0.2", PEER, "stale")], id="IEEE 802"),
        pytest.param(patched(arp(), 16, b"\x86\xdd"), probe.MALFORMED, [], id="protocol type"),
        pytest.param(patched(arp(), 18, b"\x08"), probe.MALFORMED, [], id="hardware length"),
        pytest.param(patched(arp(), 19, b"\x10"), probe.MALFORMED, [], id="protocol length"),
        pytest.param(patched(arp(), 20, b"\0\x03"), probe.MALFORMED, [], id="RARP"),
    ],
)
def test_arp(frame: bytes, heard: int, known: list) -> None:
    table = NeighbourTable(limit=64)
    assert probe.hear_arp(gateway(), table, frame)[0] == heard
    assert neighbours(table) == known
    counters = table.counters()
    assert (counters.spoofed, counters.malformed) == (heard == probe.SPOOFED, heard == probe.MALFORMED)


def test_the_answer_releases_what_waited_for_it() -> None:
    table = NeighbourTable(limit=64)
    assert probe.wait(table, 7, "10.0.0.2", b"frame", 3, 99) == probe.SOLICIT | probe.QUEUED
    _, _, released = probe.hear_arp(gateway(), table, arp(dst=OWN, op=2, hwdst=OWN))
    assert released == [(b"frame", 3, 7)]
    assert neighbours(table) == [("10.0.0.2", PEER, "reachable")]


def test_a_gratuitous_arp_moves_a_known_neighbour_at_once() -> None:
    table = NeighbourTable(limit=64)
    probe.hear_arp(gateway(), table, arp())
    probe.hear_arp(gateway(), table, arp(hwsrc=OTHER, op=2, pdst="10.0.0.99"))  # a second answer within a second
    assert neighbours(table) == [("10.0.0.2", PEER, "stale")]
    probe.hear_arp(gateway(), table, arp(hwsrc=OTHER, pdst="10.0.0.2"))
    assert neighbours(table) == [("10.0.0.2", OTHER, "stale")]


@pytest.mark.parametrize("mac", [None, PEER])
def test_a_request_of_our_own(mac: str | None) -> None:
    asked = ARP(op=1, hwsrc=OWN, psrc="10.0.0.1", hwdst=NO_MAC, pdst="10.0.0.2")
    expected = bytes(Ether(dst=mac or ALL, src=OWN) / asked / Raw(bytes(18)))
    assert probe.ask(gateway(), "10.0.0.1", "10.0.0.2", mac) == expected


def solicit(target: str = "fd00::1", dst: str = "ff02::1:ff00:1", src: str = "fd00::2", hlim: int = 255,
            option: Packet | None = ICMPv6NDOptSrcLLAddr(lladdr=PEER), **fields: int) -> bytes:
    """A neighbour solicitation of the peer's, by default for the gateway."""
    ip = IPv6(src=src, dst=dst, hlim=hlim)
    packet = Ether(dst="33:33:ff:00:00:01", src=PEER) / ip / ICMPv6ND_NS(tgt=target, **fields)
    return bytes(packet / option if option else packet)


def option(mac: str = PEER, length: int = 1) -> Packet:
    """A source link-layer address, of a length that may lie."""
    return ICMPv6NDOptSrcLLAddr(lladdr=mac, len=length)


def advert(target: str = "fd00::2", dst: str = "fd00::1", s: int = 1, o: int = 1, mac: str | None = PEER) -> bytes:
    """A neighbour advertisement of the peer's."""
    packet = Ether(dst=OWN, src=PEER) / IPv6(src="fd00::2", dst=dst, hlim=255) / ICMPv6ND_NA(tgt=target, R=0, S=s, O=o)
    return bytes(packet / ICMPv6NDOptDstLLAddr(lladdr=mac) if mac else packet)


@pytest.mark.parametrize(
    ("frame", "target", "to", "to_mac", "solicited"),
    [
        (solicit(), "fd00::1", "fd00::2", PEER, 1),
        (solicit(option=None), "fd00::1", "fd00::2", PEER, 1),
        (solicit(dst="fd00::1"), "fd00::1", "fd00::2", PEER, 1),
        (solicit(target=LINK_LOCAL, dst="ff02::1:ff00:fe", src="fe80::2"), LINK_LOCAL, "fe80::2", PEER, 1),
        (solicit(src="::", option=None), "fd00::1", "ff02::1", "33:33:00:00:00:01", 0),
    ],
    ids=["request", "no option", "unicast", "link-local", "is it free (RFC 4862)"],
)
def test_a_solicitation_is_answered(frame: bytes, target: str, to: str, to_mac: str, solicited: int) -> None:
    heard, answer, _ = probe.hear_nd(gateway(), NeighbourTable(limit=64), frame)
    assert heard == probe.ANSWERED
    assert answer == bytes(
        Ether(dst=to_mac, src=OWN) / IPv6(src=target, dst=to, hlim=255) / ICMPv6ND_NA(tgt=target, R=1, S=solicited, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=OWN)
    )


HOP = Ether(dst="33:33:ff:00:00:01", src=PEER) / IPv6(src="fd00::2", dst="fd00::1", hlim=255) / IPv6ExtHdrHopByHop()


@pytest.mark.parametrize(
    ("frame", "heard", "known"),
    [
        pytest.param(solicit(), probe.ANSWERED, [("fd00::2", PEER, "stale")], id="learned"),
        pytest.param(solicit(option=None), probe.ANSWERED, [], id="without MAC"),
        pytest.param(solicit(option=ICMPv6NDOptMTU(mtu=1500)), probe.ANSWERED, [], id="another option"),
        pytest.param(solicit(src="2001:db8::9"), probe.ANSWERED, [], id="of a stranger to the networks"),
        pytest.param(solicit(target="fd00::9"), probe.OTHER, [], id="for another"),
        pytest.param(solicit(src="fd00::1"), probe.SPOOFED, [], id="claims the gateway's address"),
        pytest.param(advert(target="fd00::1"), probe.SPOOFED, [], id="claims it in an answer"),
        pytest.param(advert(target=LINK_LOCAL), probe.SPOOFED, [], id="claims the link-local one"),
        pytest.param(advert(), probe.LEARNED, [], id="an answer nobody asked for"),
        pytest.param(solicit(hlim=254), probe.MALFORMED, [], id="routed"),
        pytest.param(solicit(code=1), probe.MALFORMED, [], id="code"),
        pytest.param(solicit(cksum=1), probe.MALFORMED, [], id="checksum"),
        pytest.param(solicit(target="ff02::1"), probe.MALFORMED, [], id="target multicast"),
        pytest.param(solicit(src="::"), probe.MALFORMED, [], id="no address, but a MAC"),
        pytest.param(solicit(src="::", dst="fd00::1", option=None), probe.MALFORMED, [], id="not to the group"),
        pytest.param(solicit(option=option(length=0)), probe.MALFORMED, [], id="option of length 0"),
        pytest.param(solicit(option=option(length=2)), probe.MALFORMED, [], id="option beyond the end"),
        pytest.param(solicit(option=Raw(b"\x01")), probe.MALFORMED, [], id="option of one byte"),
        pytest.param(solicit(option=option(mac="33:33:00:00:00:01")), probe.MALFORMED, [], id="MAC a group"),
        pytest.param(advert(dst="ff02::1"), probe.MALFORMED, [], id="to all, yet solicited"),
        pytest.param(bytes(HOP / ICMPv6ND_NS(tgt="fd00::1")), probe.MALFORMED, [], id="behind an extension header"),
    ],
)
def test_neighbour_discovery(frame: bytes, heard: int, known: list) -> None:
    table = NeighbourTable(limit=64)
    assert probe.hear_nd(gateway(), table, frame)[0] == heard
    assert neighbours(table) == known
    counters = table.counters()
    assert (counters.spoofed, counters.malformed) == (heard == probe.SPOOFED, heard == probe.MALFORMED)


@pytest.mark.parametrize(
    ("frame", "mac", "state"),
    [
        (advert(), PEER, "reachable"),
        (advert(s=0), PEER, "stale"),
        (advert(mac=OTHER), OTHER, "reachable"),
        (advert(mac=OTHER, s=0), OTHER, "stale"),
        (advert(mac=None), PEER, "reachable"),
        (advert(mac=OTHER, o=0), PEER, "stale"),
    ],
    ids=["confirmed", "said to all", "moved", "moved, not asked", "without MAC", "another MAC without override"],
)
def test_an_advertisement_updates_what_is_known(frame: bytes, mac: str, state: str) -> None:
    table = NeighbourTable(limit=64)
    probe.hear_nd(gateway(), table, solicit())
    probe.hear_nd(gateway(), table, frame)
    assert neighbours(table) == [("fd00::2", mac, state)]


@pytest.mark.parametrize("mac", [None, PEER])
def test_a_solicitation_of_our_own(mac: str | None) -> None:
    to, group = ("fd00::2", mac) if mac else ("ff02::1:ff00:2", "33:33:ff:00:00:02")
    ip = IPv6(src="fd00::1", dst=to, hlim=255)
    expected = Ether(dst=group, src=OWN) / ip / ICMPv6ND_NS(tgt="fd00::2") / ICMPv6NDOptSrcLLAddr(lladdr=OWN)
    assert probe.ask(gateway(), "fd00::1", "fd00::2", mac) == bytes(expected)


def test_an_address_of_our_own_is_announced() -> None:
    gratuitous = ARP(op=1, hwsrc=OWN, psrc="10.0.0.1", hwdst=NO_MAC, pdst="10.0.0.1")
    expected = bytes(Ether(dst=ALL, src=OWN) / gratuitous / Raw(bytes(18)))
    assert probe.ask(gateway(), "10.0.0.1", "10.0.0.1") == expected
    assert probe.ask(gateway(), "fd00::1", "fd00::1") == bytes(
        Ether(dst="33:33:00:00:00:01", src=OWN) / IPv6(src="fd00::1", dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt="fd00::1", R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=OWN)
    )


def test_addresses() -> None:
    device = gateway()
    owned = ["10.0.0.1", "192.0.2.1", "fd00::1", LINK_LOCAL]
    assert [device.owns(ip) for ip in [*owned, "10.0.0.2", "fe80::1"]] == [True] * 4 + [False] * 2
    assert [device.on_link(ip) for ip in ["10.0.0.2", "fd00::2", "fe80::1"]] == [True] * 3
    assert [device.on_link(ip) for ip in ["10.0.1.2", "10.0.0.255", "fd01::2", "ff02::1"]] == [False] * 4
    martians = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255", "::", "::1", "ff02::1"]
    assert [ip for ip in martians + owned if not device.martian(ip)] == []
    assert [ip for ip in ("10.0.0.2", "8.8.8.8", "2001:db8::1", "fe80::1") if device.martian(ip)] == []
    assert [device.joined(ip) for ip in ("ff02::1", "ff02::2", "ff02::1:ff00:1", "ff02::1:ff00:fe")] == [True] * 4
    assert not device.joined("ff02::1:ff00:2") and not probe.ProbeDevice(1, OWN, "10.0.0.1/24").joined("ff02::1")


@pytest.mark.parametrize(
    ("destination", "source"),
    [("10.0.0.9", "10.0.0.1"), ("192.0.2.9", "192.0.2.1"), ("8.8.8.8", "10.0.0.1"), ("fd00::9", "fd00::1"),
     ("2001:db8::1", "fd00::1"), ("fe80::9", LINK_LOCAL), ("ff02::1", LINK_LOCAL)],
)
def test_the_source_to_speak_from(destination: str, source: str) -> None:
    assert gateway().source(destination) == source


SEEDS = [arp(), arp(op=2), solicit(), solicit(src="::", option=None), advert()]


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_a_damaged_message_is_never_read_beyond_its_end(seed: bytes, data: st.DataObject) -> None:
    frame = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(14, len(frame)))])
    table = NeighbourTable(limit=64)
    for answer in (probe.hear_arp(gateway(), table, cut), probe.hear_nd(gateway(), table, cut, True)):
        assert answer is None or (answer[0] == probe.ANSWERED) == (answer[1] is not None)
