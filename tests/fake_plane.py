"""A data plane and devices without a fast path or a kernel: for tests of `config.apply`, `caretaker` and `Switch`.

`FakePlane` keeps the pictures it was given, and holds the switch to its word: a device that is closed while the workers
see its descriptors, or a descriptor published after it was closed, is an error of the test at once. `FakeMachine` is
the host: it opens devices of which it has them, and refuses the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from vswitch._fastpath.filter.conntrack import ConnectionTable
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.io.ring import MemoryRings
from vswitch._fastpath.l3.neighbour import NeighbourTable
from vswitch.config.model import Port
from vswitch.dataplane import BridgeView, FdbCounters, FdbRow, Offload, PortCounters, PortView, Registry, WorkerCounters
from vswitch.filter.firewall import MAX_RULES
from vswitch.own import OwnPort
from vswitch.ports.device import UP, Device, PortError, State
from vswitch.qos.view import PolicerView, QdiscStats, TreeView
from vswitch.views import Layer3View


class FakePlane:
    """Records pictures and static entries. `refuse` makes the next that many publications fail."""

    drop_reasons = ("runt", "no_route")

    def __init__(self, bridges: int = 8, ports: int = 2000) -> None:
        self.port_ids = Registry(ports, "ports")
        self.bridge_ids = Registry(bridges, "bridges")
        self.device_ids = Registry(64, "devices of layer 3")
        self.router_ids = Registry(8, "routers")
        self.own = OwnPort(MemoryRings("own", notify=True))
        self.connections = ConnectionTable(64)
        self.neighbours = NeighbourTable(64)
        self.counters = RuleCounters(MAX_RULES)
        self.compilations = 0
        self.tracked: list[tuple[int, dict[str, int]]] = []
        self.ticks = 0
        self.qdiscs: dict[int, tuple[TreeView | None, tuple[PolicerView, ...]]] = {}  # by port, of those that were told
        self.queued: list[int] = []  # ports in the order in which they were told
        self.layer3 = Layer3View()
        self.bridges: dict[str, BridgeView] = {}
        self.ports: dict[str, PortView] = {}
        self.history: list[list[str]] = []
        self.static: dict[tuple[int, str, int], int] = {}
        self.learned: dict[tuple[int, str, int], int] = {}
        self.had: set[tuple[int, str, int]] = set()
        self.refuse = 0
        self.full = False
        self.ages = 0
        self.closed: set[int] = set()

    async def publish(
        self, bridges: Iterable[BridgeView], ports: Iterable[PortView], layer3: Layer3View = Layer3View()
    ) -> None:
        bridges, ports = list(bridges), list(ports)
        if self.refuse:
            self.refuse -= 1
            raise MemoryError("no memory for it")
        assert all(view.id is not None for view in [*bridges, *ports])
        assert all(view.bridge in {bridge.id for bridge in bridges} for view in ports if view.bridge is not None)
        assert not self.closed & {fd for view in ports for fd in view.fds}
        self.bridges = {view.name: view for view in bridges}
        self.ports = {view.name: view for view in ports}
        self.layer3 = layer3
        self.history.append(sorted(self.ports))
        kept = {view.id for view in bridges}
        self.static = {key: port for key, port in self.static.items() if key[0] in kept}

    def compile(self, ipv4: list, ipv6: list, devices: list, addresses: list) -> tuple[int, list, list]:
        self.compilations += 1
        return self.compilations, ipv4, ipv6

    def set_qdiscs(self, port: int, tree: TreeView | None, policers: tuple[PolicerView, ...]) -> None:
        assert port in {id for _, id in self.port_ids}
        self.qdiscs[port] = tree, policers
        self.queued.append(port)

    def qdisc_stats(self, port: int) -> dict[int, QdiscStats]:
        tree, _ = self.qdiscs[port]
        return {qdisc.serial: QdiscStats(bytes=100 * qdisc.serial) for qdisc in tree.qdiscs} if tree else {}

    def queue_memory(self) -> tuple[int, int, int]:
        return 0, 0, 64 << 20

    def rule_counters(self) -> RuleCounters:
        return self.counters

    def track(self, per_port: int, timeouts: dict[str, int]) -> None:
        self.tracked.append((per_port, timeouts))

    def tick(self) -> None:
        self.ticks += 1

    def logged(self) -> tuple[list[dict], int]:
        return [], 0

    def closing(self, fds: tuple[int, ...]) -> None:
        """A device says that it is being closed."""
        assert not {fd for view in self.ports.values() for fd in view.fds} & set(fds), "a worker may be reading it"
        self.closed |= set(fds)

    def fdb_add_static(self, bridge: int, mac: str, vlan: int, port: int) -> None:
        if self.full and (bridge, mac, vlan) not in self.had:  # what was there before finds its place again
            raise ValueError(f"no room for {mac}")
        self.had.add((bridge, mac, vlan))
        assert bridge in {view.id for view in self.bridges.values()}
        self.static[bridge, mac, vlan] = port

    def fdb_remove(self, bridge: int, mac: str, vlan: int) -> bool:
        found = self.static.pop((bridge, mac, vlan), None), self.learned.pop((bridge, mac, vlan), None)
        return found != (None, None)

    def fdb_flush(self, bridge: int, *, port: int | None = None, vlan: int | None = None) -> int:
        gone = [
            key for key, at in self.learned.items()
            if key[0] == bridge and (port is None or at == port) and (vlan is None or key[2] == vlan)
        ]  # fmt: skip
        for key in gone:
            del self.learned[key]
        return len(gone)

    def fdb_entries(self, bridge: int) -> list[FdbRow]:
        tables = ((self.static, True), (self.learned, False))
        return [
            FdbRow(mac, vlan, port, 0.0, static)
            for table, static in tables
            for (at, mac, vlan), port in table.items()
            if at == bridge
        ]

    def fdb_counters(self, bridge: int) -> FdbCounters:
        return FdbCounters(len(self.fdb_entries(bridge)), 1, 2, 3, 4, 5, 6, 7)

    def port_counters(self, id: int) -> PortCounters:
        return PortCounters(*range(id, id + 13), drops={"runt": 1})

    def worker_counters(self) -> list[WorkerCounters]:
        return [WorkerCounters(1, 2, 3, 4, 5, 6, 7, False)]

    def age(self) -> int:
        self.ages += 1
        return 0


class FakeDevice:
    """A device of the fake machine."""

    _fds = itertools.count(100)

    def __init__(self, machine: FakeMachine, port: Port) -> None:
        self.machine = machine
        self.name = port.name
        self.kind = {"netdev": "packet"}.get(port.kind, port.kind)
        self.fds = (next(self._fds),)
        self.ifindex = 7
        self.netns = port.netns
        self.mac = port.mac or "52:54:00:00:00:01"
        self.mtu = port.mtu or 1500
        self.up = self.carrier = True
        self.offloads = Offload.CSUM | Offload.TSO4 if port.offloads else Offload(0)
        self.on_change: Callable[[Device], object] | None = None
        self.kernel_drops = 9
        self.closed = False
        self.stopping = False
        self.now = UP

    @property
    def ready(self) -> bool:
        return self.now == UP

    def state(self) -> State:
        return self.now

    def become(self, state: State) -> None:
        """The device changes of its own accord."""
        self.now = state
        assert self.on_change is not None
        self.on_change(self)

    async def adjust(self, port: Port) -> None:
        if self.machine.refuse_adjust:
            raise PortError("mtu", port.mtu, "the device takes 68 to 1500")
        self.mtu = port.mtu or 1500

    async def close(self, *, stopping: bool = False) -> None:
        assert not self.closed
        self.machine.plane.closing(self.fds)
        self.closed, self.stopping = True, stopping
        self.machine.open.remove(self)
        if self.machine.refuse_close:
            raise OSError("the kernel is in a mood")


class FakeMachine:
    """The host. `absent` names devices that it does not have; two devices of one name it does not open."""

    def __init__(self, plane: FakePlane) -> None:
        self.plane = plane
        self.absent: set[str] = set()
        self.broken: set[str] = set()  # opening these fails by a fault of ours
        self.open: list[FakeDevice] = []
        self.opened = 0
        self.refuse_adjust = self.refuse_close = False

    async def open_device(self, port: Port, *_: object) -> FakeDevice:
        if port.name in self.broken:
            raise RuntimeError("a fault")
        if port.name in self.absent:
            raise PortError("name", port.name, "no such device")
        if any(device.name == port.name for device in self.open):
            raise PortError("name", port.name, "the device is busy")
        device = FakeDevice(self, port)
        self.open.append(device)
        self.opened += 1
        return device

    def device(self, name: str) -> FakeDevice:
        """The open device of a port."""
        (found,) = [device for device in self.open if device.name == name]
        return found


class FakeMetrics:
    """The metrics server. `busy` is an address that it cannot listen on."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self.busy = ""

    async def start(self, listen: str) -> str | None:
        if listen == self.busy:
            raise OSError(f"metrics.listen: {listen}: in use")
        self.address = listen or None
        return self.address
