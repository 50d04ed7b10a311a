"""Where all ports are taken, a new connection may have that of one which is over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet

from tests.nat_model import CLIENT, DST, ETHER, PUBLIC, SERVER, SRC, Nat, rule

OTHER_CLIENT = "10.0.0.3"
ALONE = (6000, 6000)
OLD_SEQ = 1_000_000  # with SYN and FIN the old connection ends at OLD_SEQ + 2
EXHAUSTED = "nat_exhausted"

OPENING = ["> S 0 0", "< SA 0 1", "> A 1 1"]
CLOSING = [*OPENING, "> FA 1 1", "< FA 1 2", "> A 2 2"]


def reasons() -> dict[int, str]:
    """The names of reasons to drop; 0 is none."""
    from vswitch._fastpath.core.verdict import DROP_REASONS

    return {**DROP_REASONS, 0: ""}


def tcp(src: str, dst: str, ports: tuple[int, int], flags: str, seq: int, ack: int = 0) -> Packet:
    """A segment without data."""
    return ETHER / IP(src=src, dst=dst) / TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack)


def converse(
    nat: Nat, segments: list[str], client: str = CLIENT, port: int = 40000, shown: str = PUBLIC, **zones: int
) -> str:
    """Segments both ways, of numbers that count from each end's first; the state that they lead to."""
    for said in segments:
        way, flags, seq, ack = said.split()
        numbers = OLD_SEQ + int(seq), OLD_SEQ + int(ack)
        if way == ">":
            passage = nat.arrive(tcp(client, SERVER, (port, 80), flags, *numbers), **zones)
        else:
            seen = nat.table.rows(1, 100, nat.now)[0][0].reply.dport
            passage = nat.arrive(tcp(SERVER, shown, (80, seen), flags, *numbers), **zones)
        assert nat.cross(passage) == 0
    return nat.table.rows(1, 100, nat.now)[0][0].state


@dataclass(frozen=True)
class Meeting:
    """An old connection, a new one that wants its port, and what becomes of the new one."""

    old: list[str]
    state: str
    reason: str
    ahead: int = 3
    flags: str = "S"


MEETINGS = {
    "in TIME_WAIT": Meeting(CLOSING, "TIME_WAIT", ""),
    "reset": Meeting([*OPENING, "> R 1 0"], "CLOSE", ""),
    "no farther ahead than it has come": Meeting(CLOSING, "TIME_WAIT", EXHAUSTED, ahead=1),
    "behind it": Meeting(CLOSING, "TIME_WAIT", EXHAUSTED, ahead=-5),
    "behind it, across the end of the number space": Meeting(CLOSING, "TIME_WAIT", EXHAUSTED, ahead=(1 << 31) + 3),
    "a SYN with more": Meeting(CLOSING, "TIME_WAIT", "", flags="SEC"),
    "no SYN: taken up midway": Meeting(CLOSING, "TIME_WAIT", EXHAUSTED, flags="A"),
    "only opening": Meeting(OPENING[:1], "SYN_SENT", EXHAUSTED),
    "established": Meeting(OPENING, "ESTABLISHED", EXHAUSTED),
    "half closed": Meeting(CLOSING[:4], "FIN_WAIT", EXHAUSTED),
    "about to close": Meeting(CLOSING[:5], "LAST_ACK", EXHAUSTED),
}


@pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS)
def test_a_port_is_taken_over_from_a_connection_that_is_over(meeting: Meeting) -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, ALONE))
    assert converse(nat, meeting.old) == meeting.state
    passage = nat.arrive(tcp(OTHER_CLIENT, SERVER, (50000, 80), meeting.flags, (OLD_SEQ + meeting.ahead) % (1 << 32)))
    assert reasons()[nat.cross(passage)] == meeting.reason
    rows = nat.table.rows(1, 100, nat.now)[0]
    assert [row.original.src for row in rows] == [CLIENT if meeting.reason else OTHER_CLIENT]
    assert rows[0].reply.dport == 6000
    assert nat.table.counters().deleted == (not meeting.reason)


def test_what_is_free_comes_first() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, (6000, 6001)))
    converse(nat, CLOSING)
    for client in (OTHER_CLIENT, "10.0.0.4"):
        assert nat.cross(nat.arrive(tcp(client, SERVER, (50000, 80), "S", OLD_SEQ + 9))) == 0
        if client == OTHER_CLIENT:
            assert nat.table.counters().entries == 2, "the other port was free"
    rows = nat.table.rows(1, 100, nat.now)[0]
    assert {row.original.src for row in rows} == {OTHER_CLIENT, "10.0.0.4"}
    assert {row.reply.dport for row in rows} == {6000, 6001}


def test_within_a_second_of_finding_a_range_full_ports_are_taken_over_too() -> None:
    nat = Nat(snat=rule(SRC, PUBLIC, ALONE))
    converse(nat, OPENING)
    assert reasons()[nat.cross(nat.arrive(tcp(OTHER_CLIENT, SERVER, (50000, 80), "S", OLD_SEQ + 9)))] == EXHAUSTED
    converse(nat, CLOSING[3:])
    assert nat.cross(nat.arrive(tcp(OTHER_CLIENT, SERVER, (50000, 80), "S", OLD_SEQ + 9))) == 0


def test_a_connection_that_is_not_translated_keeps_its_port() -> None:
    nat = Nat()
    assert converse(nat, CLOSING, PUBLIC, 6000) == "TIME_WAIT"
    nat.snat = rule(SRC, PUBLIC, ALONE)
    assert reasons()[nat.cross(nat.arrive(tcp(OTHER_CLIENT, SERVER, (50000, 80), "S", OLD_SEQ + 9)))] == EXHAUSTED


def test_where_two_take_over_one_port_the_later_one_gets_none() -> None:
    """As two workers may: both have chosen before either has confirmed."""
    nat = Nat(snat=rule(SRC, PUBLIC, ALONE))
    converse(nat, CLOSING)
    first, second = (nat.arrive(tcp(f"10.0.0.{n}", SERVER, (50000, 80), "S", OLD_SEQ + 9)) for n in (3, 4))
    for passage in (first, second):
        passage.null(DST)
        assert passage.setup(nat.snat) == 0
    assert first.confirm() == 0
    assert reasons()[second.confirm()] == EXHAUSTED
    second.abandon()
    assert [row.original.src for row in nat.table.rows(1, 100, nat.now)[0]] == ["10.0.0.3"]
    assert nat.table.counters().used == 1


def test_whose_other_end_begins_anew_is_in_the_zone_that_the_packet_came_in() -> None:
    """Not in that of the old one's replies, by which the old one was found."""
    nat = Nat()
    converse(nat, CLOSING, shown=CLIENT, zone=2, zone_reply=1)
    assert nat.cross(nat.arrive(tcp(SERVER, CLIENT, (80, 40000), "S", OLD_SEQ + 9), zone=2, zone_reply=1)) == 0
    rows = [row for row in nat.table.rows(1, 100, nat.now)[0] if row.original.src == SERVER]
    assert [(row.original.zone, row.reply.zone) for row in rows] == [(2, 1)]
