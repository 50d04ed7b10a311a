"""The configuration as the switch knows it: frozen structs, one a TOML table.

Everything that changes the switch (the file, the API, `brctl`, `vconfig`) makes one of these and hands it to
`Switch.apply`; nothing else describes what the switch should be. The structs carry types and defaults only: what
the values must satisfy, alone and together, is said once in `check.py`, so that a file and a run-time command are
refused in the same words.

Invariants once `check.problems(config)` is empty: names are unique and valid device names, every bridge that a port
or an entry names exists, and `Port.trunk` names VLANs 1 to 4094. All values are immutable, so a `Config` may be
shared between threads and kept to be put back.
"""

from __future__ import annotations

from .table import Table

KINDS = ("tap", "netdev", "memory")
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_MACS = 1_048_576


class Switch(Table):
    """[switch]: the daemon itself."""

    run_dir: str = "/run/vswitch"
    workers: int = 1
    busy_poll_us: int = 2000
    group: str = "vswitch"
    log_level: str = "info"


class Metrics(Table):
    """[metrics]: where Prometheus scrapes. `listen` is HOST:PORT; "" is off, port 0 any free one."""

    listen: str = "127.0.0.1:9478"


class Bridge(Table):
    """[[bridge]]: a learning switch. `ageing_s` 0 keeps learned MACs for ever; `mac_limit` sizes its FDB."""

    name: str
    ageing_s: int = 300
    mac_limit: int = 8192


class Storm(Table):
    """Port.storm: frames a second that a port may send into the bridge, by class; None is no limit."""

    broadcast: int | None = None
    multicast: int | None = None
    unknown_unicast: int | None = None


class Port(Table):
    """[[port]]: a device and its place in the switch.

    `trunk` holds VLAN ids and "LOW-HIGH" ranges, `native` the VLAN that a trunk carries untagged. With neither
    `access` nor `trunk` every VLAN passes as it comes. `netns` is for a tap; `create`, `owner`, `group` and
    `queues` are for a netdev that the daemon makes as a persistent tap for QEMU.
    """

    name: str
    kind: str
    bridge: str | None = None
    netns: str | None = None
    access: int | None = None
    trunk: tuple[int | str, ...] | None = None
    native: int | None = None
    mac: str | None = None
    mtu: int | None = None
    offloads: bool = True
    isolated: bool = False
    hairpin: bool = False
    mac_limit: int | None = None
    create: bool = False
    owner: str | None = None
    group: str | None = None
    queues: int | None = None
    storm: Storm | None = None


class StaticMac(Table):
    """[[fdb]]: a MAC that is always behind one port. `vlan` 0 is for untagged frames on a port without VLANs."""

    bridge: str
    mac: str
    port: str
    vlan: int = 0


class Config(Table):
    """The whole file. The order of bridges and ports is the file's, and `show` keeps it."""

    switch: Switch = Switch()
    metrics: Metrics = Metrics()
    bridge: tuple[Bridge, ...] = ()
    port: tuple[Port, ...] = ()
    fdb: tuple[StaticMac, ...] = ()

    def find_bridge(self, name: str) -> Bridge | None:
        """The bridge of that name, or None."""
        return next((bridge for bridge in self.bridge if bridge.name == name), None)

    def find_port(self, name: str) -> Port | None:
        """The port of that name, or None."""
        return next((port for port in self.port if port.name == name), None)

    def ports_of(self, bridge: str) -> tuple[Port, ...]:
        """The ports on a bridge, in the file's order."""
        return tuple(port for port in self.port if port.bridge == bridge)
