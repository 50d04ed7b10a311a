"""Matches and targets one by one: a rule, a packet, what must come of it. And the log, and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rules import (
    ESTABLISHED, ICMP, ICMPV6, INVALID, LOCAL, MACS, NEW, NONE16, RELATED, REPLY, ROUTED, TO_US, UDP, UNTRACKED,
    Conn, Pkt, checksum, engine, forward, ip16, net16, rule,
)  # fmt: skip
from vswitch._fastpath import _probe_rules as probe
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.view import INVERT, LENIENT, AddressView, ChainView, Interfaces, MatchOp, TargetOp

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
RAW, MANGLE, NAT, FILTER, SECURITY = range(5)
V6 = Pkt(src="2001:db8::1", dst="2001:db8::2")
BOTH, TCP_SYN = (0, 1), 2
ACCEPT, DROP, RETURN = ((op, ()) for op in (TargetOp.ACCEPT, TargetOp.DROP, TargetOp.RETURN))


def test_numbers_agree():
    """view.py names the same operations as rule.pxd, and structs have the sizes they were designed for."""
    assert max(MatchOp) == probe.LAST_MATCH and max(TargetOp) == probe.LAST_TARGET
    assert all(MatchOp[name] == number for name, number in probe.SOME_OPS.items())
    assert all(TargetOp[name] == number for name, number in probe.SOME_TARGETS.items())
    assert probe.LAYOUT["rule"] == 128 and probe.LAYOUT["path"] == 192


def matched(match, pkt=None, conn=None, addresses=(), now_s=0):
    """Whether a rule with the match, and one with its inverse, count the packet."""
    pkt = pkt or Pkt()
    op, args = match
    answers = []
    for flags in BOTH:
        run = engine(forward([rule(1, (op, flags, args), do=(TargetOp.NONE, ()))]), pkt.v6, addresses=addresses)
        verdict = run.table(pkt.parcel(), FILTER, FORWARD, conn and conn.entry(), now_s * 10**9)["verdict"]
        answers.append("hotdrop" if verdict == "DROP" else run.counters.get(1)[0] == 1)
    return tuple(answers)


YES, NO, NEVER, ALWAYS, HOTDROP = (True, False), (False, True), (False, False), (True, True), ("hotdrop", "hotdrop")
M = MatchOp
PORTS_ONLY, ANYTHING = Interfaces(1 << 1, 0), Interfaces(0, 0, True)
UDP_PKT, PING, PING6 = Pkt(proto=UDP), Pkt(proto=ICMP), replace(V6, proto=ICMPV6, icmp=(128, 0))
SACK = Pkt(options=bytes([1, 1, 5, 10]) + bytes(8))

CASES = [
    ("source", M.SRC, net16("10.0.0.0/8"), Pkt(), YES),
    ("other source", M.SRC, net16("11.0.0.0/8"), Pkt(), NO),
    ("mask with holes", M.DST, net16("0.0.0.2/0.0.0.255"), Pkt(), YES),
    ("source of IPv6", M.SRC, net16("2001:db8::/64"), V6, YES),
    ("destination of IPv6, low half", M.DST, net16("2001:db8::3/128"), V6, NO),
    ("protocol", M.PROTO, (6,), Pkt(), YES),
    ("protocol of IPv6", M.PROTO, (17,), V6, NO),
    ("port in range", M.DPORT, (80, 90), Pkt(), YES),
    ("port below range", M.DPORT, (81, 90), Pkt(), NO),
    ("source port", M.SPORT, (1000, 1000), UDP_PKT, YES),
    ("a fragment has no ports", M.DPORT, (0, 65535), Pkt(fragment=True), NEVER),
    ("half a TCP header", M.DPORT, (80, 80), Pkt(cut=19), HOTDROP),
    ("half a UDP header", M.SPORT, (80, 80), Pkt(proto=UDP, cut=7), HOTDROP),
    ("in by a port", M.IN, PORTS_ONLY, Pkt(), YES),
    ("in by another port", M.IN, PORTS_ONLY, Pkt(in_port=65), NO),
    ("in by a device", M.IN, Interfaces(0, 1), Pkt(), YES),
    ("in by anything", M.IN, ANYTHING, Pkt(), (True, False)),
    ("out by nothing yet", M.OUT, Interfaces((1 << 4096) - 1, 7), Pkt(out_port=NONE16, out_dev=NONE16), NO),
    ("address range", M.SRC_RANGE, (ip16("10.0.0.1"), ip16("10.0.0.1")), Pkt(), YES),
    ("address beyond range", M.DST_RANGE, (ip16("9.255.255.255"), ip16("10.0.0.1")), Pkt(), NO),
    ("range of IPv6", M.DST_RANGE, (ip16("2001:db8::1"), ip16("2001:db8::ff")), V6, YES),
    ("first fragment is none", M.FRAGMENT, (), Pkt(), NO),
    ("fragment", M.FRAGMENT, (), Pkt(fragment=True), YES),
    ("multiport of destination", M.MULTIPORT, (1, ((22, 22), (80, 81))), Pkt(), YES),
    ("multiport of source", M.MULTIPORT, (0, ((80, 80),)), Pkt(), NO),
    ("multiport of either", M.MULTIPORT, (2, ((999, 1001),)), UDP_PKT, YES),
    ("multiport of a fragment", M.MULTIPORT, (2, ((0, 65535),)), Pkt(fragment=True), NEVER),
    ("SYN alone", M.TCP_FLAGS, (0x17, 0x02), Pkt(tcp_flags=0x02), YES),
    ("SYN alone, with ACK", M.TCP_FLAGS, (0x17, 0x02), Pkt(tcp_flags=0x12), NO),
    ("TCP option", M.TCP_OPTION, (5,), SACK, YES),
    ("TCP option that is not there", M.TCP_OPTION, (8,), SACK, NO),
    ("TCP option inside another", M.TCP_OPTION, (0,), SACK, NO),
    ("TCP option of length 0", M.TCP_OPTION, (3,), Pkt(options=b"\x08\x00\x03\x03"), YES),
    ("echo request", M.ICMP, (8, 0, 255), PING, YES),
    ("any ICMP", M.ICMP, (None, 0, 255), PING, (True, False)),
    ("ICMP code", M.ICMP, (8, 1, 255), PING, NO),
    ("ICMPv6", M.ICMP, (128, 0, 0), PING6, YES),
    ("mark", M.MARK, (2, 3), Pkt(mark=6), YES),
    ("mark outside its mask", M.MARK, (4, 3), Pkt(mark=4), NO),
    ("MAC", M.MAC, (bytes.fromhex("525400000001"),), Pkt(), YES),
    ("no MAC of our own", M.MAC, (bytes.fromhex("525400000001"),), Pkt(flags=LOCAL), NEVER),
    ("length", M.LENGTH, (40, 50), Pkt(payload=10), YES),
    ("length of IPv6", M.LENGTH, (60, 60), V6, YES),
    ("TOS", M.TOS, (0x10, 0x10), Pkt(tos=0x18), YES),
    ("DSCP of IPv6", M.TOS, (0xB8, 0xFC), replace(V6, tos=0xBB), YES),
    ("TTL", M.TTL, (0, 63), Pkt(), NO),
    ("hop limit", M.TTL, (64, 64), V6, YES),
    ("unicast", M.PKTTYPE, (0,), Pkt(), YES),
    ("broadcast", M.PKTTYPE, (1,), Pkt(mac_dst=MACS[2]), YES),
    ("multicast", M.PKTTYPE, (2,), Pkt(mac_dst=MACS[3]), YES),
    ("never", M.NEVER, (), Pkt(), NEVER),
]


@pytest.mark.parametrize(
    ("op", "args", "pkt", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_match(op, args, pkt, expected):
    if op == M.NEVER:
        assert not matched((op, args), pkt)[0]
    else:
        assert matched((op, args), pkt) == expected


STATES = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "SNAT": 64, "DNAT": 128, "UNTRACKED": 256}


@pytest.mark.parametrize(("ct_info", "tracked", "status", "states"), [
    (NEW, True, 8, {"NEW"}),
    (ESTABLISHED | REPLY, True, 8, {"ESTABLISHED"}),
    (RELATED, True, 8 | 16, {"RELATED", "SNAT"}),
    (ESTABLISHED, True, 8 | 32, {"ESTABLISHED", "DNAT"}),
    (INVALID, False, 0, {"INVALID"}),
    (0, False, 0, {"INVALID"}),
    (UNTRACKED, False, 0, {"UNTRACKED"}),
])  # fmt: skip
def test_ctstate(ct_info, tracked, status, states):
    conn = Conn(status=status) if tracked else None
    found = {name for name, bit in STATES.items() if matched((M.CTSTATE, (bit,)), Pkt(ct_info=ct_info), conn) == YES}
    assert found == states


@pytest.mark.parametrize(("op", "args", "expected"), [
    (M.CTPROTO, (6,), YES),
    (M.CTORIGSRC, net16("10.0.0.1/32"), YES),
    (M.CTORIGDST, net16("10.0.0.1/32"), NO),
    (M.CTREPLSRC, net16("10.0.0.2/32"), YES),
    (M.CTREPLDST, net16("192.0.2.0/24"), YES),
    (M.CTORIGSRCPORT, (1000, 1000), YES),
    (M.CTORIGDSTPORT, (81, 90), NO),
    (M.CTREPLSRCPORT, (80, 80), YES),
    (M.CTREPLDSTPORT, (40000, 50000), YES),
    (M.CTSTATUS, (2,), NO),
    (M.CTSTATUS, (8,), YES),
    (M.CTSTATUS, (0,), NO),
    (M.CTEXPIRE, (40, 60), YES),
    (M.CTEXPIRE, (0, 10), NO),
    (M.CTDIR, (0,), YES),
    (M.CTDIR, (1,), NO),
    (M.CONNMARK, (5, 0xF), YES),
])  # fmt: skip
def test_connection(op, args, expected):
    conn = Conn(reply=("10.0.0.2", "192.0.2.1", 80, 45000, 6), mark=0x15, expires_s=150)
    assert matched((op, args), Pkt(ct_info=ESTABLISHED), conn, now_s=100) == expected
    assert matched((op, args), Pkt()) == NEVER, "without a connection nothing is said of it"


def test_a_packet_without_connection_passes_what_stands_beside_its_state():
    """--ctstate INVALID --ctproto 6: the kernel looks no further than the state."""
    asked = [(M.CTSTATE, 0, (1,)), (M.CTPROTO, LENIENT, (6,)), (M.CTDIR, INVERT | LENIENT, (0,))]
    run = engine(forward([rule(1, *asked, do=DROP)]))
    assert run.table(Pkt().parcel(), FILTER, FORWARD)["verdict"] == "DROP"


ADDRESSES = (
    AddressView(ip16("10.0.0.254"), 0, 0), AddressView(ip16("10.0.0.255"), 0, 0, True),
    AddressView(ip16("10.9.0.1"), 1, 0), AddressView(ip16("10.7.0.1"), 1, 7), AddressView(ip16("2001:db8::fe"), 0, 0),
)  # fmt: skip
UNICAST, LOCAL_TYPE, BROADCAST, MULTICAST = 1 << 1, 1 << 2, 1 << 3, 1 << 5


@pytest.mark.parametrize(("dst", "mode", "types", "expected"), [
    ("10.0.0.254", 0, LOCAL_TYPE, YES),
    ("10.0.0.254", 0, UNICAST, NO),
    ("10.0.0.1", 0, UNICAST | BROADCAST, YES),
    ("10.0.0.255", 0, BROADCAST, YES),
    ("255.255.255.255", 0, BROADCAST, YES),
    ("0.1.2.3", 0, BROADCAST, YES),
    ("224.0.0.1", 0, MULTICAST, YES),
    ("127.0.0.1", 0, LOCAL_TYPE, YES),
    ("10.9.0.1", 0, LOCAL_TYPE, YES),
    ("10.9.0.1", 2, LOCAL_TYPE, NO),   # not an address of the device that it came in by
    ("10.0.0.254", 2, LOCAL_TYPE, YES),
    ("10.7.0.1", 0, LOCAL_TYPE, NO),   # another router's
    ("2001:db8::fe", 0, LOCAL_TYPE, YES),
    ("2001:db8::fe", 0, UNICAST, YES),
    ("2001:db8::1", 0, LOCAL_TYPE, NO),
    ("ff02::1", 0, MULTICAST, YES),
    ("::1", 0, LOCAL_TYPE, YES),
])  # fmt: skip
def test_addrtype(dst, mode, types, expected):
    pkt = Pkt(src="2001:db8::5" if ":" in dst else "10.0.0.1", dst=dst)
    assert matched((M.ADDRTYPE, (mode, types)), pkt, addresses=ADDRESSES) == expected


IN, OUT, IS_BRIDGED, IS_IN, IS_OUT = 1, 2, 4, 8, 16
PORT1, PORT2 = Interfaces(1 << 1, 0), Interfaces(1 << 2, 0)


@pytest.mark.parametrize(("asked", "inverted", "ports", "pkt", "expected"), [
    (IN, 0, (PORT1, None), Pkt(), True),
    (IN, 0, (PORT2, None), Pkt(), False),
    (IN, IN, (PORT2, None), Pkt(), True),
    (IN | OUT, 0, (PORT1, PORT2), Pkt(), True),
    (OUT, OUT, (None, PORT2), Pkt(), False),
    (OUT, 0, (None, PORT2), Pkt(flags=ROUTED), False),
    (IS_BRIDGED, 0, (None, None), Pkt(), True),
    (IS_BRIDGED, 0, (None, None), Pkt(flags=ROUTED), False),
    (IS_BRIDGED, IS_BRIDGED, (None, None), Pkt(flags=TO_US), True),
    (IS_IN, 0, (None, None), Pkt(flags=ROUTED), True),
    (IS_IN, 0, (None, None), Pkt(in_dev=2), False),     # the uplink is no bridge's port
    (IN, IN, (PORT1, None), Pkt(flags=LOCAL), True),
    (IS_OUT, 0, (None, None), Pkt(out_port=NONE16), False),
])  # fmt: skip
def test_physdev(asked, inverted, ports, pkt, expected):
    run = engine(forward([rule(1, (M.PHYSDEV, 0, (asked, inverted, *ports)), do=DROP)]))
    assert (run.table(pkt.parcel(), FILTER, FORWARD)["verdict"] == "DROP") == expected


# Targets


def edited(target, pkt, conn=None, table=MANGLE):
    run = engine(forward([rule(1, do=target)], table=table), pkt.v6)
    parcel, entry = pkt.parcel(), conn and conn.entry()
    run.table(parcel, table, FORWARD, entry)
    return parcel, entry


@pytest.mark.parametrize(("target", "pkt", "after"), [
    ((TargetOp.TOS, (0x10, 0xFF)), Pkt(tos=3), {"tos": 0x10}),
    ((TargetOp.TOS, (0xB8, 0xFC)), Pkt(tos=3), {"tos": 0xBB}),
    ((TargetOp.TOS, (0xB8, 0xFC)), replace(V6, tos=0x43), {"tos": 0xBB}),
    ((TargetOp.TTL, (0, 1)), Pkt(), {"ttl": 1}),
    ((TargetOp.TTL, (1, 250)), Pkt(), {"ttl": 255}),
    ((TargetOp.TTL, (2, 65)), Pkt(), {"ttl": 0}),
    ((TargetOp.TTL, (2, 1)), V6, {"ttl": 63}),
])  # fmt: skip
def test_header_edits(target, pkt, after):
    """The frame is what would have been built so from the start: the checksum above all."""
    parcel, _ = edited(target, pkt)
    assert parcel.content == replace(pkt, **after).frame()
    assert all(getattr(parcel, name) == value for name, value in after.items())


def mss(value):
    return bytes([2, 4]) + value.to_bytes(2, "big")


@pytest.mark.parametrize(("target", "pkt", "options"), [
    ((TargetOp.TCPMSS, (1000,)), Pkt(tcp_flags=2, options=mss(1460)), mss(1000)),
    ((TargetOp.TCPMSS, (1000,)), Pkt(tcp_flags=2, options=mss(900)), mss(900)),
    ((TargetOp.TCPMSS, (1001,)), Pkt(tcp_flags=2, options=b"\1" + mss(1460) + b"\1"), b"\1" + mss(1001) + b"\1"),
    ((TargetOp.TCPMSS, (1000,)), Pkt(tcp_flags=2, options=mss(1460), needs=1), mss(1000)),
    ((TargetOp.TCPMSS, (1000,)), replace(V6, tcp_flags=2, options=mss(1440)), mss(1000)),
    ((TargetOp.TCPMSS, (None,)), Pkt(tcp_flags=2, options=mss(1460), in_dev=0, out_dev=1), mss(1360)),
    ((TargetOp.TCPMSS, (None,)), replace(V6, tcp_flags=2, options=mss(1460), in_dev=2, out_dev=1), mss(1240)),
    ((TargetOp.TCPMSS, (None,)), Pkt(tcp_flags=2, options=mss(1460), in_dev=NONE16, out_dev=NONE16), mss(1460)),
    ((TargetOp.TCPMSS, (1000,)), Pkt(tcp_flags=2, options=b"\x08\0\2\4"), mss(536) + b"\x08\0\2\4"),  # length 0; then cut short
    ((TargetOp.TCPMSS, (1000,)), Pkt(tcp_flags=2), mss(536)),
    ((TargetOp.TCPMSS, (1000,)), replace(V6, tcp_flags=2), mss(1000)),
    ((TargetOp.TCPMSS, (1000,)), UDP_PKT, b""),
])  # fmt: skip
def test_tcpmss(target, pkt, options):
    parcel, _ = edited(target, pkt)
    assert parcel.content == replace(pkt, options=options).frame()
    if pkt.proto == 6 and not pkt.needs:
        body = parcel.content[54 if pkt.v6 else 34 :]
        assert checksum(pkt.pseudo(len(body)) + body) == 0


@pytest.mark.parametrize(("target", "marks", "after"), [
    ((TargetOp.MARK, (0x12, 0xFF)), (0xABCD, 0), (0xAB12, 0)),
    ((TargetOp.MARK, (0x0F, 0)), (0x3C, 0), (0x33, 0)),                                 # --xor-mark
    ((TargetOp.CONNMARK, (0, 7, 0xFF, 0, 0)), (0, 0xF00), (0, 0xF07)),
    ((TargetOp.CONNMARK, (0, 1, 0xFFFFFFFF, 0, 4)), (0, 9), (0, 0x10)),
    ((TargetOp.CONNMARK, (1, 0, 0xFF, 0x0F, 0)), (0x3A, 0x1234), (0x3A, 0x120A)),
    ((TargetOp.CONNMARK, (2, 0, 0x0F, 0xFF, 0)), (0x3AFF, 0x1234), (0x3A04, 0x1234)),
    ((TargetOp.CONNMARK, (2, 0, 0xF000, 0xFFFFFFFF, -12)), (0, 0x1234), (1, 0x1234)),
])  # fmt: skip
def test_marks(target, marks, after):
    parcel, entry = edited(target, Pkt(mark=marks[0]), Conn(mark=marks[1]))
    assert (parcel.mark, entry.mark) == after


def test_classify_and_no_connection_to_mark():
    assert edited((TargetOp.CLASSIFY, (0x10002,)), Pkt())[0].class_id == 0x10002
    assert edited((TargetOp.CONNMARK, (2, 0, 0xFF, 0xFF, 0)), Pkt(mark=5))[0].mark == 5


def test_verdicts_bring_their_details():
    reject = engine(forward([rule(1, do=(TargetOp.REJECT, (0x0303,)))])).table(Pkt().parcel(), FILTER, FORWARD)
    assert (reject["verdict"], reject["table"], reject["arg"]) == ("REJECT", FILTER, 0x0303)
    queue = engine(forward([rule(1, do=(TargetOp.QUEUE, (4, 7, 1)))]))
    there, back = Pkt(), Pkt(src="10.0.0.2", dst="10.0.0.1")
    found = [queue.table(pkt.parcel(), FILTER, FORWARD) for pkt in (there, back)]
    assert {one["verdict"] for one in found} == {"QUEUE"}
    assert found[0]["arg"] == found[1]["arg"] and 4 <= found[0]["arg"] <= 7
    assert found[0]["target"]["mode"] == 1
    args = (ip16("192.0.2.1"), ip16("192.0.2.9"), 1024, 2048, 1000, 7)
    chains = forward([rule(1, do=(TargetOp.DNAT, args))], table=NAT, hook=PREROUTING)
    nat = engine(chains).table(Pkt().parcel(), NAT, PREROUTING)
    assert nat["verdict"] == "NAT" and nat["target"]["op"] == TargetOp.DNAT
    names = "min_ip", "max_ip", "min_port", "max_port", "base_port", "flags"
    assert tuple(nat["target"][name] for name in names) == args


def test_ct_chooses_once():
    chain = [rule(1, do=(TargetOp.CT, (6, 5, 9))), rule(2, do=(TargetOp.CT, (1, 0, 0)))]
    run, parcel = engine(forward(chain, table=RAW, hook=PREROUTING)), Pkt().parcel()
    found = run.table(parcel, RAW, PREROUTING)
    assert (found["zones"], parcel.zone, found["zone_reply"], parcel.ct_info) == (6, 5, 9, 0)
    run, parcel = engine(forward(chain[1:], table=RAW, hook=PREROUTING)), Pkt().parcel()
    assert run.table(parcel, RAW, PREROUTING)["zones"] == 1 and parcel.ct_info == UNTRACKED


def test_log_writes_a_record_and_goes_on():
    run = engine(forward([rule(7, do=(TargetOp.LOG, ())), rule(8, do=DROP)]))
    pkt = Pkt(payload=300, mark=3)
    assert run.table(pkt.parcel(), FILTER, FORWARD, now_ns=5)["verdict"] == "DROP"
    (record,) = run.logs.drain(0)
    names = "rule", "hook", "mark", "length", "now_ns"
    assert tuple(record[name] for name in names) == (7, FORWARD, 3, 340, 5)
    assert record["data"] == pkt.frame()[14:174] and record["dst_mac"] == pkt.frame()[:6]
    for _ in range(300):
        run.table(pkt.parcel(), FILTER, FORWARD)
    assert run.logs.lost(0) == 44 and len(run.logs.drain(0)) == 256 and run.logs.drain(0) == []


def test_limit_is_a_token_bucket():
    """Three at once, then one every ten seconds; what stands before it uses no token, what stands behind it does."""
    asked = [(M.DPORT, 0, (80, 80)), (M.LIMIT, 0, (10 * 10**9, 3)), (M.SPORT, 0, (1000, 1000))]
    run = engine(forward([rule(1, *asked, do=DROP)]))

    def dropped(second, pkt=None):
        return run.table((pkt or Pkt()).parcel(), FILTER, FORWARD, now_ns=10**12 + second * 10**9)["verdict"] == "DROP"

    assert not dropped(0, Pkt(dport=81)) and not dropped(0, Pkt(sport=1))
    assert [dropped(0) for _ in range(4)] == [True, True, False, False]
    assert [dropped(9), dropped(11), dropped(12), dropped(21)] == [False, True, False, True]
    assert [dropped(500) for _ in range(4)] == [True, True, True, False]
    run.counters.recycle(1)
    assert dropped(500)
