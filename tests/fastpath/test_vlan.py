"""VLANs at the edge: for each mode of the ports in and out, what a frame becomes, or why it ends."""

import pytest
from tests.switchboard import BROADCAST, Switchboard, ethernet, station, tag

A = station(1)
PLAIN = ethernet(BROADCAST, A)


def tagged(vid: int, priority: int = 0) -> bytes:
    return ethernet(BROADCAST, A, tag(vid, priority))[:64].ljust(64, b"\0")


#: description, port in, port out, frame in, frame out or the reason of its drop
CASES = [
    ("transparent: untagged stays so", {}, {}, PLAIN, PLAIN),
    ("transparent: a tag stays", {}, {}, tagged(7, 5), tagged(7, 5)),
    ("transparent: a priority tag stays", {}, {}, tagged(0, 5), tagged(0, 5)),
    ("transparent: VID 4095", {}, {}, tagged(4095), "vlan_reserved"),
    ("access to access of the same VLAN", {"access": 10}, {"access": 10}, PLAIN, PLAIN),
    ("access to another VLAN", {"access": 10}, {"access": 20}, PLAIN, "no_destination"),
    ("access to trunk: tagged", {"access": 10}, {"trunk": [10]}, PLAIN, tagged(10)[:16] + PLAIN[12:]),
    ("access to trunk without the VLAN", {"access": 10}, {"trunk": [20]}, PLAIN, "no_destination"),
    ("access refuses tags", {"access": 10}, {"access": 10}, tagged(10), "tag_not_allowed"),
    ("access refuses foreign tags", {"access": 10}, {"trunk": [20]}, tagged(20), "tag_not_allowed"),
    ("access takes a priority tag; the priority goes into the trunk's", {"access": 10}, {"trunk": [10]},
     tagged(0, 5), tagged(10, 5)),
    ("access takes a priority tag; it ends at an access port", {"access": 10}, {"access": 10},
     tagged(0, 5), tagged(0, 5)[:12] + tagged(0, 5)[16:]),
    ("trunk to access: untagged", {"trunk": [10]}, {"access": 10}, tagged(10, 3), tagged(10)[:12] + tagged(10)[16:]),
    ("trunk to trunk: as it is, priority too", {"trunk": [10]}, {"trunk": [10, 20]}, tagged(10, 7), tagged(10, 7)),
    ("trunk refuses other tags", {"trunk": [10]}, {"trunk": [20]}, tagged(20), "tag_not_allowed"),
    ("trunk without native refuses untagged", {"trunk": [10]}, {"trunk": [10]}, PLAIN, "untagged_not_allowed"),
    ("trunk without native refuses priority tags", {"trunk": [10]}, {"trunk": [10]}, tagged(0, 1),
     "untagged_not_allowed"),
    ("trunk refuses VID 4095", {"trunk": [10]}, {"trunk": [10]}, tagged(4095), "vlan_reserved"),
    ("native in: untagged joins it", {"trunk": [10], "native": 1}, {"access": 1}, PLAIN, PLAIN),
    ("native out: untagged", {"access": 1}, {"trunk": [10], "native": 1}, PLAIN, PLAIN),
    ("native in, transparent out: tagged", {"trunk": [10], "native": 1}, {}, PLAIN, tagged(1)[:16] + PLAIN[12:]),
    ("transparent in, access out: untagged", {}, {"access": 7}, tagged(7), tagged(7)[:12] + tagged(7)[16:]),
    ("transparent in: untagged is in no VLAN", {}, {"access": 7}, PLAIN, "no_destination"),
    ("802.1ad passes transparently as payload", {"access": 10}, {"access": 10},
     ethernet(BROADCAST, A, tag(99, 2, 0x88A8), tag(5)), ethernet(BROADCAST, A, tag(99, 2, 0x88A8), tag(5))),
    ("802.1ad from access to trunk: our tag outside", {"access": 10}, {"trunk": [10]},
     ethernet(BROADCAST, A, tag(99, 2, 0x88A8)), ethernet(BROADCAST, A, tag(10), tag(99, 2, 0x88A8)).ljust(64, b"\0")),
    ("two 802.1Q tags: the outer one counts", {"trunk": [10]}, {"access": 10},
     ethernet(BROADCAST, A, tag(10), tag(20)), ethernet(BROADCAST, A, tag(20))[:56]),
    ("no bridge", {"bridge": None}, {}, PLAIN, "no_bridge"),
]


@pytest.mark.parametrize(("source", "sink", "frame", "result"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])
async def test_edge(source, sink, frame, result):
    board = await Switchboard.make({"in": source, "out": sink})
    out = board.send("in", frame)
    if isinstance(result, str):
        assert out == {}
        assert board.drops("in") == {result: 1}
    else:
        assert out == {"out": [result]}


async def test_flood_in_every_form_at_once():
    """One broadcast, three forms of it: the copies share the payload and differ in the header."""
    board = await Switchboard.make({"in": {"access": 10}, "plain": {"access": 10}, "tag": {"trunk": [10, 20]},
                                    "native": {"trunk": [20], "native": 10}, "other": {"access": 20}})
    with_tag = tagged(10)[:16] + PLAIN[12:]
    assert board.send("in", PLAIN) == {"plain": [PLAIN], "tag": [with_tag], "native": [PLAIN]}
    assert board.counters("in").copied == 2
    assert board.counters("in").delivered == 3


async def test_the_same_address_in_two_vlans():
    """Learning is per VLAN: one station on two trunks is two entries."""
    board = await Switchboard.make({"a": {"trunk": [10, 20]}, "b": {"trunk": [10, 20]}, "c": {"trunk": [10, 20]}})
    board.send("a", ethernet(BROADCAST, A, tag(10)))
    board.send("b", ethernet(BROADCAST, A, tag(20)))
    assert board.fdb() == {(10, A): "a", (20, A): "b"}
    assert list(board.send("c", ethernet(A, station(3), tag(10)))) == ["a"]
    assert list(board.send("c", ethernet(A, station(3), tag(20)))) == ["b"]


async def test_a_known_address_behind_a_port_that_left_the_vlan():
    """The port's entries go with its VLANs, so the frame is flooded to those who are still in."""
    board = await Switchboard.make({"a": {"access": 10}, "b": {"access": 10}, "c": {"access": 10}})
    board.send("a", ethernet(BROADCAST, A))
    from vswitch.dataplane import VlanMode
    await board.change("a", vlan=VlanMode(access=20))
    assert board.fdb() == {}
    assert list(board.send("b", ethernet(A, station(2)))) == ["c"]
