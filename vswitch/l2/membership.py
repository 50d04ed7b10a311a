"""What brctl's words mean to this switch: joining and leaving a bridge, as pure edits of the configuration.

The kernel's bridge takes devices that exist and lets them go again; a port here is a thing of its own, with settings
and sometimes with a device that only the switch keeps alive. So that the words keep their meaning:

- `join`: a port without a bridge joins; a name that is no port is taken for a device of the host and becomes a
  netdev port; a port that is on a bridge already is refused, as the kernel refuses it.
- `leave`: the device outlives it, as it does with the kernel. A netdev of the host goes back to the host, so its port
  ends; a tap or memory port, and a persistent tap that the switch made, would vanish with the port, so it stays, on
  no bridge.
- `dissolve`: a bridge goes, and each of its ports leaves it first.

ConfigError with plain words where that cannot be.
"""

from __future__ import annotations

from ..config import edit
from ..config.errors import ConfigError
from ..config.model import Config, Port


def join(config: Config, bridge: str, name: str) -> Config:
    """The port, or the device of that name, on the bridge."""
    port = config.find_port(name)
    if port is None:
        return edit.add_port(config, Port(name=name, kind="netdev", bridge=bridge))
    if port.bridge is not None:
        raise ConfigError([f"port {name} is already a member of bridge {port.bridge}; take it off there first"])
    return edit.move_port(config, name, bridge)


def leave(config: Config, bridge: str, name: str) -> Config:
    """The port off the bridge, its device still there."""
    port = config.find_port(name)
    if port is None or port.bridge != bridge:
        raise ConfigError([f"port {name} is not on bridge {bridge}"])
    if port.kind == "netdev" and not port.create:
        return edit.del_port(config, name)
    return edit.move_port(config, name, None)


def dissolve(config: Config, bridge: str) -> Config:
    """Without the bridge; its ports leave it one by one."""
    for port in config.ports_of(bridge):
        config = leave(config, bridge, port.name)
    return edit.del_bridge(config, bridge)
