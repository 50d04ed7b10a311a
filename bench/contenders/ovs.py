"""Open vSwitch in user space: as Debian installs it, and with segmentation offload on.

Each contender runs its own ovsdb-server and ovs-vswitchd on private sockets and a private
database; no system service is touched. Both kinds of port are measured: veth pairs, which it
reads by AF_PACKET, and taps of its own. As installed, Open vSwitch cannot carry a partial checksum
between veth ports, so those guests compute theirs. With userspace-tso-enable super-frames travel
whole and the guests' offloads stay on.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.contenders.base import Contender
from bench.shell import run, wait_for

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class OpenVswitch(Contender):
    key = "ovs"
    title = "Open vSwitch user space"
    programs = ("ovs-vswitchd", "ovsdb-server")
    segmentation_offload = False

    def connect(self) -> None:
        self._start_database()
        switch = self._start_switch()
        self._vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        self.add_ports(switch)

    def add_ports(self, _switch: subprocess.Popen[bytes]) -> None:
        for port in self.plug_veths():
            self._vsctl("add-port", "br0", port)
        if not self.segmentation_offload:
            for guest in self.guests:
                guest.run("ethtool", "-K", guest.device, "tx", "off")

    def _start_database(self) -> None:
        database = self.directory / "conf.db"
        run("ovsdb-tool", "create", str(database), str(SCHEMA))
        server = self._start_daemon("ovsdb-server", database, f"--remote=punix:{self._socket}")
        wait_for(self._socket.exists, f"{self.title}: its database", process=server)
        self._vsctl("--no-wait", "init")
        tso = str(self.segmentation_offload).lower()
        self._vsctl("--no-wait", "set", "Open_vSwitch", ".",
                    f"other_config:userspace-tso-enable={tso}")

    def _start_switch(self) -> subprocess.Popen[bytes]:
        switch = self._start_daemon("ovs-vswitchd", f"unix:{self._socket}")
        wait_for((self.directory / "ovs-vswitchd.pid").exists, f"{self.title}: its daemon",
                 process=switch)
        return switch

    def _start_daemon(self, program: str, *words: str | Path) -> subprocess.Popen[bytes]:
        return self.start(program, *words, f"--unixctl={self.directory}/{program}.ctl",
                          f"--pidfile={self.directory}/{program}.pid",
                          OVS_RUNDIR=str(self.directory))

    def _vsctl(self, *words: str) -> None:
        run("ovs-vsctl", f"--db=unix:{self._socket}", "--timeout=15", *words)

    @property
    def _socket(self) -> Path:
        return self.directory / "db.sock"


class OpenVswitchTso(OpenVswitch):
    key = "ovs-tso"
    title = "Open vSwitch, userspace TSO"
    segmentation_offload = True


class OpenVswitchTap(OpenVswitch):
    key = "ovs-tap"
    title = "Open vSwitch on its taps"

    def add_ports(self, switch: subprocess.Popen[bytes]) -> None:
        for guest in self.guests:
            self._vsctl("add-port", "br0", guest.device, "--",
                        "set", "interface", guest.device, "type=tap")
        self.hand_over_taps(switch)


class OpenVswitchTapTso(OpenVswitchTap):
    key = "ovs-tap-tso"
    title = "Open vSwitch on its taps, TSO"
    segmentation_offload = True
