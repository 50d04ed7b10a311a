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

from ..l3.settings import Dhcp, Dns, Ra
from ..qos.settings import Limit
from .table import Table

KINDS = ("tap", "netdev", "memory")
MODES = ("isolated", "routed", "nat")
MAIN_ROUTER = "main"
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_MACS = 1_048_576


class Switch(Table):
    """[switch]: the daemon itself."""

    run_dir: str = "/run/vswitch"
    state_dir: str = "/var/lib/vswitch"
    workers: int = 1
    busy_poll_us: int = 2000
    queue_memory_mb: int = 64
    group: str = "vswitch"
    log_level: str = "info"


class Metrics(Table):
    """[metrics]: where Prometheus scrapes. `listen` is HOST:PORT; "" is off, port 0 any free one."""

    listen: str = "127.0.0.1:9478"


class Bridge(Table):
    """[[bridge]]: a learning switch. `ageing_s` 0 keeps learned MACs for ever; `mac_limit` sizes its FDB.

    Without `hooks` the rules of iptables see no frame that is bridged here, only what is routed.
    """

    name: str
    ageing_s: int = 300
    mac_limit: int = 8192
    hooks: bool = True


class Storm(Table):
    """Port.storm: frames a second that a port may send into the bridge, by class; None is no limit."""

    broadcast: int | None = None
    multicast: int | None = None
    unknown_unicast: int | None = None


class Port(Table):
    """[[port]]: a device and its place in the switch.

    `trunk` holds VLAN ids and "LOW-HIGH" ranges, `native` the VLAN that a trunk carries untagged. With neither
    `access` nor `trunk` every VLAN passes as it comes. `netns` is for a tap; `create`, `owner`, `group` and
    `queues` are for a netdev that the daemon makes as a persistent tap for QEMU. A port with an `address` and no
    bridge is an uplink: there the switch is a router, with the `gateway` for all that has no other route.
    `limit` or `tc`, lines of tc without `dev`, say what queues it has; with neither they are what tc makes at run time.
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
    address: str | tuple[str, ...] = ()
    gateway: str | tuple[str, ...] = ()
    router: str = MAIN_ROUTER
    limit: Limit | None = None
    tc: tuple[str, ...] | None = None


class StaticMac(Table):
    """[[fdb]]: a MAC that is always behind one port. `vlan` 0 is for untagged frames on a port without VLANs."""

    bridge: str
    mac: str
    port: str
    vlan: int = 0


class Network(Table):
    """[[network]]: a gateway on a bridge, or on one VLAN of it, by whose name rules know the network: br0 or br0.10.

    `mode` says how far its guests get: to each other and the gateway (isolated), wherever there is a route (routed), or
    out by MASQUERADE on `uplink`, any if left out, with nobody getting in unless by DNAT (nat). Networks of different
    routers do not know each other and may have the same addresses.
    """

    bridge: str
    vlan: int | None = None
    address: str | tuple[str, ...] = ()
    mode: str = "routed"
    uplink: str | None = None
    mac: str | None = None
    mtu: int | None = None
    router: str = MAIN_ROUTER
    dhcp: Dhcp | None = None
    dns: Dns | None = None
    ra: Ra | None = None

    @property
    def name(self) -> str:
        """The device's name in rules and listings."""
        return self.bridge if self.vlan is None else f"{self.bridge}.{self.vlan}"


class Route(Table):
    """[[route]]: a static route. `to` is a prefix, `via` a router on a network of `router` or on an uplink."""

    to: str
    via: str
    router: str = MAIN_ROUTER


class Firewall(Table):
    """[firewall]: `rules` and `rules6` are files in iptables-save form, the text of which the daemon reads.

    Where a key is left out, the rules set at run time stay as they are.
    """

    rules: str | None = None
    rules6: str | None = None


class Timeouts(Table):
    """conntrack.timeouts: seconds, by the names of the kernel's sysctls nf_conntrack_tcp_timeout_established and so on."""

    tcp_syn_sent: int | None = None
    tcp_syn_recv: int | None = None
    tcp_established: int | None = None
    tcp_fin_wait: int | None = None
    tcp_close_wait: int | None = None
    tcp_last_ack: int | None = None
    tcp_time_wait: int | None = None
    tcp_close: int | None = None
    tcp_max_retrans: int | None = None
    tcp_unacknowledged: int | None = None
    udp: int | None = None
    udp_stream: int | None = None
    icmp: int | None = None
    icmpv6: int | None = None
    generic: int | None = None


class Conntrack(Table):
    """[conntrack]: the table of connections. `per_port` bounds those that one port may open, 0: half of the table."""

    max: int = 262_144
    per_port: int = 0
    timeouts: Timeouts | None = None


class Config(Table):
    """The whole file. The order of bridges and ports is the file's, and `show` keeps it."""

    switch: Switch = Switch()
    metrics: Metrics = Metrics()
    firewall: Firewall = Firewall()
    conntrack: Conntrack = Conntrack()
    bridge: tuple[Bridge, ...] = ()
    port: tuple[Port, ...] = ()
    fdb: tuple[StaticMac, ...] = ()
    network: tuple[Network, ...] = ()
    route: tuple[Route, ...] = ()

    def find_bridge(self, name: str) -> Bridge | None:
        """The bridge of that name, or None."""
        return next((bridge for bridge in self.bridge if bridge.name == name), None)

    def find_port(self, name: str) -> Port | None:
        """The port of that name, or None."""
        return next((port for port in self.port if port.name == name), None)

    def find_network(self, name: str) -> Network | None:
        """The network of that name, "br0" or "br0.10", or None."""
        return next((network for network in self.network if network.name == name), None)

    def ports_of(self, bridge: str) -> tuple[Port, ...]:
        """The ports on a bridge, in the file's order."""
        return tuple(port for port in self.port if port.bridge == bridge)
