"""Contenders with a thousand rules, the same text for the switch and for the kernel's bridge."""

from __future__ import annotations

from pathlib import Path

from bench.contenders.relays import KernelBridge
from bench.contenders.vswitch import Vswitch, control
from bench.rules import restore_text
from bench.shell import BenchError

RULES = 1000


class VswitchRules(Vswitch):
    """The switch on two taps, with rules and connection tracking."""

    key = "vswitch-rules"
    title = "vswitch, 1,000 rules"

    def connect(self) -> None:
        super().connect()
        self.restore(RULES)

    def restore(self, count: int) -> None:
        """Put that many rules in force."""
        control(self.host, self.run_dir, "iptables-restore", self.write_rules(count))

    def write_rules(self, count: int) -> Path:
        path = self.directory / f"{count}.rules"
        path.write_text(restore_text(count))
        return path


class KernelBridgeRules(KernelBridge):
    """Linux's own bridge with br_netfilter: its frames pass iptables."""

    key = "bridge-rules"
    title = "kernel bridge, br_netfilter, 1,000 rules"
    programs = ("iptables-legacy-restore",)

    def connect(self) -> None:
        super().connect()
        switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        self.host.run("sh", "-c", f"[ -e {switch} ] || modprobe br_netfilter; echo 1 >{switch}")
        path = self.directory / "rules"
        path.write_text(restore_text(RULES))
        self.host.run("iptables-legacy-restore", str(path))
        self._check()

    def _check(self) -> None:
        """A bridge whose frames pass no rule would be no peer."""
        if "-A FORWARD" not in self.host.run("iptables-legacy", "-S", "FORWARD"):
            raise BenchError("iptables-legacy: no rules in force")
