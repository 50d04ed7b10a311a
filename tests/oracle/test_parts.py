"""The parts that need no kernel: the table's text, tuples that stand for each other, fields changed under checksums."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import topology
from tests.oracle.build import ICMP, TCP, UDP, Envelope, checksum, ethernet, icmp, packets, tcp, udp
from tests.oracle.compare import case
from tests.oracle.deliberate import DIFFERENCES, is_deliberate
from tests.oracle.proc import connections
from tests.oracle.shrink import shrunk
from tests.oracle.subject import Connection, Tuple
from tests.oracle.translation import Translation, choices
from tests.oracle.twins import twins
from tests.oracle.wire import Editor, parse

GUEST, HOST, ROUTER = topology.packed("a", 4, 2), topology.packed("b", 4, 3), topology.packed("b", 4, 1)

TABLE = """\
ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.0.2 dst=203.0.113.3 sport=1024 dport=80 src=203.0.113.3 \
dst=203.0.113.1 sport=80 dport=1025 [ASSURED] mark=5 zone-orig=3 use=2
ipv4     2 icmp     1 29 src=10.1.0.2 dst=203.0.113.3 type=8 code=0 id=7 [UNREPLIED] src=203.0.113.3 \
dst=10.1.0.2 type=0 code=0 id=7 mark=0 zone=2 use=1
ipv4     2 unknown  132 599 src=10.1.0.2 dst=203.0.113.3 [UNREPLIED] src=203.0.113.3 dst=10.1.0.2 mark=0 use=1
"""


def test_the_connection_table_is_read() -> None:
    one, echo, generic = connections(TABLE)
    assert one.original == Tuple(TCP, GUEST, 1024, HOST, 80) and one.reply == Tuple(TCP, HOST, 80, ROUTER, 1025)
    assert (one.state, one.mark, one.zones) == ("ESTABLISHED", 5, (3, 0))
    assert one.flags == {"ASSURED", "SEEN_REPLY"}
    assert echo.original == Tuple(ICMP, GUEST, 7, HOST, 7) and echo.icmp == (8, 0) and echo.zones == (2, 2)
    assert echo.flags == set() and generic.original == Tuple(132, GUEST, 0, HOST, 0)


def nat(src: str, port: int) -> Tuple:
    return Tuple(TCP, bytes(map(int, src.split("."))), port, HOST, 80)


RANGE = "-A POSTROUTING -j SNAT --to-source 203.0.113.50-203.0.113.60"
PORTS = "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 2000-2003 --random"


@pytest.mark.parametrize(("rules", "here", "there", "could"), [
    ("", nat("203.0.113.50", 1024), nat("203.0.113.50", 1024), True),
    ("", nat("203.0.113.50", 1024), nat("203.0.113.51", 1024), False),
    ("", nat("203.0.113.50", 1024), nat("203.0.113.50", 5000), True),
    ("", nat("203.0.113.50", 1024), nat("203.0.113.50", 600), False),
    (RANGE, nat("203.0.113.50", 1024), nat("203.0.113.60", 1024), True),
    (RANGE, nat("203.0.113.50", 1024), nat("203.0.113.60", 9999), True),
    (RANGE, nat("203.0.113.50", 1024), nat("203.0.113.61", 1024), False),
    (PORTS, nat("203.0.113.1", 2000), nat("203.0.113.1", 2003), True),
    (PORTS, nat("203.0.113.1", 2000), nat("203.0.113.1", 2004), False),
    (PORTS.replace("tcp", "udp"), nat("203.0.113.1", 2000), nat("203.0.113.1", 2004), True),
])  # fmt: skip
def test_a_choice_is_free_within_its_rule(rules: str, here: Tuple, there: Tuple, could: bool) -> None:
    assert Translation(lambda: ({}, {}), rules).same(here, there) is could


def test_a_choice_once_made_binds_in_both_directions_while_the_connection_lives() -> None:
    zone = frozenset((0,))
    alive = {nat("203.0.113.1", 2000): zone}, {nat("203.0.113.1", 2001): zone}
    translation = Translation(lambda: alive, PORTS)
    assert translation.same(nat("203.0.113.1", 2000), nat("203.0.113.1", 2001))
    assert translation.same(nat("203.0.113.1", 2000).reversed(), nat("203.0.113.1", 2001).reversed())
    assert not translation.same(nat("203.0.113.1", 2000), nat("203.0.113.1", 2002))
    assert not translation.same(nat("203.0.113.1", 2002), nat("203.0.113.1", 2001))
    for table in alive:
        table.clear()
    assert translation.same(nat("203.0.113.1", 2002), nat("203.0.113.1", 2001))


def test_a_tuple_stands_for_another_in_each_zone_and_for_one_alone_there() -> None:
    port = [nat("203.0.113.1", 2000 + n) for n in range(4)]
    alive = {port[0]: frozenset((0, 1))}, {port[1]: frozenset((0,)), port[2]: frozenset((1,)), port[3]: frozenset((1,))}
    translation = Translation(lambda: alive, PORTS)
    assert translation.same(port[0], port[1])
    assert translation.same(port[0], port[2])
    assert translation.same(port[0].reversed(), port[1].reversed())
    assert not translation.same(port[0], port[3]), "zone 1 has its own"


@pytest.mark.parametrize(("zones", "found"), [((0, 2), 2), ((0, 0), 2), ((2, 2), 0), ((2, 0), 0)])
def test_twins_have_a_tuple_in_one_zone(zones: tuple[int, int], found: int) -> None:
    """Of whichever direction it is; the other tuples and zones do not matter."""
    shared, other = nat("10.1.0.2", 1024), nat("203.0.113.2", 1024)
    one = Connection(shared.reversed(), shared, "", frozenset())
    assert len(twins([one, Connection(shared, other.reversed(), "", frozenset(), zones=zones)])) == found


@pytest.mark.parametrize(("words", "low", "high", "ports"), [
    ("DNAT --to-destination 10.1.0.2:80", "10.1.0.2", "10.1.0.2", ((80, 80),)),
    ("DNAT --to-destination [fd01::1e-fd01::25]:2000-2007 --persistent", "fd01::1e", "fd01::25", ((2000, 2007),)),
    ("SNAT --to-source 203.0.113.50-203.0.113.60:2000-2999 --random", "203.0.113.50", "203.0.113.60", ((2000, 2999),)),
])  # fmt: skip
def test_ranges_are_read_from_rules(words: str, low: str, high: str, ports: tuple[tuple[int, int], ...]) -> None:
    [choice] = choices(f"-A CHAIN -s 10.1.0.3/32 -j {words}\n-A CHAIN -j ACCEPT")
    assert (topology.spelled(choice.low), topology.spelled(choice.high), choice.ports) == (low, high, ports)


ends = st.tuples(st.sampled_from((4, 6)), st.integers(2, 20), st.integers(0, 65535), st.integers(2, 20),
                 st.integers(0, 65535))  # fmt: skip


def tuple_of(one: tuple[int, int, int, int, int], protocol: int) -> Tuple:
    family, src, sport, dst, dport = one
    return Tuple(protocol, topology.packed("a", family, src), sport, topology.packed("b", family, dst), dport)


@settings(max_examples=50, deadline=None)
@given(ends, st.data(), st.sampled_from((TCP, UDP)), st.binary(max_size=40))
def test_readdressed_is_as_if_built_so(one: tuple[int, int, int, int, int], data: st.DataObject, protocol: int,
                                       payload: bytes) -> None:  # fmt: skip
    other = (one[0], *data.draw(ends)[1:])
    assert _readdressed(_frame(tuple_of(one, protocol), payload), tuple_of(other, protocol)) == _plain(
        _frame(tuple_of(other, protocol), payload)
    )


def _frame(flow: Tuple, payload: bytes) -> bytes:
    four = flow.src, flow.sport, flow.dst, flow.dport
    upper = tcp(four, 1, 2, 16, 1000, b"", payload) if flow.protocol == TCP else udp(four, payload)
    packet = packets(flow.src, flow.dst, flow.protocol, upper, Envelope())[0]
    return ethernet(b"\2" * 6, b"\4" * 6, 4 if len(flow.src) == 4 else 6, packet)


def _readdressed(frame: bytes, to: Tuple) -> bytes:
    editor = Editor(parse(frame))
    editor.readdress(parse(frame), to)
    return editor.done()


def _plain(frame: bytes) -> bytes:
    return Editor(parse(frame)).done()


def test_a_quoted_packet_is_readdressed_under_both_checksums() -> None:
    before, after = Tuple(TCP, ROUTER, 2000, HOST, 80), Tuple(TCP, GUEST, 1024, HOST, 80)
    frames = [_error(_frame(flow, b"x")) for flow in (before, after)]
    editor = Editor(parse(frames[0]))
    editor.readdress(editor.quoted, after)
    assert editor.done() == _plain(frames[1])


def _error(frame: bytes) -> bytes:
    message = icmp(HOST, ROUTER, 3, 3, 0, frame[14:])
    return ethernet(b"\2" * 6, b"\4" * 6, 4, packets(HOST, ROUTER, ICMP, message, Envelope())[0])


def test_a_checksum_proves_itself() -> None:
    data = random.Random(1).randbytes(20)
    assert checksum(data + checksum(data).to_bytes(2, "big")) == 0


def test_nothing_is_masked_without_a_reason() -> None:
    assert is_deliberate("own-ident") and all(known.reason for known in DIFFERENCES)
    with pytest.raises(KeyError):
        is_deliberate("whatever")


def test_shrinking_leaves_what_matters() -> None:
    one = case(3)
    wanted = {one.steps[17], one.steps[71]}
    rule = next(line for line in one.rules.ipv6.splitlines() if line.startswith("-A"))
    small = shrunk(one, lambda case: wanted <= set(case.steps) and rule in case.rules.ipv6.splitlines())
    assert set(small.steps) == wanted
    assert [line for line in (small.rules.ipv4 + small.rules.ipv6).splitlines() if line.startswith("-A")] == [rule]
