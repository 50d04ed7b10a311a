"""tc's words in process: the manual's example of HTB, what is refused and with what words, what is shown."""

from __future__ import annotations

import json

import pytest

from tests.tc_ports import TcPorts
from vswitch.qos.model import NOTHING
from vswitch.qos.view import QdiscStats
from vswitch.qos.words import ROOT

EXAMPLE = (
    "qdisc add dev eth0 root handle 1: htb default 12",
    "class add dev eth0 parent 1: classid 1:1 htb rate 100kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:10 htb rate 30kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:11 htb rate 10kbps ceil 100kbps",
    "class add dev eth0 parent 1:1 classid 1:12 htb rate 60kbps ceil 100kbps",
    "filter add dev eth0 protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 match ip dport 80 0xffff flowid 1:10",
    "filter add dev eth0 protocol ip parent 1:0 prio 1 u32 match ip src 1.2.3.4 flowid 1:11",
    "qdisc add dev eth0 parent 1:10 handle 20: pfifo limit 5",
    "qdisc add dev eth0 parent 1:11 handle 30: pfifo limit 5",
    "qdisc add dev eth0 parent 1:12 handle 40: sfq perturb 10",
)


@pytest.fixture
def ports() -> TcPorts:
    return TcPorts("eth0", "eth1")


@pytest.fixture
def example(ports: TcPorts) -> TcPorts:
    ports.do(*EXAMPLE)
    return ports


# The manual's example


def test_the_disciplines_of_the_example(example: TcPorts) -> None:
    assert example.do("qdisc show dev eth0") == (
        "qdisc htb 1: root refcnt 2 r2q 10 default 0x12 direct_packets_stat 0 direct_qlen 1000\n"
        "qdisc pfifo 30: parent 1:11 limit 5p\n"
        "qdisc sfq 40: parent 1:12 limit 127p quantum 1514b depth 127 divisor 1024 perturb 10sec \n"
        "qdisc pfifo 20: parent 1:10 limit 5p\n"
    )


def test_the_classes_of_the_example(example: TcPorts) -> None:
    assert example.do("class show dev eth0") == (
        "class htb 1:11 parent 1:1 leaf 30: prio 0 rate 80Kbit ceil 800Kbit burst 1600b cburst 1600b \n"
        "class htb 1:1 root rate 800Kbit ceil 800Kbit burst 1600b cburst 1600b \n"
        "class htb 1:10 parent 1:1 leaf 20: prio 0 rate 240Kbit ceil 800Kbit burst 1599b cburst 1600b \n"
        "class htb 1:12 parent 1:1 leaf 40: prio 0 rate 480Kbit ceil 800Kbit burst 1599b cburst 1600b \n"
    )


def test_the_filters_of_the_example(example: TcPorts) -> None:
    assert example.do("filter show dev eth0") == (
        "filter parent 1: protocol ip pref 1 u32 chain 0 \n"
        "filter parent 1: protocol ip pref 1 u32 chain 0 fh 800: ht divisor 1 \n"
        "filter parent 1: protocol ip pref 1 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 flowid 1:10 not_in_hw \n"
        "  match 01020304/ffffffff at 12\n"
        "  match 00000050/0000ffff at 20\n"
        "filter parent 1: protocol ip pref 1 u32 chain 0 fh 800::801 order 2049 key ht 800 bkt 0 flowid 1:11 not_in_hw \n"
        "  match 01020304/ffffffff at 12\n"
    )


def test_what_a_class_has_done(example: TcPorts) -> None:
    serial = example.control("eth0").classes[0x10010].serial
    example.statistics[serial] = QdiscStats(1500, 1, 2, 3, 0, 4500, 3, (7, 8, -6400, 64))
    text = example.do("-s class show dev eth0 classid 1:10")
    assert text.splitlines()[1:] == [
        " Sent 1500 bytes 1 pkt (dropped 2, overlimits 3 requeues 0) ",
        " backlog 4500b 3p requeues 0",
        " lended: 7 borrowed: 8 giants: 0",
        " tokens: -100 ctokens: 1",
        "",
    ]


def test_json_of_a_class(example: TcPorts) -> None:
    (cls,) = json.loads(example.do("-j -s -d class show dev eth0 classid 1:10"))
    assert cls["handle"] == "1:10" and cls["leaf"] == "0x20" and cls["rate"] == 30000 and cls["quantum"] == 3000
    assert cls["stats"]["lended"] == 0 and cls["stats"]["bytes"] == 0


# What is refused changes nothing

REFUSED = (
    ("qdisc add dev nope root htb", 1, 'Cannot find device "nope"'),
    ("qdisc add dev eth0 root handle 1: htb", 2, "Error: Exclusivity flag on, cannot modify."),
    ("qdisc add dev eth0 root handle 2: htb", 2, "Error: NLM_F_REPLACE needed to override."),
    ("qdisc change dev eth0 root handle 1: htb default 5", 2, "Error: Change operation not supported by specified qdisc."),
    ("qdisc add dev eth0 root handle 10000: htb", 255, 'Error: argument "10000:" is wrong: invalid qdisc ID'),
    ("qdisc add dev eth0 parent 1:10 handle 1: htb", 2, "Error: NLM_F_REPLACE needed to override."),
    ("qdisc replace dev eth0 parent 1:10 handle 1: htb", 2, "Error: Cannot move an existing qdisc to a different parent."),
    ("qdisc replace dev eth0 parent 1:10 handle 30: pfifo", 2,
     "Error: Cannot move an existing qdisc to a different parent."),
    ("qdisc add dev eth0 parent 1:99 pfifo", 2, "Error: Specified class not found."),
    ("qdisc add dev eth0 parent 20:1 pfifo", 2, "Error: Parent qdisc is not classful."),
    ("qdisc add dev eth0 parent 1:1 pfifo", 2, "RTNETLINK answers: Invalid argument"),
    ("qdisc add dev eth1 root nosuch", 2, "Error: Specified qdisc kind is unknown."),
    ("qdisc add dev eth1 root fq_codel flows 100000", 2, "RTNETLINK answers: Invalid argument"),
    ("qdisc add dev eth1 root sfq divisor 100", 2, "RTNETLINK answers: Invalid argument"),
    ("qdisc add dev eth1 root sfq ecn", 1, 'sfq: the switch has no RED within flows; leave out "ecn" or use fq_codel'),
    ("qdisc add dev eth1 root tbf rate 1mbit burst 10k latency 1s linklayer atm", 1,
     'linklayer "atm": the switch counts no ATM cells; right: ethernet'),
    ("qdisc del dev eth1 root", 2, "Error: Cannot delete qdisc with handle of zero."),
    ("class add dev eth0 parent 1: classid 1:2 htb rate 0", 1, '"rate" is required.'),
    ("class add dev eth0 parent 1: classid 1:2 htb rate fast", 1, 'Illegal "rate"'),
    ("class add dev eth0 parent 1: classid 1:10 htb rate 1mbit", 2, "RTNETLINK answers: File exists"),
    ("class add dev eth0 parent 1:99 classid 1:2 htb rate 1mbit", 2, "Error: Specified class not found."),
    ("class add dev eth0 parent 2: classid 2:1 htb rate 1mbit", 2, "RTNETLINK answers: No such file or directory"),
    ("class add dev eth0 parent 1: classid 1:10000 htb rate 1mbit", 255,
     'Error: argument "1:10000" is wrong: invalid class ID'),
    ("class add dev eth0 parent 1: classid 1:2 sfq", 1, 'Error: Qdisc "sfq" is classless.'),
    ("class del dev eth0 classid 1:1", 2, "Error: HTB class in use."),
    ("class del dev eth0 classid 1:10", 2, "Error: HTB class in use."),  # a filter chooses it
    ("class del dev eth0 classid 1:77", 2, "RTNETLINK answers: No such file or directory"),
    ("filter add dev eth0 parent 1:77 u32 match u32 0 0 flowid 1:1", 2, "Error: Specified class doesn't exist."),
    ("filter add dev eth0 parent 20: u32 match u32 0 0 flowid 1:1", 2, "Error: Qdisc not classful."),
    ("filter add dev eth0 parent 40: u32 match u32 0 0 flowid 1:1", 2,
     "Error: the switch tells flows of sfq apart itself; put filters at prio or htb above it."),
    ("filter add dev eth0 parent 1: prio 1 protocol ip fw classid 1:1", 2,
     "Error: Specified filter kind does not match existing one."),
    ("filter add dev eth0 parent 1: prio 1 protocol ipv6 u32 match u32 0 0", 2,
     "Error: Protocol mismatch for filter with specified priority."),
    ("filter add dev eth0 parent 1: u32 divisor 256", 2,
     "Error: cls_u32: divisor: the switch has no hash tables of u32; filters are asked in order."),
    ("filter add dev eth0 parent 1: matchall action drop", 2, "Error: the switch polices and drops at ingress only."),
    ("filter add dev eth0 ingress matchall", 2, "Error: Parent Qdisc doesn't exists."),
    ("filter del dev eth0 parent 1: pref 9", 2, "Error: Filter with specified priority/protocol not found."),
    ("qdisc", 0, ""),
    ("bridge", 255, 'Object "bridge" is unknown, try "tc help".'),
)  # fmt: skip


@pytest.mark.parametrize(("line", "code", "words"), REFUSED)
def test_refused(example: TcPorts, line: str, code: int, words: str) -> None:
    before = dict(example.controls)
    outcome = example.tc(line)
    assert (outcome.code, outcome.stderr.split("\n")[0]) == (code, words)
    assert example.controls == before and outcome.port in ("", "eth0", "eth1")


def test_what_tc_takes_is_taken(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root handle 1: htb", "class add dev eth0 parent 1: classid 1:1 htb rate 2mbit ceil 1mbit",
             "class add dev eth0 parent 1: classid 1:2 htb rate 1mbit burst 1 cburst 1",
             "filter add dev eth0 parent 1: u32 match u32 0 0 flowid 1:99")  # fmt: skip
    warned = ports.tc("class add dev eth0 parent 1: classid 1:3 htb rate 2gbit")
    assert (warned.code, warned.stderr) == (0, "Warning: sch_htb: quantum of class 10003 is big. Consider r2q change.\n")
    assert "rate 2Gbit ceil 2Gbit burst 1250b cburst 1250b" in ports.do("class show dev eth0 classid 1:3")


def test_htb_is_eight_classes_deep(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root handle 1: htb")
    for number in range(1, 9):
        ports.do(f"class add dev eth0 parent 1:{number - 1 or ''} classid 1:{number} htb rate 1mbit")
    refused = ports.tc("class add dev eth0 parent 1:8 classid 1:9 htb rate 1mbit")
    assert (refused.code, refused.stderr) == (2, "Error: sch_htb: tree is too deep.\n")


# Serial numbers and what is kept


def test_a_change_keeps_what_waits(example: TcPorts) -> None:
    before = example.control("eth0")
    example.do("class change dev eth0 parent 1:1 classid 1:12 htb rate 50kbps ceil 100kbps",
               "qdisc change dev eth0 parent 1:10 handle 20: pfifo limit 9")  # fmt: skip
    after = example.control("eth0")
    assert after.shape != before.shape
    assert {cls.serial for cls in after.classes.values()} == {cls.serial for cls in before.classes.values()}
    assert {qdisc.serial for qdisc in after.qdiscs.values()} == {qdisc.serial for qdisc in before.qdiscs.values()}


def test_what_is_replaced_is_new(example: TcPorts) -> None:
    before = example.control("eth0").qdiscs[0x10010].serial
    example.do("qdisc replace dev eth0 parent 1:10 handle 50: fq_codel")
    assert example.control("eth0").qdiscs[0x10010].serial > before


def test_a_class_without_children_is_a_leaf_again(example: TcPorts) -> None:
    example.do("filter del dev eth0 parent 1:", *(f"class del dev eth0 classid 1:{leaf}" for leaf in (10, 11, 12)))
    assert example.control("eth0").qdiscs[0x10001].kind == "pfifo"
    assert "prio 0 rate 800Kbit" in example.do("class show dev eth0")


def test_deleting_the_root_deletes_all(example: TcPorts) -> None:
    example.do("qdisc del dev eth0 root")
    assert example.control("eth0").shape == NOTHING.shape
    assert example.do("qdisc show dev eth0") == "qdisc noqueue 0: root refcnt 2 \n"


def test_bands_of_prio_come_and_go(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root handle 1: prio", "qdisc add dev eth0 parent 1:3 handle 3: sfq")
    ports.do("qdisc change dev eth0 root handle 1: prio bands 2 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1")
    assert sorted(ports.control("eth0").qdiscs) == [0x10001, 0x10002, ROOT]
    ports.do("qdisc change dev eth0 root handle 1: prio bands 4")
    assert len(ports.control("eth0").qdiscs) == 5


def test_handles_are_given_out(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root prio", "qdisc add dev eth0 parent 8001:1 pfifo")
    assert "qdisc pfifo 8002: parent 8001:1" in ports.do("qdisc show dev eth0")


def test_invisible_ones_are_shown_if_asked(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root handle 1: tbf rate 1mbit burst 10k latency 50ms")
    assert ports.do("qdisc show dev eth0 invisible").splitlines()[1] == "qdisc bfifo 0: parent 1:1 limit 16490b"
    ports.do("qdisc add dev eth0 parent 1:1 handle 2: fq_codel", "qdisc del dev eth0 parent 1:1")
    assert "bfifo 0: parent 1:1" in ports.do("qdisc show dev eth0 invisible")


def test_filters_without_a_priority_go_before_those_that_are_there(ports: TcPorts) -> None:
    ports.do("qdisc add dev eth0 root handle 1: htb", "filter add dev eth0 parent 1: u32 match u32 0 0 flowid 1:1",
             "filter add dev eth0 parent 1: u32 match u32 1 1 flowid 1:2")  # fmt: skip
    assert [one.prio for one in ports.control("eth0").of(0x10000)] == [49151, 49152]


def test_help_names_what_there_is(ports: TcPorts) -> None:
    assert "qdisc | class | filter" in ports.tc("help").stderr
    assert ports.tc("-V").stdout.startswith("tc utility")
    assert "limit NUMBER" in ports.tc("qdisc add dev eth0 root pfifo help").stderr
