"""tbf against the model: every packet leaves at the same nanosecond, over rates from 100 kbit to 10 Gbit a second."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.qos_model import Packet, Port
from tests.qosboard import Board, FastPort, Sent, worst_excess
from tests.qostrees import GBIT, KBIT, MS, Node, bfifo, pfifo, pfifo_fast, prio, sfq, tbf, tree

rates = st.sampled_from([100 * KBIT, 640 * KBIT, 1_234_567, 10**7, 10**8, GBIT, 10 * GBIT]) | st.integers(10**5, 10**10)
sizes = st.integers(0, 1460)
gaps = st.integers(0, 1200)  # in thousandths of what a full frame takes
children = st.sampled_from([bfifo(20000), pfifo(10), pfifo(1), pfifo_fast(2),
                            prio(pfifo(5), bfifo(3000), pfifo(1)), sfq(20)])
packets = st.builds(Packet, st.just(0), payload=sizes, tos=st.sampled_from([0, 0, 0x10, 0x08]))
super_frames = st.builds(Packet, st.just(0), payload=st.integers(1449, 64000), mss=st.sampled_from([536, 1448, 8948]))
scripts = st.lists(st.tuples(packets, gaps), min_size=15, max_size=60)


def leave_at_the_same_time(node: Node, script: list[tuple[Packet, int]], rate: int) -> list[Sent]:
    boards = [Board(FastPort(tree(node))), Board(Port(tree(node)))]
    unit = max(1, 1514 * 8 * 10**9 // rate // 1000)
    for label, (packet, gap) in enumerate(script):
        packet.label = label + 1
        names = [board.offer(packet) for board in boards]
        assert names[0] == names[1]
        for board in boards:
            board.run(board.now + gap * unit)
        assert boards[0].sent == boards[1].sent
    for board in boards:
        board.run(board.now + 10**13)
        board.check()
        assert board.port.held == 0
    assert boards[0].sent == boards[1].sent
    assert boards[0].port.drops == boards[1].port.drops
    return boards[0].sent


def rounding(sent: list[Sent], rate: int) -> float:
    """Bytes that make up a nanosecond for each packet."""
    return 1 + len(sent) * rate / 8 / 10**9


@settings(max_examples=120, deadline=None)
@given(rate=rates, burst=st.integers(1514, 6000), child=children, script=scripts)
def test_departures(rate: int, burst: int, child: Node, script: list) -> None:
    sent = leave_at_the_same_time(tbf(rate, burst, child), script, rate)
    assert worst_excess(sent, rate // 8) <= burst + rounding(sent, rate)


@settings(max_examples=80, deadline=None)
@given(rate=rates, times=st.integers(2, 20), mtu=st.integers(1514, 4000), child=children, script=scripts)
def test_departures_below_a_peak_rate(rate: int, times: int, mtu: int, child: Node, script: list) -> None:
    sent = leave_at_the_same_time(tbf(rate, 10000, child, peak=times * rate, mtu=mtu), script, rate)
    assert worst_excess(sent, rate // 8) <= 10000 + rounding(sent, rate)
    assert worst_excess(sent, times * rate // 8) <= mtu + rounding(sent, times * rate)


@settings(max_examples=60, deadline=None)
@given(rate=rates, overhead=st.integers(0, 40), mpu=st.integers(0, 200), script=scripts)
def test_overhead_and_smallest_unit(rate: int, overhead: int, mpu: int, script: list) -> None:
    leave_at_the_same_time(tbf(rate, 3000, pfifo(20), overhead=overhead, mpu=mpu), script, rate)


@settings(max_examples=40, deadline=None)
@given(rate=rates, burst=st.integers(200, 1500), script=scripts)
def test_what_never_conforms_is_refused(rate: int, burst: int, script: list) -> None:
    leave_at_the_same_time(tbf(rate, burst, pfifo(100)), script, rate)


@settings(max_examples=40, deadline=None)
@given(rate=rates, script=scripts)
def test_a_bucket_in_a_bucket(rate: int, script: list) -> None:
    inner = tbf(max(10**5, rate // 2), 2000, pfifo(1000))
    leave_at_the_same_time(tbf(rate, 4000, inner), script, rate)


@settings(max_examples=60, deadline=None)
@given(
    rate=rates,
    burst=st.integers(9100, 70000),
    script=st.lists(st.tuples(super_frames, st.integers(0, 9000)), max_size=25),
)
def test_super_frames(rate: int, burst: int, script: list) -> None:
    """Whole where the bucket can hold that much, else in the largest parts that it can."""
    sent = leave_at_the_same_time(tbf(rate, burst, pfifo(9)), script, rate)
    assert all(one.wire <= burst for one in sent)


@pytest.mark.parametrize("late_ns, rate", [(MS // 10, 100 * 10**6), (MS, 100 * 10**6), (5 * MS, 20 * 10**6)])
def test_a_late_scheduler_costs_no_rate(late_ns: int, rate: int) -> None:
    board = Board(FastPort(tree(tbf(rate, 3000, pfifo(1000)))))
    label = 0
    for _ in range(800):
        while board.offered - len(board.sent) < 500:
            label += 1
            board.offer(Packet(label, payload=1460))
        board.serve()
        board.now += late_ns
    assert sum(one.wire for one in board.sent) * 8 * 10**9 / (800 * late_ns) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("child", [pfifo(3), pfifo_fast(3), bfifo(3 * 1454)])
def test_what_waits_for_tokens_counts_in_its_queue(child: Node) -> None:
    """One leaves at once, three wait, whoever of them is next included."""
    board = Board(FastPort(tree(tbf(100 * KBIT, 1600, child))))
    names = []
    for label in range(6):
        names.append(board.offer(Packet(label, payload=1400)))
        board.serve()
    assert names == [None] * 4 + ["qdisc_limit"] * 2
    assert board.port.held == 3


def test_idleness_is_not_lateness() -> None:
    board = Board(FastPort(tree(tbf(10**8, 3000, pfifo(1000)))))
    for label in range(5):
        board.offer(Packet(label, payload=1446))
    board.run(board.now + 10 * MS)
    board.now += 10**9
    for label in range(5, 50):
        board.offer(Packet(label, payload=1446))
    assert len(board.serve()) == 2


@pytest.mark.parametrize("rate", [100 * KBIT, 10**6, 10**8, 2 * GBIT, 10 * GBIT])
def test_rate(rate: int) -> None:
    """Of a thousand full frames that wait."""
    board = Board(FastPort(tree(tbf(rate, 3000, pfifo(2000)))))
    for label in range(1000):
        board.offer(Packet(label, payload=1460))
    start = board.now
    board.run(start + 1000 * 1514 * 8 * 10**9 // rate + 10 * MS)
    later = [one for one in board.sent if one.at > start]
    took = later[-1].at - later[0].at
    assert sum(one.wire for one in later[1:]) * 8 * 10**9 / took == pytest.approx(rate, rel=0.0005)
    board.check()
