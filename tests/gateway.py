"""The services of a routed network on a kernel bridge, without the switch, for real clients to speak to.

    net = Net(lab)
    netns, device = net.guest("a")            # a namespace and a device on the bridge, without an address
    with Gateway(net, lab.path("leases"), Dhcp(range=("10.0.0.100", "10.0.0.103"))) as gateway:
        ...
        gateway.states()

A thread in the bridge's namespace takes every frame that reaches the bridge device by a packet socket, hands it to the
services, sends what they answer, and answers ARP for the gateway's address. The guests' devices are told to finish
their checksums, as the switch would, so that the services really verify them.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.lab import Lab, inside
from tests.wire import Wire, ethertype
from vswitch.l3.dhcp.server import DhcpServer, Subnet
from vswitch.l3.dhcp.store import LeaseFile
from vswitch.l3.dns.names import Names
from vswitch.l3.dns.server import DnsServer
from vswitch.l3.ra import Router, RouterAdvertiser
from vswitch.l3.settings import Dhcp, Dns, Ra

ADDRESS = IPv4Interface("10.0.0.1/24")
PREFIX = IPv6Interface("fd00:5::1/64")
MAC = "02:00:00:00:00:01"
PORT = "bridge"
ARP = 0x0806
LIMIT_S = 10.0
TICK_S = 0.05

T = TypeVar("T")


class Net:
    """A kernel bridge in a namespace, and guests on it."""

    def __init__(self, lab: Lab, stem: str = "sw") -> None:
        self.lab = lab
        self.netns = lab.namespace(stem)
        self.bridge = lab.bridge(stem + "br", netns=self.netns)
        lab.ip("link", "set", self.bridge, "address", MAC, netns=self.netns)  # else it changes with every guest

    def guest(self, stem: str, *, ipv6: bool = False) -> tuple[str, str]:
        """A namespace on the bridge and the device in it."""
        netns = self.lab.namespace(stem, ipv6=ipv6)
        near, far = self.lab.veth(stem + "n", stem + "f", near_netns=self.netns, far_netns=netns)
        self.lab.run("ethtool", "-K", far, "tx", "off", netns=netns)
        self.lab.ip("link", "set", near, "master", self.bridge, netns=self.netns)
        return netns, far


class Gateway:
    """The services, running from `with` to its end; another one may follow on the same net and lease file."""

    def __init__(self, net: Net, leases: Path, dhcp: Dhcp, dns: Dns | None = None, ra: Ra | None = None) -> None:
        self._net = net
        self._wire = Wire(net.bridge, net.netns)
        self.used: set[str] = set()  # addresses that a probe finds in use
        mac = self._wire.mac
        self.store = LeaseFile(leases)
        self.dhcp = DhcpServer(dhcp, Subnet(ADDRESS, mac), self.store, probe=self._probe)
        self.dns = DnsServer(dns or Dns(), Names(dns or Dns(), dhcp.domain, (ADDRESS.network,), (self.dhcp.leases,)))
        router = Router(mac, IPv6Address("fe80::1"), (PREFIX,), mtu=1400)
        self.advertiser = RouterAdvertiser(ra, router) if ra else None
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._wire.close()
        self.store.close()

    def call(self, function: Callable[[], T]) -> T:
        """Call something on the services' thread."""
        async def called() -> T:
            return function()
        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(LIMIT_S)

    def states(self) -> dict[str, str]:
        """The state of each address."""
        return {report.address: report.state for report in self.call(self.dhcp.reports)}

    def _run(self) -> None:
        with inside(self._net.netns):  # the relay's sockets are of this thread
            self._loop.add_reader(self._wire.fileno(), self._read)
            self._loop.call_soon(self._advertise)
            self._loop.run_forever()
            self._loop.run_until_complete(self._finish())
            self._loop.close()

    async def _finish(self) -> None:
        await self.dns.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _advertise(self) -> None:
        if self.advertiser:
            self._wire.send(*self.advertiser.due())
            self._loop.call_later(TICK_S, self._advertise)

    def _read(self) -> None:
        while (frame := self._wire.receive(0)) is not None:
            if ethertype(frame) == ARP:
                self._answer_arp(frame)
            elif self.advertiser and ethertype(frame) == 0x86DD:
                self.advertiser.handle(frame)
            elif frame[36:38] == struct.pack("!H", 53):
                self.dns.handle(frame, PORT, self._wire.send)
            elif frame[36:38] == struct.pack("!H", 67):
                self._start(self._serve(frame))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, frame: bytes) -> None:
        self._wire.send(*await self.dhcp.handle(frame, PORT))

    async def _probe(self, address: IPv4Address) -> bool:
        return str(address) in self.used

    def _answer_arp(self, frame: bytes) -> None:
        mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
        if frame[20:22] == b"\0\1" and target == ADDRESS.ip.packed:
            ours = bytes.fromhex(self._wire.mac.replace(":", ""))
            head = mac + ours + frame[12:20] + b"\0\2"
            self._wire.send(head + ours + target + mac + sender)
