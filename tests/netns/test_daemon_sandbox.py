"""The sandbox of systemd/vswitch.service, held against what the daemon really asks of the kernel.

systemd does not run everywhere that the tests do, so the daemon runs under strace instead, makes ports of every kind,
changes them and stops; each system call must be one that the unit's filter passes, each socket of a family it
allows, and no memory may be both written and executed.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.lab import Lab, exists, wait_for

UNIT = Path(__file__).parents[2] / "systemd" / "vswitch.service"
LIMIT_S = 60.0  # strace is slow

CONFIG = """
[switch]
run_dir = "{run_dir}"
group = "root"
workers = 2
[metrics]
listen = "127.0.0.1:0"
[[bridge]]
name = "br0"
[[port]]
name = "{netdev}"
bridge = "br0"
kind = "netdev"
[[port]]
name = "vnet0"
bridge = "br0"
kind = "netdev"
create = true
"""
TAP = """
[[port]]
name = "tapA"
bridge = "br0"
kind = "tap"
mac = "02:00:00:00:00:01"
mtu = 1400
"""

pytestmark = pytest.mark.skipif(
    not (shutil.which("strace") and shutil.which("systemd-analyze")), reason="needs strace and systemd-analyze"
)


class EveryValue(dict[str, str]):
    """systemd adds up keys that come twice; configparser would keep the last."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self:
            value = [*self[key], *value]  # configparser holds a value as a list of its lines until the end
        super().__setitem__(key, value)  # type: ignore[assignment]


def service() -> dict[str, list[str]]:
    """The keys of [Service], each with its values in order."""
    unit = configparser.RawConfigParser(dict_type=EveryValue, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return {key: value.split("\n") for key, value in unit["Service"].items()}


def calls_of(names: Iterable[str]) -> set[str]:
    """The system calls of a list in which @name stands for a set."""
    calls: set[str] = set()
    for name in names:
        if name.startswith("@"):
            shown = subprocess.run(("systemd-analyze", "syscall-filter", name), capture_output=True, text=True, check=True)
            words = [line.strip() for line in shown.stdout.splitlines()[1:]]
            calls |= calls_of(word for word in words if word and not word.startswith("#"))
        else:
            calls.add(name)
    return calls


def allowed() -> set[str]:
    """What the unit's filter passes, its lines applied in order."""
    passed: set[str] = set()
    for line in service()["SystemCallFilter"]:
        if line.startswith("~"):
            passed -= calls_of(line[1:].split())
        else:
            passed |= calls_of(line.split())
    return passed


@pytest.fixture
def trace(lab: Lab) -> str:
    """What strace saw of a daemon's life."""
    netns = lab.namespace("sw")
    netdev, _ = lab.veth("n", "f", near_netns=netns, far_netns=netns)
    run_dir, file, log = lab.path("run"), lab.path("vswitch.toml"), lab.path("trace")
    config = CONFIG.format(run_dir=run_dir, netdev=netdev)
    file.write_text(config)
    strace = lab.start("strace", "-f", "-qq", "-o", str(log), sys.executable, "-m", "vswitch.daemon", "--config", str(file), netns=netns)
    wait_for(lambda: (run_dir / "control.sock").exists() or not strace.alive(), LIMIT_S, "the daemon to start")
    daemon = int((run_dir / "vswitchd.lock").read_text())
    file.write_text(config + TAP)
    os.kill(daemon, signal.SIGHUP)
    wait_for(lambda: exists("tapA", netns=netns), LIMIT_S, "the reload")
    vswitchctl = str(Path(sys.executable).with_name("vswitchctl"))
    lab.run(vswitchctl, "--run-dir", str(run_dir), "show")
    os.kill(daemon, signal.SIGTERM)
    assert strace.wait(LIMIT_S) == 0, strace.text()
    return log.read_text(errors="replace")


def test_the_sandbox_passes_what_the_daemon_needs(trace: str) -> None:
    used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace, re.MULTILINE))
    assert {"epoll_wait", "ioctl", "socket"} <= used
    assert used - allowed() == set()

    families = set(re.findall(r" socket\((AF_\w+)", trace))
    assert families <= set(service()["RestrictAddressFamilies"][0].split())

    assert "PROT_WRITE|PROT_EXEC" not in trace
    assert not re.search(r" mprotect\(.*PROT_EXEC", trace)
