"""From networks, uplinks and routes to what the workers are told: devices of layer 3, and a table of routes for each router.

Every name that a rule can call is a device: a bridge (all its VLANs that have no device of their own), a network, an uplink
port. Ids come from the data plane's registry, so that neighbours and connections outlive a change around them.

Zones of connection tracking: a router is a zone, by its number, for all its networks and uplinks; each VLAN of a bridge
without a network is one of its own, from BRIDGE_ZONES on. There are blocks for BLOCKS bridges; further ones share.

The switch's own MAC on a network is made of the machine's identity and the network's name, so that it survives a restart
and no two hosts of one segment have the same. Pure but for that identity.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from ipaddress import IPv6Address, IPv6Interface, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..views import DeviceKind, DeviceView, Interface, NetworkMode, RouteView, Service
from .networks import Prefix, interfaces, is_uplink, prefix, several

if TYPE_CHECKING:
    from ..config.model import Config, Network, Port

BRIDGE_ZONES, BLOCKS, BLOCK = 0x8000, 8, 4096
DEFAULT_MTU = 1500
MODES = {"routed": NetworkMode.ROUTED, "isolated": NetworkMode.ISOLATED, "nat": NetworkMode.NAT}


class Ids(Protocol):
    """A registry of the data plane."""

    def allocate(self, name: str) -> int: ...
    def get(self, name: str) -> int | None: ...


class Registries(Protocol):
    """The data plane's, by what they number."""

    bridge_ids: Ids
    port_ids: Ids
    device_ids: Ids
    router_ids: Ids


class Attached(Protocol):
    """What is asked of a port's device."""

    mtu: int
    mac: str | None


class Builder:
    """Devices and routes of one configuration. `attached` are the open devices by port name."""

    def __init__(self, config: Config, ids: Registries, attached: Mapping[str, Attached]) -> None:
        self._config = config
        self._bridges, self._ports, self._devices = ids.bridge_ids, ids.port_ids, ids.device_ids
        self._attached = attached
        self.routers = {name: ids.router_ids.allocate(name) for name in _routers(config)}

    def devices(self, hooked: bool, named: Iterable[str] = ()) -> Iterator[DeviceView]:
        """All devices; `hooked`: there are rules, which bridged frames are to pass, and which speak of `named` interfaces."""
        networks = {network.name for network in self._config.network}
        for bridge in self._config.bridge:
            if not (bridge.hooks and hooked):
                continue
            if bridge.name not in networks:
                yield self._name_only(bridge.name, 0)
            for vlan in sorted(set(_vlans_named(bridge.name, named))):
                if f"{bridge.name}.{vlan}" not in networks:
                    yield self._name_only(bridge.name, vlan)
        for network in self._config.network:
            yield self._network(network, hooked)
        for port in self._config.port:
            if is_uplink(port):
                yield self._uplink(port)

    def _name_only(self, bridge: str, vlan: int) -> DeviceView:
        number, name = self._bridges.get(bridge), f"{bridge}.{vlan}" if vlan else bridge
        zone = BRIDGE_ZONES + number % BLOCKS * BLOCK  # to which the fast path adds the VLAN
        return DeviceView(self._devices.allocate(name), name, DeviceKind.NAME, number, vlan, hooks=True, zone=zone)

    def _network(self, network: Network, hooked: bool) -> DeviceView:
        bridge = self._config.find_bridge(network.bridge)
        router = self.routers[network.router]
        mac = network.mac or own_mac(network.name)
        return DeviceView(
            id=self._devices.allocate(network.name),
            name=network.name,
            kind=DeviceKind.NETWORK,
            bridge=self._bridges.get(network.bridge),
            vid=network.vlan or 0,
            mode=MODES[network.mode],
            services=services(network),
            hooks=hooked and bridge.hooks,
            zone=router,
            router=router,
            uplink=None if network.uplink is None else self._devices.allocate(network.uplink),
            mtu=network.mtu or self._mtu(network),
            mac=mac,
            addresses=with_link_local(interfaces(network.address), mac),
        )

    def _mtu(self, network: Network) -> int:
        """The least of the ports that a frame of the network may leave by."""
        ports = [port.name for port in self._config.ports_of(network.bridge)]
        return min((self._attached[name].mtu for name in ports if name in self._attached), default=DEFAULT_MTU)

    def _uplink(self, port: Port) -> DeviceView:
        """A netdev's own MAC is the switch's there; behind a tap the host has the device's, and the switch another."""
        device = self._attached.get(port.name)
        mac = (port.mac or (device.mac if device else None)) if port.kind == "netdev" else None
        mac = mac or own_mac(port.name)
        return DeviceView(
            id=self._devices.allocate(port.name),
            name=port.name,
            kind=DeviceKind.UPLINK,
            port=self._ports.get(port.name),
            zone=self.routers[port.router],
            router=self.routers[port.router],
            mtu=device.mtu if device else port.mtu or DEFAULT_MTU,
            mac=mac,
            addresses=with_link_local(interfaces(port.address), mac),
        )

    def routes(self) -> tuple[tuple[RouteView, ...], ...]:
        """The routes of each router, by its number: its own networks, its uplinks' gateways, and what [[route]] adds.

        A network whose uplink is another router's knows the way out by it, and nothing else of that router. Where the
        uplink's own network is one of the network's router too, that one is meant.
        """
        tables: list[list[RouteView]] = [[] for _ in range(1 + max(self.routers.values()))]
        for router, name, own, gateways in self._places():
            device = self._devices.allocate(name)
            tables[router] += _on_link(own, device)
            tables[router] += [RouteView(_everywhere(gateway), device, gateway) for gateway in gateways]
        for router, port in self._shared_uplinks():
            device, inside = self._devices.allocate(port.name), self._prefixes(router)
            beyond = tuple(i for i in interfaces(port.address) if not _overlap(i.network, inside))
            tables[router] += _on_link(beyond, device)
            tables[router] += [RouteView(_everywhere(gateway), device, gateway) for gateway in several(port.gateway)]
        for route in self._config.route:
            router = self.routers[route.router]
            device = self._device_towards(router, route.via)
            if device is not None:
                tables[router].append(RouteView(str(prefix(route.to)), device, route.via))
        return tuple(map(tuple, tables))

    def _places(self) -> Iterator[tuple[int, str, tuple[Interface, ...], tuple[str, ...]]]:
        for network in self._config.network:
            yield self.routers[network.router], network.name, interfaces(network.address), ()
        for port in self._config.port:
            if is_uplink(port):
                yield self.routers[port.router], port.name, interfaces(port.address), several(port.gateway)

    def _shared_uplinks(self) -> Iterator[tuple[int, Port]]:
        """Uplinks by which the networks of other routers go out, once for each of those."""
        named = dict.fromkeys((n.router, n.uplink) for n in self._config.network if n.uplink is not None)
        for router, name in named:
            port = self._config.find_port(name)
            if port.router != router:
                yield self.routers[router], port

    def _prefixes(self, router: int) -> list[Prefix]:
        """What a router has networks and uplinks of its own for."""
        return [interface.network for at, _, own, _ in self._places() if at == router for interface in own]

    def _device_towards(self, router: int, via: str) -> int | None:
        address = ip_address(via)
        for at, name, own, _ in self._places():
            if at == router and any(address in interface.network for interface in own):
                return self._devices.allocate(name)
        return None


def _vlans_named(bridge: str, names: Iterable[str]) -> Iterator[int]:
    """The VLANs of a bridge that names like "br0.10" speak of."""
    for name in names:
        stem, dot, vlan = name.rpartition(".")
        if dot and stem == bridge and vlan.isdecimal() and 0 < int(vlan) < 4095:
            yield int(vlan)


def _routers(config: Config) -> list[str]:
    """The routers that anything belongs to; "main" is the first, and always there."""
    names = ["main", *(n.router for n in config.network), *(p.router for p in config.port if is_uplink(p))]
    return list(dict.fromkeys([*names, *(route.router for route in config.route)]))


def _on_link(own: tuple[Interface, ...], device: int) -> list[RouteView]:
    """The networks of a device, and its own addresses: looked up there, a packet to one of them is found local."""
    networks = [RouteView(str(interface.network), device) for interface in own]
    return networks + [RouteView(f"{interface.ip}/{interface.max_prefixlen}", device) for interface in own]


def _overlap(one: Prefix, others: list[Prefix]) -> bool:
    return any(one.version == other.version and one.overlaps(other) for other in others)


def _everywhere(gateway: str) -> str:
    return "0.0.0.0/0" if ip_address(gateway).version == 4 else "::/0"


def services(network: Network) -> Service:
    """What the control side is to see of a network's packets."""
    found = Service(0)
    for service, settings in ((Service.DHCP, network.dhcp), (Service.DNS, network.dns), (Service.RA, network.ra)):
        if settings is not None:
            found |= service
    return found


def with_link_local(own: tuple[Interface, ...], mac: str) -> tuple[Interface, ...]:
    """The addresses, and where there is an IPv6 one, the link-local one that goes with the MAC (RFC 4291, appendix A)."""
    if not any(interface.version == 6 for interface in own):
        return own
    raw = bytes.fromhex(mac.replace(":", ""))
    tail = bytes((raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]))
    link_local = IPv6Interface((IPv6Address(b"\xfe\x80" + bytes(6) + tail), 64))
    return own if link_local in own else (*own, link_local)


def own_mac(name: str) -> str:
    """The switch's MAC on a device: locally administered, the same after every start."""
    digest = hashlib.blake2b(name.encode(), key=machine_id(), digest_size=5).digest()
    return bytes((0x02, *digest)).hex(":")


@cache
def machine_id() -> bytes:
    """What tells this machine from others (machine-id(5)), or its first NIC's address."""
    try:
        return Path("/etc/machine-id").read_bytes().strip()[:32] or uuid.getnode().to_bytes(6, "big")
    except OSError:
        return uuid.getnode().to_bytes(6, "big")
