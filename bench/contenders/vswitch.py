"""The switch itself: on taps, and on existing devices; one worker, defaults otherwise."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.contenders.base import Contender
from bench.namespace import Namespace
from bench.shell import WAIT_LIMIT_S, wait_for
from bench.world import ROOT

PROGRAMS = ROOT / ".venv" / "bin"
DAEMON, CLIENT = PROGRAMS / "vswitchd", PROGRAMS / "vswitchctl"


def configuration(run_dir: Path, ports: Iterable[str]) -> str:
    """A configuration with one bridge, br0; `ports` are the lines that tell each port apart."""
    tables = "".join(f'[[port]]\nbridge = "br0"\n{port}\n' for port in ports)
    return f'[switch]\nrun_dir = "{run_dir}"\n[[bridge]]\nname = "br0"\n{tables}'


def wait_until_applied(run_dir: Path, daemon: subprocess.Popen[bytes], limit_s: float = WAIT_LIMIT_S) -> None:
    """The control socket appears when the configuration is in force."""
    wait_for((run_dir / "control.sock").exists, "vswitchd: its configuration", process=daemon, limit_s=limit_s)


def control(host: Namespace, run_dir: Path, *words: str | Path) -> str:
    """Run a command of vswitchctl; BenchError with its reason where it is refused."""
    return host.run(str(CLIENT), "--run-dir", str(run_dir), *map(str, words))


class Vswitch(Contender):
    """vswitchd on two taps that it makes in the guests."""

    key = "vswitch"
    title = "vswitch"
    programs = (str(DAEMON),)

    def connect(self) -> None:
        self.daemon = self.start(DAEMON, "--config", self.write_configuration("vswitch.toml"))
        wait_until_applied(self.run_dir, self.daemon)

    def write_configuration(self, name: str, *more_ports: str) -> Path:
        """Write a configuration of the guests' ports and `more_ports`; returns its path."""
        path = self.directory / name
        path.write_text(configuration(self.run_dir, [*self.ports(), *more_ports]))
        return path

    def ports(self) -> list[str]:
        return [f'name = "{guest.device}"\nkind = "tap"\nnetns = "{guest.name}"'
                for guest in self.guests]

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"


class VswitchNetdev(Vswitch):
    """vswitchd on the host's ends of two veth pairs."""

    key = "vswitch-nd"
    title = "vswitch on veth"

    def connect(self) -> None:
        self.plugged = self.plug_veths()
        super().connect()

    def ports(self) -> list[str]:
        return [f'name = "{port}"\nkind = "netdev"' for port in self.plugged]
