"""checksum.pxd against RFC 1071 written plainly, at every length, alignment and rewrite that matters."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.gso_model import ETHER, IP4, IP6, TCP_DATA, UDP_DATA, ones_sum, payload, super_frame

probe = pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")


def test_the_example_of_rfc_1071() -> None:
    assert probe.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


@pytest.mark.parametrize("offset", range(8))
def test_every_length_at_every_alignment(offset: int) -> None:
    for length in range(80):
        content = payload(length + offset)[offset:]
        assert probe.checksum(content, offset) == ones_sum(content) ^ 0xFFFF, length


def test_a_long_run_of_ones_carries_all_the_way() -> None:
    assert probe.checksum(b"\xff" * 65535) == ones_sum(b"\xff" * 65535) ^ 0xFFFF


@pytest.mark.parametrize(
    ("header", "protocol", "length", "spelled_out"),
    [
        (bytes(IP4), 6, 1480, "0a000001 0a000002 0006 05c8"),
        (bytes(IP6), 17, 70000, "fd00" + 13 * "00" + "01" + "fd00" + 13 * "00" + "02" + "00011170 00000011"),
    ],
    ids=["IPv4", "IPv6, a length of more than 16 bits"],
)
def test_pseudo_headers(header: bytes, protocol: int, length: int, spelled_out: str) -> None:
    assert probe.pseudo(header, protocol, length) == ones_sum(bytes.fromhex(spelled_out))


@pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("l4", [TCP_DATA, UDP_DATA], ids=["TCP", "UDP"])
@pytest.mark.parametrize("length", [0, 1, 2, 1447, 1448])
def test_a_partial_checksum_becomes_the_one_scapy_computes(ip: IP | IPv6, l4: UDP, length: int) -> None:
    whole = super_frame(payload(length), 9000, ip=ip, l4=l4)
    complete = bytes(ETHER / ip / l4 / Raw(payload(length)))
    assert probe.complete(whole.frame, whole.l4_off, whole.csum_at - whole.l4_off) == complete


def test_a_computed_zero_is_sent_as_ones() -> None:
    whole = super_frame(bytes(2), 9000, l4=UDP_DATA)
    check = probe.complete(whole.frame, whole.l4_off, 6)[whole.csum_at :][:2]
    cancelling = whole.patched(whole.hdr_len, check)  # what the checksum was, as payload, makes it zero
    done = probe.complete(cancelling.frame, whole.l4_off, 6)
    assert done[whole.csum_at :][:2] == b"\xff\xff"
    assert bytes(Ether(done)[UDP].payload) == check


@pytest.mark.parametrize("old", [0x0A000001, 0x00000000, 0xFFFFFFFF, 0x0000FFFF])
@pytest.mark.parametrize("new", [0xC0A80001, 0x00000000, 0xFFFFFFFF, 0xFFFF0000])
def test_incremental_update_equals_summing_again(old: int, new: int) -> None:
    rest = payload(38)
    before = ones_sum(old.to_bytes(4, "big") + rest)
    after = ones_sum(new.to_bytes(4, "big") + rest)
    assert probe.adjust(before ^ 0xFFFF, old, new) == after ^ 0xFFFF
    assert probe.adjust(before, old, new, partial=True) == after


def test_the_corner_that_rfc_1624_corrects() -> None:
    assert probe.adjust(0xDD2F, 0x5555, 0x3285) == 0x0000
