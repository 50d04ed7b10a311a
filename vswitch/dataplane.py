"""The one door between the control side and the fast path.

Everything here is declarative: `publish` takes the whole picture (which bridges, which ports, in which modes), works out
what changed, and hands the workers one new snapshot. Tables that outlive a picture (FDBs, counters) are kept by stable ids
from two registries. Nothing else in vswitch imports `vswitch._fastpath`.

Thread safety: all of it belongs to the control thread; workers run beside it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from vswitch._fastpath.compiler import CYTHON_VERSION
from vswitch._fastpath.core.snapshot import SnapshotOwner
from vswitch._fastpath.core.verdict import DROP_REASONS
from vswitch._fastpath.filter.census import Census, census
from vswitch._fastpath.filter.conntrack import ConnectionTable
from vswitch._fastpath.filter.nat import masquerade_flush
from vswitch._fastpath.filter.rejudge import rejudge
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch._fastpath.io.ring import MemoryRings as MemoryPort
from vswitch._fastpath.l2.fdb import FdbCounters, FdbRow, ForwardingDatabase
from vswitch._fastpath.worker import Shared
from vswitch.filter.firewall import MAX_RULES
from vswitch.qos.view import PolicerView, QdiscStats, TreeView
from vswitch.own import SELF_PORT, Own, OwnPort, Punt, arp_probe
from vswitch.schedulers import QUEUE_MEMORY, Schedulers
from vswitch.views import BridgeView, DeviceView, Layer3View, Offload, PortCounters, PortView, VlanMode, WorkerCounters
from vswitch.workers import Workers

__all__ = ["CYTHON_VERSION", "BridgeView", "Dataplane", "FdbCounters", "FdbRow", "MemoryPort", "Offload",
           "PortCounters", "PortView", "Registry", "VlanMode", "WorkerCounters"]

MAX_PORTS = SELF_PORT
MAX_BRIDGES = 1024
MAX_DEVICES = 4096
MAX_ROUTERS = 1024
COUNTER_MASK = 2**64 - 1
REASON_NUMBERS = {name: number for number, name in DROP_REASONS.items()}
#: The timeouts of connection tracking as they are unless configured, by the names of the kernel's sysctls.
TRACKED_S = ConnectionTable(1).timeouts()
#: How long a worker may take to finish the burst it is in; far beyond any real one.
QUIESCENCE_LIMIT_S = 2.0


class Registry:
    """Stable small numbers for names: what counters and FDB entries refer to while configurations come and go."""

    def __init__(self, size: int, what: str) -> None:
        self._size, self._what = size, what
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._free = list(range(size))  # a heap: the lowest goes first, so tables stay short

    def allocate(self, name: str) -> int:
        """The name's number, a free one if it has none yet. Raises ValueError when all are taken."""
        if name not in self._ids:
            if not self._free:
                raise ValueError(f"no room for {name}: {self._size} {self._what} are the most")
            self._ids[name] = heapq.heappop(self._free)
            self._names[self._ids[name]] = name
        return self._ids[name]

    def release(self, name: str) -> None:
        """The name's number may go to another; its owner has been withdrawn from the picture."""
        if (id := self._ids.pop(name, None)) is not None:
            del self._names[id]
            heapq.heappush(self._free, id)

    def name(self, id: int) -> str | None:
        """Whose number it is."""
        return self._names.get(id)

    def get(self, name: str) -> int | None:
        return self._ids.get(name)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._ids.items())


class Dataplane:
    """The fast path: `workers` threads that spin up to `busy_poll_us` microseconds after a frame while that pays."""

    drop_reasons: tuple[str, ...] = tuple(DROP_REASONS.values())

    def __init__(self, *, workers: int = 1, busy_poll_us: int = 2000, connections: int = 65_536,
                 queue_memory: int = QUEUE_MEMORY) -> None:
        self.port_ids = Registry(MAX_PORTS, "ports")
        self.bridge_ids = Registry(MAX_BRIDGES, "bridges")
        self.device_ids = Registry(MAX_DEVICES, "devices of layer 3")
        self.router_ids = Registry(MAX_ROUTERS, "routers")
        self.generation = 0
        self._shared = Shared(connections, MAX_RULES)
        self.connections = self._shared.connections
        self.neighbours = self._shared.neighbours
        self._workers = Workers(workers, self._shared, busy_poll_us, queue_memory)
        self._queues = Schedulers(list(self._workers))
        self._fdbs: dict[int, ForwardingDatabase] = {}
        self._bridges: dict[int, BridgeView] = {}
        self._ports: dict[int, PortView] = {}
        self._layer3 = Layer3View()
        self._owner: SnapshotOwner | None = None  # of the snapshot in force
        self._compiled = 0
        self._own = MemoryPort("own", workers, notify=True)
        self.own = OwnPort(self._own)
        self._qdiscs: dict[int, tuple[TreeView | None, tuple[PolicerView, ...]]] = {}
        self._born: dict[int, int] = {}
        self._watching: set[tuple[int, int, int]] = set()
        self._superseded: list[SnapshotOwner] = []  # workers may still look at them
        self._publishing = asyncio.Lock()

    @property
    def workers(self) -> Workers:
        return self._workers

    def start(self) -> None:
        self._workers.start()

    async def stop(self) -> None:
        """Withdraw everything and end the workers' threads."""
        try:
            await self.publish((), ())
        finally:
            await asyncio.to_thread(self._workers.stop)

    def memory_port(self, name: str, *, sink: bool = False) -> MemoryPort:
        """The rings of a memory port; with `sink` what is sent to it is only counted."""
        return MemoryPort(name, len(self._workers), sink=sink)

    async def publish(self, bridges: Iterable[BridgeView], ports: Iterable[PortView],
                      layer3: Layer3View = Layer3View()) -> None:
        """Put a whole picture in force. Returns when every worker has passed: descriptors of ports that are gone may
        then be closed. Raises OSError or MemoryError before anything changed, but for one case: when the kernel will
        not watch a descriptor, the picture is in force, and some of its ports are not read. Publish another then."""
        async with self._publishing:
            new_bridges = {view.id: view for view in bridges}
            new_ports = {view.id: self._with_queues(view) for view in ports}
            fdbs = self._tables(new_bridges)
            self.generation += 1
            trees = self._queues.compile(new_ports.values())
            rings = {view.id: view.memory for view in new_ports.values() if view.memory is not None}
            owner = SnapshotOwner(self.generation, list(new_bridges.values()), list(new_ports.values()), fdbs,
                                  rings | {SELF_PORT: self._own}, layer3, trees, self._born_at(new_ports))
            old_ports, self._ports, self._bridges, self._fdbs = self._ports, new_ports, new_bridges, fdbs
            old_layer3, self._layer3 = self._layer3, layer3
            self._unwatch()
            self._reset(old_ports)
            self._owner = owner
            self._superseded.append(self._shared.publish(owner))
            self._watch()
            self._queues.kick()
            await self._quiesce()
            self._queues.settle(trees)
            self._superseded.clear()
            self._forget(old_ports)
            self._reset_meters(old_ports)
            self._forget_devices(old_layer3.devices)

    def set_qdiscs(self, id: int, tree: TreeView | None, policers: tuple[PolicerView, ...]) -> None:
        """The queueing disciplines and policers that a port has from the next `publish` on."""
        self._qdiscs[id] = tree, policers

    def _with_queues(self, view: PortView) -> PortView:
        tree, policers = self._qdiscs.get(view.id, (None, ()))
        return replace(view, tree=tree, policers=policers) if tree or policers else view

    def _born_at(self, new_ports: dict[int, PortView]) -> dict[int, int]:
        """In which generation each port came to its id: what it has sent is in its books, and in nobody else's after it."""
        self._born = {id: self._born.get(id, self.generation) for id in new_ports}
        return self._born

    def _tables(self, bridges: dict[int, BridgeView]) -> dict[int, ForwardingDatabase]:
        """The FDB of each bridge: the one it has, or a new one where it had none or another size."""
        fdbs = {}
        for id, view in bridges.items():
            old = self._bridges.get(id)
            if old and (old.name, old.mac_limit) == (view.name, view.mac_limit):
                fdbs[id] = self._fdbs[id]
                fdbs[id].set_ageing(view.ageing_s)
            else:
                fdbs[id] = ForwardingDatabase(view.name, view.mac_limit, view.ageing_s)
        return fdbs

    def _to_watch(self) -> set[tuple[int, int, int]]:
        """(worker, port id, fd) of all that workers should wait for. A port with one descriptor has a home worker."""
        watched = {(0, SELF_PORT, self._own.event)} if self._ports else set()
        for view in self._ports.values():
            fds = (view.memory.event,) if view.memory else view.fds
            if len(fds) == 1:
                watched.add((view.id % len(self._workers), view.id, fds[0]))
            else:
                watched.update((index, view.id, fd) for index, fd in enumerate(fds[:len(self._workers)]))
        return watched

    def _unwatch(self) -> None:
        gone = self._watching - self._to_watch()
        for worker, port, fd in gone:
            self._workers.workers[worker].unwatch(port, fd)
        self._watching -= gone

    def _watch(self) -> None:
        for worker, port, fd in self._to_watch() - self._watching:
            self._workers.workers[worker].watch(port, fd, port in self._ports and self._ports[port].kind == "tap")
            self._watching.add((worker, port, fd))

    def _reset(self, old_ports: dict[int, PortView]) -> None:
        """An id that comes to a new owner starts from zero."""
        for id in self._ports.keys() - old_ports.keys():
            self.connections.forget_refusals(id)
            for worker in self._workers:
                worker.reset_port(id)

    def _reset_meters(self, old_ports: dict[int, PortView]) -> None:
        """Of ports with other storm limits or policers, or another owner; a slow rate's debt would hold up a fast one for seconds."""
        for id, new in self._ports.items():
            if id not in old_ports or (new.storm, new.policers) != (old_ports[id].storm, old_ports[id].policers):
                self._shared.reset_meters(id)

    async def _quiesce(self) -> None:
        deadline = asyncio.get_running_loop().time() + QUIESCENCE_LIMIT_S
        while not self._workers.passed(self.generation):
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"a worker has not passed generation {self.generation} in {QUIESCENCE_LIMIT_S} s")
            await asyncio.sleep(0.0002)

    def _forget(self, old_ports: dict[int, PortView]) -> None:
        """What was learned at ports that are gone, down, or in other VLANs or bridges now is no longer true."""
        for id, old in old_ports.items():
            new = self._ports.get(id)
            if old.bridge not in self._fdbs:
                continue
            if new is None or new.bridge != old.bridge:
                self._fdbs[old.bridge].flush(port=id, dynamic_only=False)
            elif new.vlan != old.vlan or (old.up and not new.up):
                self._fdbs[old.bridge].flush(port=id)

    def _forget_devices(self, old: tuple[DeviceView, ...]) -> None:
        """Neighbours of devices that are gone, or have other networks now, and what was masqueraded as addresses that are.

        An id is used again only by a device of another name, and then nothing may be left of the old one's."""
        devices = {view.id: view for view in self._layer3.devices}
        for view in old:
            new = devices.get(view.id)
            if new is None or new.addresses != view.addresses or new.mac != view.mac:
                self.neighbours.flush(view.id, permanent=new is None)
                for interface in view.addresses:
                    if new is None or interface.ip not in {i.ip for i in new.addresses}:
                        masquerade_flush(self.connections, view.id, str(interface.ip))
            if new is None:
                self.device_ids.release(view.name)

    # Rules

    def compile(self, ipv4: list, ipv6: list, devices: list, addresses: list) -> CompiledRuleset:
        """Rules in the form that a Layer3View takes. Raises ValueError for what the workers cannot follow."""
        self._compiled += 1
        return CompiledRuleset(self._compiled, ipv4, ipv6, devices, addresses, MAX_RULES)

    def rule_counters(self):
        """Packets and bytes by place, all workers together."""
        return self._shared.rule_counters

    def rejudge(self) -> tuple[int, int]:
        """End the connections that the rules in force would not let begin; how many were judged, and ended. On any thread:
        a million take a second or two."""
        return rejudge(self.connections, self._owner, self._shared.rule_counters) if self._owner else (0, 0)

    def attend(self, queue: int, on: bool) -> None:
        """Whether packets for that queue number are to be handed over."""
        self._shared.attend(queue, on)

    def resume(self, punt: Punt, frame: bytes, mark: int) -> bool:
        """Let a packet go on that came by QUEUE; false: workers take no more just now."""
        return self.own.resume(punt, frame, mark)

    def discard(self, punt: Punt, reason: str, *, gone: bool = False) -> bool:
        """End a packet that came by QUEUE for one of `drop_reasons`; `gone`: so is the port that it came from."""
        return self.own.discard(punt, REASON_NUMBERS[reason], gone)

    def logged(self) -> tuple[list[dict], int]:
        """What LOG has seen since the last call, in order, and how many records were lost since the start."""
        workers = range(len(self._workers))
        records = [record for worker in workers for record in self._shared.log.drain(worker)]
        return sorted(records, key=lambda record: record["now_ns"]), sum(map(self._shared.log.lost, workers))

    def track(self, per_port: int, timeouts: dict[str, int]) -> None:
        """Settings of connection tracking: what a port may open (0: half of the table), seconds by the kernel's names."""
        for port in range(MAX_PORTS):
            self.connections.set_budget(port, per_port or self.connections.capacity // 2)
        self.connections.set_timeouts(TRACKED_S | timeouts)

    # Frames of the switch's own

    def send_own(self, kind: Own, frame: bytes, device: int) -> bool:
        """Have workers send a frame of the switch's own; false: they take no more just now."""
        view = next((view for view in self._layer3.devices if view.id == device), None)
        return view is not None and self.own.send(kind, frame, device=device, vid=view.vid)

    def probe(self, device: int, address: IPv4Address) -> None:
        """Forget whether the address is somebody's on that device, and ask."""
        self.neighbours.delete(device, str(address))
        view = next(view for view in self._layer3.devices if view.id == device)
        self.own.send(Own.FRAME, arp_probe(view.mac, address), device=device, vid=view.vid)

    def is_neighbour(self, device: int, address: IPv4Address) -> bool:
        """Whether somebody on the device has answered for the address."""
        rows = (row for row in self.neighbours.rows() if row.device == device and row.address == str(address))
        return any(row.mac for row in rows)

    def tick(self) -> None:
        """Once a second: let a worker see to neighbours and fragments, and end connections whose time is up."""
        if self._layer3.devices:
            self.own.send(Own.TICK)
            self.connections.sweep()

    def port_counters(self, id: int) -> PortCounters:
        totals: Counter[str] = Counter()
        drops: Counter[str] = Counter()
        for worker in self._workers:
            counters = worker.port_counters(id)
            drops.update(counters.pop("drops"))
            totals.update(counters)
        totals["queued"] &= COUNTER_MASK  # what one worker has put aside another may have sent
        return PortCounters(drops={name: n for name, n in drops.items() if n}, **totals)

    def qdisc_stats(self, id: int) -> dict[int, QdiscStats]:
        """What a port's queueing disciplines and classes have done, by serial number."""
        return self._queues.stats(id)

    def queue_memory(self) -> tuple[int, int, int]:
        """Bytes that frames in queueing disciplines take, how many frames those are, and the most that they may take."""
        return self._queues.memory()

    def worker_counters(self) -> list[WorkerCounters]:
        return [WorkerCounters(**worker.stats()) for worker in self._workers]

    def census(self) -> Census:
        """Look at every connection. On any thread, without the GIL: a million take some 40 ms."""
        return census(self.connections)

    def nat_counters(self) -> tuple[int, ...]:
        """Connections that found no free port, second choices after a clash, source ports changed with no rule asking."""
        return tuple(map(sum, zip(*(worker.nat_counters() for worker in self._workers), strict=True)))

    def rule_paths(self) -> tuple[int, int]:
        """How many ways through the rules in force are remembered, and how many found no room."""
        return self._layer3.rules.path_counters() if self._layer3.rules else (0, 0)

    def fragment_counters(self):
        """Packets of which fragments wait, that were put together, and that were given up."""
        return self._shared.fragments.counters()

    def icmp_counters(self) -> tuple[int, int]:
        """ICMP errors that the rate limits let pass, and those they did not."""
        return self._shared.icmp_limits.counters()

    def fdb_entries(self, bridge: int) -> list[FdbRow]:
        return self._fdbs[bridge].entries()

    def fdb_counters(self, bridge: int) -> FdbCounters:
        return self._fdbs[bridge].counters()

    def fdb_add_static(self, bridge: int, mac: str, vlan: int, port: int) -> None:
        """Raises ValueError for an address that is not one station's, or when the table has no room for it."""
        self._fdbs[bridge].add_static(mac, vlan, port)

    def fdb_remove(self, bridge: int, mac: str, vlan: int) -> bool:
        return self._fdbs[bridge].remove(mac, vlan)

    def fdb_flush(self, bridge: int, *, port: int | None = None, vlan: int | None = None,
                  dynamic_only: bool = True) -> int:
        return self._fdbs[bridge].flush(port, vlan, dynamic_only)

    def age(self) -> int:
        """Remove entries that have aged; returns how many. They count as unknown from the moment they have."""
        return sum(fdb.age() for fdb in self._fdbs.values())
