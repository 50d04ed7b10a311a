"""vswitchctl against a real control socket: what it changes, prints and refuses."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fake_switch import FakeSwitch, served
from vswitch.cli import complete
from vswitch.cli.main import cli, main
from vswitch.cli.output import table
from vswitch.config.load import parse
from vswitch.observe.report import FdbEntry

FILE = """
[[bridge]]
name = "br0"
[[port]]
name = "tapA"
kind = "tap"
bridge = "br0"
access = 10
[[port]]
name = "eth1"
kind = "netdev"
bridge = "br0"
trunk = [10, 20]
"""


@dataclass
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch(parse(FILE, "test"))


@pytest.fixture
def run(switch: FakeSwitch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """vswitchctl, told where the switch is."""
    with served(switch, tmp_path):
        yield lambda *words: command(capsys, "--run-dir", str(tmp_path), *words)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> Result:
    with pytest.raises(SystemExit) as end:
        main(words)
    out, err = capsys.readouterr()
    return Result(int(end.value.code or 0), out, err)


def bridge_of(switch: FakeSwitch, name: str, *keys: str) -> Any:
    """A configured bridge, or some of its fields."""
    bridge = switch.config.find_bridge(name)
    return tuple(getattr(bridge, key) for key in keys) or bridge


def port_of(switch: FakeSwitch, name: str, *keys: str) -> Any:
    """A configured port, or some of its fields."""
    port = switch.config.find_port(name)
    return tuple(getattr(port, key) for key in keys) or port


CHANGES = [
    ("bridge add br1 --ageing 60 --mac-limit 9", lambda s: bridge_of(s, "br1", "ageing_s", "mac_limit"), (60, 9)),
    ("bridge set br0 --ageing 0", lambda s: bridge_of(s, "br0").ageing_s, 0),
    ("bridge del br0 --force", lambda s: s.config.bridge, ()),
    ("port add t1 --bridge br0 --netns A --access 7", lambda s: port_of(s, "t1", "netns", "access"), ("A", 7)),
    ("port add n1 --kind netdev --trunk 1,5-9 --native 2", lambda s: port_of(s, "n1").trunk, (1, "5-9")),
    ("port add t1 --no-offloads --isolated --hairpin --mac-limit 4", lambda s: port_of(s, "t1").offloads, False),
    ("port add t1 --storm broadcast=9,multicast=8", lambda s: port_of(s, "t1").storm.multicast, 8),
    ("port add v0 --kind netdev --create --owner root --queues 1", lambda s: port_of(s, "v0").owner, "root"),
    ("port add t1 --mac 52-54-00-00-00-01 --mtu 9000", lambda s: port_of(s, "t1").mac, "52:54:00:00:00:01"),
    ("port set tapA --trunk 10,20", lambda s: port_of(s, "tapA", "access", "trunk"), (None, (10, 20))),
    ("port set eth1 --access 5", lambda s: port_of(s, "eth1", "access", "trunk"), (5, None)),
    ("port set tapA --clear access --isolated", lambda s: port_of(s, "tapA", "access", "isolated"), (None, True)),
    ("port del tapA", lambda s: port_of(s, "tapA"), None),
    ("fdb br0 add 52:54:00:00:00:01 --port tapA --vlan 10", lambda s: s.config.fdb[0].vlan, 10),
    ("vconfig add eth1 30", lambda s: port_of(s, "eth1").trunk, (10, 20, 30)),
    ("vconfig rem eth1.10", lambda s: port_of(s, "eth1").trunk, (20,)),
    ("vconfig rem eth1 10", lambda s: port_of(s, "eth1").trunk, (20,)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "look", "value"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_command_changes_the_configuration(run: Run, switch: FakeSwitch, words: str, look: Any, value: Any) -> None:
    result = run(*words.split())
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert look(switch) == value


REFUSALS = [
    ("bridge add br0", 1, "vswitchctl: bridge br0 exists already\n"),
    ("bridge del br0", 1, "vswitchctl: bridge br0 still has ports: tapA, eth1; remove or move them first\n"),
    ("bridge set br9 --ageing 1", 1, "vswitchctl: bridge 'br9' does not exist (there are: br0)\n"),
    ("port add t1 --access 4095", 1, 'vswitchctl: port "t1".access: 4095: a VLAN id is 1 to 4094\n'),
    ("port add t1 --trunk ten", 2, "vswitchctl: Invalid value for '--trunk': 'ten' is no VLAN id or range"
                                   " (right: 10,20,100-200) (see vswitchctl port add --help)\n"),
    ("port set tapA", 2, "vswitchctl: nothing to change was named (see vswitchctl port set --help)\n"),
    ("fdb br9", 1, "vswitchctl: bridge 'br9' does not exist (there are: br0)\n"),
    ("fdb br0 del 52:54:00:00:00:01", 1, "vswitchctl: bridge br0 does not know 52:54:00:00:00:01 in VLAN 0\n"),
    ("apply /nonexistent", 1, "vswitchctl: /nonexistent: cannot be read: No such file or directory\n"),
    ("frobnicate", 2, "vswitchctl: No such command 'frobnicate' (see vswitchctl --help)\n"),
    ("-o json stats --interval 1", 1, "vswitchctl: --interval prints tables; right: without -o json, or stats twice\n"),
    ("vconfig add nope 10", 3, "ERROR: trying to add VLAN #10 to IF -:nope:-  error: No such device\n"),
    ("vconfig add eth1 10", 3, "ERROR: trying to add VLAN #10 to IF -:eth1:-  error: port eth1 carries VLAN 10"
                               " already\n"),
    ("vconfig rem nope.10", 4, "ERROR: trying to remove VLAN -:nope.10:- error: No such device\n"),
    ("vconfig rem eth1", 4, "ERROR: trying to remove VLAN -:eth1:- error: 'eth1' names no VLAN of a port"
                            " (right: PORT.VID, as eth0.10)\n"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "line"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_refusal_is_one_line_on_stderr(run: Run, switch: FakeSwitch, words: str, code: int, line: str) -> None:
    before = switch.config
    assert run(*words.split()) == Result(code, "", line)
    assert switch.config is before


def test_vconfig_says_what_vconfig_says(run: Run) -> None:
    assert run("vconfig", "add", "eth1", "30").out == "Added VLAN with VID == 30 to IF -:eth1:-\n"
    assert run("vconfig", "rem", "eth1.30").out == "Removed VLAN -:eth1.30:-\n"


def test_json_lists_are_lists(run: Run, switch: FakeSwitch) -> None:
    switch.learned["br0"] = [FdbEntry(mac="52:54:00:00:00:01", vlan=10, port="tapA", age_s=1.5, static=False)]
    assert [set(row) for row in run("-o", "json", "fdb", "br0").json] == [{"mac", "vlan", "port", "age_s", "static"}]
    assert [row["name"] for row in run("-o", "json", "bridge", "list").json] == ["br0"]
    assert [row["name"] for row in run("-o", "json", "port", "list").json] == ["tapA", "eth1"]
    stats = run("-o", "json", "stats").json
    assert {"name", "rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "drops"} <= set(stats[0])
    assert run("-o", "json", "show").json["pid"] == 4711
    assert run("-o", "json", "bridge", "add", "br1").json == {"changes": ["add bridge br1"], "dry_run": False}


def test_tables_are_plain_columns(run: Run, switch: FakeSwitch) -> None:
    switch.learned["br0"] = [FdbEntry(mac="52:54:00:00:00:01", vlan=10, port="tapA", age_s=1.25, static=False)]
    assert run("fdb", "br0").out == "MAC                VLAN  PORT  AGE\n52:54:00:00:00:01    10  tapA  1 s\n"
    show = run("show").out
    assert "up 1d 2h, pid 4711" in show
    assert "eth1  br0     packet  trunk 10,20" in show
    stats = run("stats").out
    assert "tapA  br0     1,000,000    1.5 GB" in stats
    assert "tapA  vlan_not_allowed       3" in stats


LONG = "missing: there is no device of that name; the port takes the next one"


def test_a_narrow_terminal_folds_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    table(("PORT", "STATE", "RX FRAMES", "FLAGS"), [("vm-guest-web01", LONG, 1234567, "isolated")])
    folded = capsys.readouterr().out.splitlines()
    assert max(map(len, folded)) <= 60
    assert {"1,234,567", "isolated", *LONG.split()} <= {word for line in folded for word in line.split()}


def test_a_terminal_that_is_too_narrow_for_the_words_still_gets_every_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    titles = [f"COLUMN-{letter}" for letter in "ABCDEFGH"]
    table(titles, [tuple("12345678")])
    assert capsys.readouterr().out.splitlines()[0].split() == titles


def test_a_full_disk_is_told_in_one_line(switch: FakeSwitch, tmp_path: Path) -> None:
    with served(switch, tmp_path), open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "vswitch.cli", "--run-dir", str(tmp_path), "show"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "vswitchctl: standard output: No space left on device\n")


def test_rates_are_printed_as_often_as_asked(run: Run) -> None:
    out = run("stats", "--interval", "0.1", "--count", "2").out
    assert out.count("RX FRAMES/S") == 2


def test_a_saved_file_applies_to_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "saved.toml"
    file.write_text(run("save").out)
    assert run("apply", str(file)).out == "nothing to change\n"


def test_apply_sends_the_file_under_its_name(run: Run, switch: FakeSwitch, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(FILE.replace("access = 10", "access = 11"))
    plan = "change port tapA (tap): vlan access 10 -> access 11\n"
    assert run("apply", str(file), "--dry-run") == Result(0, plan, "")
    assert port_of(switch, "tapA").access == 10
    assert run("apply", str(file)) == Result(0, plan, "")
    assert switch.sources == [str(file)]
    file.write_text(FILE.replace("access = 10", "access = 4095"))
    refused = run("apply", str(file))
    assert refused.err == f'vswitchctl: {file}: port[0] ("tapA").access: 4095: a VLAN id is 1 to 4094\n'


def test_flush_tells_how_many(run: Run, switch: FakeSwitch) -> None:
    switch.learned["br0"] = [FdbEntry(mac="52:54:00:00:00:01", vlan=10, port="tapA", age_s=1.5, static=False)]
    assert run("fdb", "br0", "flush", "--port", "tapA").out == "forgot 1 MACs\n"


# No daemon


def test_a_daemon_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = command(capsys, "--run-dir", str(tmp_path), "show")
    right = "no switch runs here; right: start vswitchd, or name its run directory with --run-dir"
    assert result == Result(1, "", f"vswitchctl: {tmp_path}/control.sock: {right}\n")


def test_a_dead_daemons_socket_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    result = command(capsys, "--run-dir", str(tmp_path), "show")
    assert "nobody listens" in result.err


def test_a_daemon_that_breaks_off_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        listener.settimeout(5)
        asking = subprocess.Popen(
            [sys.executable, "-m", "vswitch.cli", "--run-dir", tmp_path, "show"], stderr=subprocess.PIPE, text=True
        )
        listener.accept()[0].close()
        assert "the daemon broke off" in asking.communicate(timeout=20)[1]
    assert asking.returncode == 1


# The tree


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the tree with the words that lead to it."""
    for name, entry in group.commands.items():
        yield " ".join((*path, name)), entry
        if hasattr(entry, "commands"):
            yield from commands(entry, (*path, name))


@pytest.mark.parametrize(("words", "entry"), list(commands(cli)), ids=[words for words, _ in commands(cli)])
def test_help_teaches_by_example(words: str, entry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    last = words.split()[-1]
    assert f"vswitchctl {words.split()[0]}" in (entry.epilog or ""), f"{last} has no example"
    result = command(capsys, *words.replace("fdb ", "fdb br0 ").split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert "Examples:" in result.out


def documented() -> list[list[str]]:
    """The command lines of the pages about commands and about routing, as words."""
    text = "".join((Path(__file__).parents[2] / "docs" / page).read_text() for page in ("vswitchctl.md", "routing.md"))
    lines = re.findall(r"^    (?:\$ |\S+ \| )?vswitchctl ([^\[\n>|]+)", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines if not line.startswith("/")]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_documented_commands_are_understood(words: list[str]) -> None:
    group: Any = cli
    context = cli.make_context("vswitchctl", list(words))
    while rest := [*context._protected_args, *context.args]:
        if not hasattr(group, "resolve_command"):
            break
        name, group, arguments = group.resolve_command(context, rest)
        context = group.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "_VSWITCHCTL_COMPLETE" in command(capsys, "completion", shell).out


def test_names_are_completed_from_the_switch(switch: FakeSwitch, tmp_path: Path) -> None:
    context = cli.make_context("vswitchctl", ["--run-dir", str(tmp_path), "show"])
    assert complete.ports(context, context.command.params[0], "t") == []
    with served(switch, tmp_path):
        assert complete.ports(context, context.command.params[0], "t") == ["tapA"]
        assert complete.bridges(context, context.command.params[0], "") == ["br0"]


def test_the_command_line_imports_neither_daemon_nor_heavy_libraries() -> None:
    script = "import sys, vswitch.cli.main; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", script], text=True).split())
    assert loaded.isdisjoint({"aiohttp", "msgspec", "rich", "asyncio", "http.client", "vswitch.daemon"})
