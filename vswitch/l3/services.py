"""The services of all networks, between the switch's own port and the servers: who gets which packet, and where answers go.

A worker hands over what is for a service (io/own.pxd); `receive` gives it to the network's DHCP server, resolver or router
advertiser. DHCP and router advertisements answer with frames, since their clients have no address yet; DNS answers with
packets, which pass the hooks and connection tracking as any host's would. `follow` takes over a configuration: a network
whose settings stay as they are keeps its servers, and leases outlive even a change of them, by their file. Guests are
told of a way out, or of a resolver, only where there is one.

Everything runs on the daemon's event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace as changed

from ..config.model import Config, Network
from ..observe.router import ServiceReport
from ..own import Own, Punt
from ..views import DeviceView, NetworkMode
from .dhcp.server import DhcpServer, Subnet
from .dhcp.store import LeaseFile
from .dns.names import Names
from .dns.server import DnsServer
from .ra import Router, RouterAdvertiser
from .report import LeaseReport
from .settings import Dhcp, Ra
from .told import service_report

log = logging.getLogger(__name__)

PROBE_S, PROBE_STEP_S = 0.5, 0.02
_ETHERTYPE_IPV6 = b"\x86\xdd"
_UDP, _DHCP, _DNS = 17, 67, 53
_DATA_VALID_OR_PARTIAL = 3


class Plane(Protocol):
    """What services need of the data plane."""

    def send_own(self, kind: Own, frame: bytes, device: int) -> bool: ...

    def probe(self, device: int, address: IPv4Address) -> None:
        """Forget whether the address is somebody's, and ask the network."""

    def is_neighbour(self, device: int, address: IPv4Address) -> bool:
        """Whether somebody on the device has answered for the address."""


@dataclass
class Served:
    """The servers of one network, and what they were made from."""

    network: Network
    view: DeviceView
    leases: LeaseFile | None
    dhcp: DhcpServer | None
    dns: DnsServer | None
    ra: RouterAdvertiser | None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def still(self, network: Network, view: DeviceView) -> bool:
        """Whether the servers would come out the same: rules and routes around them are none of their business."""
        aside = {"hooks": False, "zone": 0, "router": 0, "uplink": None}
        return network == self.network and replace(view, **aside) == replace(self.view, **aside)

    async def end(self) -> None:
        """Give up what is under way, so that no answer of the past goes into the file of leases."""
        for task in self.tasks:
            task.cancel()
        if self.leases:
            self.leases.close()
        if self.dns:
            await self.dns.close()


class Services:
    """DHCP, DNS and router advertisements of every network that has them.

    `port_name` tells a port's name by its id, `port_exists` whether the switch has a port of that name: the lease of a
    guest whose port is gone may follow it to another.
    """

    def __init__(
        self, plane: Plane, port_name: Callable[[int], str], port_exists: Callable[[str], bool] = lambda port: True
    ) -> None:
        self._plane = plane
        self._port_name = port_name
        self._port_exists = port_exists
        self._served: dict[int, Served] = {}

    async def follow(self, config: Config, views: Iterable[DeviceView]) -> None:
        """Serve the networks of this configuration from now on."""
        by_name = {view.name: view for view in views}
        wanted = {by_name[n.name].id: (n, by_name[n.name]) for n in config.network if n.name in by_name}
        for device, served in list(self._served.items()):
            if device in wanted and served.still(*wanted[device]):
                continue
            del self._served[device]
            if served.ra and device in wanted and wanted[device][0].ra is None:
                self._send(served, Own.FRAME, served.ra.farewell())
            await served.end()
        for device, (network, view) in wanted.items():
            if device not in self._served and view.services:
                self._served[device] = self._serve(network, view, Path(config.switch.state_dir))

    def _serve(self, network: Network, view: DeviceView, state_dir: Path) -> Served:
        leases = LeaseFile(state_dir / f"leases-{network.name}.jsonl") if network.dhcp else None
        dhcp = self._dhcp(network, view, leases) if leases else None
        return Served(network, view, leases, dhcp, _dns(network, view, dhcp), _ra(network, view))

    def _dhcp(self, network: Network, view: DeviceView, leases: LeaseFile) -> DhcpServer:
        own = next(address for address in view.addresses if isinstance(address, IPv4Interface))
        subnet = Subnet(own, view.mac, view.mtu, gateway=view.mode is not NetworkMode.ISOLATED)
        return DhcpServer(
            _with_resolver(network.dhcp, network),
            subnet,
            leases,
            probe=lambda address: self._in_use(view.id, address),
            attached=self._port_exists,
        )

    async def _in_use(self, device: int, address: IPv4Address) -> bool:
        """Ask the network for a while whether somebody has the address (RFC 2131, 4.4.1)."""
        self._plane.probe(device, address)
        deadline = asyncio.get_running_loop().time() + PROBE_S
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(PROBE_STEP_S)
            if self._plane.is_neighbour(device, address):
                return True
        return False

    async def stop(self) -> None:
        """Take leave of the networks' hosts and give up what is under way."""
        for served in self._served.values():
            if served.ra:
                self._send(served, Own.FRAME, served.ra.farewell())
            await served.end()
        self._served.clear()

    # Packets

    def receive(self, punt: Punt) -> None:
        """A packet for a service, from a worker. What no server wants is ignored: the network has changed meanwhile."""
        served = self._served.get(punt.device)
        if served is None or len(punt.frame) < 42:
            return
        checked = bool(punt.vnet[0] & _DATA_VALID_OR_PARTIAL)
        port = self._port_name(punt.port)
        if _is_router_solicitation(punt.frame):
            if served.ra:
                served.ra.handle(punt.frame, checked)
        elif _udp_port(punt.frame) == _DHCP:
            if served.dhcp:
                self._start(served, self._answer(served, punt.frame, port, checked))
        elif served.dns:
            served.dns.handle(punt.frame, port, lambda frame: self._send(served, Own.PACKET, [frame]), served.view.mtu, checked)

    async def _answer(self, served: Served, frame: bytes, port: str, checked: bool) -> None:
        self._send(served, Own.FRAME, await served.dhcp.handle(frame, port, checked))

    @staticmethod
    def _start(served: Served, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        served.tasks.add(task)
        task.add_done_callback(served.tasks.discard)
        task.add_done_callback(_done)

    def tick(self) -> None:
        """Once a second: advertisements that are due."""
        for served in self._served.values():
            if served.ra:
                self._send(served, Own.FRAME, served.ra.due())

    def _send(self, served: Served, kind: Own, frames: Iterable[bytes]) -> None:
        for frame in frames:
            if not self._plane.send_own(kind, frame, served.view.id):
                log.warning("network %s: an answer is lost: the workers take no more", served.network.name)

    # Reports

    def leases(self) -> list[tuple[str, LeaseReport]]:
        """Every lease, with its network's name."""
        return [(s.network.name, lease) for s in self._served.values() if s.dhcp for lease in s.dhcp.reports()]

    def reports(self) -> list[ServiceReport]:
        """What every network's servers have done so far."""
        return [service_report(s.network.name, s.dhcp, s.dns, s.ra) for s in self._served.values()]


def _done(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a service failed", exc_info=error)


Telling = TypeVar("Telling", Dhcp, Ra)


def _with_resolver(settings: Telling, network: Network) -> Telling:
    """What guests are told of the network's own resolver, if there is one."""
    return changed(settings, dns=()) if settings.dns is None and network.dns is None else settings


def _dns(network: Network, view: DeviceView, dhcp: DhcpServer | None) -> DnsServer | None:
    if network.dns is None:
        return None
    domain = network.dhcp.domain if network.dhcp else ""
    networks = [address.network for address in view.addresses]
    return DnsServer(network.dns, Names(network.dns, domain, networks, [dhcp.leases] if dhcp else []))


def _ra(network: Network, view: DeviceView) -> RouterAdvertiser | None:
    own = [address for address in view.addresses if isinstance(address, IPv6Interface)]
    if network.ra is None or not own:
        return None
    link_local: IPv6Address = next(address.ip for address in own if address.is_link_local)
    settings = _with_resolver(network.ra, network)
    if view.mode is NetworkMode.ISOLATED:
        settings = changed(settings, lifetime_s=0)
    addresses = tuple(address for address in own if not address.is_link_local)
    return RouterAdvertiser(settings, Router(view.mac, link_local, addresses, view.mtu))


def _is_router_solicitation(frame: bytes) -> bool:
    return frame[12:14] == _ETHERTYPE_IPV6 and frame[20] == 58


def _udp_port(frame: bytes) -> int:
    """The destination port of an IPv4 or IPv6 UDP packet without extension headers; 0: it is none."""
    at = 54 if frame[12:14] == _ETHERTYPE_IPV6 else 14 + (frame[14] & 15) * 4
    proto = frame[20] if at == 54 else frame[23]
    return int.from_bytes(frame[at + 2 : at + 4], "big") if proto == _UDP else 0
