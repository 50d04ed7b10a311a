"""What the switch says about itself: the values behind `show`, `stats`, `fdb` and the metrics.

One set of structs serves everybody who looks at a running switch, so that the command line, the API and Prometheus
can never disagree about what a field means. `Switch.show()`, `.stats()` and `.fdb()` build them; the API encodes them
with msgspec as they are; `observe.metrics` turns them into samples.

They are values: frozen, holding copies and no reference into the switch, so any thread may read them once built.
Durations are seconds, sizes bytes, wall-clock times seconds since the epoch; counters count from the moment the
port, bridge or worker they describe came to be, and never go down before it goes away.
"""

from typing import Literal, get_args

import msgspec

from .router import ConnectionsReport

PortState = Literal["up", "down", "no carrier", "missing", "unusable"]
LoopName = Literal["uvloop", "asyncio"]

PORT_STATES: tuple[str, ...] = get_args(PortState)
PORT_ERRORS = ("receive",)  # kinds of PortStats.errors


class PortReport(msgspec.Struct, frozen=True, kw_only=True):
    """A port as it is now: what was configured, and what its device makes of it."""

    name: str
    kind: str
    bridge: str | None
    netns: str | None
    vlan: str  # "access 10" | "trunk 10,20 native 1" | "all"
    state: PortState
    reason: str | None  # why the state is not "up"
    mtu: int
    mac: str | None
    offloads: list[str]
    queues: int
    isolated: bool
    hairpin: bool
    egress: str | None = None  # the discipline at its root and the rate that it keeps; None: nothing waits
    ingress: str | None = None  # what it may send; None: anything


class BridgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """A bridge and its forwarding database (FDB)."""

    name: str
    ageing_s: int
    mac_limit: int
    ports: list[str]
    macs: int  # entries held now, static ones included
    learned: int = 0  # entries learned and held now: what mac_limit is held against
    learn_events: int = 0
    moves: int  # a learned MAC seen on another port
    limit_hits: int  # a MAC not learned because the bridge or its port was full
    evicted: int = 0  # thrown out because the hash table had no room near their place
    aged: int = 0  # not seen for ageing_s
    static_conflicts: int = 0  # a static MAC seen on another port: it stays where it is


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One thread that moves frames."""

    index: int
    bursts: int
    frames: int
    polls: int
    sleeps: int
    busy_share: float  # 0 to 1, of the worker's whole life
    busy_s: float = 0.0  # spent moving frames
    total_s: float = 0.0  # since the worker started


class NetworkReport(msgspec.Struct, frozen=True, kw_only=True):
    """A network that has its gateway here."""

    name: str
    address: list[str]
    mode: str
    uplink: str | None
    router: str
    mac: str | None  # the gateway's
    serves: list[str]  # of "dhcp", "dns", "ra"


class UplinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """A port by which routers reach what lies outside."""

    name: str
    address: list[str]
    gateway: list[str]
    router: str
    mac: str | None
    state: PortState


class SwitchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole switch, as `vswitchctl show` prints it."""

    version: str
    cython: str = ""  # the Cython that compiled the fast path
    pid: int
    loop: LoopName
    uptime_s: float
    config_file: str  # where the configuration in force came from
    generation: int  # grows by one with every change in force
    applied_at: float  # when the configuration in force was applied
    apply_failed: bool = False  # the last attempt was rolled back, or the file was refused at SIGHUP
    metrics_listen: str | None
    bridges: list[BridgeReport]
    ports: list[PortReport]
    workers: list[WorkerReport]
    networks: list[NetworkReport] = []
    uplinks: list[UplinkReport] = []
    connections: ConnectionsReport | None = None


class PortStats(msgspec.Struct, frozen=True, kw_only=True):
    """A port's counters. Frames are charged to the port they came in by.

    The books balance at rest: rx_frames + copied + generated = delivered + consumed + merged + queued + the sum of drops.
    Outside them: `tx_frames`, what left by this port, whoever it came from; `segments`, what super-frames that left by
    this port were cut into; `segments_lost`, those of super-frames from this port that were not sent; and `kernel_drops`,
    frames lost before the switch could read them.
    """

    name: str
    bridge: str | None
    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    copied: int = 0
    generated: int = 0
    delivered: int = 0
    consumed: int = 0
    merged: int = 0
    queued: int = 0
    segments: int = 0
    segments_lost: int = 0
    drops: dict[str, int]  # by reason; only reasons that happened
    errors: dict[str, int]  # by kind: calls to the device that failed
    kernel_drops: int


class RouteReport(msgspec.Struct, frozen=True, kw_only=True):
    """A route: its own networks', its uplinks' default ones, and those of [[route]]."""

    router: str
    to: str
    via: str | None  # None: the destination is a neighbour
    device: str


class NeighbourReport(msgspec.Struct, frozen=True, kw_only=True):
    """A station of a network or uplink that the router has dealt with, by the kernel's states."""

    device: str
    address: str
    mac: str | None
    state: str
    age_s: float  # since it last proved to be there


class NetworkLease(msgspec.Struct, frozen=True, kw_only=True):
    """An address that DHCP has given out, or keeps from everybody."""

    network: str
    address: str
    mac: str
    name: str
    state: str
    expires_s: float
    port: str


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What a program in whose words the switch was spoken to (iptables, conntrack) would print and end with."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """What became of connections, a line each, from a place in the stream of events to `next`, where it goes on.

    `stderr` and `code` are for words that conntrack would not take, and `stderr` alone for events that came too fast.
    """

    lines: list[str]
    next: int
    stderr: str = ""
    code: int = 0


class FdbEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A MAC address and the port behind which it lives."""

    mac: str
    vlan: int  # 0: untagged on a port that passes all VLANs
    port: str
    age_s: float  # since it was last seen
    static: bool
