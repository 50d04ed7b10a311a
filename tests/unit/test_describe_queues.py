"""Queues in reports: where delays are told, how rates are measured, and what `show` says of a port in a word."""

from __future__ import annotations

import pytest

from tests.tc_ports import TcPorts
from vswitch.describe_queues import Pace, egress_text, ingress_text, queueing_report
from vswitch.observe.queueing import QueueingReport
from vswitch.qos.view import QdiscStats

MEMORY = (0, 0, 64 << 20)
HTB = ("qdisc add dev a root handle 1: htb default 1", "class add dev a parent 1: classid 1:1 htb rate 8mbit ceil 16mbit")


class Clock:
    """Seconds as the test has them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(*lines: str) -> TcPorts:
    ports = TcPorts("a")
    ports.do(*lines)
    return ports


def report(ports: TcPorts, sent: int = 0, pace: Pace | None = None) -> QueueingReport:
    """As if everything had sent that many bytes, and a leaf had held as many frames up as its serial number says."""
    control = ports.controls["a"]
    counted = [*control.qdiscs.values(), *control.classes.values()]
    stats = {one.serial: QdiscStats(bytes=sent, delays=(one.serial,) + (0,) * 23) for one in counted}
    return queueing_report(ports.controls, {"a": stats}, MEMORY, pace or Pace())


TREES = (
    (("qdisc add dev a root pfifo",), {"root"}),
    (("qdisc add dev a root handle 1: tbf rate 1mbit burst 2k latency 1s",), {"root"}),
    (("qdisc add dev a root handle 1: prio",), {"1:1", "1:2", "1:3"}),
    (HTB, {"1:1"}),
    ((*HTB, "qdisc add dev a parent 1:1 handle 10: tbf rate 1mbit burst 2k latency 1s",
      "qdisc add dev a parent 10:1 handle 20: sfq"), {"1:1"}),
    ((*HTB, "qdisc add dev a parent 1:1 handle 10: prio bands 2 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"), {"10:1", "10:2"}),
    ((*HTB, "class add dev a parent 1:1 classid 1:10 htb rate 1mbit"), {"1:10"}),
    ((*HTB, "qdisc add dev a ingress"), {"1:1"}),
)  # fmt: skip


@pytest.mark.parametrize(("lines", "places"), TREES)
def test_a_delay_belongs_to_the_class_that_the_leaf_is_in(lines: tuple[str, ...], places: set[str]) -> None:
    ports = made(*lines)
    queues = report(ports).queues
    assert {queue.classid for queue in queues} == places and len(queues) == len(places)
    leaves = {one.serial for one in ports.controls["a"].qdiscs.values() if one.kind not in ("htb", "prio", "tbf", "ingress")}
    assert {queue.delays[0] for queue in queues} == leaves


def test_what_nobody_asked_for_has_no_discipline_of_its_own() -> None:
    ports = made(*HTB, "qdisc add dev a ingress")
    assert [(one.handle, one.parent) for one in report(ports).qdiscs] == [("1:", "root")]
    assert [one.leaf for one in report(ports).classes] == [""]
    ports.do("qdisc add dev a parent 1:1 handle 10: pfifo")
    assert [(one.handle, one.parent) for one in report(ports).qdiscs] == [("1:", "root"), ("10:", "1:1")]
    assert [one.leaf for one in report(ports).classes] == ["10:"]


def test_a_rate_is_of_the_interval_between_two_looks() -> None:
    clock = Clock()
    pace, ports = Pace(clock), made(*HTB)

    def achieved(now: float, sent: int) -> float | None:
        clock.now = now
        return report(ports, sent, pace).classes[0].achieved

    assert achieved(102, 1000) is None  # it was not looked at before
    assert achieved(104, 5000) == 2000
    assert achieved(104.9, 9000) == 2000  # too soon: the last interval stands
    assert achieved(105, 9000) == 4000  # from 104 on
    assert achieved(115, 9000) == 0


def test_what_is_made_anew_has_no_rate_yet() -> None:
    clock = Clock()
    pace, ports = Pace(clock), made(*HTB)
    for clock.now in (102, 104):
        report(ports, 10_000, pace)
    ports.do("qdisc del dev a root", *HTB)
    clock.now = 106
    assert report(ports, 100, pace).classes[0].achieved is None
    clock.now = 108
    assert report(ports, 300, pace).classes[0].achieved == 100


@pytest.mark.parametrize(
    ("lines", "egress", "ingress"),
    [
        (HTB, "htb 16Mbit", None),
        ((*HTB, "class add dev a parent 1: classid 1:2 htb rate 8mbit"), "htb", None),
        (("qdisc add dev a root tbf rate 1mbit burst 2k latency 1s",), "tbf 1Mbit", None),
        (("qdisc add dev a root fq_codel",), "fq_codel", None),
        (("qdisc add dev a ingress", "filter add dev a ingress matchall action police rate 8mbit burst 64k"), None, "8Mbit"),
        (("qdisc add dev a ingress",
          "filter add dev a ingress protocol 802.1Q pref 1 flower vlan_id 10 action police pkts_rate 500 pkts_burst 9",
          "filter add dev a ingress pref 2 matchall action police rate 8mbit burst 64k"), None, "8Mbit, VLAN 10 500 frames/s"),
    ],
)  # fmt: skip
def test_a_port_in_a_word(lines: tuple[str, ...], egress: str | None, ingress: str | None) -> None:
    control = made(*lines).controls["a"]
    assert (egress_text(control), ingress_text(control)) == (egress, ingress)
