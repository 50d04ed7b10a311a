"""What each route does: read a report, or name the edit of the configuration that the request means.

No handler changes the switch itself. Those that change anything hand `Call.change` a pure function from one
configuration to the next; the diff, the doing and the rolling back are `Switch.change`'s. The one exception is
forgetting learned MACs, which are no configuration.
"""

from __future__ import annotations

import shlex

from ..config import edit, load, save
from ..config.errors import NO_VALUE, ConfigError, Problem
from ..config.model import Config, Network
from ..config.rulefile import KEYS
from ..config.text import normal_mac
from ..l2 import membership
from ..observe.report import (
    Events,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    PortStats,
    RouteReport,
    SwitchReport,
    Words,
)
from .control import Call, Rules
from .errors import Refused
from .schema import Apply, Changes, ConfigText, Flushed, given


async def show(call: Call) -> SwitchReport:
    return call.switch.show()


async def stats(call: Call) -> list[PortStats]:
    return call.switch.stats()


async def get_config(call: Call) -> ConfigText:
    return ConfigText(save.dumps(call.switch.saved()))


async def apply(call: Call) -> Changes:
    body = call.body
    wanted = load.parse(body.text, body.source)
    return await call.change(lambda _: wanted, body.source, body.dry_run, _rules(wanted, body), body.rejudge)


def _rules(wanted: Config, body: Apply) -> Rules:
    """The texts of the files that [firewall] names, no more and no less: who sends a configuration sends them along."""
    texts = body.rules, body.rules6
    for key, text in zip(KEYS, texts, strict=True):
        name = getattr(wanted.firewall, key)
        if (name is None) != (text is None):
            missing, surplus = f'its text must come along, as "{key}"', "a text came along, but no file is named"
            right = missing if text is None else surplus
            raise ConfigError([Problem(f"firewall.{key}", right, NO_VALUE if name is None else name).line(body.source)])
    return texts


# Bridges


async def add_bridge(call: Call) -> Changes:
    new = call.body
    call.free(new.name)
    return await call.change(lambda config: edit.add_bridge(config, new.name, new.ageing_s, new.mac_limit))


async def change_bridge(call: Call) -> Changes:
    name = call.bridge(call.path["bridge"]).name
    return await call.change(lambda config: edit.set_ageing(config, name, call.body.ageing_s))


async def del_bridge(call: Call) -> Changes:
    name = call.bridge(call.path["bridge"]).name
    return await call.change(lambda config: edit.del_bridge(config, name, force=call.query.force))


async def join_bridge(call: Call) -> Changes:
    name = call.bridge(call.path["bridge"]).name
    return await call.change(lambda config: membership.join(config, name, call.body.port))


async def leave_bridge(call: Call) -> Changes:
    name, port = call.bridge(call.path["bridge"]).name, call.port(call.path["port"]).name
    return await call.change(lambda config: membership.leave(config, name, port))


async def dissolve_bridge(call: Call) -> Changes:
    name = call.bridge(call.path["bridge"]).name
    return await call.change(lambda config: membership.dissolve(config, name))


# Ports and their VLANs


async def add_port(call: Call) -> Changes:
    port = call.body
    call.free(port.name)
    return await call.change(lambda config: edit.add_port(config, port))


async def change_port(call: Call) -> Changes:
    name = call.port(call.path["port"]).name
    return await call.change(lambda config: edit.change_port(config, name, **given(call.body)))


async def del_port(call: Call) -> Changes:
    name = call.port(call.path["port"]).name
    return await call.change(lambda config: edit.del_port(config, name))


async def add_vlan(call: Call) -> Changes:
    name = call.port(call.path["port"]).name
    return await call.change(lambda config: edit.add_vlan(config, name, call.body.vid))


async def del_vlan(call: Call) -> Changes:
    name, vid = call.port(call.path["port"]).name, call.path["vid"]
    if not vid.isdecimal():
        raise Refused(400, f"vid: {vid!r}: a VLAN id is 1 to 4094")
    return await call.change(lambda config: edit.remove_vlan(config, name, int(vid)))


# Networks and routes


async def get_networks(call: Call) -> list[Network]:
    return list(call.switch.config.network)


async def add_network(call: Call) -> Changes:
    return await call.change(lambda config: edit.add_network(config, call.body))


async def change_network(call: Call) -> Changes:
    return await call.change(lambda config: edit.change_network(config, call.path["network"], **given(call.body)))


async def del_network(call: Call) -> Changes:
    return await call.change(lambda config: edit.del_network(config, call.path["network"]))


async def get_routes(call: Call) -> list[RouteReport]:
    return call.switch.routes()


async def add_route(call: Call) -> Changes:
    return await call.change(lambda config: edit.add_route(config, call.body))


async def del_route(call: Call) -> Changes:
    return await call.change(lambda config: edit.del_route(config, call.query.to, call.query.router))


async def neighbours(call: Call) -> list[NeighbourReport]:
    return call.switch.neighbours()


async def leases(call: Call) -> list[NetworkLease]:
    return call.switch.leases()


# In the words of iptables, tc and conntrack


async def iptables(call: Call) -> Words:
    return await call.switch.iptables(call.body.program, call.body.argv, call.body.stdin)


async def tc(call: Call) -> Words:
    return await call.switch.tc(call.body.argv)


async def conntrack(call: Call) -> Words:
    return await call.switch.conntrack(call.body.argv)


async def conntrack_events(call: Call) -> Events:
    try:
        words = shlex.split(call.query.words)
    except ValueError as error:
        raise Refused(400, f"words: {error}") from None
    return call.switch.conntrack_events(call.query.after, words)


# The forwarding database


async def fdb(call: Call) -> list[FdbEntry]:
    name = call.query.bridge
    return call.switch.fdb(name if name is None else call.bridge(name).name)


async def add_static(call: Call) -> Changes:
    call.bridge(call.body.bridge)
    call.port(call.body.port)
    return await call.change(lambda config: edit.add_static(config, call.body))


async def del_mac(call: Call) -> Changes:
    """A static entry leaves the configuration; a learned one is only forgotten."""
    bridge, vlan = call.bridge(call.query.bridge).name, call.query.vlan
    try:
        mac = normal_mac(call.query.mac)
    except ValueError as error:
        raise Refused(400, f"mac: {call.query.mac!r}: {error}") from None
    if _is_static(call.switch.config, bridge, mac, vlan):
        return await call.change(lambda config: edit.remove_static(config, bridge, mac, vlan))
    if not await call.switch.fdb_del(bridge, mac, vlan):
        raise Refused(404, f"bridge {bridge} does not know {mac} in VLAN {vlan}")
    return Changes([f"forget {mac} in VLAN {vlan} of {bridge}"])


def _is_static(config: Config, bridge: str, mac: str, vlan: int) -> bool:
    return any((entry.bridge, entry.mac, entry.vlan) == (bridge, mac, vlan) for entry in config.fdb)


async def flush(call: Call) -> Flushed:
    wanted = call.body
    bridge = call.bridge(wanted.bridge).name
    port = None if wanted.port is None else call.port(wanted.port).name
    return Flushed(await call.switch.fdb_flush(bridge, port=port, vlan=wanted.vlan))
