"""The kernel's own cases of tc (tools/testing/selftests/tc-testing), those of the disciplines and filters that are
here.

A case has commands before it, the command under test with the code that it ends with, a command whose output has to
match a pattern so many times, and commands after it. The files are others' work and no part of this repository: they
are found beside it, or where VSWITCH_SHARED says.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tc_ports import TcPorts
from vswitch.qos.model import Link

SHARED = Path(os.environ.get("VSWITCH_SHARED") or Path(__file__).parents[2].parent / "shared")
SUITE = SHARED / "suites" / "tdc"
FILES = ("fifo", "pfifo_fast", "sfq", "tbf", "htb", "prio", "fq_codel", "ingress", "u32")
HASH_TABLES, ATM, RED = "hash tables of u32", "ATM cells", "RED within the flows of sfq"

LEFT_OUT = {  # by id: what the switch does not have
    "6472": RED, "948c": ATM, "3549": ATM, "648b": HASH_TABLES, "6658": HASH_TABLES, "9d0a": HASH_TABLES,
    "1644": HASH_TABLES, "74c2": HASH_TABLES, "1fe6": HASH_TABLES, "0692": HASH_TABLES, "2478": HASH_TABLES,
}  # fmt: skip

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the kernel's own cases are not here")


def cases() -> Iterator[Any]:
    for name in FILES if SUITE.is_dir() else ():
        for case in json.loads((SUITE / f"{name}.json").read_text()):
            yield pytest.param(case, id=f"{name}-{case['id']}")


class Host:
    """Runs the commands of a case: ip makes and removes the device, tc is ours."""

    def __init__(self) -> None:
        self.ports = TcPorts("eth1")
        self.output = ""

    def run(self, command: str) -> int:
        words = shlex.split(command.removesuffix("|| /bin/true").replace("$DUMMY", "dummy1").replace("$DEV1", "eth1"))
        if words[0] == "$IP":
            return self.link(words)
        assert words[0] == "$TC", command
        outcome = self.ports.tc(shlex.join(words[1:]))
        self.output = outcome.stdout
        return outcome.code

    def link(self, words: list[str]) -> int:
        assert words[1:2] == ["link"]
        name = words[words.index("dev") + 1]
        if words[2] == "add":
            queue = int(words[words.index("txqueuelen") + 1]) if "txqueuelen" in words else 1000
            self.ports.links[name] = Link(name, txqueuelen=queue)
        else:
            self.ports.links.pop(name, None)
        return 0


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: dict[str, Any]) -> None:
    if case["id"] in LEFT_OUT:
        pytest.skip(f"the switch does not have {LEFT_OUT[case['id']]}")
    host = Host()
    for command in case["setup"]:
        assert host.run(command) == 0, command
    assert host.run(case["cmdUnderTest"]) == int(case["expExitCode"])
    host.run(case["verifyCmd"])
    found = re.findall(case["matchPattern"], host.output, re.DOTALL | re.MULTILINE)
    assert len(found) == int(case["matchCount"]), host.output
    for command in case["teardown"]:
        assert host.run(command) == 0, command


def test_what_is_left_out_is_refused() -> None:
    """With code 1 or 2 and a reason, whatever the case expects of a kernel that has it."""
    for parameter in cases():
        (case,) = parameter.values
        if case["id"] not in LEFT_OUT or case["cmdUnderTest"].startswith("bash"):
            continue
        host = Host()
        codes = [host.run(command) for command in (*case["setup"], case["cmdUnderTest"])]
        assert {1, 2} & set(codes), case["id"]
