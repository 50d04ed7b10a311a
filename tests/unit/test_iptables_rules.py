"""What the words of iptables make of the model: structs, ids, counters, and that a refusal changes nothing.

Also what the switch does otherwise than iptables, by intent, and that no words at all bring it to more than a refusal.
"""

from __future__ import annotations

import shlex
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitch.filter import matches as ask
from vswitch.filter import targets as do
from vswitch.filter.iptables import PROGRAMS, Outcome, run
from vswitch.filter.model import TABLES, Rule, Rulesets, Spec
from vswitch.filter.values import AddressRange, Net, Range

HOST = IPv4Address("255.255.255.255")


def after(*lines: str, program: str = "iptables") -> Rulesets:
    rulesets = Rulesets()
    for line in lines:
        outcome = run(program, shlex.split(line), "", rulesets)
        assert outcome.code == 0, outcome.stderr
        rulesets = outcome.rulesets
    return rulesets


def rules(rulesets: Rulesets, chain: str = "INPUT", table: str = "filter", family: int = 4) -> tuple[Rule, ...]:
    return rulesets.of(family).table(table).chains[chain].rules


def only(line: str, table: str = "filter", program: str = "iptables") -> Spec:
    chain = shlex.split(line)[1]
    (rule,) = rules(after(f"-t {table} {line}", program=program), chain, table, PROGRAMS[program])
    return rule.spec


# The seed's words

SEED = (
    ("-t filter -A INPUT -s 0.0.0.0/0.0.0.0 -d 198.51.100.7 -j DROP",
     "*filter", "-A INPUT -d 198.51.100.7/32 -j DROP"),
    ("-I INPUT -s 0.0.0.0/0.0.0.0 -d 198.51.100.7 -p tcp --dport 22 -j ACCEPT",
     "*filter", "-A INPUT -d 198.51.100.7/32 -p tcp -m tcp --dport 22 -j ACCEPT"),
    ("-t nat -A POSTROUTING -s 10.0.0.2 -j SNAT --to-source 198.51.100.7",
     "*nat", "-A POSTROUTING -s 10.0.0.2/32 -j SNAT --to-source 198.51.100.7"),
    ("-t nat -A PREROUTING -d 198.51.100.7 -j DNAT --to-destination 10.0.0.2",
     "*nat", "-A PREROUTING -d 198.51.100.7/32 -j DNAT --to-destination 10.0.0.2"),
)  # fmt: skip


@pytest.mark.parametrize(("line", "table", "saved"), SEED)
def test_words_of_the_seed(line: str, table: str, saved: str) -> None:
    text = run("iptables-save", [], "", after(line)).stdout.splitlines()
    assert table in text
    assert saved in text


# Structs

STRUCTS = (
    ("-A INPUT -s 10.1.2.3/8 ! -i br0.10 -j DROP", "filter", Spec(
        source=Net(IPv4Address("10.0.0.0"), IPv4Address("255.0.0.0")),
        in_interface="br0.10", inverted=frozenset({"in_interface"}), target=do.Verdict.DROP)),
    ("-A INPUT -p tcp ! --dport 80:90 --syn", "filter", Spec(protocol=6, matches=(
        ask.Tcp(destination=Range(80, 90), flags=(0x17, 0x02), inverted=frozenset({"destination"})),))),
    ("-A INPUT -p icmp --icmp-type 3/4", "filter", Spec(protocol=1, matches=(
        ask.Icmp(type=3, codes=Range(4, 4)),))),
    ("-A INPUT -m conntrack --ctstate NEW,DNAT --ctorigdst 1.2.3.4", "filter", Spec(matches=(ask.Conntrack(
        states=ask.State.NEW | ask.State.DNAT, original_destination=Net(IPv4Address("1.2.3.4"), HOST)),))),
    ("-A INPUT -m limit --limit 2/s", "filter", Spec(matches=(ask.Limit(period=5000, burst=5),))),
    ("-A INPUT -m mac --mac-source 02:00:00:00:00:01", "filter", Spec(matches=(ask.Mac(source=b"\2\0\0\0\0\1"),))),
    ("-A FORWARD -j MARK --set-mark 0x1/0xf", "mangle", Spec(target=do.SetMark(1, 0xF))),
    ("-A FORWARD -j CONNMARK --save-mark --mask 0xff", "mangle", Spec(
        target=do.SaveMark(nfmask=0xFF, ctmask=0xFF))),
    ("-A PREROUTING -p tcp -j DNAT --to 10.0.0.1-10.0.0.9:80-89/8080", "nat", Spec(protocol=6, target=do.Dnat(
        addresses=AddressRange(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")), ports=Range(80, 89), base=8080))),
    ("-A PREROUTING -j CT --zone-orig mark", "raw", Spec(
        target=do.Ct(scope=do.ZoneScope.ORIGINAL, zone_from_mark=True))),
)  # fmt: skip


@pytest.mark.parametrize(("line", "table", "spec"), STRUCTS)
def test_words_become_structs(line: str, table: str, spec: Spec) -> None:
    assert only(line, table) == spec


def test_lists_of_addresses_are_several_rules() -> None:
    held = rules(after("-A INPUT -s 10.0.0.1,10.0.0.2 -d 10.1.0.0/16,10.2.0.0/16 -j DROP"))
    assert len({rule.id for rule in held}) == len({rule.spec for rule in held}) == 4


def test_ipv6() -> None:
    spec = only("-A INPUT -s 2001:db8::1/64 -m hl --hl-lt 5 -j REJECT", program="ip6tables")
    assert spec.source == Net(IPv6Address("2001:db8::"), IPv6Address("ffff:ffff:ffff:ffff::"))
    assert spec.matches == (ask.HopLimit(compare=ask.Compare.LESS, value=5),)
    assert spec.target == do.Reject(do.RejectWith.ICMP6_PORT_UNREACHABLE)


# Ids, and what is shared


def test_ids_stay_with_their_rules() -> None:
    before = after("-N user", "-A INPUT -j DROP", "-A INPUT -j user", "-A user -j ACCEPT")
    kept = {rule.id for rule in before.ipv4.rules()}
    rulesets = before
    for line in ("-I INPUT -j ACCEPT", "-E user guest", "-P INPUT DROP", "-D INPUT 1", "-A INPUT -p udp"):
        rulesets = run("iptables", shlex.split(line), "", rulesets).rulesets
    held = [rule.id for rule in rulesets.ipv4.rules()]
    assert kept < set(held)
    assert len(held) == len(set(held)) == 4
    assert max(held) < rulesets.next_id
    assert rules(rulesets)[1].spec.target == do.Jump("guest")


def test_what_did_not_change_is_shared() -> None:
    before = after("-A INPUT -j DROP", "-t nat -A POSTROUTING -j MASQUERADE", "-A FORWARD -j ACCEPT")
    outcome = run("iptables", ["-A", "FORWARD", "-j", "DROP"], "", before).rulesets
    assert outcome.ipv4.tables["nat"] is before.ipv4.tables["nat"]
    assert outcome.ipv4.table("filter").chains["INPUT"] is before.ipv4.table("filter").chains["INPUT"]
    assert outcome.ipv6 is before.ipv6


def test_a_restore_gives_new_ids_and_keeps_those_of_policies() -> None:
    before = after("-A INPUT -j DROP")
    text = run("iptables-save", [], "", before).stdout
    restored = run("iptables-restore", [], text, before).rulesets
    assert rules(restored)[0].spec == rules(before)[0].spec
    assert rules(restored)[0].id >= before.next_id
    chains = before.ipv4.table("filter").chains, restored.ipv4.table("filter").chains
    assert chains[0]["INPUT"].policy_id == chains[1]["INPUT"].policy_id


def test_looking_makes_no_table() -> None:
    for words in (["-L"], ["-t", "nat", "-S"], ["-C", "INPUT", "-j", "DROP"]):
        assert run("iptables", words).rulesets == Rulesets()
    assert list(after("-t nat -F", "-F").ipv4.tables) == ["nat", "filter"]


# Counters


def test_counters_are_set_and_zeroed_by_id() -> None:
    outcome = run("iptables", shlex.split("-A INPUT -j DROP -c 5 6"))
    (rule,) = rules(outcome.rulesets)
    assert outcome.set_counters == {rule.id: (5, 6)}
    everything = run("iptables", ["-Z"], "", outcome.rulesets)
    chains = everything.rulesets.ipv4.table("filter").chains
    assert everything.zero == {rule.id} | {chain.policy_id for chain in chains.values()}
    assert run("iptables", ["-Z", "INPUT", "1"], "", outcome.rulesets).zero == {rule.id}
    listed = run("iptables", ["-nvxL", "-Z"], "", outcome.rulesets, {rule.id: (123456, 7)})
    assert "  123456        7 DROP" in listed.stdout
    assert rule.id in listed.zero


def test_restore_sets_counters_only_when_asked() -> None:
    text = "*filter\n:INPUT DROP [1:2]\n[3:4] -A INPUT -j ACCEPT\nCOMMIT\n"
    with_counters = run("iptables-restore", ["-c"], text)
    assert sorted(with_counters.set_counters.values()) == [(1, 2), (3, 4)]
    without = run("iptables-restore", [], text)
    assert set(without.set_counters.values()) == {(0, 0)}


# All or nothing

BAD = (
    ("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A PREROUTING -j SNAT --to-source 1.1.1.1\nCOMMIT\n", 5),
    ("*filter\n-A INPUT -j ACCEPT\n-A INPUT -p tcp --dport http0\nCOMMIT\n", 3),
    ("*filter\n:a -\n:b -\n-A INPUT -j a\n-A a -j b\n-A b -j a\nCOMMIT\n", 7),
    ("*filter\n-A INPUT -m comment --comment \"open\nCOMMIT\n", 2),
    ("*nat\n:n -\n-A n -j MASQUERADE\n-A PREROUTING -j n\nCOMMIT\n", 5),
)  # fmt: skip


@pytest.mark.parametrize(("text", "line"), BAD)
def test_a_bad_line_changes_nothing_and_is_named(text: str, line: int) -> None:
    before = after("-A FORWARD -j DROP")
    outcome = run("iptables-restore", [], text, before)
    assert outcome.code
    assert outcome.rulesets is before
    assert not outcome.set_counters
    assert f"line: {line}\n" in outcome.stderr or f"line {line} failed" in outcome.stderr


def test_test_and_one_table() -> None:
    text = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*raw\n-A OUTPUT -j NOTRACK\nCOMMIT\n"
    assert run("iptables-restore", ["--test"], text).rulesets == Rulesets()
    assert list(run("iptables-restore", ["-T", "raw"], text).rulesets.ipv4.tables) == ["raw"]


# Otherwise than iptables

DIFFERENT = (
    ("-A INPUT -i a/b", 2, "weird character in interface `a/b'"),
    ("-t raw -A PREROUTING -j CT --helper ftp", 2, "CT: --helper is not supported by this switch"),
    ("-A INPUT -j NOPE", 2, "Chain 'NOPE' does not exist"),
    ("-t nope -L", 3, "table 'nope' does not exist"),
    ("-A INPUT -j SNAT --to-source 1.1.1.1", 1, "Invalid argument. SNAT: only valid in the nat table, not filter."),
    ("-t nat -A POSTROUTING ! -p tcp -j SNAT --to-source 1.1.1.1:5", 2, "with port specification"),
    ("-A FORWARD -j INPUT", 1, "INPUT is a built-in chain"),
)


@pytest.mark.parametrize(("line", "code", "why"), DIFFERENT)
def test_said_otherwise(line: str, code: int, why: str) -> None:
    outcome = run("iptables", shlex.split(line))
    assert (outcome.code, why in outcome.stderr) == (code, True), outcome.stderr


def test_unreached_chains_are_not_judged_until_they_are() -> None:
    before = after("-t nat -N n", "-t nat -A n -j MASQUERADE", "-t nat -A POSTROUTING -j n")
    outcome = run("iptables", shlex.split("-t nat -A PREROUTING -j n"), "", before)
    assert outcome.code == 1
    assert "MASQUERADE: used from hooks PREROUTING" in outcome.stderr


def test_version_and_help() -> None:
    assert run("ip6tables", ["-V"]).stdout == "ip6tables v1.8.9 (vswitch)\n"
    assert "--to-destination" in run("iptables", ["-j", "DNAT", "-h"]).stdout
    for program in PROGRAMS:
        assert run(program, ["--help"]).code == 0


# Any words at all

HUGE = "9" * 5000


@pytest.mark.parametrize(
    "words",
    [
        ["-p", HUGE],
        ["-s", f"1.2.3.4/{HUGE}"],
        ["-s", HUGE],
        ["-c", HUGE, "1"],
        ["-p", "tcp", "--dport", HUGE],
        ["-m", "limit", "--limit", HUGE],
        ["-m", "mark", "--mark", HUGE],
        ["-p", "tcp", "-j", "DNAT", "--to", f":{HUGE}"],
        ["-j", "CT", "--zone", HUGE],
    ],
)
def test_huge_numbers_are_refused(words: list[str]) -> None:
    assert run("iptables", ["-A", "INPUT", *words]).code == 2
    assert run("iptables-restore", ["-c"], f"*filter\n:INPUT DROP [{HUGE}:1]\nCOMMIT\n").code == 2


WORDS = st.sampled_from(
    shlex.split(
        "-A -D -I -R -C -L -S -F -Z -N -X -P -E -t -s -d -p -i -o -f -j -g -m -c -v -n -x -w -V ! , '' \"a b\" 0 1 "
        "65536 INPUT FORWARD POSTROUTING user filter nat raw mangle tcp udp icmp 1.2.3.4 10/8 ::1 br0+ --dport --sport "
        "--syn --tcp-flags --icmp-type --ctstate NEW,RELATED conntrack state multiport --dports 1,2:3 mark --mark "
        "0x1/0xf limit --limit 5/min ACCEPT DROP SNAT --to-source DNAT --to REJECT LOG --log-prefix MARK --set-mark CT "
        "--zone comment --comment --line-numbers -nvL --destination=1.1.1.1 -tnat --to- 99999999999999999999 -1 0x"
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS | st.text(max_size=5), max_size=12), st.sampled_from(["iptables", "ip6tables"]))
def test_any_words_are_answered(words: list[str], program: str) -> None:
    before = after("-N user", "-A INPUT -p tcp -j user")
    outcome = run(program, words, "", before)
    assert bool(outcome.code) == bool(outcome.stderr)
    if outcome.code:
        assert outcome.rulesets is before
    reads_back(outcome, program)


LINES = st.lists(WORDS, max_size=8).map(lambda words: " ".join(shlex.quote(word) for word in words))


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES | st.sampled_from(["*filter", "COMMIT", ":user - [0:0]"]) | st.text(max_size=9), max_size=6))
def test_any_text_is_answered(lines: list[str]) -> None:
    before = after("-A INPUT -j DROP")
    outcome = run("iptables-restore", ["-c"], "\n".join(["*filter", *lines, "COMMIT", ""]), before)
    if outcome.code:
        assert outcome.rulesets is before
    reads_back(outcome, "iptables")


def reads_back(outcome: Outcome, program: str) -> None:
    """A save restores to the same rules."""
    text = run(f"{program}-save", [], "", outcome.rulesets).stdout
    restored = run(f"{program}-restore", [], text)
    assert restored.code == 0, restored.stderr
    assert run(f"{program}-save", [], "", restored.rulesets).stdout == text
    for table in TABLES:
        for name, chain in outcome.rulesets.of(PROGRAMS[program]).table(table).chains.items():
            held = rules(restored.rulesets, name, table, PROGRAMS[program])
            assert [rule.spec for rule in held] == [rule.spec for rule in chain.rules]
