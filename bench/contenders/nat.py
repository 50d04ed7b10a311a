"""Routers that masquerade: a guest in a private network, a server beyond, veth at both ends."""

from __future__ import annotations

from pathlib import Path

from bench.contenders.base import Contender
from bench.contenders.vswitch import Vswitch
from bench.namespace import PREFIX_LENGTH, Guest

PRIVATE_ADDRESS, PRIVATE_GATEWAY, BORROWED_ADDRESS = "10.78.0.2", "10.78.0.1", "10.77.0.254"


class PrivateGuest(Guest):
    """A guest whose way to anybody leads through the gateway."""

    def configure(self) -> None:
        super().configure()
        self.run("ip", "route", "add", "default", "via", PRIVATE_GATEWAY)


class Router(Contender):
    """The server is outside, the client in a private network."""

    def __init__(self) -> None:
        super().__init__()
        self.client = PrivateGuest(f"{self.key}-b", "guest-b", PRIVATE_ADDRESS)


class VswitchNat(Router, Vswitch):
    """The switch with a network in mode `nat` and an uplink."""

    key = "vswitch-nat"
    title = "vswitch, MASQUERADE"

    def connect(self) -> None:
        self.uplink, self.inside = self.plug_veths()
        super().connect()

    def write_configuration(self, name: str, *more_ports: str) -> Path:
        path = self.directory / name
        path.write_text(f"""
[switch]
run_dir = "{self.run_dir}"
state_dir = "{self.directory / "state"}"
[[bridge]]
name = "br0"
[[port]]
name = "{self.inside}"
kind = "netdev"
bridge = "br0"
[[port]]
name = "{self.uplink}"
kind = "netdev"
address = "{BORROWED_ADDRESS}/{PREFIX_LENGTH}"
[[network]]
bridge = "br0"
address = ["{PRIVATE_GATEWAY}/{PREFIX_LENGTH}"]
mode = "nat"
""")
        return path


class KernelNat(Router):
    """Linux's own router."""

    key = "kernel-nat"
    title = "kernel router, MASQUERADE"
    programs = ("iptables-legacy",)

    def connect(self) -> None:
        uplink, inside = self.plug_veths()
        for port, address in ((uplink, BORROWED_ADDRESS), (inside, PRIVATE_GATEWAY)):
            self.host.run("ip", "address", "add", f"{address}/{PREFIX_LENGTH}", "dev", port)
        self.host.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self.host.run("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", uplink, "-j", "MASQUERADE")
