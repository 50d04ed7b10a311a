"""From iptables' words through model and views into the fast path, and packets against them."""

from __future__ import annotations

import pytest

from tests.rules import DEVICES, ESTABLISHED, NEW, NONE16, RELATED, UDP, Conn, Pkt, ip16
from vswitch._fastpath._probe_rules import Engine
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.compile import compile_rules
from vswitch.filter.interfaces import InterfaceNames, interfaces_named
from vswitch.filter.iptables import run
from vswitch.filter.model import Rulesets
from vswitch.filter.slots import CounterSlots
from vswitch.filter.view import Interfaces, TargetOp

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
RAW, MANGLE, NAT, FILTER, SECURITY = range(5)
NAMES = InterfaceNames({"tapA": 1, "tapB": 2, "eth1": 3}, [("br0", "br0"), ("br0.10", "br0"), ("eth1", None)])


def rules_of(*lines: str, program: str = "iptables") -> Rulesets:
    rulesets = Rulesets()
    for line in lines:
        outcome = run(program, line.split(), "", rulesets)
        assert outcome.code == 0, (line, outcome.stderr)
        rulesets = outcome.rulesets
    return rulesets


def load(rulesets: Rulesets) -> tuple[Engine, CounterSlots]:
    slots, counters = CounterSlots(1000), RuleCounters(1000)
    slots.assign(rulesets)
    views = compile_rules(rulesets, NAMES, slots)
    return Engine(CompiledRuleset(1, *views, devices=DEVICES, capacity=1000), counters), slots


def verdict(line, pkt, conn=None, table=FILTER, hook=FORWARD, program="iptables"):
    return load(rules_of(line, program=program))[0].table(pkt.parcel(), table, hook, conn and conn.entry())


V6 = Pkt(src="2001:db8::1", dst="2001:db8::2")


@pytest.mark.parametrize(("words", "pkt", "dropped"), [
    ("-s 0.0.0.0/0.0.0.0 -d 10.0.0.2", Pkt(), True),
    ("-p tcp --dport 80", Pkt(), True),
    ("-p tcp --dport 22", Pkt(), False),
    ("-p udp", Pkt(), False),
    ("! -s 10.0.0.0/8", Pkt(), False),
    ("-p tcp ! --syn", Pkt(tcp_flags=2), False),
    ("-p tcp --tcp-flags SYN,ACK ACK", Pkt(), True),
    ("-p tcp -m multiport --dports 22,80:90", Pkt(), True),
    ("-p udp -m multiport ! --ports 80", Pkt(proto=UDP), False),
    ("-p icmp --icmp-type echo-request", Pkt(proto=1), True),
    ("-p icmp --icmp-type any", Pkt(proto=1, icmp=(3, 3)), True),
    ("-i tapA", Pkt(), True),
    ("-i tapB", Pkt(), False),
    ("-i br0", Pkt(in_port=9, in_dev=1), True),
    ("-i br0.10", Pkt(in_dev=0), False),
    ("-i br0.10", Pkt(in_dev=1), True),
    ("-i ta+", Pkt(in_dev=NONE16), True),
    ("! -i br+", Pkt(in_dev=2, in_port=3), True),
    ("! -i br0", Pkt(), False),
    ("-i nothing", Pkt(), False),
    ("-o eth1", Pkt(out_port=3, out_dev=2), True),
    ("-m physdev --physdev-in tap+ --physdev-is-bridged", Pkt(), True),
    ("-m mac --mac-source 52:54:00:00:00:01", Pkt(), True),
    ("-m mark --mark 0x10/0xf0", Pkt(mark=0x1F), True),
    ("-m length --length 0:39", Pkt(), False),
    ("-m tos --tos 0x10", Pkt(tos=0x10), True),
    ("-m dscp --dscp-class EF", Pkt(tos=0xB8), True),
    ("-m ttl --ttl-lt 64", Pkt(), False),
    ("-m ttl --ttl-gt 63", Pkt(), True),
    ("-m ttl ! --ttl-eq 63", Pkt(), True),
    ("-m iprange --src-range 10.0.0.1-10.0.0.9", Pkt(), True),
    ("-m addrtype --dst-type MULTICAST", Pkt(dst="224.0.0.9"), True),
    ("-m pkttype --pkt-type broadcast", Pkt(), False),
    ("-m limit --limit 1/hour --limit-burst 1", Pkt(), True),
    ("-m comment --comment x", Pkt(), True),
    ("-f", Pkt(fragment=True), True),
])  # fmt: skip
def test_words_match(words, pkt, dropped):
    assert (verdict(f"-A FORWARD {words} -j DROP", pkt)["verdict"] == "DROP") == dropped


@pytest.mark.parametrize(("words", "pkt", "conn", "dropped"), [
    ("-m conntrack --ctstate NEW,RELATED", Pkt(ct_info=NEW), Conn(), True),
    ("-m conntrack --ctstate NEW,RELATED", Pkt(ct_info=ESTABLISHED), Conn(), False),
    ("-m conntrack ! --ctstate ESTABLISHED", Pkt(ct_info=RELATED), Conn(), True),
    ("-m state --state INVALID", Pkt(), None, True),
    ("-m conntrack --ctstate DNAT --ctorigdstport 80 --ctdir ORIGINAL", Pkt(ct_info=NEW), Conn(status=40), True),
    ("-m conntrack --ctstatus ASSURED,SEEN_REPLY", Pkt(ct_info=ESTABLISHED), Conn(status=10), True),
    ("-m connmark --mark 1", Pkt(ct_info=ESTABLISHED), Conn(mark=2), False),
])  # fmt: skip
def test_words_match_connections(words, pkt, conn, dropped):
    assert (verdict(f"-A FORWARD {words} -j DROP", pkt, conn)["verdict"] == "DROP") == dropped


def test_words_of_ipv6():
    found = verdict("-A FORWARD -s 2001:db8::/64 -p tcp --dport 80 -m hl --hl-eq 64 -j REJECT", V6, program="ip6tables")
    assert (found["verdict"], found["arg"]) == ("REJECT", 1 << 8 | 4)


@pytest.mark.parametrize(("line", "op", "ends", "ports", "flags"), [
    ("-A POSTROUTING -j SNAT --to-source 192.0.2.1", TargetOp.SNAT, ("192.0.2.1", "192.0.2.1"), (0, 0, 0), 1),
    ("-A PREROUTING -p tcp -j DNAT --to 10.0.0.5-10.0.0.6:8-9", TargetOp.DNAT, ("10.0.0.5", "10.0.0.6"), (8, 9, 0), 3),
    ("-A POSTROUTING -p udp -j MASQUERADE --to-ports 1-9 --random", TargetOp.MASQUERADE, None, (1, 9, 0), 6),
    ("-A PREROUTING -p tcp -j REDIRECT --to-ports 8080", TargetOp.REDIRECT, None, (8080, 8080, 0), 2),
    ("-A PREROUTING -j NETMAP --to 192.0.2.0/28", TargetOp.NETMAP, ("192.0.2.0", "192.0.2.15"), (0, 0, 0), 65),
])  # fmt: skip
def test_words_of_nat(line, op, ends, ports, flags):
    pkt, hook = Pkt(proto=UDP if "udp" in line else 6), POSTROUTING if "POSTROUTING" in line else PREROUTING
    found = verdict(f"-t nat {line}", pkt, table=NAT, hook=hook)
    got = found["target"]
    assert found["verdict"] == "NAT" and got["op"] == op and got["flags"] == flags
    assert (got["min_ip"], got["max_ip"]) == (tuple(map(ip16, ends)) if ends else (bytes(16), bytes(16)))
    assert (got["min_port"], got["max_port"], got["base_port"]) == ports


@pytest.mark.parametrize(("line", "name", "value"), [
    ("-j MARK --set-mark 5", "mark", 5),
    ("-j MARK --or-mark 8", "mark", 0x1B),
    ("-j TOS --set-tos 0x10", "tos", 0x10),
    ("-j DSCP --set-dscp 46", "tos", 0xB8),
    ("-j TTL --ttl-dec 1", "ttl", 63),
    ("-j CLASSIFY --set-class 1:2", "class_id", 0x10002),
])  # fmt: skip
def test_words_that_edit(line, name, value):
    run_, parcel = load(rules_of(f"-t mangle -A FORWARD {line}"))[0], Pkt(mark=0x13).parcel()
    run_.table(parcel, MANGLE, FORWARD)
    assert getattr(parcel, name) == value


def test_chains_policies_and_counters():
    rulesets = rules_of("-N web", "-A web -p tcp --dport 80 -j ACCEPT", "-A FORWARD -j web", "-P FORWARD DROP")
    run_, slots = load(rulesets)
    assert run_.table(Pkt().parcel(), FILTER, FORWARD)["verdict"] == "ACCEPT"
    assert run_.table(Pkt(dport=81).parcel(), FILTER, FORWARD)["verdict"] == "DROP"
    chains = rulesets.ipv4.table("filter").chains
    counted = {name: [run_.counters.get(slots[rule.id])[0] for rule in chain.rules] for name, chain in chains.items()}
    assert counted == {"INPUT": [], "FORWARD": [2], "OUTPUT": [], "web": [1]}
    assert run_.counters.get(slots[chains["FORWARD"].policy_id]) == (1, 40)


def test_places_are_kept_and_given_back_late():
    slots, one = CounterSlots(6), rules_of("-A FORWARD -j DROP")
    assert len(slots.assign(one)) == 4 and slots.assign(one) == []
    kept = {rule.id: slots[rule.id] for rule in one.ipv4.rules()}
    two = run("iptables", ["-A", "FORWARD", "-j", "ACCEPT"], "", one).rulesets
    assert len(slots.assign(two)) == 1 and all(slots[number] == place for number, place in kept.items())
    three = run("iptables", ["-A", "FORWARD", "-j", "ACCEPT"], "", one).rulesets
    three = run("iptables", ["-R", "FORWARD", "1", "-j", "RETURN"], "", three).rulesets
    before = dict(slots)
    with pytest.raises(ValueError, match="5 with their policies"):
        slots.assign(three)
    assert dict(slots) == before
    slots.assign(one)
    slots.settle()
    slots.assign(two)


def test_names_in_rules():
    rulesets = rules_of("-A FORWARD -i br0.20 -o tap+ -j DROP", "-A INPUT -i br0 -j ACCEPT")
    assert interfaces_named(rulesets) == {"br0.20", "tap+", "br0"}
    assert NAMES.resolve("eth1") == Interfaces(1 << 3, 1 << 2) and NAMES.resolve("br0") == Interfaces(0, 3)
    assert NAMES.resolve("br0.1+") == Interfaces(0, 2) and NAMES.resolve("+").any
