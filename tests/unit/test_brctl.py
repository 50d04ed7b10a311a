"""`vswitchctl brctl` beside the real one: the same words on the same topology give the same output and exit code.

The real brctl works on a kernel bridge in a namespace; ours on a fake switch whose ports report the same MACs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.fake_switch import FakeSwitch, served
from tests.lab import Lab, require_root
from vswitch.cli.brctl import WORDS
from vswitch.cli.main import main
from vswitch.config.load import parse
from vswitch.observe.report import FdbEntry, SwitchReport

FILE = """
[[bridge]]
name = "br0"
[[bridge]]
name = "br1"
[[port]]
name = "{0}"
kind = "tap"
bridge = "br0"
[[port]]
name = "{1}"
kind = "netdev"
bridge = "br0"
[[port]]
name = "{2}"
kind = "tap"
"""


@dataclass
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class Switch(FakeSwitch):
    """A fake switch whose ports have the MACs, and whose missing devices the names, that it is told."""

    macs: dict[str, str] = {}

    def show(self) -> SwitchReport:
        report = super().show()
        ports = [msgspec.structs.replace(port, mac=self.macs.get(port.name, port.mac)) for port in report.ports]
        return msgspec.structs.replace(report, ports=ports)


@pytest.fixture
def ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Result]]:
    """Our brctl on the switch that `on` takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWITCH_RUN_DIR", str(tmp_path))

        def run(*words: str) -> Result:
            with pytest.raises(SystemExit) as end:
                main(["brctl", *words])
            out, err = capsys.readouterr()
            return Result(int(end.value.code or 0), out, err)

        yield run


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    switch = Switch(parse(FILE.format("tapA", "eth1", "spare"), "test"), missing=frozenset({"nodev"}))
    with served(switch, tmp_path):
        yield switch


Ours = Callable[..., Result]


def test_addif_takes_a_port_without_a_bridge_or_a_device(ours: Ours, switch: Switch) -> None:
    assert ours("addif", "br1", "spare", "eth7") == Result(0, "", "")
    assert [(port.name, port.kind) for port in switch.config.ports_of("br1")] == [("spare", "tap"), ("eth7", "netdev")]


def test_delif_gives_a_device_back_and_keeps_a_tap(ours: Ours, switch: Switch) -> None:
    assert ours("delif", "br0", "tapA", "eth1") == Result(0, "", "")
    assert switch.config.find_port("tapA").bridge is None
    assert switch.config.find_port("eth1") is None


def test_delbr_takes_the_ports_off_first(ours: Ours, switch: Switch) -> None:
    assert ours("delbr", "br0") == Result(0, "", "")
    assert [bridge.name for bridge in switch.config.bridge] == ["br1"]
    assert [port.name for port in switch.config.port] == ["tapA", "spare"]


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("60.5", 61), ("0.2", 1)])
def test_setageing_rounds_up_to_seconds(ours: Ours, switch: Switch, text: str, seconds: int) -> None:
    assert ours("setageing", "br0", text) == Result(0, "", "")
    assert switch.config.find_bridge("br0").ageing_s == seconds


def test_hairpin_goes_on_and_off(ours: Ours, switch: Switch) -> None:
    assert ours("hairpin", "br0", "tapA", "on") == Result(0, "", "")
    assert switch.config.find_port("tapA").hairpin
    assert ours("hairpin", "br0", "tapA", "off") == Result(0, "", "")
    assert not switch.config.find_port("tapA").hairpin


OWN_WORDS = [
    ("setageing br0 0", "set ageing time failed: 0 has a kernel bridge flood every frame; this switch has no such"),
    ("setageing br0 -1", "bad ageing time value"),
    ("stp br0 on", "brctl stp: this switch has no spanning tree"),
    ("hairpin br0 tapA maybe", "expect on/off for argument"),
    ("hairpin br1 tapA on", "can't set tapA to hairpin on bridge br1: No such file or directory"),
    ("addif br1 nodev", "interface nodev does not exist!"),
    ("addbr averyveryverylongname", "add bridge failed: "),
]


@pytest.mark.parametrize(("words", "line"), OWN_WORDS, ids=[words for words, _ in OWN_WORDS])
def test_what_it_refuses(ours: Ours, switch: Switch, words: str, line: str) -> None:
    result = ours(*words.split())
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(line)
    assert result.err.count("\n") == 1


def test_no_word_gives_the_usage(ours: Ours) -> None:
    result = ours()
    assert result.code == 1
    assert [line.split("\t")[1].strip() for line in result.err.splitlines()[2:]] == list(WORDS)


def test_as_json_a_list(ours: Ours, switch: Switch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-o", "json", "brctl", "show", "br1"])
    shown = json.loads(capsys.readouterr().out)
    assert shown == [{"name": "br1", "id": "8000.000000000000", "stp": False, "interfaces": []}]


# Beside the original


class Kernel:
    """bridge-utils on kernel bridges in a namespace: br0 with two ports, br1 with none, and one device to spare."""

    def __init__(self, lab: Lab) -> None:
        self.netns = lab.namespace("brctl")
        pairs = [lab.veth(f"n{i}", f"f{i}", near_netns=self.netns, far_netns=self.netns) for i in range(3)]
        self.ports = [near for near, _ in pairs]
        self.macs = {port: self._mac(port) for port in self.ports}
        for words in ("addbr br0", "addbr br1", *(f"addif br0 {port}" for port in self.ports[:2])):
            assert self.run(*words.split()).code == 0

    def run(self, *words: str) -> Result:
        command = ["ip", "netns", "exec", self.netns, "brctl", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def _mac(self, port: str) -> str:
        link = subprocess.check_output(["ip", "-n", self.netns, "-j", "link", "show", port], text=True)
        return json.loads(link)[0]["address"]


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    if shutil.which("brctl") is None:
        pytest.skip("needs bridge-utils: compares with the real brctl")
    require_root(tun=False)
    with Lab() as lab:
        yield Kernel(lab)


@pytest.fixture
def twin(kernel: Kernel, tmp_path: Path) -> Iterator[Switch]:
    """A switch with the topology and the MACs of the kernel's bridges."""
    switch = Switch(parse(FILE.format(*kernel.ports), "test"), missing=frozenset({"nodev"}))
    switch.macs = kernel.macs
    with served(switch, tmp_path):
        yield switch


SCENE = [  # {0} and {1} are on br0, {2} is on no bridge
    "show", "show br0", "show br1", "show br0 br1", "show nope", "show br0 nope", "show {0}",
    "addbr br0", "addbr br2", "show", "addbr",
    "addif br0 {0}", "addif br1 {0}", "addif br0 nodev", "addif nope {2}", "addif br0 br1", "addif br1 {2}",
    "addif br0", "show",
    "delif br0 {2}", "delif nope {0}", "delif br0 nodev", "delif br1 {2}", "show", "delif br0",
    "setageing br0 60", "setageing br0 60.5", "setageing nope 60", "setageing br0 x", "setageing br0",
    "showmacs nope", "showmacs",
    "hairpin br0 {0} on", "hairpin br0 {2} on", "hairpin br0 {0}",
    "delbr nope", "delbr br2", "delbr", "delif br0 {0} {1}", "delbr br0", "delbr br1", "show",
]  # fmt: skip


def test_a_scene_reads_as_the_original(kernel: Kernel, twin: Switch, ours: Ours) -> None:
    for line in SCENE:
        words = line.format(*kernel.ports).split()
        assert in_order(ours(*words)) == in_order(kernel.run(*words)), words


def in_order(result: Result) -> tuple[int, str]:
    """Exit code and all that was said. The original tells a wrong number of arguments on stdout; ours on stderr."""
    wrong_number = "Incorrect number of arguments" in result.out + result.err
    return result.code, result.out + result.err if wrong_number else f"{result.out}|{result.err}"


def test_showmacs_has_the_originals_columns(kernel: Kernel, twin: Switch, ours: Ours) -> None:
    mac = "52:54:00:12:34:56"
    twin.learned["br0"] = [FdbEntry(mac=mac, vlan=0, port=kernel.ports[1], age_s=7.139, static=False)]
    fdb = ["bridge", "-n", kernel.netns, "fdb", "add", mac, "dev", kernel.ports[1], "master", "static"]
    subprocess.run(fdb, check=True, timeout=20)
    head, *rows = kernel.run("showmacs", "br0").out.splitlines()
    ours_head, ours_row = ours("showmacs", "br0").out.splitlines()
    theirs = next(row for row in rows if mac in row)
    assert ours_head == head
    assert ours_row == theirs.replace("   0.00", "   7.13")
    assert all(re.fullmatch(r"  \d\t[0-9a-f:]{17}\t(yes|no)\t\t {3}\d\.\d\d", row) for row in [*rows, ours_row])
