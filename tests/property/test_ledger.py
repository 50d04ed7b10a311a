"""Any ports, any frames: what leaves, and the books, against a bridge in plain Python (tests/l2_model.py).

Each step is one burst into one port, or another configuration of a port. After each, every port has sent exactly the
frames that the model says, byte for byte and in order, and its counters tell the same story exactly.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.l2_model import Bridge, Dropped, Table, carries, enter

pytest.importorskip("vswitch._fastpath._probe", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.switchboard import Switchboard, mac, station, tag
from vswitch.dataplane import VlanMode

PORTS = ("a", "b", "c", "d")
COLUMNS = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "copied", "delivered")

vids = st.sampled_from([10, 20, 4094])
vlan_modes = st.one_of(
    st.just(VlanMode()),
    st.builds(VlanMode, access=vids),
    st.builds(VlanMode, trunk=st.frozensets(vids), native=st.none() | vids),
)
port_fields = st.fixed_dictionaries({
    "bridge": st.sampled_from([0, 0, 0, 0, 0, 0, None]),
    "vlan": vlan_modes,
    "mtu": st.sampled_from([1500, 1500, 100, 60]),
    "up": st.sampled_from([True] * 7 + [False]),
    "isolated": st.booleans(),
    "hairpin": st.sampled_from([False, False, True]),
    "mac_limit": st.sampled_from([0, 1, 2]),
    "storm": st.one_of(st.just((0, 0, 0)), st.tuples(*[st.sampled_from([0, 1, 20])] * 3)),
})

addresses = st.sampled_from([mac(station(n)) for n in range(5)])
destinations = st.one_of(addresses, st.sampled_from([b"\xff" * 6, bytes.fromhex("01005e000001"),
                                                     bytes.fromhex("0180c2000002"), bytes(6)]))
sources = st.one_of(addresses, addresses, addresses, st.sampled_from([bytes(6), b"\xff" * 6]))
tags = st.builds(tag, st.sampled_from([0, 1, 10, 20, 4094, 4095]), st.integers(0, 15),
                 st.sampled_from([0x8100, 0x8100, 0x88A8]))
lengths = st.one_of(st.sampled_from([60, 61, 100, 101]), st.integers(0, 120))     # an MTU, and one more
frames = st.one_of(
    st.builds(lambda dst, src, outer, length: dst + src + b"".join(outer) + b"\x88\xb5" + bytes(range(length)),
              destinations, sources, st.lists(tags, max_size=2), lengths),
    st.binary(max_size=40),
)
bursts = st.tuples(st.just("send"), st.sampled_from(PORTS), st.lists(frames, min_size=1, max_size=8))
changes = st.tuples(st.just("change"), st.sampled_from(PORTS), port_fields)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ports=st.fixed_dictionaries(dict.fromkeys(PORTS, port_fields)),
       steps=st.lists(st.one_of(bursts, bursts, bursts, changes), min_size=1, max_size=15))
def test_every_frame_is_accounted_for(ports: dict[str, dict], steps: list[tuple]) -> None:
    asyncio.run(play(ports, steps))


async def play(ports: dict[str, dict], steps: list[tuple]) -> None:
    board = await Switchboard.make({name: {} for name in PORTS})
    board.views.update({name: replace(board.views[name], **fields) for name, fields in ports.items()})
    await board.publish()
    model = Bridge(board.views, Table(), board.now_s)
    for what, name, argument in steps:
        if what == "change":
            old = board.views[name]
            await board.change(name, **argument)
            model.forget(old, board.views[name])
        else:
            send(board, model, name, argument)
        check_books(board, model)


def send(board: Switchboard, model: Bridge, name: str, frames: list[bytes]) -> None:
    expected: dict[str, list[bytes]] = {}
    for frame in frames:
        for port, sent in model.receive(name, frame).items():
            expected.setdefault(port, []).append(sent)
    out = board.send(name, *frames)
    assert out == expected
    check_vlans(board, name, frames, out)


def check_vlans(board: Switchboard, name: str, frames: list[bytes], out: dict[str, list[bytes]]) -> None:
    """Whatever the model may think: no port gives out more than came in of the VLANs that it carries."""
    came = Counter()
    for frame in frames:
        try:
            came[enter(board.views[name], frame).vid] += 1
        except Dropped:
            pass
    for port, sent in out.items():
        assert len(sent) <= sum(count for vid, count in came.items() if carries(board.views[port], vid))


def check_books(board: Switchboard, model: Bridge) -> None:
    """Each port's columns are the model's, and what all origins delivered is what all ports sent."""
    counters = {name: board.counters(name) for name in PORTS}
    for name, actual in counters.items():
        books = Counter(model.books.get(name, ()))
        assert actual.balance == 0
        assert {column: getattr(actual, column) for column in COLUMNS} == {column: books[column] for column in COLUMNS}
        assert actual.drops == {name: n for name, n in books.items() if n and name not in COLUMNS}
    assert sum(c.delivered for c in counters.values()) == sum(c.tx_frames for c in counters.values())
