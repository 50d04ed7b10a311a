"""The capabilities that systemd/vswitch.service grants are enough: ports of all kinds, made, used and removed.

The daemon keeps its user here (the interpreter of a developer may lie in a home that only its owner may enter) but has
neither of root's other capabilities nor a way to them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab import Lab, Running, exists, wait_for

BITS = {"net_admin": 12, "net_raw": 13, "net_broadcast": 11}  # linux/capability.h
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


def confined(*granted: str) -> tuple[str, ...]:
    keep = ",".join(("-all", *(f"+{name}" for name in granted)))
    return "setpriv", f"--bounding-set={keep}", f"--inh-caps={keep}", "--no-new-privs", "--"


def start(lab: Lab, netns: str, netdev: str, *granted: str) -> Running:
    run_dir, file = lab.path("run"), lab.path("vswitch.toml")
    file.write_text(CONFIG.format(run_dir=run_dir, netdev=netdev))
    daemon = lab.start(*confined(*granted), sys.executable, "-m", "vswitch.daemon", "--config", str(file), netns=netns)
    wait_for(lambda: (run_dir / "control.sock").exists() or not daemon.alive(), LIMIT_S, "the daemon to start")
    assert daemon.alive(), daemon.text()
    return daemon


def effective(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)


def test_what_the_unit_grants_is_enough(lab: Lab) -> None:
    switch, guest, other = (lab.namespace(stem) for stem in ("sw", "g", "o"))
    netdev, inner = lab.veth("n", "i", near_netns=switch, far_netns=guest)
    daemon = start(lab, switch, netdev, *BITS)
    assert effective(daemon.pid) == sum(1 << bit for bit in BITS.values())
    assert exists("vnet0", netns=switch)

    lab.ip("link", "set", "tapC", "netns", other, netns=switch)
    lab.address(inner, "10.66.0.1/24", netns=guest)
    lab.address("tapC", "10.66.0.2/24", netns=other)
    assert lab.ping("10.66.0.2", netns=guest, count=5), daemon.text()

    assert daemon.stop() == 0, daemon.text()
    assert not exists("tapC", netns=other) and not exists("vnet0", netns=switch)
    assert "not permitted" not in daemon.text() and "takes CAP_" not in daemon.text()


def test_net_broadcast_is_what_hears_of_a_moved_tap(lab: Lab) -> None:
    switch, guest, other = (lab.namespace(stem) for stem in ("sw", "g", "o"))
    netdev, _ = lab.veth("n", "i", near_netns=switch, far_netns=guest)
    daemon = start(lab, switch, netdev, "net_admin", "net_raw")
    lab.ip("link", "set", "tapC", "netns", other, netns=switch)
    wait_for(lambda: "takes CAP_NET_BROADCAST" in daemon.text(), LIMIT_S, "the daemon to say what it misses")
