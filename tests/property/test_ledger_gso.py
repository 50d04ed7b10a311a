"""Super-frames between ports of any offloads: the books count one, whatever it is cut into, and no byte of it is lost.

Where frames go is the plain model's to say (tests/l2_model.py); what segments look like is held against scapy and the
kernel elsewhere. Here the two meet: tags pushed and popped in front of super-frames, copies cut up for some ports and
whole for others, within one burst.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gso_model import IP4, IP6, TCP_DATA, UDP_DATA, VLAN, SuperFrame, payload, super_frame
from tests.l2_model import Bridge, Table

pytest.importorskip("vswitch._fastpath._probe", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.switchboard import Switchboard
from vswitch.dataplane import Offload, VlanMode

PORTS = ("a", "b", "c", "d")
COLUMNS = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "copied", "delivered")
WHOLE = [super_frame(payload(length), mss, ip=ip, l4=l4, tags=tags)
         for ip in (IP4, IP6) for l4 in (TCP_DATA, UDP_DATA) for tags in ((), (VLAN,))
         for length, mss in ((1, 1448), (3000, 1000), (40000, 1000))]

vlan_modes = st.sampled_from([VlanMode(), VlanMode(access=VLAN.vlan), VlanMode(trunk=frozenset({VLAN.vlan})),
                              VlanMode(trunk=frozenset({7}), native=VLAN.vlan)])
port_fields = st.fixed_dictionaries({"vlan": vlan_modes, "offloads": st.integers(0, 31).map(Offload),
                                     "mtu": st.just(65535), "hairpin": st.booleans()})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ports=st.fixed_dictionaries(dict.fromkeys(PORTS, port_fields)),
       steps=st.lists(st.tuples(st.sampled_from(PORTS), st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4)),
                      min_size=1, max_size=6))
def test_super_frames_are_accounted_for(ports: dict[str, dict], steps: list[tuple[str, list[SuperFrame]]]) -> None:
    asyncio.run(play(ports, steps))


async def play(ports: dict[str, dict], steps: list[tuple[str, list[SuperFrame]]]) -> None:
    board = await Switchboard.make({name: {} for name in PORTS})
    board.views.update({name: replace(board.views[name], **fields) for name, fields in ports.items()})
    await board.publish()
    model = Bridge(board.views, Table(), board.now_s)
    for name, frames in steps:
        expected: dict[str, list[SuperFrame]] = {}
        for whole in frames:
            for port in model.receive(name, whole.frame):
                expected.setdefault(port, []).append(whole)
        board.views[name].memory.inject([whole.frame for whole in frames], [whole.vnet for whole in frames])
        board.step(name)
        for port, view in board.views.items():
            check_arrived(view.memory.collect(), expected.get(port, []))
    check_books(board, model)


def check_arrived(got: list[bytes], sent: list[SuperFrame]) -> None:
    """Each one in order, whole or in segments: as many headers as pieces, and all its payload between them."""
    arriving = iter(got)
    for whole in sent:
        content = b""
        while len(content) < len(whole.payload):
            content += after_headers(next(arriving), whole)
        assert content == whole.payload
    assert next(arriving, None) is None


def after_headers(frame: bytes, whole: SuperFrame) -> bytes:
    """The payload of the frame, which may have a tag more or less than the super-frame that it is a piece of."""
    l2_len = 18 if frame[12:14] == b"\x81\x00" else 14
    return frame[whole.hdr_len - whole.l3_off + l2_len :]


def check_books(board: Switchboard, model: Bridge) -> None:
    for name in PORTS:
        actual, books = board.counters(name), model.books.get(name, {})
        assert actual.balance == 0
        assert {column: getattr(actual, column) for column in COLUMNS} == {c: books.get(c, 0) for c in COLUMNS}
        assert actual.segments_lost == 0
