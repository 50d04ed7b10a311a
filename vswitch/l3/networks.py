"""What routed networks, uplinks and routes must satisfy, in the words of `config/check.py`, and their one spelling.

An address keeps its host part ("10.0.0.1/24"): it is the switch's own there.
Networks of one router and its uplinks must not overlap; those of different routers may. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from ..config import text
from ..config.errors import Problem
from ..config.judge import between, readable
from .check import dhcp_problems, dns_problems, ra_problems

if TYPE_CHECKING:
    from ..config.model import Config, Network, Port, Route

Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network

MTU_MIN, MTU_MAX = 68, 65_521
ADDRESSES_MAX = 16
NAME_MAX = 15
TOO_LONG = "a device's name in rules has at most 15 bytes, bridge, dot and VLAN together"


def several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """A key that takes one string or a list of them."""
    return (value,) if isinstance(value, str) else value


def interface(words: str) -> Interface:
    """An address of the switch's own with its prefix length, one that a host can have."""
    try:
        if "/" not in words or "%" in words:
            raise ValueError
        found = ip_interface(words)
    except ValueError:
        raise ValueError('an address with its prefix length, like "10.0.0.1/24" or "fd00::1/64"') from None
    network = found.network
    ends = (network.network_address, network.broadcast_address) if network.version == 4 and network.prefixlen < 31 else ()
    if found.ip.is_multicast or found.ip.is_unspecified or found.ip.is_loopback or found.ip in ends:
        raise ValueError(f"an address that a host can have, not {found.ip} of {network}")
    return found


def prefix(words: str) -> Prefix:
    """A prefix with nothing behind its length; "default" is 0.0.0.0/0."""
    try:
        return ip_network("0.0.0.0/0" if words == "default" else words)
    except ValueError:
        raise ValueError('a prefix with nothing behind its length, like "192.168.0.0/16", or "default"') from None


def interfaces(value: str | tuple[str, ...]) -> tuple[Interface, ...]:
    """The addresses of a checked network or uplink."""
    return tuple(interface(words) for words in several(value))


def is_uplink(port: Port) -> bool:
    """Whether the switch is a router at this port."""
    return bool(several(port.address))


# Single tables


def network_problems(network: Network, path: str, modes: tuple[str, ...]) -> Iterator[Problem]:
    """Faults of one [[network]], which stands at `path`."""
    faults = list(_addresses(network.address, f"{path}.address"))
    yield from faults
    if not several(network.address):
        yield Problem(f"{path}.address", "missing, and needed: the gateway's own, like \"10.0.0.1/24\"")
    if network.vlan is not None:
        yield from readable(f"{path}.vlan", network.vlan, text.check_vlan)
    if network.mode not in modes:
        yield Problem(f"{path}.mode", ", ".join(modes[:-1]) + " or " + modes[-1], network.mode)
    if len(network.name.encode()) > NAME_MAX:
        yield Problem(f"{path}.vlan", TOO_LONG, network.vlan)
    if network.mac is not None:
        yield from readable(f"{path}.mac", network.mac, text.unicast_mac)
    yield from between(f"{path}.mtu", network.mtu, MTU_MIN, MTU_MAX)
    if network.uplink is not None and network.mode == "isolated":
        yield Problem(f"{path}.uplink", "an isolated network has no way out", network.uplink)
    yield from readable(f"{path}.router", network.router, router_name)
    if not faults:
        yield from _services(network, path)


def _services(network: Network, path: str) -> Iterator[Problem]:
    own = interfaces(network.address)
    if network.dhcp is not None:
        yield from dhcp_problems(network.dhcp, next((i for i in own if i.version == 4), None), f"{path}.dhcp")
    if network.dns is not None:
        yield from dns_problems(network.dns, f"{path}.dns")
    if network.ra is not None:
        yield from ra_problems(network.ra, f"{path}.ra")
        if not any(i.version == 6 for i in own):
            yield Problem(f"{path}.ra", "router advertisements need an IPv6 address on the network")


def uplink_problems(port: Port, path: str) -> Iterator[Problem]:
    """Faults of what makes a [[port]] an uplink."""
    faults = list(_addresses(port.address, f"{path}.address"))
    yield from faults
    if is_uplink(port) and port.bridge is not None:
        right = "an uplink is on no bridge; a bridge has its address in a [[network]]"
        yield Problem(f"{path}.address", right, port.address)
    for key in ("access", "trunk") if is_uplink(port) else ():
        if getattr(port, key) is not None:
            right = "an uplink takes untagged frames; a VLAN's gateway is a [[network]] on a bridge"
            yield Problem(f"{path}.{key}", right, getattr(port, key))
    if several(port.gateway) and not is_uplink(port):
        yield Problem(f"{path}.gateway", "only with an address: a gateway is reached from an address", port.gateway)
    yield from readable(f"{path}.router", port.router, router_name)
    if not faults and is_uplink(port):
        yield from _gateways(port, f"{path}.gateway")


def _gateways(port: Port, path: str) -> Iterator[Problem]:
    own, families = interfaces(port.address), set()
    for index, words in enumerate(several(port.gateway)):
        place = path if isinstance(port.gateway, str) else f"{path}[{index}]"
        faults = list(_gateway(words, own, place))
        yield from faults
        if not faults and ip_address(words).version in families:
            yield Problem(place, "one gateway a family", words)
        families.update(() if faults else {ip_address(words).version})


def _gateway(words: str, own: tuple[Interface, ...], path: str) -> Iterator[Problem]:
    faults = list(readable(path, words, ip_address))
    if faults:
        yield Problem(path, 'an address, like "203.0.113.1"', words)
    elif not _on_link(words, own):
        yield Problem(path, f"a neighbour there: within {', '.join(str(i.network) for i in own)}", words)


def _on_link(words: str, own: Iterable[Interface]) -> bool:
    address = ip_address(words)
    link_local = address.version == 6 and address.is_link_local and any(i.version == 6 for i in own)
    return link_local or any(address in i.network and address != i.ip for i in own)


def route_problems(route: Route, path: str) -> Iterator[Problem]:
    """Faults of one [[route]], which stands at `path`."""
    faults = [*readable(f"{path}.to", route.to, prefix), *_address(route.via, f"{path}.via")]
    yield from faults
    yield from readable(f"{path}.router", route.router, router_name)
    if not faults and prefix(route.to).version != ip_address(route.via).version:
        yield Problem(f"{path}.via", "of the same family as `to`", route.via)
    if not faults and ip_address(route.via).version == 6 and ip_address(route.via).is_link_local:
        yield Problem(f"{path}.via", "not a link-local address: every network has those", route.via)


def _address(words: str, path: str) -> Iterator[Problem]:
    if list(readable(path, words, ip_address)):
        yield Problem(path, 'an address, like "10.0.0.254" or "fd00::fe"', words)


def _addresses(value: str | tuple[str, ...], path: str) -> Iterator[Problem]:
    words = several(value)
    if len(words) > ADDRESSES_MAX:
        yield Problem(path, f"at most {ADDRESSES_MAX} addresses")
    for index, one in enumerate(words):
        yield from readable(path if isinstance(value, str) else f"{path}[{index}]", one, interface)


def router_name(name: str) -> str:
    """The name of a router: any word."""
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable() or any(char.isspace() for char in name):
        raise ValueError("a router's name is one word of at most 15 characters")
    return name


# Between tables


def between_problems(config: Config) -> Iterator[Problem]:
    """Networks without a bridge or of one place, uplinks that are none, addresses that overlap, routes to nowhere."""
    yield from _places(config)
    yield from _overlaps(config)
    yield from _ways(config)


def _places(config: Config) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, network in enumerate(config.network):
        path = f"network[{index}]"
        if config.find_bridge(network.bridge) is None:
            known = ", ".join(bridge.name for bridge in config.bridge) or "none"
            yield Problem(f"{path}.bridge", f"no such bridge; right: {known}", network.bridge)
        if seen.setdefault(network.name, index) != index:
            yield Problem(f"{path}.bridge", f"one network for {network.name}; network[{seen[network.name]}] is it", network.bridge)
        if config.find_port(network.name) is not None:
            yield Problem(f"{path}.vlan", f"a port has the name {network.name} already", network.vlan)
        if network.uplink is not None:
            yield from _uplink(config, network, path)


def _uplink(config: Config, network: Network, path: str) -> Iterator[Problem]:
    port = config.find_port(network.uplink)
    if port is None or not is_uplink(port):
        known = ", ".join(other.name for other in config.port if is_uplink(other)) or "none"
        yield Problem(f"{path}.uplink", f"no port with an address of its own; right: {known}", network.uplink)


def _overlaps(config: Config) -> Iterator[Problem]:
    taken: dict[str, list[tuple[Interface, str]]] = {}
    for path, router, value in _places_of_addresses(config):
        for own in _readable(value):
            for other, where in taken.setdefault(router, []):
                if own.version == other.version and own.network.overlaps(other.network) and not own.ip.is_link_local:
                    yield Problem(f"{path}.address", f"{where} has {other}; networks of one router do not overlap", str(own))
        taken.setdefault(router, []).extend((own, path) for own in _readable(value))


def _places_of_addresses(config: Config) -> Iterator[tuple[str, str, str | tuple[str, ...]]]:
    for index, port in enumerate(config.port):
        yield f"port[{index}]", port.router, port.address
    for index, network in enumerate(config.network):
        yield f"network[{index}]", network.router, network.address


def _readable(value: str | tuple[str, ...]) -> list[Interface]:
    found = []
    for words in several(value):
        try:
            found.append(interface(words))
        except ValueError:
            continue  # refused elsewhere
    return found


def _ways(config: Config) -> Iterator[Problem]:
    """A route's gateway is a neighbour of its router's."""
    for index, route in enumerate(config.route):
        path = f"route[{index}]"
        if list(route_problems(route, path)):
            continue
        own = [i for _, router, value in _places_of_addresses(config) if router == route.router for i in _readable(value)]
        if not _on_link(route.via, own):
            there = ", ".join(str(i.network) for i in own) or "none"
            yield Problem(f"{path}.via", f"no neighbour of router {route.router}; its networks: {there}", route.via)
