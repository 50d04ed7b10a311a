"""From tc's words to what the fast path takes: trees by index, filters as keys, policers; and lines that make it
again."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tc_ports import TcPorts
from vswitch.qos import units
from vswitch.qos.compile import filters, ingress, tree
from vswitch.qos.lines import built, lines
from vswitch.qos.model import NOTHING, Link
from vswitch.qos.view import Base, FilterView, Kind, KeyView, PolicerView, Shape, TbfView

HTB = "qdisc add dev p root handle 1: htb default 2"
IP = KeyView(Base.PROTOCOL, 0, 0x0800, 0xFFFF)
IP6 = KeyView(Base.PROTOCOL, 0, 0x86DD, 0xFFFF)


def port(*commands: str) -> TcPorts:
    ports = TcPorts("p")
    ports.do(*commands)
    return ports


def test_nothing_is_no_tree() -> None:
    assert tree(NOTHING) is None and ingress(NOTHING) == ()


def test_every_place_has_its_discipline() -> None:
    view = tree(port(
        HTB, "class add dev p parent 1: classid 1:1 htb rate 8mbit", "class add dev p parent 1:1 classid 1:3 htb rate 8mbit",
        "class add dev p parent 1:1 classid 1:2 htb rate 8mbit ceil 16mbit prio 3 quantum 1500 overhead 4 mpu 64",
        "qdisc add dev p parent 1:2 handle 2: prio bands 2 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1",
        "qdisc add dev p parent 2:2 handle 3: tbf rate 8mbit burst 5k limit 9k",
    ).control("p"))  # fmt: skip
    assert view is not None
    root, *rest = view.qdiscs
    assert [qdisc.kind for qdisc in rest] == [Kind.PRIO, Kind.PFIFO, Kind.PFIFO, Kind.TBF, Kind.BFIFO]
    assert [(cls.class_id, cls.parent, cls.leaf) for cls in root.classes] == [
        (0x10001, None, None), (0x10003, 0, 2), (0x10002, 0, 1)
    ]  # fmt: skip
    assert root.classes[2].ceil == Shape(2_000_000, 4, 64) and root.classes[2].prio == 3
    assert rest[0].children == (3, 4) and rest[3].children == (5,) and not root.children
    assert rest[3].parameters == TbfView(Shape(1_000_000), 5_120_000, None, 0, 5120)
    assert [qdisc.handle for qdisc in view.qdiscs] == [0x10000, 0x20000, 0, 0, 0x30000, 0]
    assert len({qdisc.serial for qdisc in view.qdiscs}) == 6


MATCHES = (  # the words of a filter, what it looks at
    ("u32 match u32 0 0", ()),
    ("protocol ip u32 match ip src 10.0.0.0/8", (IP, KeyView(Base.NETWORK, 12, 0x0A000000, 0xFF000000))),
    ("protocol ip u32 match ip dport 80 0xffff match ip sport 0x1000 f000",
     (IP, KeyView(Base.NETWORK, 20, 0x10000050, 0xF000FFFF))),
    ("u32 match ip tos 0x10 fc match ip protocol 17 ff",
     (KeyView(Base.NETWORK, 0, 0x00100000, 0x00FC0000), KeyView(Base.NETWORK, 8, 0x00110000, 0x00FF0000))),
    ("u32 match tcp dst 443 ffff", (KeyView(Base.TRANSPORT, 0, 443, 0xFFFF),)),
    ("u32 match icmp type 8 ff", (KeyView(Base.TRANSPORT, 0, 0x08000000, 0xFF000000),)),
    ("u32 match u16 0x0102 ffff at nexthdr+2", (KeyView(Base.TRANSPORT, 0, 0x0102, 0xFFFF),)),
    ("u32 match ip6 dst 2001:db8::/33", (KeyView(Base.NETWORK, 24, 0x20010DB8, 0xFFFFFFFF),
                                         KeyView(Base.NETWORK, 28, 0, 0x80000000))),
    ("u32 match ether dst 02:00:00:00:00:01",
     (KeyView(Base.NETWORK, -14, 0x02000000, 0xFFFF0000), KeyView(Base.NETWORK, -12, 1, 0xFFFFFFFF))),
    ("u32 match mark 5 0xff", (KeyView(Base.MARK, 0, 5, 0xFF),)),
    ("handle 0x105/0xff fw", (KeyView(Base.MARK, 0, 5, 0xFF),)),
    ("protocol ipv6 matchall", (IP6,)),
    ("protocol 802.1Q flower vlan_id 10 vlan_prio 5", (KeyView(Base.VLAN, 0, 0xA00A, 0xEFFF),)),
    ("protocol 802.1Q flower vlan_id 10 vlan_ethtype ip ip_proto udp dst_port 53",
     (IP, KeyView(Base.VLAN, 0, 10, 0xFFF), KeyView(Base.NETWORK, 8, 0x00110000, 0x00FF0000),
      KeyView(Base.TRANSPORT, 0, 53, 0xFFFF))),
    ("protocol ipv6 flower ip_proto tcp ip_tos b8/fc src_ip 2001:db8::/32",
     (IP6, KeyView(Base.NETWORK, 8, 0x20010DB8, 0xFFFFFFFF), KeyView(Base.NETWORK, 4, 0x0600, 0xFF00),
      KeyView(Base.NETWORK, 0, 0x0B800000, 0x0FC00000))),
    ("flower src_mac 02:00:00:00:00:01",
     (KeyView(Base.NETWORK, -8, 0x02000000, 0xFFFFFFFF), KeyView(Base.NETWORK, -4, 0x00010000, 0xFFFF0000))),
)  # fmt: skip


@pytest.mark.parametrize(("words", "keys"), MATCHES)
def test_what_a_filter_looks_at(words: str, keys: tuple[KeyView, ...]) -> None:
    control = port(HTB, f"filter add dev p parent 1: {words} classid 1:7").control("p")
    assert filters(control, 0x10000) == (FilterView(keys, 0x10007),)


def test_filters_are_asked_in_the_order_of_priorities_and_of_a_class_in_the_class() -> None:
    control = port(
        HTB, "class add dev p parent 1: classid 1:1 htb rate 1mbit", "filter add dev p parent 1: pref 9 matchall classid 1:9",
        "filter add dev p parent 1: pref 5 u32 match u32 0 0 flowid :5", "filter add dev p parent 1: pref 5 u32 match u32 0 0",
        "filter add dev p parent 1:1 matchall classid 1:4", "filter add dev p parent 1: pref 7 matchall action ok",
    ).control("p")  # fmt: skip
    assert [view.class_id for view in filters(control, 0x10000)] == [0x10005, 0, 0x10009]
    view = tree(control)
    assert view is not None and view.qdiscs[0].classes[0].filters == (FilterView((), 0x10004),)


# Policers

AT = "filter add dev p ingress"


def test_policers_in_order() -> None:
    control = port(
        "qdisc add dev p ingress", f"{AT} pref 2 matchall action police rate 1mbit burst 10k conform-exceed drop",
        f"{AT} pref 1 protocol 802.1Q flower vlan_id 7 action police pkts_rate 100 pkts_burst 10 mark 3",
        f"{AT} pref 3 u32 match u32 0 0 police rate 8bps burst 1k drop flowid :1", f"{AT} pref 4 matchall action ok",
    ).control("p")  # fmt: skip
    assert ingress(control) == (
        PolicerView(7, 0, 0, 100, 10, 3), PolicerView(None, 125_000, 10_240, 0, 0, None), PolicerView(None, 8, 1024, 0, 0, None)
    )  # fmt: skip


@pytest.mark.parametrize("words", [
    "protocol ip matchall action police rate 1mbit burst 10k drop",
    "u32 match ip src 10.0.0.1 police rate 1mbit burst 10k drop",
    "matchall action police rate 1mbit burst 10k pipe", "matchall action police rate 1mbit burst 10k mtu 2k drop",
    "matchall action drop", "matchall action police rate 1mbit burst 10k conform-exceed pass", "pref 9 matchall action police rate 1mbit burst 10k drop",
])  # fmt: skip
def test_what_no_policer_can_do_is_refused(words: str) -> None:
    ports = port("qdisc add dev p ingress", f"{AT} pref 5 u32 match u32 1 ff action ok")
    before = ports.control("p")
    outcome = ports.tc(f"{AT} {words}")
    assert outcome.code == 2 and outcome.stderr.startswith("Error: ")
    assert ports.control("p") is before


# Lines

DISCIPLINES = st.sampled_from([
    "pfifo limit 7", "bfifo", "pfifo_fast", "sfq perturb 3 headdrop", "sfq flows 9 quantum 3000", "fq_codel", "htb r2q 3",
    "fq_codel target 1ms interval 7777us ce_threshold 3us noecn flows 9", "prio", "tbf rate 1234567bit burst 3333 latency 33ms",
    "tbf rate 1mbit burst 9k limit 9k peakrate 3mbit mtu 1999 overhead 9 mpu 64",
])  # fmt: skip
RATES = st.integers(1, 10**11)
CLASSES = st.builds(
    lambda rate, ceil, more: f"rate {rate}bps ceil {ceil}bps {more}", RATES, RATES,
    st.sampled_from(["", "prio 3", "quantum 99", "burst 3k", "cburst 77 mtu 9000", "overhead 5 mpu 3"]),
)  # fmt: skip
FILTERS = st.sampled_from([f"{words} classid 1:{number}" for number, (words, _) in enumerate(MATCHES, 1)])


@settings(max_examples=60, deadline=None)
@given(st.lists(CLASSES, max_size=5), st.lists(DISCIPLINES, max_size=5), st.lists(FILTERS, max_size=6))
def test_lines_make_the_same_tree(classes: list[str], disciplines: list[str], some: list[str]) -> None:
    ports = port(HTB)
    for number, words in enumerate(classes, 1):
        ports.tc(f"class add dev p parent 1:{number // 2 or ''} classid 1:{number} htb {words}")
    for number, words in enumerate(disciplines, 1):
        ports.tc(f"qdisc add dev p parent 1:{number} {words}")  # some are refused, which is as good
    for words in some:
        ports.tc(f"filter add dev p parent 1: {words}")
    control = ports.control("p")
    again = built(lines(control), Link("p"))
    assert again.shape == control.shape
    assert lines(again) == lines(control)


# Numbers


@pytest.mark.parametrize(("text", "value"), [
    ("8", 1), ("8bit", 1), ("1kbps", 1000), ("1KBps", 1000), ("1kbit", 125), ("1Kibit", 128), ("1.5mbit", 187_500),
    ("1mibps", 1 << 20), ("1gbit", 125_000_000), ("1e3kbit", 125_000), (".5tbit", 62_500_000_000),
])  # fmt: skip
def test_rates(text: str, value: int) -> None:
    assert units.rate(text) == value


@pytest.mark.parametrize("text", ["", "fast", "-1mbit", "1 mbit", "1mb", "nan", "inf", "0x10", "1mbit/s", "1e400"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError):
        units.rate(text)


@given(st.integers(1, 10**11), st.integers(1, 10**7))
def test_a_burst_comes_back_a_little_smaller(rate: int, size: int) -> None:
    try:
        back = units.burst_size(rate, units.burst_ticks(rate, size))
    except ValueError:
        return
    assert back <= size <= back + 2 * (rate // units.US + 1) + size // 10**6 + 1


@given(st.text(max_size=12))
def test_no_text_breaks_a_reader(text: str) -> None:
    for reader in (units.rate, units.size, units.time, units.whole, units.signed, units.size_and_cell):
        try:
            assert reader(text) >= -(1 << 31)
        except ValueError:
            pass


WORDS = st.sampled_from(shlex.split(
    "qdisc class filter add change replace del show dev p root parent 1: 1:1 1:2 handle 5: ingress htb prio sfq tbf u32 fw "
    "flower matchall match ip src 1.2.3.4 dport 80 0xffff u16 at nexthdr+ -4 rate 1mbit burst 10k limit 5 police drop action "
    "classid flowid protocol all pref 7 default bands priomap 0 conform-exceed vlan_id 802.1Q -s -j invisible fq_codel ecn"
))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=14))
def test_no_command_breaks_it(words: list[str]) -> None:
    ports = port(HTB, "class add dev p parent 1: classid 1:1 htb rate 1mbit", "qdisc add dev p ingress")
    outcome = ports.tc(shlex.join(words))
    assert outcome.code in (0, 1, 2, 255)
    assert outcome.code == 0 or outcome.stderr
    tree(ports.control("p"))
    assert built(lines(ports.control("p")), Link("p")).shape == ports.control("p").shape
