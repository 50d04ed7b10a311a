"""Running workers, one, two and four of them, while the configuration changes under them: nothing lost, books exact."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.switchboard import BROADCAST, Switchboard, ethernet, station
from vswitch.dataplane import BridgeView, Dataplane, PortView, VlanMode

STABLE = 4
FRAMES = 20_000
BATCH = 200


class Running:
    """Four stable ports in VLAN 10, joined in pairs by known addresses, and a port that comes, goes and changes."""

    def __init__(self, workers: int) -> None:
        self.dataplane = Dataplane(workers=workers, busy_poll_us=50)
        self.bridge = BridgeView(0, "br0")
        self.stable = [self.port(f"s{n}") for n in range(STABLE)]
        self.received = {view.name: 0 for view in self.stable}

    def port(self, name: str, **fields) -> PortView:
        return PortView(id=self.dataplane.port_ids.allocate(name), name=name, kind="memory", fds=(), bridge=0,
                        vlan=VlanMode(access=10), memory=self.dataplane.memory_port(name), **fields)

    async def publish(self, *more: PortView) -> None:
        await self.dataplane.publish([self.bridge], [*self.stable, *more])

    def collect(self) -> None:
        for view in self.stable:
            self.received[view.name] += sum(frame[:2] == b"\x02\x00" for frame in view.memory.collect())

    def balances(self) -> list[int]:
        return [self.dataplane.port_counters(id).balance for _, id in self.dataplane.port_ids]

    async def introduce(self) -> None:
        """Every station speaks once, so that unicast is never flooded later."""
        for n, view in enumerate(self.stable):
            view.memory.inject([ethernet(BROADCAST, station(n))])
        while len(self.dataplane.fdb_entries(0)) < STABLE:
            await asyncio.sleep(0)
        self.collect()


async def send(running: Running, n: int) -> None:
    """FRAMES frames from station n to its partner, a batch at a time, never more than the rings hold."""
    batch = [ethernet(station(n ^ 1), station(n))] * BATCH
    view, partner = running.stable[n], running.stable[n ^ 1]
    for sent in range(BATCH, FRAMES + BATCH, BATCH):
        assert view.memory.inject(batch) == BATCH
        while running.received[partner.name] < sent:
            running.collect()
            await asyncio.sleep(0)


async def reconfigure(running: Running, done: asyncio.Event) -> int:
    """Add a port that floods, change it, change the stable ones' harmless fields, remove it; over and over."""
    rounds = 0
    while not done.is_set():
        guest = running.port("guest")
        await running.publish(guest)
        guest.memory.inject([ethernet(BROADCAST, station(100 + rounds % 50))] * 10)
        await running.publish(replace(guest, vlan=VlanMode(access=20)))
        running.stable = [replace(view, mac_limit=rounds % 7 * 100) for view in running.stable]
        await running.publish(replace(guest, up=False))
        await running.publish()
        rounds += 1
        await asyncio.sleep(0)
    return rounds


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_nothing_is_lost_while_everything_changes(workers):
    running = Running(workers)
    running.dataplane.start()
    try:
        async with asyncio.timeout(60):
            await running.publish()
            await running.introduce()
            done = asyncio.Event()
            changes = asyncio.create_task(reconfigure(running, done))
            await asyncio.gather(*(send(running, n) for n in range(STABLE)))
            done.set()
            assert await changes > 3
    finally:
        await running.dataplane.stop()
    running.collect()
    assert running.received == {f"s{n}": FRAMES for n in range(STABLE)}
    assert running.balances() == [0] * len(running.balances())
    for view in running.stable:
        assert running.dataplane.port_counters(view.id).drops == {}


async def test_two_workers_learn_one_address_once():
    """The same addresses from two workers at the same time: no entry twice, and the counts agree with the table."""
    dataplane = Dataplane(workers=2, busy_poll_us=0)
    views = [PortView(id=dataplane.port_ids.allocate(name), name=name, kind="memory", fds=(), bridge=0,
                      memory=dataplane.memory_port(name, sink=True)) for name in ("a", "b")]
    dataplane.start()
    try:
        async with asyncio.timeout(30):
            await dataplane.publish([BridgeView(0, "br0")], views)
            for _ in range(20):
                for view in views:
                    view.memory.inject([ethernet(BROADCAST, station(n)) for n in range(500)])
            while sum(dataplane.port_counters(view.id).rx_frames for view in views) < 20_000:
                await asyncio.sleep(0)
    finally:
        workers = dataplane.workers
        await asyncio.to_thread(workers.stop)
    rows = dataplane.fdb_entries(0)
    assert sorted(row.mac for row in rows) == sorted({station(n) for n in range(500)})
    assert dataplane.fdb_counters(0).entries == dataplane.fdb_counters(0).learned == 500
    await dataplane.stop()


async def test_a_parked_worker_counts_as_passed():
    """Publishing does not wait for sleepers, nor wake them."""
    board = await Switchboard.make({"a": {}, "b": {}})
    board.dataplane.start()
    try:
        async with asyncio.timeout(5):
            while not board.dataplane.worker_counters()[0].sleeps:
                await asyncio.sleep(0)
            before = board.dataplane.worker_counters()[0].sleeps
            for _ in range(50):
                await board.publish()
            assert board.dataplane.worker_counters()[0].sleeps == before
    finally:
        await board.dataplane.stop()
