"""Run-time commands as pure functions: an old configuration in, a new one out, for `Switch.change` to bring about.

`vswitchctl bridge add`, `brctl addif` or `vconfig add` change nothing themselves. Each builds the configuration
that the administrator means, and the switch goes there by the one way it knows: the diff of two configurations. A
command that makes no sense is refused with ConfigError in plain words, before anything is touched. Every result has
passed `check.checked` and is in normal form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..l3 import networks
from . import text
from .check import bridge_problems, checked, port_problems, static_problems, vlan_text
from .errors import ConfigError, Problem
from .model import MODES, Bridge, Config, Network, Port, Route, StaticMac

replace = msgspec.structs.replace


def add_bridge(config: Config, name: str, ageing_s: int | None = None, mac_limit: int | None = None) -> Config:
    """A new bridge without ports; None takes the default."""
    settings = {"ageing_s": ageing_s, "mac_limit": mac_limit}
    bridge = Bridge(name=name, **{key: value for key, value in settings.items() if value is not None})
    _refuse(bridge_problems(bridge, f'bridge "{name}"'))
    _refuse_taken(config, name)
    return checked(replace(config, bridge=(*config.bridge, bridge)))


def del_bridge(config: Config, name: str, force: bool = False) -> Config:
    """Without the bridge and its static entries.

    A bridge with ports or networks is refused, as brctl refuses one that is up: a slip of the finger must not cut off
    guests. With `force` its ports stay, on no bridge, and its networks go.
    """
    _bridge(config, name)
    ports = config.ports_of(name)
    if ports and not force:
        names = ", ".join(port.name for port in ports)
        raise ConfigError([f"bridge {name} still has ports: {names}; remove or move them first"])
    gateways = [network.name for network in config.network if network.bridge == name]
    if gateways and not force:
        raise ConfigError([f"bridge {name} still has networks: {', '.join(gateways)}; remove them first"])
    return checked(
        replace(
            config,
            bridge=tuple(bridge for bridge in config.bridge if bridge.name != name),
            port=tuple(replace(port, bridge=None) if port.bridge == name else port for port in config.port),
            fdb=tuple(entry for entry in config.fdb if entry.bridge != name),
            network=tuple(network for network in config.network if network.bridge != name),
        )
    )


def set_ageing(config: Config, name: str, seconds: int) -> Config:
    """The bridge with another ageing time, whole seconds; 0 keeps learned MACs for ever."""
    return _with_bridge(config, replace(_bridge(config, name), ageing_s=seconds))


def add_port(config: Config, port: Port) -> Config:
    """A new port."""
    _refuse(port_problems(port, f'port "{port.name}"'))
    _refuse_taken(config, port.name)
    if port.bridge is not None:
        _bridge(config, port.bridge)
    return checked(replace(config, port=(*config.port, port)))


def del_port(config: Config, name: str) -> Config:
    """Without the port and its static entries."""
    _port(config, name)
    return checked(
        replace(
            config,
            port=tuple(port for port in config.port if port.name != name),
            fdb=tuple(entry for entry in config.fdb if entry.port != name),
        )
    )


def change_port(config: Config, name: str, /, **fields: Any) -> Config:
    """The port with other values for the model's fields. On another bridge its static entries are dropped."""
    old = _port(config, name)
    unknown = sorted(set(fields) - set(Port.__struct_fields__))
    if unknown or "name" in fields:
        raise ConfigError([f"port {name} has nothing called {', '.join(unknown or ['name'])} to change"])
    port = replace(old, **fields)
    _refuse(port_problems(port, f'port "{name}"'))
    if port.bridge is not None:
        _bridge(config, port.bridge)
    fdb = config.fdb if port.bridge == old.bridge else tuple(e for e in config.fdb if e.port != name)
    ports = tuple(port if other.name == name else other for other in config.port)
    return checked(replace(config, port=ports, fdb=fdb))


def move_port(config: Config, name: str, bridge: str | None) -> Config:
    """The port on another bridge, or with None on none: it stays open and drops what it receives."""
    return change_port(config, name, bridge=bridge)


def add_vlan(config: Config, port: str, vid: int) -> Config:
    """A trunk port with one VLAN more."""
    vids = _trunk(config, port)
    _vlan_id(port, vid)
    if vid in vids:
        raise ConfigError([f"port {port} carries VLAN {vid} already"])
    return change_port(config, port, trunk=text.vlan_list(vids | {vid}))


def remove_vlan(config: Config, port: str, vid: int) -> Config:
    """A trunk port with one VLAN less. The last one leaves an empty trunk, not a port where all VLANs pass."""
    vids = _trunk(config, port)
    _vlan_id(port, vid)
    if vid not in vids:
        raise ConfigError([f"port {port} does not carry VLAN {vid} tagged: {vlan_text(_port(config, port))}"])
    return change_port(config, port, trunk=text.vlan_list(vids - {vid}))


def add_static(config: Config, entry: StaticMac) -> Config:
    """A static entry more. The same MAC in the same VLAN of a bridge is replaced, as `bridge fdb replace` does."""
    _refuse(static_problems(entry, f'fdb "{entry.mac}"'))
    _bridge(config, entry.bridge)
    _port(config, entry.port)
    entry = replace(entry, mac=text.normal_mac(entry.mac))
    return checked(replace(config, fdb=(*_other_entries(config, entry.bridge, entry.mac, entry.vlan), entry)))


def remove_static(config: Config, bridge: str, mac: str, vlan: int = 0) -> Config:
    """One static entry less."""
    _bridge(config, bridge)
    try:
        mac = text.normal_mac(mac)
    except ValueError as error:
        raise ConfigError([f"{mac}: {error}"]) from None
    rest = _other_entries(config, bridge, mac, vlan)
    if len(rest) == len(config.fdb):
        raise ConfigError([f"bridge {bridge} has no static entry for {mac} in VLAN {vlan}"])
    return checked(replace(config, fdb=rest))


def add_network(config: Config, network: Network) -> Config:
    """A gateway on a bridge, or on one VLAN of it."""
    _refuse(networks.network_problems(network, f'network "{network.name}"', MODES))
    _bridge(config, network.bridge)
    if config.find_network(network.name) is not None:
        raise ConfigError([f"network {network.name} exists already"])
    return checked(replace(config, network=(*config.network, network)))


def change_network(config: Config, name: str, /, **fields: Any) -> Config:
    """The network with other values for the model's fields."""
    old = _network(config, name)
    unknown = sorted(set(fields) - set(Network.__struct_fields__) | set(fields) & {"bridge", "vlan"})
    if unknown:
        raise ConfigError([f"network {name} has nothing called {', '.join(unknown)} to change"])
    network = replace(old, **fields)
    _refuse(networks.network_problems(network, f'network "{name}"', MODES))
    return checked(replace(config, network=tuple(network if n is old else n for n in config.network)))


def del_network(config: Config, name: str) -> Config:
    """Without the network: its bridge is a bridge and nothing else. Refused while a static route leads through it."""
    gone = _network(config, name)
    return checked(replace(config, network=tuple(network for network in config.network if network is not gone)))


def add_route(config: Config, route: Route) -> Config:
    """A static route more; one to the same prefix is replaced, as `ip route replace` does."""
    _refuse(networks.route_problems(route, f'route "{route.to}"'))
    to = str(networks.prefix(route.to))
    rest = (other for other in config.route if (other.to, other.router) != (to, route.router))
    return checked(replace(config, route=(*rest, replace(route, to=to))))


def del_route(config: Config, to: str, router: str) -> Config:
    """A static route less."""
    try:
        prefix = str(networks.prefix(to))
    except ValueError as error:
        raise ConfigError([f"{to}: {error}"]) from None
    rest = tuple(route for route in config.route if (route.to, route.router) != (prefix, router))
    if len(rest) == len(config.route):
        raise ConfigError([f"router {router} has no static route to {prefix}"])
    return checked(replace(config, route=rest))


def _network(config: Config, name: str) -> Network:
    network = config.find_network(name)
    if network is None:
        known = ", ".join(network.name for network in config.network) or "none"
        raise ConfigError([f"there is no network {name} (there are: {known})"])
    return network


def _other_entries(config: Config, bridge: str, mac: str, vlan: int) -> tuple[StaticMac, ...]:
    return tuple(e for e in config.fdb if (e.bridge, e.mac, e.vlan) != (bridge, mac, vlan))


def _with_bridge(config: Config, bridge: Bridge) -> Config:
    _refuse(bridge_problems(bridge, f'bridge "{bridge.name}"'))
    return checked(replace(config, bridge=tuple(bridge if b.name == bridge.name else b for b in config.bridge)))


def _trunk(config: Config, name: str) -> frozenset[int]:
    port = _port(config, name)
    if port.trunk is None:
        carries = "every VLAN" if port.access is None else f"VLAN {port.access} untagged"
        raise ConfigError([f"port {name} is no trunk: it carries {carries}; give it trunk = [...] first"])
    return text.vlan_set(port.trunk)


def _vlan_id(port: str, vid: int) -> None:
    try:
        text.check_vlan(vid)
    except ValueError as error:
        raise ConfigError([f"port {port}: {vid}: {error}"]) from None


def _bridge(config: Config, name: str) -> Bridge:
    bridge = config.find_bridge(name)
    if bridge is None:
        raise ConfigError([f"there is no bridge {name}"])
    return bridge


def _port(config: Config, name: str) -> Port:
    port = config.find_port(name)
    if port is None:
        raise ConfigError([f"there is no port {name}"])
    return port


def _refuse_taken(config: Config, name: str) -> None:
    for word, taken in (("bridge", config.find_bridge(name)), ("port", config.find_port(name))):
        if taken is not None:
            raise ConfigError([f"{word} {name} exists already"])


def _refuse(found: Iterable[Problem]) -> None:
    lines = [problem.line() for problem in found]
    if lines:
        raise ConfigError(lines)
