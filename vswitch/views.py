"""What the control side tells the data plane, and what it hears from it: plain values, the same on both sides of the door.

A view is the fast path's idea of a bridge, a port or a device: ids instead of names, numbers instead of words. They are
frozen and hashable, so that a picture can be compared with the one before.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING, NamedTuple

from .qos.view import PolicerView, TreeView

if TYPE_CHECKING:
    from vswitch._fastpath.filter.ruleset import CompiledRuleset
    from vswitch._fastpath.io.ring import MemoryRings as MemoryPort

Interface = IPv4Interface | IPv6Interface


class Offload(enum.IntFlag):
    """Work that transmit to a port may leave undone, since its device does it."""

    CSUM = 1
    TSO4 = 2
    TSO6 = 4
    USO4 = 8
    USO6 = 16


@dataclass(frozen=True, slots=True)
class VlanMode:
    """A port's VLANs: `access` alone, or `trunk` with or without `native`; all None: every VLAN passes as it is."""

    access: int | None = None
    trunk: frozenset[int] | None = None
    native: int | None = None

    @property
    def transparent(self) -> bool:
        return self.access is None and self.trunk is None and self.native is None

    def members(self) -> frozenset[int]:
        """The VIDs that the port carries; empty for a transparent one, which carries all."""
        if self.access is not None:
            return frozenset((self.access,))
        native = frozenset(() if self.native is None else (self.native,))
        return (self.trunk or frozenset()) | native


@dataclass(frozen=True, slots=True)
class PortView:
    """What the fast path needs to know of a port. `fds`: a tap's queues, one a worker or just one; a packet socket's one.

    `tree` holds its queueing disciplines, if it has any, `policers` say what may come in. `storm` is broadcast, multicast and unknown unicast frames a second, 0 for no limit; `mac_limit` 0 likewise.
    """

    id: int
    name: str
    kind: str
    fds: tuple[int, ...]
    bridge: int | None
    vlan: VlanMode = VlanMode()
    mtu: int = 1500
    up: bool = True
    offloads: Offload = Offload(0)
    isolated: bool = False
    hairpin: bool = False
    mac_limit: int = 0
    storm: tuple[int, int, int] = (0, 0, 0)
    memory: MemoryPort | None = None
    tree: TreeView | None = None
    policers: tuple[PolicerView, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeView:
    """What the fast path needs to know of a bridge. `mac_limit` bounds the learned addresses and sizes the table."""

    id: int
    name: str
    ageing_s: int = 300
    mac_limit: int = 8192


class DeviceKind(enum.IntEnum):
    """What the switch is at a device of layer 3: see _fastpath/core/snapshot.pxd."""

    NAME = 0
    NETWORK = 1
    UPLINK = 2


class NetworkMode(enum.IntEnum):
    """How far a network's guests get: everywhere, nowhere, or out by NAT."""

    ROUTED = 0
    ISOLATED = 1
    NAT = 2


class Service(enum.IntFlag):
    """What the control side serves on a network."""

    DHCP = 1
    DNS = 2
    RA = 4


@dataclass(frozen=True, slots=True)
class DeviceView:
    """An interface of layer 3: a bridge, a VLAN of it, or an uplink port. `mac` None: the switch is no station there.

    `hooks`: bridged frames pass the IP hooks. `router` is an index into the routes that are published with it.
    """

    id: int
    name: str
    kind: DeviceKind
    bridge: int | None = None
    vid: int = 0
    port: int | None = None
    mode: NetworkMode = NetworkMode.ROUTED
    services: Service = Service(0)
    hooks: bool = False
    zone: int = 0
    router: int = 0
    uplink: int | None = None
    mtu: int = 1500
    mac: str | None = None
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route of a router; without `gateway` the destination is a neighbour on the device."""

    network: str
    device: int
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class Layer3View:
    """All that is above layer 2: devices, the routes of each router, and the compiled rules. `nat`: anything translates."""

    devices: tuple[DeviceView, ...] = ()
    routers: tuple[tuple[RouteView, ...], ...] = ()
    rules: CompiledRuleset | None = None
    nat: bool = False


@dataclass(frozen=True, slots=True)
class PortCounters:
    """A port's counters, summed over workers; see _fastpath/core/counters.pxd for the books that they keep."""

    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    copied: int
    generated: int
    delivered: int
    consumed: int
    merged: int
    queued: int
    segments: int
    segments_lost: int
    rx_errors: int
    drops: dict[str, int]

    @property
    def balance(self) -> int:
        """What came in less what is accounted for: 0 at rest."""
        return (self.rx_frames + self.copied + self.generated
                - self.delivered - self.consumed - self.merged - self.queued - sum(self.drops.values()))


class WorkerCounters(NamedTuple):
    """One worker's own counters; times in nanoseconds of CLOCK_MONOTONIC. A parked worker is asleep, not stuck."""

    bursts: int
    frames: int
    polls: int
    sleeps: int
    busy_ns: int
    started_ns: int
    heartbeat_ns: int
    parked: bool
