"""conntrack.pxd, entries.pyx, conntrack.pyx: what the table holds, whom it pushes out, and that many threads may use
it.
"""

from __future__ import annotations

import threading

import pytest
from scapy.layers.inet import IP, UDP

probe = pytest.importorskip("vswitch._fastpath._probe_conntrack", reason="built without test doors (VSWITCH_PROBE=1)")

from vswitch._fastpath.core.verdict import Verdict
from vswitch._fastpath.filter.census import census
from vswitch._fastpath.filter.conntrack import SYSCTLS, ConnectionTable

from tests.conntrack_wire import Wire, segment

FULL, BUDGET, CLASH = (str(int(v)) for v in (Verdict.CONNTRACK_FULL, Verdict.CONNTRACK_BUDGET, Verdict.CONNTRACK_CLASH))


def question(n: int) -> bytes:
    """The first datagram of the n-th flow."""
    return bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1024 + n, dport=53))


def answer(n: int) -> bytes:
    return bytes(IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=53, dport=1024 + n))


def assure(wire: Wire, flows: range) -> None:
    """Make assured UDP streams of the flows."""
    for n in flows:
        wire.send(question(n))
        wire.send(answer(n))
    wire.now += 3
    for n in flows:
        wire.send(question(n))


def check(table: ConnectionTable, now_s: int) -> None:
    """Nothing has leaked, and every connection is found by both of its tuples."""
    free, used, ever = probe.census(table)
    counters = table.counters()
    assert free + used == ever
    assert used == counters.used == counters.entries
    slots = probe.slots(table)
    assert len(slots) == len(set(slots)) == 2 * used
    for index, _ in slots:
        assert sorted(probe.found(table, index, now_s)) == [0, 1]
    assert sum(table.owner_entries(port)[0] for port in range(8)) == used
    assert sum(table.zone_entries().values()) == used


def test_a_packet_needs_two_cache_lines() -> None:
    """Of an entry: with a million connections each more is felt."""
    assert probe.entry_lines() == {"original": (0, 0), "both": (1, 1), "reply": (2, 2), "entry": (0, 2)}


def test_full_of_assured_connections_refuses() -> None:
    wire = Wire(8, budget=0)
    assure(wire, range(8))
    assert wire.send(question(8)) == FULL
    assert wire.table.counters().drop == 1 and len(wire.rows()) == 8
    check(wire.table, int(wire.now))


def test_full_of_others_makes_room() -> None:
    wire = Wire(8, budget=0)
    for n in range(50):
        assert wire.send(question(n)) == "NEW"
    assert wire.table.counters().early_drop == 42 and len(wire.rows()) == 8
    check(wire.table, int(wire.now))


def test_full_takes_the_unassured_and_spares_the_assured() -> None:
    wire = Wire(8, budget=0)
    assure(wire, range(7))
    for n in range(10, 20):
        assert wire.send(question(n)) == "NEW"
    assert {row.original.sport for row in wire.rows()} == {*range(1024, 1031), 1024 + 19}


def test_rubbish_pushes_nobody_out() -> None:
    wire = Wire(4, budget=0)
    for n in range(4):
        wire.send(question(n))
    assert wire.send(segment("> FA 1 1")) == "INVALID"
    assert wire.table.counters().early_drop == 0


def test_budget_of_a_port() -> None:
    wire = Wire(100)
    wire.table.set_budget(3, 4)
    for n in range(4):
        assert wire.send(question(n), port=3) == "NEW"
    wire.now += 3
    assure(wire, range(4))
    assert wire.send(question(9), port=3) == BUDGET
    assert wire.send(question(9), port=4) == "NEW"
    assert wire.table.owner_entries(3) == (4, 1) and wire.table.counters().refused == 1


def test_a_port_at_its_budget_pushes_out_its_own() -> None:
    wire = Wire(16)
    wire.table.set_budget(3, 4)
    wire.send(question(100), port=1)
    for n in range(20):
        assert wire.send(question(n), port=3) == "NEW"
    assert wire.table.owner_entries(3) == (4, 0) and wire.table.owner_entries(1) == (1, 0)


def test_half_of_the_table_is_a_ports_share() -> None:
    assert ConnectionTable(1000).budget(7) == 500
    assert ConnectionTable(1000, budget=0).budget(7) == 0


def test_expiry() -> None:
    wire = Wire()
    wire.send(question(0))
    wire.now += 30
    assert wire.rows() == [] and wire.table.counters().entries == 1
    assert wire.send(answer(0)) == "NEW"            # its other end begins one, in place of what was left
    assert wire.table.counters().expired == 1 and len(wire.rows()) == 1
    wire.now += 30
    assert wire.table.sweep(int(wire.now)) == 1
    assert wire.table.counters().entries == 0
    check(wire.table, int(wire.now))


def test_sweep_goes_on_where_it_stopped() -> None:
    wire = Wire(1000)
    for n in range(300):
        wire.send(question(n))
    wire.now += 60
    assert [wire.table.sweep(int(wire.now), 100) for _ in range(5)].count(100) >= 2
    while wire.table.counters().entries:
        wire.table.sweep(int(wire.now), 100)


def test_a_nearly_full_table_loses_what_is_closing() -> None:
    wire = Wire(20, budget=0)
    assure(wire, range(19))
    for text in ("> S 100", "< SA 500 101", "> A 101 501", "> FA 101 501"):
        wire.send(segment(text))
    assert len(wire.rows()) == 20
    assert wire.table.sweep(int(wire.now)) == 1
    assert {row.proto for row in wire.rows()} == {17}


def test_packets_of_one_burst_share_a_new_connection() -> None:
    wire = Wire()
    probe.burst(wire.table)
    first, second, third = (wire.track(question(0)) for _ in range(3))
    assert first.index == second.index == third.index and second.info == "NEW"
    first.abandon()
    assert second.confirm(1000) == 0 and third.confirm(1000) == 0
    assert len(wire.rows()) == 1
    check(wire.table, 1000)


def test_two_workers_make_the_same_connection() -> None:
    """The slower one's packet belongs to the quicker one's connection."""
    wire = Wire()
    first, second = wire.track(question(0), worker=0), wire.track(question(0), worker=1)
    assert first.index != second.index
    assert (first.confirm(1000), second.confirm(1000)) == (0, 0)
    assert second.index == wire.rows()[0].index and second.other()
    assert wire.table.counters().clash == 1
    check(wire.table, 1000)


@pytest.mark.parametrize("port", [7001, 0])
def test_two_workers_and_other_addresses(port: int) -> None:
    """The same question translated in two ways, or two questions with one answer: one must go."""
    wire = Wire()
    first, second = wire.track(question(0), worker=0), wire.track(question(0 if port else 1), worker=1)
    second.translate("dport", port or 1024)
    assert (first.confirm(1000), str(second.confirm(1000))) == (0, CLASH)
    assert wire.table.counters().insert_failed == 1 and bool(second.index) == (port == 0)
    second.abandon()
    check(wire.table, 1000)


def test_a_reused_entry_is_not_mistaken() -> None:
    """A packet on its way whose connection was deleted does not speak for another one."""
    wire = Wire(2, budget=0)
    wire.send(question(0))
    late = wire.track(question(0))
    assert late.other()
    wire.table.flush()
    for n in range(1, 600):
        wire.send(question(n))
    assert not late.other() and late.confirm(1000) == 0
    late.abandon()
    check(wire.table, 1000)


def test_listing_goes_in_pieces() -> None:
    wire = Wire(1000)
    for n in range(100):
        wire.send(question(n))
    seen, start = [], 1
    while start:
        rows, start = wire.table.rows(start, 30, 1000)
        seen += rows
    assert sorted(row.original.sport for row in seen) == [1024 + n for n in range(100)]
    assert census(wire.table, 1000).states == {(17, 0): 100}


def test_delete_and_flush() -> None:
    wire = Wire()
    for n in range(3):
        wire.send(question(n))
    row = wire.rows()[0]
    assert wire.table.delete(row.index, row.serial)
    assert not wire.table.delete(row.index, row.serial) and not wire.table.delete(10**6, 1)
    wire.send(question(3))
    assert wire.table.flush() == 3 and wire.rows() == []
    assert wire.table.counters().deleted == 4
    check(wire.table, 1000)


def test_events() -> None:
    wire = Wire()
    wire.send(question(0))
    wire.table.listen(True)
    for text in ("> S 100", "< SA 500 101", "> A 101 501", "> A 101 501"):
        wire.send(segment(text))
    wire.table.flush()
    told = [(event.kind, event.connection.proto, event.connection.state) for event in wire.table.events()]
    assert told == [(1, 6, "SYN_SENT"), (2, 6, "SYN_RECV"), (2, 6, "ESTABLISHED"), (4, 17, ""), (4, 6, "ESTABLISHED")]
    wire.table.listen(False)
    wire.send(question(1))
    assert wire.table.events() == []


def test_events_that_nobody_fetches_are_counted() -> None:
    wire = Wire(2000, budget=0)
    wire.table.listen(True)
    for n in range(1100):
        wire.send(question(n))
    assert len(wire.table.events(5000)) == 1024 and wire.table.counters().events_lost == 76


def test_settings() -> None:
    table = ConnectionTable(10)
    assert table.timeouts()["nf_conntrack_tcp_timeout_established"] == 432000
    table.set_timeouts({"nf_conntrack_udp_timeout": 5})
    assert table.timeouts()["nf_conntrack_udp_timeout"] == 5 and len(table.timeouts()) == len(SYSCTLS)
    for bad in ({"nf_conntrack_max": 5}, {"nf_conntrack_udp_timeout": -1}, {"nf_conntrack_udp_timeout": 1 << 31}):
        with pytest.raises(ValueError, match="nf_conntrack"):
            table.set_timeouts(bad)
    with pytest.raises(ValueError, match="0 connections"):
        ConnectionTable(0)


@pytest.mark.parametrize("capacity", [200, 5000], ids=["full", "roomy"])
def test_threads(capacity: int) -> None:
    """Four workers begin, answer, drop and delete the same flows, while the control side sweeps, lists and deletes."""
    table, now = ConnectionTable(capacity, budget=0), 1000
    table.listen(True)
    workers = [threading.Thread(target=probe.hammer, args=(table, n, 1000, 40_000, 7919 * n, now)) for n in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        table.sweep(now + 10, 500)
        for row in table.rows(1, 200, now)[0][:3]:
            table.delete(row.index, row.serial)
        table.events()
    for worker in workers:
        worker.join()
    check(table, now)
    assert table.counters().insert > 1000
    table.flush()
    check(table, now)
