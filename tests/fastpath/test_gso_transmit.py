"""Super-frames and partial checksums through a whole switch, to ports that take less than the sender left undone."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Raw

from tests.gso_model import (
    ETHER, IP4, IP6, NEEDS_CSUM, TCP_DATA, UDP_DATA, SuperFrame, expected_segments, payload, super_frame, vnet,
)

pytest.importorskip("vswitch._fastpath._probe_gso", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.switchboard import Switchboard
from vswitch.dataplane import Offload

NOTHING, CHECKSUMS = Offload(0), Offload.CSUM
SHAPES = {
    "TCP over IPv4": super_frame(payload(20000), 1448),
    "UDP over IPv6": super_frame(payload(20001), 1400, ip=IP6, l4=UDP_DATA),
    "more segments than a transmit queue holds": super_frame(payload(65000), 1000),
    "one segment": super_frame(payload(100), 1448),
}


@pytest.mark.parametrize("whole", SHAPES.values(), ids=SHAPES)
async def test_a_port_without_offloads_gets_finished_segments(whole: SuperFrame) -> None:
    board = await Switchboard.make({"a": {}, "b": {"offloads": NOTHING}, "c": {}})
    segments = expected_segments(whole)
    assert board.send("a", whole.frame, vnet=whole.vnet) == {"b": segments, "c": [whole.frame]}
    assert board.counters("b").segments == len(segments)


@pytest.mark.parametrize("whole", SHAPES.values(), ids=SHAPES)
async def test_several_in_a_burst_do_not_mix(whole: SuperFrame) -> None:
    board = await Switchboard.make({"a": {}, "b": {"offloads": NOTHING}})
    ordinary = bytes(ETHER / Raw(bytes(50)))
    assert board.send("a", ordinary) == {"b": [ordinary]}
    out = board.send("a", whole.frame, whole.frame, whole.frame, vnet=whole.vnet)
    assert out == {"b": expected_segments(whole) * 3}


async def test_a_port_that_computes_checksums_gets_them_partial() -> None:
    board = await Switchboard.make({"a": {}, "b": {"offloads": CHECKSUMS}})
    whole = SHAPES["TCP over IPv4"]
    assert board.views["a"].memory.inject([whole.frame], [whole.vnet]) == 1
    board.step("a")
    segments = board.views["b"].memory.collect(vnet=True)
    assert len(segments) == len(expected_segments(whole))
    assert {header for header, _ in segments} == {vnet(NEEDS_CSUM, csum_start=34, csum_offset=16)}


@pytest.mark.parametrize("whole", SHAPES.values(), ids=SHAPES)
async def test_segments_are_tagged_for_a_trunk_and_untagged_for_an_access_port(whole: SuperFrame) -> None:
    board = await Switchboard.make(
        {"access": {"access": 7, "offloads": NOTHING}, "trunk": {"trunk": [7], "offloads": NOTHING}}
    )
    tagged = super_frame(
        whole.payload,
        whole.mss,
        ip=IP6 if whole.frame[12:14] == b"\x86\xdd" else IP4,
        l4=UDP_DATA if whole.csum_at - whole.l4_off == 6 else TCP_DATA,
        tags=(Dot1Q(vlan=7),),
    )
    assert board.send("access", whole.frame, vnet=whole.vnet) == {"trunk": expected_segments(tagged)}
    assert board.send("trunk", tagged.frame, vnet=tagged.vnet) == {"access": expected_segments(whole)}


@pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("l4", [TCP_DATA, UDP_DATA], ids=["TCP", "UDP"])
async def test_a_partial_checksum_is_completed_where_the_port_cannot(ip: Raw, l4: UDP) -> None:
    board = await Switchboard.make({"a": {}, "b": {"offloads": NOTHING}, "c": {}})
    whole = super_frame(payload(100), 1448, ip=ip, l4=l4)
    header = vnet(NEEDS_CSUM, csum_start=whole.l4_off, csum_offset=whole.csum_at - whole.l4_off)
    out = board.send("a", whole.frame, vnet=header)
    assert out == {"b": expected_segments(whole), "c": [whole.frame]}


async def test_a_header_that_lies_costs_the_frame() -> None:
    board = await Switchboard.make({"a": {}, "b": {}})
    whole = SHAPES["one segment"]
    assert board.send("a", whole.frame, vnet=vnet(NEEDS_CSUM, csum_start=34, csum_offset=200)) == {}
    assert board.drops("a") == {"bad_vnet_header": 1}


async def test_a_super_frame_beyond_the_limits_costs_the_copy_alone() -> None:
    board = await Switchboard.make({"a": {}, "b": {"offloads": NOTHING}, "c": {}})
    whole = super_frame(payload(5000), 2)
    assert board.send("a", whole.frame, vnet=whole.vnet) == {"c": [whole.frame]}
    assert board.drops("a") == {"malformed_gso": 1}
