"""What the benchmark concludes from samples, and the frames that it replays."""

from __future__ import annotations

import math

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether

from bench import flows, frames
from bench.experiments.queues import jain
from bench.experiments.shaping import GUARANTEED, MEGA, QUANTA, share_error
from bench.requirements import REQUIREMENTS, Requirement, Series
from bench.verdict import judge

EXCESS = 40 * MEGA
MINE, THEIRS = Series("tcp", "vswitch"), Series("tcp", "relay")
SAMPLES = {"tcp": {"vswitch": [8.0, 6.0, 9.0], "relay": [10.0, 5.0, 10.0]}}


@pytest.mark.parametrize(("requirement", "value", "low", "high", "outcome"), [
    (Requirement("ratio of each round", MINE, "ratio", THEIRS, must=0.85), 0.9, 0.8, 1.2, "must"),
    (Requirement("worth it", MINE, "ratio", THEIRS, must=0.5, worth=0.9), 0.9, 0.8, 1.2, "worth"),
    (Requirement("short", MINE, "ratio", THEIRS, must=0.95), 0.9, 0.8, 1.2, "short"),
    (Requirement("nothing required", MINE), 8, 6, 9, "told"),
    (Requirement("best of what should be small", MINE, must=7, at_most=True, summary="best"),
     6, 6, 9, "must"),
    (Requirement("worst of what should be small", MINE, must=7, at_most=True, summary="worst"),
     9, 6, 9, "short"),
    (Requirement("best less best", MINE, "difference", THEIRS, must=1, at_most=True,
                 summary="best"), 1, 1, 4, "must"),
], ids=lambda value: value.title if isinstance(value, Requirement) else "")
def test_a_requirement_is_judged_by_its_rounds(requirement, value, low, high, outcome):
    verdict = judge(requirement, SAMPLES)
    assert verdict.outcome == outcome
    assert [verdict.figure.value, verdict.figure.low, verdict.figure.high] == pytest.approx(
        [value, low, high])


def test_a_round_that_one_of_the_pair_missed_does_not_count():
    samples = {"tcp": {"vswitch": [8.0, 6.0], "relay": [math.nan, 5.0]}}
    verdict = judge(Requirement("", MINE, "ratio", THEIRS), samples)
    assert (verdict.figure.value, verdict.figure.rounds) == (1.2, 1)


def test_without_samples_nothing_is_concluded():
    assert all(judge(requirement, {}).outcome == "not measured" for requirement in REQUIREMENTS)


def test_the_replayed_frame_is_tagged_tcp_of_62_bytes():
    sender, receiver = frames.macs(2)
    frame = frames.tcp(receiver, sender)
    seen = Ether(frame)
    assert len(frame) == 62
    assert (seen.src, seen.dst) == (sender.hex(":"), receiver.hex(":"))
    assert seen[Dot1Q].vlan == frames.VLAN
    assert seen[TCP].dport == 5001
    rebuilt = seen[IP].copy()
    del rebuilt.chksum
    assert IP(bytes(rebuilt)).chksum == seen[IP].chksum


def test_a_segment_of_a_flow_has_60_bytes_and_right_checksums():
    flow = flows.Flow(0x0A010002, 4242, 0xC6336401)
    frame = flows.segment(flow, flows.mac_of(1), flows.mac_of(2), flows.SYN, seq=1, ack=0)
    rebuilt = Ether(frame)
    del rebuilt[IP].chksum, rebuilt[TCP].chksum
    assert len(frame) == 60
    assert bytes(rebuilt) == frame
    assert (rebuilt[IP].src, rebuilt[TCP].sport, rebuilt[TCP].flags) == ("10.1.0.2", 4242, "S")


def test_flows_are_distinct_and_use_different_ports_while_they_can():
    some = flows.flows(100_000, range(10, 266), range(500, 510))
    assert len(set(some)) == len(some)
    assert len({flow.client_port for flow in some[:flows.PORTS]}) == flows.PORTS


def test_a_conversation_uses_every_station_equally_and_repeats():
    here, there = frames.macs(20)[:10], frames.macs(20)[10:]
    talk = frames.conversation(here, there, 100)
    assert talk == frames.conversation(here, there, 100)
    for field, stations in ((slice(6, 12), here), (slice(0, 6), there)):
        used = [frame[field] for frame in talk]
        assert {mac: used.count(mac) for mac in stations} == dict.fromkeys(stations, 10)


def test_jain_tells_equal_shares_from_unequal_ones():
    assert jain([3.0] * 32) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(1 / 4)


def test_the_share_of_the_excess_is_judged_by_the_quantum():
    wanted = [rate * MEGA + EXCESS * quantum / sum(QUANTA) for rate, quantum in zip(GUARANTEED, QUANTA, strict=True)]
    reached = {f"1:{10 + number}": bits for number, bits in enumerate(wanted)}
    assert share_error(reached) == pytest.approx(0)
    reached["1:12"] += 0.1 * EXCESS
    assert share_error(reached) == pytest.approx(100 * (0.1 + 1 / 6) / 1.1 * 6 - 100)
