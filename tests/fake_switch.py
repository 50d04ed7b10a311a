"""A switch without a data plane, and a control socket to it: for tests of the API and of the command line.

`FakeSwitch` keeps a configuration, plans with the real `config.plan` and reports ports as if their devices were all
there. `served` runs a real `ControlServer` on a loop in a thread of its own, so that a test may be the client as a
process is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from vswitch import __version__
from vswitch.api.control import KEPT, Edit, Rules
from vswitch.api.server import ControlServer
from vswitch.config import plan
from vswitch.config.errors import ApplyError
from vswitch.config.model import Config, Network, Port
from vswitch.filter import connections
from vswitch.l3.networks import several
from vswitch.observe.report import (
    BridgeReport,
    Events,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    NetworkReport,
    PortReport,
    PortStats,
    RouteReport,
    SwitchReport,
    UplinkReport,
    Words,
    WorkerReport,
)
from vswitch.observe.router import ConnectionsReport


class FakeSwitch:
    """What `api.control.Control` asks for. `learned` is the FDB, by bridge; a device of `missing` cannot be opened.

    `rules` and `rejudged` are what came with the last change; `said` is every command line of iptables, tc and conntrack, and
    `events` what `conntrack -E` has to tell.
    """

    def __init__(self, config: Config | None = None, missing: frozenset[str] = frozenset()) -> None:
        self.config = config or Config()
        self.missing = missing
        self.learned: dict[str, list[FdbEntry]] = {}
        self.generation = 1
        self.sources: list[str] = []
        self.rules = KEPT
        self.rejudged = False
        self.said: list[tuple[str, list[str], str]] = []
        self.events: list[str] = []

    async def change(
        self, edit: Edit, *, source: str, dry_run: bool = False, rules: Rules = KEPT, rejudge: bool = False
    ) -> list[str]:
        config = edit(self.config)
        for port in config.port:
            if port.name in self.missing:
                raise ApplyError([f"{source}: port {port.name}: no such device; right: an existing one"])
        steps = plan.diff(self.config, config)
        if not dry_run:
            self.config = config
            self.generation += 1
            self.sources.append(source)
            self.rules, self.rejudged = rules, rejudge
        return steps.lines

    def show(self) -> SwitchReport:
        return SwitchReport(
            version=__version__, pid=4711, loop="uvloop", uptime_s=93784.0, config_file="/etc/vswitch/vswitch.toml",
            generation=self.generation, applied_at=1_700_000_000.0, metrics_listen="127.0.0.1:9478",
            bridges=[self._bridge(bridge.name) for bridge in self.config.bridge],
            ports=[_port(number, port) for number, port in enumerate(self.config.port, 1)],
            workers=[
                WorkerReport(index=0, bursts=12_000, frames=345_678, polls=99_000, sleeps=37, busy_share=0.125)
            ],
            networks=[_network(network) for network in self.config.network],
            uplinks=[_uplink(port) for port in self.config.port if port.address],
            connections=ConnectionsReport(entries=1234, limit=262_144, early_drops=5),
        )  # fmt: skip

    def _bridge(self, name: str) -> BridgeReport:
        bridge = self.config.find_bridge(name)
        assert bridge is not None
        return BridgeReport(
            name=name, ageing_s=bridge.ageing_s, mac_limit=bridge.mac_limit, macs=len(self.fdb(name)), moves=0,
            limit_hits=0, ports=[port.name for port in self.config.ports_of(name)],
        )  # fmt: skip

    def stats(self) -> list[PortStats]:
        return [
            PortStats(
                name=port.name, bridge=port.bridge, rx_frames=1_000_000 * number, rx_bytes=1_500_000_000 * number,
                tx_frames=10, tx_bytes=640, drops={"vlan_not_allowed": 3} if number == 1 else {}, errors={},
                kernel_drops=0,
            )
            for number, port in enumerate(self.config.port, 1)
        ]  # fmt: skip

    def fdb(self, bridge: str | None) -> list[FdbEntry]:
        names = [entry.name for entry in self.config.bridge] if bridge is None else [bridge]
        static = [
            FdbEntry(mac=entry.mac, vlan=entry.vlan, port=entry.port, age_s=0.0, static=True)
            for entry in self.config.fdb
            if entry.bridge in names
        ]
        return static + [entry for name in names for entry in self.learned.get(name, [])]

    def routes(self) -> list[RouteReport]:
        own = [RouteReport(router=r.router, to=r.to, via=r.via, device="eth1") for r in self.config.route]
        return [RouteReport(router="main", to="10.0.0.0/24", via=None, device="br0.10"), *own]

    def neighbours(self) -> list[NeighbourReport]:
        known = ("10.0.0.5", "52:54:00:00:00:05", "reachable"), ("10.0.0.6", None, "failed")
        return [NeighbourReport(device="br0.10", address=a, mac=m, state=s, age_s=1.5) for a, m, s in known]

    def leases(self) -> list[NetworkLease]:
        return [
            NetworkLease(
                network="br0.10", address="10.0.0.100", mac="52:54:00:00:00:05", name="web", state="bound",
                expires_s=3500.0, port="tapA",
            )
        ]  # fmt: skip

    async def iptables(self, program: str, argv: list[str], stdin: str) -> Words:
        self.said.append((program, argv, stdin))
        return Words(stdout=f"{program} {argv}\n", stderr=f"{stdin}\n" if stdin else "", code=len(argv) % 4)

    async def tc(self, argv: list[str]) -> Words:
        self.said.append(("tc", argv, ""))
        return Words(stdout=f"tc {argv}\n", code=len(argv) % 4)

    def saved(self) -> Config:
        return self.config

    async def conntrack(self, argv: list[str]) -> Words:
        self.said.append(("conntrack", argv, ""))
        try:
            connections.parse(argv)
        except connections.ConntrackError as error:
            return Words(stderr=str(error), code=2)
        return Words(stdout="udp      17 30 src=10.0.0.5\n", stderr=connections.shown(1))

    def conntrack_events(self, after: int | None, argv: list[str]) -> Events:
        self.said.append(("conntrack", argv, ""))
        try:
            connections.parse(argv)
        except connections.ConntrackError as error:
            return Events(lines=[], next=0, stderr=str(error), code=2)
        return Events(lines=[] if after is None else self.events[after:], next=len(self.events))

    async def fdb_del(self, bridge: str, mac: str, vlan: int) -> bool:
        before = self.learned.get(bridge, [])
        self.learned[bridge] = [entry for entry in before if (entry.mac, entry.vlan) != (mac, vlan)]
        return len(self.learned[bridge]) < len(before)

    async def fdb_flush(self, bridge: str, *, port: str | None = None, vlan: int | None = None) -> int:
        before = self.learned.get(bridge, [])
        self.learned[bridge] = [
            entry for entry in before if (port or entry.port) != entry.port or (vlan or entry.vlan) != entry.vlan
        ]
        return len(before) - len(self.learned[bridge])


def _port(number: int, port: Port) -> PortReport:
    kind = {"netdev": "packet"}.get(port.kind, port.kind)
    vlan = "all" if port.access is None and port.trunk is None else f"access {port.access}"
    if port.trunk is not None:
        vlan = f"trunk {','.join(map(str, port.trunk))}" + (f" native {port.native}" if port.native else "")
    return PortReport(
        name=port.name, kind=kind, bridge=port.bridge, netns=port.netns, vlan=vlan, state="up", reason=None,
        mtu=port.mtu or 1500, mac=f"52:54:00:00:00:{number:02x}", offloads=["csum", "tso4", "tso6"], queues=1,
        isolated=port.isolated, hairpin=port.hairpin,
    )  # fmt: skip


def _network(network: Network) -> NetworkReport:
    return NetworkReport(
        name=network.name, address=list(several(network.address)), mode=network.mode, uplink=network.uplink,
        router=network.router, mac="02:00:00:00:00:01", serves=["dhcp"] if network.dhcp else [],
    )  # fmt: skip


def _uplink(port: Port) -> UplinkReport:
    return UplinkReport(
        name=port.name, address=list(several(port.address)), gateway=list(several(port.gateway)), router=port.router,
        mac="02:00:00:00:00:02", state="up",
    )  # fmt: skip


@contextlib.contextmanager
def served(switch: FakeSwitch, run_dir: Path, group: str = "nosuchgroup") -> Iterator[ControlServer]:
    """A control server for `switch`, on a loop in a thread, gone at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(switch, run_dir, group)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
