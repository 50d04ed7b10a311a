"""What a configuration must satisfy, said once for the file and for every run-time command.

`problems` looks at everything and gives every fault, in the file's order; `checked` raises them or gives the
configuration in its normal form: MACs in lower case, trunk lists sorted with the longest ranges, so that two
spellings of one thing are equal and `plan.diff` sees no change. Pure: it asks nothing of the machine; whether a
device exists is found when it is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from ..l3 import networks
from ..qos import section
from . import text
from .errors import ConfigError, Problem
from .judge import between as _between
from .judge import readable as _read
from .model import (
    KINDS,
    LOG_LEVELS,
    MAX_MACS,
    MODES,
    Bridge,
    Config,
    Conntrack,
    Metrics,
    Network,
    Port,
    Route,
    StaticMac,
    Storm,
    Switch,
    Timeouts,
)

LATER_KINDS = ("vxlan", "gre")
CONTROL_SOCKET = "control.sock"

_SUN_PATH_MAX = 107  # bytes of a unix socket's path, less its NUL
_MTU_MIN, _MTU_MAX = 68, 65_521  # IPv4's least; a tap's most (65,535 less the Ethernet header)
_NETNS = re.compile(r"/[^\0]+|[^/\0]+")
_RATE_MAX = 1_000_000_000
_AGEING_MAX = 1_000_000
_QUEUES_MAX = 16
_TIMEOUT_MAX = 100_000_000
CONNECTIONS_MIN, CONNECTIONS_MAX = 1024, 16_777_216


def checked(config: Config, source: str = "") -> Config:
    """The configuration in normal form. Raises ConfigError with a line for every fault."""
    found = problems(config)
    if found:
        raise ConfigError(problem.line(source) for problem in found)
    return normal(config)


def normal(config: Config) -> Config:
    """A faultless configuration in its one spelling."""
    return msgspec.structs.replace(
        config,
        port=tuple(_normal_port(port) for port in config.port),
        fdb=tuple(msgspec.structs.replace(entry, mac=text.normal_mac(entry.mac)) for entry in config.fdb),
        network=tuple(_normal_network(network) for network in config.network),
        route=tuple(_normal_route(route) for route in config.route),
    )


def _normal_network(network: Network) -> Network:
    mac = None if network.mac is None else text.normal_mac(network.mac)
    return msgspec.structs.replace(network, mac=mac, address=_one_or_more(networks.several(network.address)))


def _normal_route(route: Route) -> Route:
    return msgspec.structs.replace(route, to=str(networks.prefix(route.to)))


def _one_or_more(values: tuple[str, ...]) -> str | tuple[str, ...]:
    """A list of one is that one: so it is written most often."""
    return values[0] if len(values) == 1 else values


def _normal_port(port: Port) -> Port:
    mac = None if port.mac is None else text.normal_mac(port.mac)
    trunk = None if port.trunk is None else text.vlan_list(text.vlan_set(port.trunk))
    storm = None if port.storm == Storm() else port.storm
    address, gateway = map(_one_or_more, map(networks.several, (port.address, port.gateway)))
    return msgspec.structs.replace(
        port, mac=mac, trunk=trunk, storm=storm, address=address, gateway=gateway, limit=section.plain(port.limit)
    )


def problems(config: Config) -> list[Problem]:
    """Every fault, in the file's order: those of single tables first, then those between tables."""
    return [*_settings(config), *_tables(config), *between_problems(config)]


def _settings(config: Config) -> Iterator[Problem]:
    yield from switch_problems(config.switch)
    yield from metrics_problems(config.metrics)
    yield from conntrack_problems(config.conntrack)


def _tables(config: Config) -> Iterator[Problem]:
    for index, bridge in enumerate(config.bridge):
        yield from bridge_problems(bridge, place("bridge", index, bridge.name))
    for index, port in enumerate(config.port):
        yield from port_problems(port, place("port", index, port.name))
    for index, entry in enumerate(config.fdb):
        yield from static_problems(entry, place("fdb", index))
    for index, network in enumerate(config.network):
        yield from networks.network_problems(network, place("network", index), MODES)
    for index, route in enumerate(config.route):
        yield from networks.route_problems(route, place("route", index))


def place(table: str, index: int, name: object = None) -> str:
    """Where a table stands: `port[1] ("tapB")`."""
    return f'{table}[{index}] ("{name}")' if isinstance(name, str) and name else f"{table}[{index}]"


# Single tables


def switch_problems(switch: Switch) -> Iterator[Problem]:
    """Faults of [switch]."""
    path = switch.run_dir
    socket = f"{path}/{CONTROL_SOCKET}".encode()
    if not path.startswith("/") or "\0" in path:
        yield Problem("switch.run_dir", "an absolute path", path)
    elif len(socket) > _SUN_PATH_MAX:
        longest = _SUN_PATH_MAX - len(CONTROL_SOCKET) - 1
        yield Problem("switch.run_dir", f"at most {longest} bytes, for the control socket's sake", path)
    yield from _between("switch.workers", switch.workers, 1, 16)
    yield from _between("switch.busy_poll_us", switch.busy_poll_us, 0, 1_000_000)
    yield from _between("switch.queue_memory_mb", switch.queue_memory_mb, 16, 4096, "MiB")
    if not switch.state_dir.startswith("/") or "\0" in switch.state_dir:
        yield Problem("switch.state_dir", "an absolute path", switch.state_dir)
    if switch.log_level not in LOG_LEVELS:
        yield Problem("switch.log_level", one_of(LOG_LEVELS), switch.log_level)


def metrics_problems(metrics: Metrics) -> Iterator[Problem]:
    """Faults of [metrics]."""
    if metrics.listen:
        yield from _read("metrics.listen", metrics.listen, text.split_listen)


def conntrack_problems(conntrack: Conntrack) -> Iterator[Problem]:
    """Faults of [conntrack]."""
    yield from _between("conntrack.max", conntrack.max, CONNECTIONS_MIN, CONNECTIONS_MAX, "connections")
    yield from _between("conntrack.per_port", conntrack.per_port, 0, conntrack.max, "connections; 0: half of the table")
    for name in Timeouts.__struct_fields__ if conntrack.timeouts else ():
        yield from _between(f"conntrack.timeouts.{name}", getattr(conntrack.timeouts, name), 1, _TIMEOUT_MAX, "seconds")


def bridge_problems(bridge: Bridge, path: str) -> Iterator[Problem]:
    """Faults of one [[bridge]], which stands at `path`."""
    yield from _read(f"{path}.name", bridge.name, text.check_name)
    yield from _between(f"{path}.ageing_s", bridge.ageing_s, 0, _AGEING_MAX)
    yield from _between(f"{path}.mac_limit", bridge.mac_limit, 1, MAX_MACS)


def port_problems(port: Port, path: str) -> Iterator[Problem]:
    """Faults of one [[port]], which stands at `path`."""
    yield from _read(f"{path}.name", port.name, text.check_name)
    if port.kind not in KINDS:
        yield kind_problem(path, port.kind)
    else:
        yield from _kind_keys(port, path)
    yield from _vlans(port, path)
    yield from _limits(port, path)
    yield from networks.uplink_problems(port, path)
    yield from section.problems(port, path)


def kind_problem(path: str, kind: object) -> Problem:
    """The fault of a port whose kind is none of today's."""
    right = "not supported yet; right: " if kind in LATER_KINDS else ""
    return Problem(f"{path}.kind", right + one_of(KINDS), kind)


def _kind_keys(port: Port, path: str) -> Iterator[Problem]:
    """Keys that only some kinds have."""
    if port.netns is not None:
        if port.kind != "tap":
            yield Problem(f"{path}.netns", "only a tap is moved into a namespace", port.netns)
        elif not _NETNS.fullmatch(port.netns) or port.netns in (".", ".."):
            right = "a namespace's name, as `ip netns` lists it, or an absolute path"
            yield Problem(f"{path}.netns", right, port.netns)
    if port.kind == "memory" and port.mac is not None:
        yield Problem(f"{path}.mac", "a memory port is no device and has no MAC", port.mac)
    if port.create and port.kind != "netdev":
        right = "only a netdev is created for QEMU to open; a tap is the daemon's own anyway"
        yield Problem(f"{path}.create", right, True)
    made = port.create and port.kind == "netdev"
    for key in ("owner", "group", "queues"):
        if getattr(port, key) is not None and not made:
            right = "only with kind = \"netdev\" and create = true"
            yield Problem(f"{path}.{key}", right, getattr(port, key))


def _vlans(port: Port, path: str) -> Iterator[Problem]:
    if port.access is not None and port.trunk is not None:
        yield Problem(f"{path}.access", "access or trunk, not both", port.access)
    if port.native is not None and port.trunk is None:
        yield Problem(f"{path}.native", "native goes with trunk; access alone makes an untagged port", port.native)
    for key in ("access", "native"):
        if getattr(port, key) is not None:
            yield from _read(f"{path}.{key}", getattr(port, key), text.check_vlan)
    for index, item in enumerate(port.trunk or ()):
        yield from _read(f"{path}.trunk[{index}]", item, lambda item: text.vlan_set((item,)))


def _limits(port: Port, path: str) -> Iterator[Problem]:
    if port.mac is not None:
        yield from _read(f"{path}.mac", port.mac, text.unicast_mac)
    yield from _between(f"{path}.mtu", port.mtu, _MTU_MIN, _MTU_MAX)
    yield from _between(f"{path}.mac_limit", port.mac_limit, 1, MAX_MACS)
    yield from _between(f"{path}.queues", port.queues, 1, _QUEUES_MAX)
    for key in ("owner", "group"):
        if getattr(port, key) == "":
            yield Problem(f"{path}.{key}", "a name or a number of /etc/passwd or /etc/group", "")
    for key in Storm.__struct_fields__ if port.storm else ():
        yield from _between(f"{path}.storm.{key}", getattr(port.storm, key), 1, _RATE_MAX, "frames a second")


def static_problems(entry: StaticMac, path: str) -> Iterator[Problem]:
    """Faults of one [[fdb]], which stands at `path`."""
    yield from _read(f"{path}.mac", entry.mac, text.unicast_mac)
    if entry.vlan:
        yield from _read(f"{path}.vlan", entry.vlan, text.check_vlan)


# Between tables


def between_problems(config: Config) -> Iterator[Problem]:
    """Faults that no table has alone: names used twice, names of what is not there."""
    yield from _names(config)
    yield from _bridges_of_ports(config)
    yield from _static_entries(config)
    yield from networks.between_problems(config)


def _names(config: Config) -> Iterator[Problem]:
    """Bridges and ports share one space of names, as the kernel's bridges and devices do."""
    seen: dict[str, str] = {}
    for table, entries in (("bridge", config.bridge), ("port", config.port)):
        for index, entry in enumerate(entries):
            first = seen.setdefault(entry.name, f"{table}[{index}]")
            if first != f"{table}[{index}]":
                yield Problem(f"{table}[{index}].name", f"a name is used once; {first} has it already", entry.name)


def _bridges_of_ports(config: Config) -> Iterator[Problem]:
    for index, port in enumerate(config.port):
        if port.bridge is not None and config.find_bridge(port.bridge) is None:
            yield Problem(f"{place('port', index, port.name)}.bridge", _a_bridge(config), port.bridge)


def _static_entries(config: Config) -> Iterator[Problem]:
    seen: set[tuple[str, str, int]] = set()
    for index, entry in enumerate(config.fdb):
        path = place("fdb", index)
        if config.find_bridge(entry.bridge) is None:
            yield Problem(f"{path}.bridge", _a_bridge(config), entry.bridge)
        else:
            yield from _static_port(config, entry, path)
        key = (entry.bridge, _one_spelling(entry.mac), entry.vlan)
        if key in seen:
            yield Problem(f"{path}.mac", "one entry for a MAC in a VLAN of a bridge", entry.mac)
        seen.add(key)


def _one_spelling(mac: str) -> str:
    try:
        return text.normal_mac(mac)
    except ValueError:
        return mac  # refused elsewhere


def _static_port(config: Config, entry: StaticMac, path: str) -> Iterator[Problem]:
    port = config.find_port(entry.port)
    if port is None or port.bridge != entry.bridge:
        right = f"no port on {entry.bridge}; right: {_listed(other.name for other in config.ports_of(entry.bridge))}"
        yield Problem(f"{path}.port", right, entry.port)
    elif not any(_vlans(port, "")) and not carries(port, entry.vlan):  # one line for a faulty port is enough
        yield Problem(f"{path}.vlan", f"port {port.name} does not carry it; right: {vlan_text(port)}", entry.vlan)


def carries(port: Port, vlan: int) -> bool:
    """Whether frames of that VLAN (0: untagged ones of a port without VLANs) go in and out there."""
    if port.access is not None:
        return vlan == port.access
    return port.trunk is None or vlan == port.native or vlan in text.vlan_set(port.trunk)


def vlan_text(port: Port) -> str:
    """A port's VLANs in words: `access 10`, `trunk 10,20 native 1` or `all`."""
    if port.access is not None:
        return f"access {port.access}"
    if port.trunk is None:
        return "all"
    trunk = "trunk " + (",".join(map(str, port.trunk)) or "none")
    return trunk if port.native is None else f"{trunk} native {port.native}"


# Wording


def one_of(words: tuple[str, ...]) -> str:
    """`a, b or c`."""
    return ", ".join(words[:-1]) + " or " + words[-1]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _a_bridge(config: Config) -> str:
    return f"no such bridge; right: {_listed(bridge.name for bridge in config.bridge)}"
