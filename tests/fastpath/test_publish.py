"""Publishing snapshots: who may still look at which, whatever fails, sleeps or comes to lie where another has lain."""

from __future__ import annotations

import asyncio
import os
import tempfile
import weakref

import pytest

from tests.switchboard import BROADCAST, ethernet, station
from vswitch._fastpath.core.snapshot import SnapshotOwner
from vswitch.dataplane import BridgeView, Dataplane, MemoryPort, PortView

LIMIT_S = 10
HELLO = ethernet(BROADCAST, station(1))


class Rings(MemoryPort):
    """Rings whose end can be seen."""


@pytest.fixture
def unwatchable():
    """A descriptor that no epoll set takes: a plain file's."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def memory_view(dataplane: Dataplane, id: int, rings: MemoryPort | None = None) -> PortView:
    name = f"m{id}"
    return PortView(id, name, "memory", (), bridge=0, memory=rings or dataplane.memory_port(name))


async def until(condition) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


async def test_a_worker_notices_a_snapshot_that_lies_where_one_it_slept_through_the_end_of_has_lain():
    """It went by the address, and so never said that it had passed: the publisher gave up after two seconds."""
    dataplane = Dataplane(workers=1, busy_poll_us=1_000_000)
    (worker,), shared = dataplane.workers.workers, dataplane._shared
    busy, view = memory_view(dataplane, 0), BridgeView(0, "br0")
    await dataplane.publish([view], [busy])

    def snapshot(generation: int) -> SnapshotOwner:
        return SnapshotOwner(generation, [view], [busy], dataplane._fdbs, {0: busy.memory})

    first = snapshot(10)
    address = id(first)
    dataplane.start()
    try:
        await until(lambda: worker.stats()["sleeps"])
        shared.publish(first)
        busy.memory.inject([HELLO])
        await until(lambda: worker.stats()["frames"] and worker.stats()["parked"])
        del first
        second = snapshot(11)
        shared.publish(second)          # `first` ends here, while the worker sleeps
        third = snapshot(12)
        if id(third) != address:
            pytest.skip("the allocator did not give the same place again")
        shared.publish(third)
        busy.memory.loop()
        busy.memory.inject([HELLO])     # from now on it does not sleep
        await until(lambda: worker.stats()["frames"] > 10_000)
        await until(lambda: worker.passed(12))
    finally:
        await asyncio.to_thread(dataplane.workers.stop)


async def test_what_workers_may_look_at_stays_when_publishing_fails_half_way(unwatchable):
    dataplane, view = Dataplane(workers=1, busy_poll_us=0), BridgeView(0, "br0")
    rings = Rings("m0", 1)
    end = weakref.ref(rings)
    await dataplane.publish([view], [memory_view(dataplane, 0, rings)])
    del rings
    with pytest.raises(PermissionError):
        await dataplane.publish([view], [PortView(1, "odd", "tap", (unwatchable,), bridge=0)])
    assert end() is not None, "the worker has not been asked whether it has passed"
    await dataplane.publish([], [])
    assert end() is None


async def test_ports_that_a_failed_publication_did_not_come_to_watch_are_watched_by_the_next(unwatchable):
    dataplane, view = Dataplane(workers=1, busy_poll_us=0), BridgeView(0, "br0")
    ports = [memory_view(dataplane, id) for id in range(20)]
    odd = PortView(20, "odd", "tap", (unwatchable,), bridge=0)
    dataplane.start()
    try:
        with pytest.raises(PermissionError):
            await dataplane.publish([view], [*ports, odd])
        await dataplane.publish([view], ports)
        for port in ports:
            port.memory.inject([HELLO])
        await until(lambda: all(dataplane.port_counters(port.id).rx_frames == 1 for port in ports))
    finally:
        await dataplane.stop()


async def test_a_memory_port_that_was_hot_leaves_a_descriptor_of_its_number_alone():
    """Its worker went on draining the number that its event had had, whoever had it now."""
    dataplane, view = Dataplane(workers=1, busy_poll_us=1_000_000), BridgeView(0, "br0")
    old = memory_view(dataplane, 0)
    await dataplane.publish([view], [old])
    dataplane.start()
    try:
        for sent in range(1, 50):
            old.memory.inject([HELLO])
            await until(lambda sent=sent: dataplane.port_counters(0).rx_frames == sent)
        number = old.memory.event
        new = memory_view(dataplane, 0)
        await dataplane.publish([view], [new])
        del old
        other = os.eventfd(5, os.EFD_NONBLOCK)
        try:
            assert other == number, "the number was not given again"
            before = dataplane.port_counters(0).rx_frames
            for sent in range(1, 10):
                new.memory.inject([HELLO])
                await until(lambda sent=sent: dataplane.port_counters(0).rx_frames == before + sent)
            assert os.eventfd_read(other) == 5
        finally:
            os.close(other)
    finally:
        await dataplane.stop()


def test_a_worker_that_cannot_be_made_closes_nothing_of_others(monkeypatch):
    """It closed descriptor 0, twice."""
    dataplane = Dataplane(workers=1, busy_poll_us=0)
    make = os.memfd_create

    def refuse(name: str, flags: int) -> int:
        if name.startswith("vswitch-counters"):
            raise OSError("no memory")
        return make(name, flags)

    read_end, write_end = os.pipe()
    saved = os.dup(0)
    os.dup2(read_end, 0)
    monkeypatch.setattr(os, "memfd_create", refuse)
    try:
        with pytest.raises(OSError, match="no memory"):
            type(dataplane.workers.workers[0])(0, dataplane._shared, 0)
        os.fstat(0)
    finally:
        os.dup2(saved, 0)
        for fd in (saved, read_end, write_end):
            os.close(fd)
