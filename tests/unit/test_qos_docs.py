"""What docs/qos.md tells administrators to type and to write is taken."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.tc_ports import TcPorts
from tests.unit.test_metrics import FakeSwitch, scrape
from vswitch.config.load import parse
from vswitch.filter import iptables
from vswitch.filter.model import Rulesets

PAGE = (Path(__file__).parents[2] / "docs/qos.md").read_text()
BRIDGE = '[[bridge]]\nname = "br0"\n'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_file_is_taken(text: str) -> None:
    (port,) = parse(BRIDGE + text, "f.toml").port
    assert port.limit or port.tc


def test_the_commands_are_taken() -> None:
    ports, rules = TcPorts("eth1"), Rulesets()
    (text,) = blocks("sh")
    for line in text.splitlines():
        _, program, *words = shlex.split(line)
        if program == "tc":
            ports.do(shlex.join(words))
            continue
        outcome = iptables.run(program, words, "", rules)
        assert outcome.code == 0, outcome.stderr
        rules = outcome.rulesets
    assert len(ports.controls["eth1"].classes) == 4


def test_the_metrics_are_there() -> None:
    asked = set(re.findall(r"vswitch_\w+", PAGE))
    assert asked and asked <= {name for name, _ in scrape(FakeSwitch())}
