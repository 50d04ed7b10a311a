"""vswitchctl's router side against a real control socket: networks, routes, leases, rules, connections."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_switch import FakeSwitch, served
from tests.lab import wait_for
from tests.unit.test_cli import FILE, Result, Run, command
from vswitch.config.load import parse
from vswitch.filter.connections import events_shown, shown

ROUTED = FILE + """
[[port]]
name = "up0"
kind = "netdev"
address = "203.0.113.2/24"
[[network]]
bridge = "br0"
address = "10.1.0.1/24"
[[route]]
to = "192.168.0.0/16"
via = "10.1.0.254"
"""


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch(parse(ROUTED, "test"))


@pytest.fixture
def run(switch: FakeSwitch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """vswitchctl, told where the switch is."""
    with served(switch, tmp_path):
        yield lambda *words: command(capsys, "--run-dir", str(tmp_path), *words)


def network_of(name: str, *keys: str) -> Callable[[FakeSwitch], Any]:
    """A look at fields of a network."""
    return lambda switch: tuple(getattr(switch.config.find_network(name), key) for key in keys)


def test_show_has_networks_uplinks_and_connections(run: Run) -> None:
    lines = run("show").out.splitlines()
    assert "connections: 1,234 of at most 262,144, 5 made room early" in lines
    network, uplink = (next(at for at, line in enumerate(lines) if line.startswith(word)) for word in ("NETWORK", "UPLINK"))
    assert lines[network + 1].split() == ["br0", "10.1.0.1/24", "routed", "-", "main", "-", "02:00:00:00:00:01"]
    assert lines[uplink + 1].split() == ["up0", "203.0.113.2/24", "-", "main", "up", "02:00:00:00:00:02"]


CHANGES = [
    ("network add br0.10 --address 10.0.0.1/24 --address fd00::1/64 --ra",
     network_of("br0.10", "vlan", "address", "mode"), (10, ("10.0.0.1/24", "fd00::1/64"), "routed")),
    ("network add br0.10 --address 10.0.0.1/24 --mode nat --uplink up0 --mtu 1400 --mac 52-54-00-00-00-01 --router main",
     network_of("br0.10", "mode", "uplink", "mtu", "mac"), ("nat", "up0", 1400, "52:54:00:00:00:01")),
    ("network add br0.10 --address 10.0.0.1/24 --dhcp 10.0.0.100-10.0.0.200",
     lambda s: s.config.find_network("br0.10").dhcp.range, ("10.0.0.100", "10.0.0.200")),
    ("network add br0.10 --address 10.0.0.1/24 --dns 192.0.2.53 --dns 192.0.2.54",
     lambda s: s.config.find_network("br0.10").dns.servers, ("192.0.2.53", "192.0.2.54")),
    ("network add br0.10 --address 10.1.0.1/24 --router blue", network_of("br0.10", "router"), ("blue",)),
    ("network set br0 --mode isolated --mtu 9000", network_of("br0", "mode", "mtu"), ("isolated", 9000)),
    ("network set br0 --address 10.1.0.1/24 --address fd00::1/64",
     network_of("br0", "address"), (("10.1.0.1/24", "fd00::1/64"),)),
    ("route add default --via 10.1.0.253", lambda s: s.config.route[1].via, "10.1.0.253"),
    ("route del 192.168.0.0/16", lambda s: s.config.route, ()),
]  # fmt: skip


@pytest.mark.parametrize(("words", "look", "value"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_command_changes_the_configuration(run: Run, switch: FakeSwitch, words: str, look: Any, value: Any) -> None:
    result = run(*words.split())
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert look(switch) == value


def test_a_network_goes_when_nothing_leads_through_it(run: Run, switch: FakeSwitch) -> None:
    refused = 'vswitchctl: route[0].via: "10.1.0.254": no neighbour of router main; its networks: 203.0.113.0/24\n'
    assert run("network", "del", "br0") == Result(1, "", refused)
    assert run("route", "del", "192.168.0.0/16").out == "remove route 192.168.0.0/16 via 10.1.0.254\n"
    assert run("network", "del", "br0").out == "remove network br0 (routed) 10.1.0.1/24\n"
    assert switch.config.network == ()


REFUSALS = [
    ("network add br9 --address 10.0.0.1/24", 1, "vswitchctl: there is no bridge br9\n"),
    ("network add br0 --address 10.0.0.1/24", 1, "vswitchctl: network br0 exists already\n"),
    ("network add br0.10", 2, "vswitchctl: Missing option '--address' (see vswitchctl network add --help)\n"),
    ("network add br0.10 --address 10.0.0.1/24 --dhcp 10.0.0.9", 2,
     "vswitchctl: Invalid value for '--dhcp': '10.0.0.9' is no range (right: 10.0.0.100-10.0.0.200)"
     " (see vswitchctl network add --help)\n"),
    ("network set br0", 2, "vswitchctl: nothing to change was named (see vswitchctl network set --help)\n"),
    ("network del br9", 1, "vswitchctl: there is no network br9 (there are: br0)\n"),
    ("route del 10.0.0.0/8", 1, "vswitchctl: router main has no static route to 10.0.0.0/8\n"),
    ("bridge del br0", 1, "vswitchctl: bridge br0 still has ports: tapA, eth1; remove or move them first\n"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "line"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_refusal_is_one_line_on_stderr(run: Run, switch: FakeSwitch, words: str, code: int, line: str) -> None:
    before = switch.config
    assert run(*words.split()) == Result(code, "", line)
    assert switch.config is before


def test_lists(run: Run) -> None:
    assert run("network", "list").out == (
        "NETWORK  ADDRESS      MODE    UPLINK  ROUTER  SERVES\nbr0      10.1.0.1/24  routed  -       main    -\n"
    )
    assert run("route", "list").out.splitlines()[1:] == [
        "main    10.0.0.0/24     on link     br0.10", "main    192.168.0.0/16  10.1.0.254  eth1",
    ]  # fmt: skip
    assert run("neighbours").out.splitlines()[1:] == [
        "br0.10  10.0.0.5  52:54:00:00:00:05  reachable  2 s", "br0.10  10.0.0.6  -                  failed     2 s",
    ]  # fmt: skip
    assert "br0.10   10.0.0.100  52:54:00:00:00:05  web   bound  58m 20s  tapA" in run("leases").out
    for words in ("network list", "route list", "neighbours", "leases"):
        assert isinstance(run("-o", "json", *words.split()).json, list)


# Rules


RULES = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"


def test_apply_sends_the_rules_that_the_file_names(run: Run, switch: FakeSwitch, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(ROUTED + '[firewall]\nrules = "rules.v4"\n')
    missing = f'vswitchctl: {file}: firewall.rules: "rules.v4": {tmp_path}/rules.v4 cannot be read: No such file or directory\n'
    assert run("apply", str(file)) == Result(1, "", missing)
    (tmp_path / "rules.v4").write_text(RULES)
    assert run("apply", str(file), "--rejudge").out == "change firewall.rules: none -> rules.v4\n"
    assert (switch.rules, switch.rejudged) == ((RULES, None), True)


def test_rules_are_beside_the_file_or_here(
    run: Run, switch: FakeSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.v6").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((ROUTED + '[firewall]\nrules6 = "rules.v6"\n').encode())))
    assert run("apply", "-").code == 0
    assert (switch.rules, switch.rejudged) == ((None, RULES), False)


@pytest.mark.parametrize(("text", "words"), [
    ("[firewall\n", "Expected ']'"),
    ("firewall = 5\n", "firewall: 5: a table, written [firewall]"),
    ("[firewall]\nrules = 5\n", "firewall.rules: 5: a string"),
    ("[firewall]\nrule = 'x'\n", 'firewall.rule: unknown key; did you mean "rules"?'),
])  # fmt: skip
def test_a_faulty_section_is_the_daemons_to_judge(run: Run, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "new.toml"
    file.write_text(text)
    refused = run("apply", str(file))
    assert refused.code == 1 and refused.err.startswith(f"vswitchctl: {file}: ") and words in refused.err


def test_iptables_carries_words_output_and_code(run: Run, switch: FakeSwitch) -> None:
    words = ["-t", "nat", "-A", "POSTROUTING", "!", "-s", "10.0.0.0/24", "-j", "MASQUERADE"]
    assert run("iptables", *words) == Result(len(words) % 4, f"iptables {words}\n", "")
    assert run("ip6tables", "-h").out == "ip6tables ['-h']\n"
    assert run("iptables-save", "-c").out == "iptables-save ['-c']\n"
    assert switch.said[0] == ("iptables", words, "")


def test_restore_reads_a_file_or_standard_input(
    run: Run, switch: FakeSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rules.v4"
    file.write_text(RULES)
    assert run("iptables-restore", "-n", str(file)).err == f"{RULES}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("*nat\n"))
    run("ip6tables-restore", "-T", "nat")
    assert switch.said == [("iptables-restore", ["-n"], RULES), ("ip6tables-restore", ["-T", "nat"], "*nat\n")]
    assert run("iptables-restore", "/nonexistent") == Result(1, "", "vswitchctl: /nonexistent: No such file or directory\n")


def test_tc_carries_words_output_and_code(run: Run, switch: FakeSwitch) -> None:
    words = ["-s", "-d", "class", "show", "dev", "tapA"]
    assert run("tc", *words) == Result(len(words) % 4, f"tc {words}\n", "")
    numbers = ["-stats", "filter", "add", "dev", "tapA", "u32", "match", "u32", "1", "ff", "at", "-12"]
    assert run("tc", *numbers).out == f"tc {numbers}\n"
    assert run("-o", "json", "tc", "qdisc").out == "tc ['-j', 'qdisc']\n"
    assert "vswitchctl tc qdisc add dev tapA root handle 1: htb" in run("tc", "--help").out


# Connections


def test_conntrack_carries_words_output_and_code(run: Run, switch: FakeSwitch) -> None:
    words = ["-L", "-p", "udp", "--dport=53", "-o", "extended"]
    assert run("conntrack", *words) == Result(0, "udp      17 30 src=10.0.0.5\n", shown(1))
    assert switch.said == [("conntrack", words, "")]
    refused = run("conntrack", "-L", "--frobnicate")
    assert refused.code == 2 and refused.err.startswith("conntrack v1.4.7 (vswitch): unknown option `--frobnicate'\n")
    assert run("conntrack", "-L", "-E").err.startswith("conntrack v1.4.7 (vswitch): Can't use `-L' and `-E' together\n")


def test_words_that_choose_no_events_are_refused_at_once(run: Run) -> None:
    refused = run("conntrack", "-E", "-e", "BIRTH")
    assert refused.code == 2 and refused.err.startswith("conntrack v1.4.7 (vswitch): Bad parameter `BIRTH'\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_are_printed_as_they_come_until_interrupted(switch: FakeSwitch, tmp_path: Path, number: int) -> None:
    switch.events = ["before"]
    words = [sys.executable, "-m", "vswitch.cli", "--run-dir", str(tmp_path), "conntrack", "-E", "-p", "tcp"]
    with (
        served(switch, tmp_path),
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching,
    ):
        assert watching.stdout is not None
        wait_for(lambda: switch.said, 20, "the question where the stream ends")
        switch.events += ["    [NEW] tcp      6 120 SYN_SENT", " [UPDATE] tcp      6 60 SYN_RECV"]
        assert [watching.stdout.readline() for _ in range(2)] == [f"{line}\n" for line in switch.events[1:]]
        watching.send_signal(number)
        out, err = watching.communicate(timeout=20)
    assert (watching.returncode, out, err) == (0, "", events_shown(2))
    assert switch.said[0] == ("conntrack", ["-E", "-p", "tcp"], "")


def test_json_is_for_lists_not_for_the_words_of_others(run: Run) -> None:
    assert run("-o", "json", "conntrack", "-L").out == "udp      17 30 src=10.0.0.5\n"
    assert json.loads(run("-o", "json", "route", "add", "default", "--via", "10.1.0.253").out)["changes"]
