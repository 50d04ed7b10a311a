"""Learning, forwarding and flooding of one bridge."""

import pytest
from tests.switchboard import BROADCAST, SECOND, Switchboard, ethernet, mac, station, tag

A, B, C = station(1), station(2), station(3)
HELLO = ethernet(BROADCAST, A)


async def test_unknown_is_flooded_known_is_not():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}})
    frame = ethernet(B, A)
    assert board.send("a", frame) == {"b": [frame], "c": [frame]}
    answer = ethernet(A, B)
    assert board.send("b", answer) == {"a": [answer]}
    assert board.send("a", frame) == {"b": [frame]}
    assert board.fdb() == {(0, A): "a", (0, B): "b"}


async def test_multicast_is_flooded_and_never_learned():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}})
    frame = ethernet("01:00:5e:00:00:01", A)
    assert board.send("a", frame) == {"b": [frame], "c": [frame]}
    assert board.fdb() == {(0, A): "a"}


@pytest.mark.parametrize(("frame", "reason"), [
    (HELLO[:13], "runt"),
    (b"", "runt"),
    (mac(BROADCAST) + mac(A) + b"\x81\x00\x00", "truncated_tag"),
    (HELLO + bytes(65601 - len(HELLO)), "oversized"),
    (HELLO + bytes(100000), "oversized"),
    (ethernet(BROADCAST, "00:00:00:00:00:00"), "source_zero"),
    (ethernet(BROADCAST, "01:00:00:00:00:01"), "source_multicast"),
    (ethernet(BROADCAST, BROADCAST), "source_multicast"),
    *((ethernet(f"01:80:c2:00:00:{n:02x}", A), "link_local") for n in range(16)),
])
async def test_frames_that_end_at_the_door(frame, reason):
    board = await Switchboard.make({"a": {}, "b": {}})
    assert board.send("a", frame) == {}
    assert board.drops("a") == {reason: 1}
    assert board.fdb() == {}


async def test_the_neighbour_of_link_local_is_forwarded():
    board = await Switchboard.make({"a": {}, "b": {}})
    assert list(board.send("a", ethernet("01:80:c2:00:00:10", A))) == ["b"]


async def test_a_moved_station_is_followed_at_its_first_frame():
    """Live migration: the gratuitous ARP, or any frame, at the new port; unicast follows within the same burst."""
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}})
    board.send("a", HELLO)
    board.send("b", HELLO)
    assert board.fdb() == {(0, A): "b"}
    assert board.dataplane.fdb_counters(0).moves == 1
    frame = ethernet(A, C)
    assert board.send("c", frame) == {"b": [frame]}


async def test_ageing_is_exact_whenever_the_sweep_comes():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}}, ageing_s=10)
    board.send("a", HELLO)
    frame = ethernet(A, B)
    board.now_ns += 9 * SECOND
    assert list(board.send("b", frame)) == ["a"]
    board.now_ns += SECOND
    assert list(board.send("b", frame)) == ["a", "c"]


async def test_a_frame_renews_its_senders_entry():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}}, ageing_s=10)
    for _ in range(5):
        board.send("a", HELLO)
        board.now_ns += 9 * SECOND
    assert list(board.send("b", ethernet(A, B))) == ["a"]


async def test_ageing_zero_keeps_for_ever():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}}, ageing_s=0)
    board.send("a", HELLO)
    board.now_ns += 1_000_000 * SECOND
    assert list(board.send("b", ethernet(A, B))) == ["a"]


async def test_static_entries_neither_age_nor_move():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}}, ageing_s=1)
    board.dataplane.fdb_add_static(0, A, 0, board.views["a"].id)
    board.now_ns += 100 * SECOND
    assert list(board.send("b", HELLO)) == ["a", "c"], "the frame of the impostor itself is forwarded"
    assert board.fdb() == {(0, A): "a"}
    assert board.dataplane.fdb_counters(0).static_conflicts == 1
    assert list(board.send("c", ethernet(A, C))) == ["a"]
    assert board.dataplane.fdb_remove(0, A, 0)
    assert not board.dataplane.fdb_remove(0, A, 0)


async def test_no_hairpin_unless_asked():
    board = await Switchboard.make({"a": {}, "b": {}})
    board.send("a", HELLO)
    frame = ethernet(A, B)
    assert board.send("a", frame) == {}
    assert board.drops("a") == {"hairpin": 1}
    await board.change("a", hairpin=True)
    assert board.send("a", frame) == {"a": [frame]}
    assert board.send("a", HELLO) == {"a": [HELLO], "b": [HELLO]}


async def test_isolated_ports_reach_only_the_others():
    board = await Switchboard.make({"a": {"isolated": True}, "b": {"isolated": True}, "up": {}})
    assert list(board.send("a", HELLO)) == ["up"]
    assert list(board.send("up", ethernet(BROADCAST, C))) == ["a", "b"]
    assert board.send("b", ethernet(A, B)) == {}
    assert board.drops("b") == {"isolated": 1}
    assert list(board.send("b", ethernet(C, B))) == ["up"]
    assert list(board.send("up", ethernet(A, C))) == ["a"]


async def test_alone_on_the_bridge():
    board = await Switchboard.make({"a": {}})
    assert board.send("a", HELLO) == {}
    assert board.drops("a") == {"no_destination": 1}


async def test_mac_limit_of_a_port():
    """At the limit nothing is learned: frames to the address keep being flooded, and the hits are counted."""
    board = await Switchboard.make({"a": {"mac_limit": 2}, "b": {}, "c": {}})
    for n in range(5):
        board.send("a", ethernet(BROADCAST, station(10 + n)))
    assert set(board.fdb()) == {(0, station(10)), (0, station(11))}
    assert board.dataplane.fdb_counters(0).limit_hits == 3
    assert list(board.send("b", ethernet(station(14), B))) == ["a", "c"]
    board.dataplane.fdb_flush(0, port=board.views["a"].id)
    board.send("a", ethernet(BROADCAST, station(14)))
    assert (0, station(14)) in board.fdb()


async def test_mac_limit_of_a_port_holds_for_stations_that_move_there():
    """Nobody knows the station then, rather than everybody where it no longer is: frames to it are flooded."""
    board = await Switchboard.make({"a": {"mac_limit": 1}, "b": {}, "c": {}})
    board.send("a", HELLO)
    board.send("b", ethernet(BROADCAST, B))
    board.send("a", ethernet(BROADCAST, B))
    assert board.fdb() == {(0, A): "a"}
    counters = board.dataplane.fdb_counters(0)
    assert (counters.learned, counters.moves, counters.limit_hits) == (1, 0, 1)
    assert list(board.send("c", ethernet(B, C))) == ["a", "b"]


async def test_mac_limit_of_the_bridge():
    board = await Switchboard.make({"a": {}, "b": {}}, mac_limit=100)
    for n in range(150):
        board.send("a", ethernet(BROADCAST, station(10 + n)))
    counters = board.dataplane.fdb_counters(0)
    assert (counters.learned, counters.limit_hits, counters.evicted) == (100, 50, 0)


@pytest.mark.parametrize(("limits", "dst", "reason"), [
    ((10, 0, 0), BROADCAST, "storm_broadcast"),
    ((0, 10, 0), "01:00:5e:00:00:01", "storm_multicast"),
    ((0, 0, 10), station(99), "storm_unknown_unicast"),
])
async def test_storm_control(limits, dst, reason):
    """Ten a second, with a tenth of a second's worth (one frame, and the one that finds the meter idle) at once."""
    board = await Switchboard.make({"a": {"storm": limits}, "b": {}})
    passed = 0
    for _ in range(1000):                      # ten seconds, a hundred frames a second
        passed += bool(board.send("a", ethernet(dst, A)))
        board.now_ns += SECOND // 100
    assert passed == pytest.approx(100, abs=2)
    assert board.drops("a") == {reason: 1000 - passed}


async def test_a_new_storm_limit_owes_nothing_to_the_old_one():
    """At one frame a second the next is due in a second; that must not hold up a thousand a second."""
    board = await Switchboard.make({"a": {"storm": (1, 0, 0)}, "b": {}})
    assert list(board.send("a", HELLO)) == ["b"]
    assert board.send("a", HELLO) == {}
    await board.change("a", storm=(1000, 0, 0))
    assert list(board.send("a", HELLO)) == ["b"]


async def test_storm_control_leaves_known_unicast_alone():
    board = await Switchboard.make({"a": {"storm": (1, 1, 1)}, "b": {}})
    board.send("b", ethernet(BROADCAST, B))
    for _ in range(100):
        assert list(board.send("a", ethernet(B, A))) == ["b"]


async def test_a_port_that_is_down():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}})
    board.send("b", ethernet(BROADCAST, B))
    await board.change("b", up=False)
    assert board.fdb() == {}, "what was learned there is forgotten"
    assert list(board.send("a", ethernet(B, A))) == ["c"]


async def test_egress_mtu():
    """Held against what follows the Ethernet header, as the kernel's bridge does; a tag does not count."""
    board = await Switchboard.make({"a": {}, "b": {"mtu": 1000}})
    fits = ethernet(BROADCAST, A, payload=bytes(1000))
    assert board.send("a", fits) == {"b": [fits]}
    assert board.send("a", fits + b"\0") == {}
    assert board.drops("a") == {"exceeds_mtu": 1}


@pytest.mark.parametrize("tags", [
    [tag(7, tpid=0x88A8)],
    [tag(7, tpid=0x88A8), tag(8)],
    [tag(7), tag(8)],
    [tag(7), tag(8, tpid=0x88A8), tag(9)],
])
async def test_a_full_sized_frame_fits_whatever_tags_it_has(tags):
    """A provider's tag over the customer's, above all."""
    board = await Switchboard.make({"a": {}, "b": {"mtu": 1000}})
    fits = ethernet(BROADCAST, A, *tags, payload=bytes(1000))
    assert board.send("a", fits) == {"b": [fits]}
    assert board.send("a", fits + b"\0") == {}
    assert board.drops("a") == {"exceeds_mtu": 1}


async def test_a_removed_ports_entries_go_with_it():
    board = await Switchboard.make({"a": {}, "b": {}, "c": {}})
    board.send("a", HELLO)
    gone = board.views.pop("a")
    await board.publish()
    assert board.fdb() == {}
    assert gone.memory.collect() == []
    assert list(board.send("b", ethernet(A, B))) == ["c"]


async def test_a_new_owner_of_an_id_starts_from_zero():
    board = await Switchboard.make({"a": {}, "b": {}})
    board.send("a", HELLO)
    board.dataplane.port_ids.release("a")
    board.views.pop("a")
    await board.publish()
    board.add("new")
    await board.publish()
    assert board.views["new"].id == 0
    assert board.counters("new").rx_frames == 0
