"""A host that runs the switch: a namespace, a configuration file, the daemon as a process, and vswitchctl.

    host = SwitchHost(lab, "hA")
    guest = host.guest("g1", "10.0.0.1/24", access=10)     # a namespace with a tap in it
    host.start()
    assert lab.ping("10.0.0.2", netns=guest.netns)

Devices of guests and taps are made by the daemon; addresses are given once it runs. All of it goes with the lab.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import Lab, Running, wait_for
from tests.wire import Wire

BIN = Path(sys.executable).parent
START_LIMIT_S = 20.0
LIMIT_S = 10.0


@dataclass(frozen=True)
class Guest:
    """A namespace with a device in it, `name`, whose other end is a port of the switch."""

    name: str
    netns: str


class SwitchHost:
    """One daemon with one bridge, br0, in a namespace of its own."""

    def __init__(self, lab: Lab, stem: str, **switch: object) -> None:
        self.lab = lab
        self.netns = lab.namespace(stem)
        self.run_dir = lab.path(f"{stem}-run")
        self.file = lab.path(f"{stem}.toml")
        self.ports: dict[str, dict[str, object]] = {}
        self.bridge_keys: dict[str, object] = {}
        self._switch = {"run_dir": str(self.run_dir), **switch}
        self._addresses: list[tuple[str, str, str]] = []
        self.daemon: Running | None = None

    def port(self, name: str, **keys: object) -> str:
        """Have a port in the configuration, a tap on br0 if not said otherwise; returns its name."""
        self.ports[name] = {"kind": "tap", "bridge": "br0"} | keys
        return name

    def guest(self, stem: str, address: str | None = None, **keys: object) -> Guest:
        """Have a guest in a namespace of its own, with an address once the daemon has started."""
        netns = self.lab.namespace(stem)
        name = self.port(self.lab.name(stem), netns=netns, **keys)
        if address:
            self._addresses.append((name, address, netns))
        return Guest(name, netns)

    def tables(self) -> list[tuple[str, dict[str, object]]]:
        """The configuration's tables: the line that begins each, and its keys."""
        bridge = {"name": "br0"} | self.bridge_keys
        tables = [("[switch]", self._switch), ("[metrics]", {"listen": ""}), ("[[bridge]]", bridge)]
        return tables + [("[[port]]", {"name": name} | keys) for name, keys in self.ports.items()]

    def text(self) -> str:
        """The configuration."""
        return "".join(f"{head}\n{_toml(table)}" for head, table in self.tables())

    def write(self) -> None:
        """Write the configuration file."""
        self.file.write_text(self.text())

    def start(self) -> None:
        """Start the daemon on its file and wait until the configuration is in force; give guests their addresses."""
        self.write()
        self.daemon = self.lab.start(str(BIN / "vswitchd"), "--config", str(self.file), netns=self.netns)
        control = self.run_dir / "control.sock"
        wait_for(lambda: control.exists() or not self.daemon.alive(), START_LIMIT_S, "the daemon to start")
        assert self.daemon.alive(), self.daemon.text()
        for device, address, netns in self._addresses:
            self.lab.address(device, address, netns=netns)

    def ctl(self, *words: str) -> Any:
        """Run vswitchctl; returns the JSON value that it prints."""
        return json.loads(self.lab.run(*self._ctl(*words)).stdout or "null")

    def refused(self, *words: str) -> str:
        """Run vswitchctl, which must fail; returns what it says."""
        done: subprocess.CompletedProcess[str] = self.lab.run(*self._ctl(*words), check=False)
        assert done.returncode == 1 and done.stdout == "", done
        return done.stderr

    def _ctl(self, *words: str, output: tuple[str, ...] = ("-o", "json")) -> list[str]:
        return [str(BIN / "vswitchctl"), "--run-dir", str(self.run_dir), *output, *words]

    def apply(self) -> None:
        """Bring the configuration about as `ports` has it now."""
        self.write()
        self.ctl("apply", str(self.file))

    def get(self, what: str) -> Any:
        """Ask the control socket itself, which is quicker: what `vswitchctl -o json` would print."""
        return self._request("GET", what)

    def post(self, what: str, body: object) -> Any:
        """Have the control socket do something; returns its answer."""
        return self._request("POST", what, json.dumps(body))

    def _request(self, method: str, what: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("vswitch", timeout=LIMIT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.run_dir / "control.sock"))
        with closing(connection):
            connection.request(method, f"/v1/{what}", body, {"Content-Type": "application/json"} if body else {})
            return json.loads(connection.getresponse().read())

    def shown(self, name: str) -> dict[str, Any]:
        """What `show` says about a port."""
        return next(port for port in self.get("show")["ports"] if port["name"] == name)

    def bridge(self) -> dict[str, Any]:
        """What `show` says about br0."""
        return self.get("show")["bridges"][0]

    def stats(self, name: str) -> dict[str, Any]:
        """A port's counters."""
        return next(port for port in self.get("stats") if port["name"] == name)

    def port_of(self, mac: str, vlan: int = 0) -> str | None:
        """The port behind which br0 has a MAC address."""
        entries = self.get("fdb?bridge=br0")
        return next((entry["port"] for entry in entries if (entry["mac"], entry["vlan"]) == (mac, vlan)), None)

    def wait_for_state(self, name: str, state: str) -> dict[str, Any]:
        """Wait until a port is in a state; returns what `show` says then."""

        def look() -> dict[str, Any] | None:
            shown = self.shown(name)
            return shown if shown["state"] == state else None

        return wait_for(look, LIMIT_S, f"port {name} to be {state}")

    def wire(self, guest: Guest) -> Wire:
        """The guest's end of its port, up."""
        self.lab.ip("link", "set", guest.name, "up", netns=guest.netns)
        wire = Wire(guest.name, guest.netns)
        self.lab.on_close(wire.close)
        return wire


def balance(port: dict[str, Any]) -> int:
    """What a port's account owes: zero at rest."""
    incoming = port["rx_frames"] + port["copied"] + port["generated"]
    fates = port["delivered"] + port["consumed"] + port["merged"] + port["queued"] + sum(port["drops"].values())
    return incoming - fates


def _toml(table: dict[str, object]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
