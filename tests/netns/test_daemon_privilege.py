"""The capabilities that systemd/vswitch.service grants are enough: ports of all kinds, made, used and removed.

The daemon keeps its user here (the interpreter of a developer may lie in a home that only its owner may enter) but has
neither of root's other capabilities nor a way to them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab import Lab, Running, exists, wait_for

GRANTED = ("net_admin", "net_raw")
GRANTED_MASK = 1 << 12 | 1 << 13  # linux/capability.h
KEEP = ",".join(("-all", *(f"+{name}" for name in GRANTED)))
CONFINED = ("setpriv", f"--bounding-set={KEEP}", f"--inh-caps={KEEP}", "--no-new-privs", "--")
LIMIT_S = 20.0

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
name = "tapC"
bridge = "br0"
kind = "tap"
[[port]]
name = "vnet0"
bridge = "br0"
kind = "netdev"
create = true
"""


def start_confined(lab: Lab, netns: str, netdev: str) -> Running:
    run_dir, file = lab.path("run"), lab.path("vswitch.toml")
    file.write_text(CONFIG.format(run_dir=run_dir, netdev=netdev))
    daemon = lab.start(*CONFINED, sys.executable, "-m", "vswitch.daemon", "--config", str(file), netns=netns)
    wait_for(lambda: (run_dir / "control.sock").exists() or not daemon.alive(), LIMIT_S, "the daemon to start")
    assert daemon.alive(), daemon.text()
    return daemon


def effective(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)


def test_two_capabilities_are_enough(lab: Lab) -> None:
    switch, guest, other = (lab.namespace(stem) for stem in ("sw", "g", "o"))
    netdev, inner = lab.veth("n", "i", near_netns=switch, far_netns=guest)
    daemon = start_confined(lab, switch, netdev)
    assert effective(daemon.pid) == GRANTED_MASK
    assert exists("vnet0", netns=switch)

    lab.ip("link", "set", "tapC", "netns", other, netns=switch)
    lab.address(inner, "10.66.0.1/24", netns=guest)
    lab.address("tapC", "10.66.0.2/24", netns=other)
    assert lab.ping("10.66.0.2", netns=guest, count=5), daemon.text()

    assert daemon.stop() == 0, daemon.text()
    assert not exists("tapC", netns=other) and not exists("vnet0", netns=switch)
    assert "not permitted" not in daemon.text()
