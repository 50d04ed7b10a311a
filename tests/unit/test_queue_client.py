"""The queues' socket and its client: who may listen, what they say to each other, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from tests.lab import wait_until
from vswitch.filter import queue_server
from vswitch.filter.queue import OUTSTANDING, VERDICT_S, Queues
from vswitch.filter.queue_server import QueueServer
from vswitch.own import NO_DEVICE, PLAIN, Own, Punt
from vswitch.queue_client import HELLO, MAGIC, Queue, QueueError, finished

LIMIT_S = 5.0
FRAME = bytes(12) + b"\x08\x00" + bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / b"hello")
FORWARD = 2 * 8 + 3 + 1


class FakePlane:
    """Takes packets back, or not."""

    def __init__(self) -> None:
        self.attended: dict[int, bool] = {}
        self.back: list[tuple] = []
        self.full = False

    def attend(self, queue: int, on: bool) -> None:
        self.attended[queue] = on

    def resume(self, punt: Punt, frame: bytes, mark: int) -> bool:
        return self._take("resume", frame, mark)

    def discard(self, punt: Punt, reason: str, *, gone: bool = False) -> bool:
        return self._take(reason, gone)

    def _take(self, *what: object) -> bool:
        if not self.full:
            self.back.append(what)
        return not self.full


def punt(queue: int = 7, bypass: int = 0) -> Punt:
    return Punt(Own.QUEUE, FORWARD, 3, 10, 4, queue, 0, 5, 9, 1, 129, 0, 6, 0, 0, bypass, 0, NO_DEVICE, 0, PLAIN, FRAME)


class Site:
    """The control side of queues, and its socket in a directory of the test's."""

    def __init__(self, path: Path) -> None:
        self.run_dir = path
        self.now = 0.0
        self.plane = FakePlane()
        self.queues = Queues(self.plane, {4: "tapA", 6: "tapB"}.get, {3: "br0.10"}.get, lambda: self.now)
        self.server = QueueServer(self.queues, path, "root")

    async def listen(self, number: int = 7) -> Queue:
        return await asyncio.to_thread(Queue, number, self.run_dir)

    async def back(self, n: int = 1) -> list[tuple]:
        await wait_until(lambda: len(self.plane.back) >= n, LIMIT_S, "packets to come back")
        return self.plane.back


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path)
    await site.server.start()
    yield site
    await site.server.stop()


async def test_a_packet_there_and_back(site):
    with await site.listen() as queue:
        assert site.plane.attended == {7: True}
        site.queues.receive(punt())
        packet = queue.receive(wait=False)
        assert (packet.payload, packet.mark, packet.hook, packet.vlan) == (FRAME[14:], 5, "FORWARD", 10)
        assert (packet.in_device, packet.in_port, packet.out_device, packet.out_port) == ("br0.10", "tapA", "", "tapB")
        assert (packet.ctstate, packet.reply, packet.checksum_open, packet.super_frame) == ("NEW", True, False, False)
        packet.accept()
        packet.drop()  # the second verdict comes too late
        assert await site.back() == [("resume", FRAME, 5)]
        site.queues.receive(punt())
        queue.receive(wait=False).accept(mark=6, payload=bytes(IP(dst="10.0.0.2") / UDP() / b"another"))
        assert (await site.back(2))[1] == ("resume", FRAME[:14] + bytes(IP(dst="10.0.0.2") / UDP() / b"another"), 6)
        site.queues.receive(punt())
        queue.receive(wait=False).drop()
        assert (await site.back(3))[2] == ("queue_drop", False)
        with pytest.raises(BlockingIOError):
            queue.receive(wait=False)
    [counted] = [queue.counters for queue in site.queues.queues]
    assert (counted.packets, counted.accepted, counted.dropped) == (3, 2, 1)


async def test_asyncio(site):
    queue, seen = await site.listen(), []

    async def judge() -> None:
        async for packet in queue:
            seen.append(packet.id)
            packet.accept()

    task = asyncio.create_task(judge())
    for _ in range(3):
        site.queues.receive(punt())
    await site.back(3)
    await site.server.stop()
    await asyncio.wait_for(task, LIMIT_S)
    assert len(seen) == 3
    queue.close()


@pytest.mark.parametrize(("bypass", "fate"), [(0, ("queue_unattended", False)), (1, ("resume", FRAME, 5))])
async def test_a_listener_that_ends(site, bypass, fate):
    queue = await site.listen()
    site.queues.receive(punt(bypass=bypass))
    queue.close()
    assert await site.back() == [fate]
    assert site.plane.attended == {7: False}
    with await site.listen():  # the number is free again
        assert site.plane.attended == {7: True}


async def test_one_listener_to_a_queue(site):
    with await site.listen(), await site.listen(8):
        with pytest.raises(QueueError, match="another process listens on queue 7") as refused:
            await site.listen()
        assert refused.value.errno == errno.EBUSY


async def test_who_may_listen(site, monkeypatch):
    assert stat.S_IMODE(site.server.path.stat().st_mode) == 0o660
    monkeypatch.setattr(queue_server, "refusal", lambda peer, group: f"{peer} is not of {group}")
    with pytest.raises(QueueError, match="is not of root") as refused:
        await site.listen()
    assert refused.value.errno == errno.EACCES


async def test_no_switch(tmp_path):
    with pytest.raises(QueueError, match="queue.sock: No such file"):
        Queue(7, tmp_path)


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1", HELLO.pack(MAGIC, 9, 7), HELLO.pack(b"abcd", 1, 7)])
async def test_who_speaks_something_else(site, hello):
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as sock:
        sock.connect(str(site.server.path))
        sock.sendall(hello)
        assert b"speaks version 1" in await asyncio.to_thread(sock.recv, 1000)
        assert await asyncio.to_thread(sock.recv, 1000) == b""


async def test_a_verdict_cut_short_ends_it(site):
    with await site.listen() as queue:
        site.queues.receive(punt())
        queue._socket.sendall(b"short")
        assert await site.back() == [("queue_unattended", False)]


async def test_who_says_nothing_is_hung_up_on(site, monkeypatch):
    monkeypatch.setattr(queue_server, "HELLO_S", 0)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as sock:
        sock.connect(str(site.server.path))
        assert await asyncio.to_thread(sock.recv, 1000) == b""


def test_a_listener_that_does_not_read_loses_packets(tmp_path):
    site, room = Site(tmp_path), [True, False]
    site.queues.listen(7, lambda message: room.pop(0))
    site.queues.receive(punt())
    site.queues.receive(punt())
    assert site.plane.back == [("queue_full", False)] and site.queues.queues[0].counters.overruns == 1


def test_so_many_and_so_long(tmp_path):
    site = Site(tmp_path)
    site.queues.listen(7, lambda message: True)
    for _ in range(OUTSTANDING + 1):
        site.queues.receive(punt())
    assert site.plane.back == [("queue_full", False)]
    site.now = VERDICT_S
    site.queues.tick()
    assert site.plane.back[1:] == [("queue_timeout", False)] * OUTSTANDING
    assert site.queues.queues[0].bytes == 0


def test_workers_that_take_nothing_back(tmp_path, monkeypatch):
    """What they owe an end is kept, in order; beyond a backlog nothing more is asked for."""
    monkeypatch.setattr("vswitch.filter.queue.BACKLOG", 2)
    site = Site(tmp_path)
    site.queues.listen(7, lambda message: False)
    site.plane.full = True
    for _ in range(3):
        site.queues.receive(punt())
    assert site.plane.attended == {7: False} and not site.plane.back
    site.plane.full = False
    site.queues.tick()
    assert site.plane.attended == {7: True} and len(site.plane.back) == 3


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([
    IP() / UDP(sport=1), IP() / TCP(), IP() / ICMP(), IP(options=b"\1\1\1\1") / UDP(), IPv6() / UDP(), IPv6() / TCP(), IPv6() / ICMPv6EchoRequest(),
]))  # fmt: skip
def test_finished_is_what_scapy_makes_of_it(content, headers):
    right = bytes(headers / content)
    wrong = bytearray(right)
    at = 20 if right[0] == 0x45 else 24 if right[0] >> 4 == 4 else 40
    where = {1: 2, 6: 16, 17: 6, 58: 2}[right[9] if right[0] >> 4 == 4 else right[6]]
    wrong[at + where] ^= 0xFF
    wrong[2 if right[0] >> 4 == 4 else 4] ^= 0x55
    assert finished(bytes(wrong)) == right


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_finished_of_rubbish_is_refused_or_as_long(content):
    with contextlib.suppress(ValueError):
        assert len(finished(content)) == len(content)
