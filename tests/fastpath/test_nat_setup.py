"""What NAT binds new connections to: addresses, ports, the last free one, and what happens beyond it."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from scapy.layers.inet import ICMP, IP

from tests.nat_model import (
    CLIENT, DST, ETHER, OTHER, POSTROUTING, PUBLIC, SERVER, SRC, Nat, checksums_hold, conntrack, connection, probe,
    rule, udp,
)  # fmt: skip

nat_module = pytest.importorskip("vswitch._fastpath.filter.nat")


def reason(name: str) -> int:
    """The number of a reason to drop."""
    from vswitch._fastpath.core.verdict import DROP_REASONS

    return next(number for number, known in DROP_REASONS.items() if known == name)


def clients(n: int) -> list[str]:
    """Addresses of a private network."""
    return [f"10.0.{i >> 8}.{i & 255}" for i in range(1, n + 1)]


def test_the_source_port_is_kept_while_it_is_free() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    assert connection(nat, udp()) == (PUBLIC, 40000, SERVER, 53)
    src, port, *_ = connection(nat, udp("10.0.0.3"))
    assert src == PUBLIC
    assert port != 40000
    assert connection(nat, udp("10.0.0.3", dport=54))[1] == 40000, "another destination: the port is free again"


@pytest.mark.parametrize(
    ("port", "low", "high"),
    [(1, 1, 511), (511, 1, 511), (512, 600, 1023), (1023, 600, 1023), (1024, 1024, 65535)],
)
def test_without_a_range_ports_stay_in_their_class(port: int, low: int, high: int) -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    chosen = [connection(nat, udp(client, port))[1] for client in clients(20)]
    assert chosen[0] == port
    assert len(set(chosen)) == 20
    assert all(low <= other <= high for other in chosen[1:])


@pytest.mark.parametrize("flag", ["random", "random_fully"])
def test_random_does_not_keep_the_port(flag: str) -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, None, flag))
    assert {connection(nat, udp(client))[1] for client in clients(8)} != {40000}


def test_a_port_in_the_range_is_kept_and_others_are_mapped_into_it() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6003)))
    assert connection(nat, udp(sport=6002))[1] == 6002
    assert 6000 <= connection(nat, udp("10.0.0.3", sport=7))[1] <= 6003


def test_every_port_of_a_range_is_found_and_then_none() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6499)))
    ports = [connection(nat, udp(client))[1] for client in clients(500)]
    assert sorted(ports) == list(range(6000, 6500))
    for _ in range(2):
        passage = nat.arrive(udp("10.9.9.9"))
        assert nat.cross(passage) == reason("nat_exhausted")
    assert nat.binder.counters()["exhausted"] == 2
    assert connection(nat, udp("10.9.9.9", dport=54))[1] >= 6000, "towards another destination all are free"


def test_a_freed_port_is_found_by_and_by_even_in_the_same_second() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6499)))
    for client in clients(500):
        connection(nat, udp(client))
    assert nat.cross(nat.arrive(udp("10.9.9.9"))) == reason("nat_exhausted")
    victim = next(row for row in nat.table.rows(1, 5000, nat.now)[0] if row.reply.dport == 6123)
    assert nat.table.delete(victim.index, victim.serial)
    assert 0 in [nat.cross(nat.arrive(udp("10.9.9.9"))) for _ in range(17)]


def test_the_whole_of_an_address_is_used_up_before_one_is_refused() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC), capacity=70000)
    assert probe.stream(nat.table, nat.binder, nat.snat, 0, 0, 64600, nat.now) == (64512, 88, 0)
    assert nat.binder.counters()["exhausted"] == 88


def test_where_an_address_is_used_up_the_next_one_serves() -> None:
    nat = Nat(snat=rule(SRC, f"{PUBLIC}-198.51.100.10", (7000, 7009)))
    seen = Counter(connection(nat, udp(client))[0] for client in clients(40))
    assert seen == {f"198.51.100.{n}": 10 for n in range(7, 11)}
    assert nat.cross(nat.arrive(udp("10.9.9.9"))) == reason("nat_exhausted")


def test_addresses_of_a_range_are_spread_and_persistent_ones_stick() -> None:
    addresses = f"{PUBLIC}-198.51.100.22"
    spread = Nat(snat=rule(SRC, addresses))
    assert len({connection(spread, udp(dst=f"192.0.2.{n}"))[0] for n in range(1, 60)}) > 8
    sticky = Nat(snat=rule(SRC, addresses, None, "persistent"))
    assert len({connection(sticky, udp(dst=f"192.0.2.{n}"))[0] for n in range(1, 60)}) == 1
    assert len({connection(sticky, udp(client))[0] for client in clients(60)}) > 8


def test_a_range_of_ipv6_addresses_keeps_within_its_ends() -> None:
    nat = Nat(snat=rule(SRC, "2001:db8:0:1::fffe-2001:db8:0:3::2"))
    seen = {connection(nat, udp(f"fd00::{n:x}", dst="2001:db8:9::1"))[0] for n in range(1, 40)}
    assert {address.split(":")[3] for address in seen} == {"1", "2", "3"}
    low = Nat(snat=rule(SRC, "2001:db8::5-2001:db8::7"))
    seen = {connection(low, udp(f"fd00::{n:x}", dst="2001:db8:9::1"))[0] for n in range(1, 40)}
    assert seen == {f"2001:db8::{n}" for n in (5, 6, 7)}


def test_netmap_keeps_the_host_part() -> None:
    nat = Nat(rule(DST, "10.2.0.0-10.2.255.255", None, "netmap"), rule(SRC, "172.16.5.0-172.16.5.255", None, "netmap"))
    assert connection(nat, udp("192.168.1.77", dst="203.0.9.8")) == ("172.16.5.77", 40000, "10.2.9.8", 53)


def test_dnat_into_a_range_of_ports_and_shifted_by_a_base() -> None:
    nat = Nat(dnat=rule(DST, CLIENT, (8000, 8003)))
    assert {connection(nat, udp(SERVER, sport, PUBLIC, 80))[3] for sport in range(1000, 1060)} <= set(range(8000, 8004))
    shifted = Nat(dnat=rule(DST, CLIENT, (8000, 8099), "offset", base=5000))
    assert connection(shifted, udp(SERVER, 9, PUBLIC, 5042))[3] == 8042


def test_a_destination_is_the_first_port_that_is_free() -> None:
    nat = Nat(dnat=rule(DST, CLIENT, (8000, 8003)))
    assert connection(nat, udp(SERVER, 9, PUBLIC, 5042))[3] == 8000
    assert [connection(nat, udp(SERVER, 9, PUBLIC, port))[3] for port in (5043, 5044)] == [8001, 8002]
    anywhere = Nat(dnat=rule(DST, CLIENT, (8000, 8999), "random"))
    assert len({connection(anywhere, udp(SERVER, port, PUBLIC, 80))[3] for port in range(20)}) > 5


def test_two_public_addresses_of_one_server_give_way_at_the_source() -> None:
    nat = Nat(dnat=rule(DST, CLIENT, (80, 80)))
    assert connection(nat, udp(SERVER, 1234, PUBLIC, 80)) == (SERVER, 1234, CLIENT, 80)
    passage = nat.arrive(udp(SERVER, 1234, OTHER, 80))
    assert nat.cross(passage) == 0
    src, sport, dst, dport, _ = passage.header
    assert (src, dst, dport) == (SERVER, CLIENT, 80)
    assert sport >= 1024
    assert sport != 1234
    assert checksums_hold(passage.frame)
    assert nat.binder.counters() == {"exhausted": 0, "retried": 0, "moved": 1}


def test_an_answer_that_its_zone_hides_from_its_connection_gets_no_port_of_its_own() -> None:
    nat = Nat()
    assert nat.cross(nat.arrive(udp(), zone_reply=1)) == 0
    answer = nat.arrive(udp(SERVER, 53, CLIENT, 40000))
    assert nat.cross(answer) == reason("conntrack_clash")
    answer.abandon()
    assert nat.table.counters().used == 1
    assert nat.cross(nat.arrive(udp(SERVER, 53, CLIENT, 40000), zone_reply=1)) == 0, "so it is found"
    assert nat.table.counters().used == 1


def test_two_pings_with_one_identifier() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    chosen = [connection(nat, ETHER / IP(src=client, dst=SERVER) / ICMP(id=7))[1] for client in clients(5)]
    assert chosen[0] == 7
    assert len(set(chosen)) == 5


def test_of_two_that_chose_the_same_port_the_later_one_chooses_again() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6001)))
    first, second = nat.arrive(udp(sport=6000)), nat.arrive(udp("10.0.0.3", sport=6000))
    for passage in (first, second):
        passage.null(DST)
        assert passage.setup(nat.snat) == 0
        assert passage.rewrite(POSTROUTING) == 0
    assert first.confirm() == 0
    assert second.confirm() == 0
    assert second.header[:2] == (PUBLIC, 6001)
    assert checksums_hold(second.frame)
    assert nat.binder.counters()["retried"] == 1


def test_a_second_choice_that_finds_nothing_drops_by_name() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6000)))
    first, second = nat.arrive(udp()), nat.arrive(udp("10.0.0.3"))
    for passage in (first, second):
        passage.null(DST)
        assert passage.setup(nat.snat) == 0
    assert first.confirm() == 0
    assert second.confirm() == reason("nat_exhausted")
    second.abandon()
    assert nat.table.counters().used == 1


def test_without_nat_a_taken_reply_tuple_is_a_clash() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC))
    connection(nat, udp())
    passage = nat.arrive(udp(PUBLIC))
    assert passage.confirm() == reason("conntrack_clash")
    passage.abandon()
    assert nat.table.counters().used == 1


def test_masquerade_is_bound_to_the_device_whose_address_it_borrows() -> None:
    nat = Nat()
    passage = nat.arrive(udp())
    assert passage.setup_to(rule(SRC), PUBLIC, 3) == 0
    assert passage.setup_to(rule(SRC), OTHER, 4) == 0, "bound already: nothing happens"
    assert passage.rewrite(POSTROUTING) == 0
    assert passage.confirm() == 0
    assert passage.header[0] == PUBLIC
    assert (passage.strayed(3), passage.strayed(4)) == (False, True)
    assert passage.borrowed(3)
    assert passage.borrowed(3, PUBLIC)
    assert not passage.borrowed(3, OTHER)
    assert not passage.borrowed(4, PUBLIC)
    assert not nat.arrive(udp(SERVER, 53, PUBLIC, 40000)).strayed(4), "answers do not leave by it"


def test_connections_end_when_the_address_they_borrowed_goes() -> None:
    nat = Nat()
    for n, (device, address) in enumerate([(3, PUBLIC), (3, OTHER), (4, PUBLIC)]):
        passage = nat.arrive(udp(sport=1000 + n))
        assert passage.setup_to(rule(SRC), address, device) == 0
        assert nat.cross(passage) == 0
    assert nat_module.masquerade_flush(nat.table, 3, PUBLIC) == 1
    assert nat_module.masquerade_flush(nat.table, 3) == 1
    assert nat_module.masquerade_flush(nat.table, 3) == 0
    assert nat.table.counters().entries == 1


def test_redirect_to_an_address_and_a_port() -> None:
    passage = (nat := Nat()).arrive(udp())
    assert passage.setup_to(rule(DST, "", (5353, 5353)), "10.0.0.1") == 0
    assert nat.cross(passage) == 0
    assert passage.header[2:4] == ("10.0.0.1", 5353)


def test_workers_at_once_never_give_a_port_twice() -> None:
    """Two workers race for the ports of a small range; every one is given out, none twice."""
    table, snat = conntrack.ConnectionTable(20000, budget=0), rule(SRC, PUBLIC, (10000, 13999), "random")
    binders = [probe.Binder(seed) for seed in (1, 2)]
    results: dict[int, tuple[int, int, int]] = {}

    def work(worker: int) -> None:
        results[worker] = probe.stream(table, binders[worker], snat, worker, worker << 16, 2500, 1000)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ports = [row.reply.dport for row in table.rows(1, 100000, 1000)[0]]
    assert len(set(ports)) == len(ports) == sum(done[0] for done in results.values())
    assert 3990 <= len(ports) <= 4000
    assert sum(sum(done) for done in results.values()) == 5000
    assert table.counters().used == len(ports)
