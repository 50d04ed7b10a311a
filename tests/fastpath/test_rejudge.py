"""Live connections judged anew: those that the rules would not let begin now end, all others stay."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from tests.routerboard import A_MAC, GATEWAY, SERVER, UPLINK, RouterBoard


@pytest.fixture
async def board() -> RouterBoard:
    return await RouterBoard.make()


def out(segment) -> bytes:
    return bytes(Ether(src=A_MAC, dst=GATEWAY) / IP(src="10.1.0.2", dst=SERVER) / segment)


def connections(board: RouterBoard) -> set[tuple[int, int]]:
    return {(row.proto, row.original.dport) for row in board.connections}


async def begin_some(board: RouterBoard) -> None:
    for segment in (TCP(sport=1000, dport=22), TCP(sport=1001, dport=80), UDP(sport=1002, dport=53), ICMP(id=7)):
        assert board.send("a", out(segment))
    await board.use("")


RULES = [
    ("nothing forbids", "", 4, set()),
    ("one port", "-A FORWARD -p tcp --dport 22 -j DROP", 4, {(6, 22)}),
    ("a reject", "-A FORWARD -p udp -j REJECT", 4, {(17, 53)}),
    ("only what is established", "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-P FORWARD DROP", 4,
     {(6, 22), (6, 80), (17, 53), (1, 2048)}),
    ("by interface", "-A FORWARD -i br0 -o b -p icmp -j DROP", 4, {(1, 2048)}),
    ("another interface", "-A FORWARD -i b -p icmp -j DROP", 4, set()),
    ("INPUT is another hook", "-P INPUT DROP", 4, set()),
    ("what the first packet looks like", "-A FORWARD -p tcp ! --syn -j DROP", 4, set()),
]


@pytest.mark.parametrize(("rules", "judged", "ended"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
async def test_what_may_not_begin_ends(board: RouterBoard, rules: str, judged: int, ended: set):
    await begin_some(board)
    before = connections(board)
    assert len(before) == 4
    await board.use(rules)
    assert board.dataplane.rejudge() == (judged if rules else 0, len(ended))
    assert before - connections(board) == ended


async def test_destinations_are_judged_as_nat_has_made_them(board: RouterBoard):
    await board.use("-t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80")
    frame = Ether(src=board.neighbour("b"), dst=UPLINK) / IP(src=SERVER, dst="203.0.113.1") / TCP(sport=5, dport=8080)
    assert board.send("b", bytes(frame))
    await board.use("-A FORWARD -p tcp --dport 8080 -j DROP")
    assert board.dataplane.rejudge() == (1, 0)
    await board.use("-A FORWARD -d 10.1.0.2 -p tcp --dport 80 -j DROP")
    assert board.dataplane.rejudge() == (1, 1)


async def test_judging_counts_nothing(board: RouterBoard):
    await begin_some(board)
    await board.use("-A FORWARD -p tcp -j ACCEPT")
    board.dataplane.rejudge()
    assert "[0:0] -A FORWARD -p tcp" in board.saved()
