"""census.pyx: what a look at every connection counts, against what a listing says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.nat_model import PUBLIC, SRC, Nat, connection, rule, udp

census = pytest.importorskip("vswitch._fastpath.filter.census").census

UDP = 17


def clients(n: int) -> list[str]:
    """Addresses of a private network."""
    return [f"10.0.{i >> 8}.{i & 255}" for i in range(1, n + 1)]


def test_an_empty_table() -> None:
    assert census(Nat().table, 1000) == ({}, 0, 0, {})


def test_a_port_counts_once_however_many_destinations_it_serves() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    assert {connection(nat, udp(dst=f"192.0.2.{n}"))[1] for n in range(1, 6)} == {40000}
    connection(nat, udp(sport=40001))
    found = census(nat.table, nat.now)
    assert found.states == {(UDP, 0): 6}
    assert (found.source_nat, found.destination_nat) == (6, 0)
    assert found.ports == {(PUBLIC, UDP): 2}


def test_addresses_are_told_apart_as_in_a_listing() -> None:
    nat = Nat(snat=rule(SRC, f"{PUBLIC}-198.51.100.40"))
    for number, client in enumerate(clients(200)):
        connection(nat, udp(client, sport=40000 + number % 3, dst=f"192.0.2.{number % 7 + 1}"))
    rows = nat.table.rows(1, 5000, nat.now)[0]
    listed = Counter(address for address, _ in {(row.reply.dst, row.reply.dport) for row in rows})
    assert census(nat.table, nat.now).ports == {(address, UDP): ports for address, ports in listed.items()}


def test_there_is_an_end_to_addresses_but_not_to_connections() -> None:
    nat = Nat(snat=rule(SRC, "198.51.100.1-198.51.103.250"))
    for client in clients(1000):
        connection(nat, udp(client))
    found = census(nat.table, nat.now)
    assert len(found.ports) == 128 and found.source_nat == 1000


def test_what_has_expired_is_not_counted() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    connection(nat, udp())
    assert census(nat.table, nat.now + 3600) == ({}, 0, 0, {})


def test_what_is_not_translated_has_no_port_of_nat() -> None:
    nat = Nat()
    connection(nat, udp())
    found = census(nat.table, nat.now)
    assert (found.states, found.source_nat, found.ports) == ({(UDP, 0): 1}, 0, {})
