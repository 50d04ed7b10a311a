"""The switch as one value: a configuration and the open devices that carry it out. Pure.

A change makes a new `Picture` out of the old one and publishes it whole; going back is publishing the old one again.
A device that stays is the same object in both, which is what keeps its frames flowing. A port whose device is not
there is in `missing` with the reason: the workers see it down and without descriptors, so it keeps its id, its
counters and its static entries until it has a device again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..dataplane import BridgeView, Dataplane, Offload, PortView, VlanMode
from ..filter.firewall import Firewall, Names, anything, translates
from ..filter.interfaces import interfaces_named
from ..filter.model import Rulesets
from ..l3.devices import Builder
from ..ports.device import Device
from ..qos import section
from ..qos.kinds import lasting
from ..qos.model import NOTHING, Link, TrafficControl, adopted
from ..views import DeviceView, Layer3View, NetworkMode, RouteView
from . import text
from .model import Bridge, Config, Port, Storm

DEFAULT_MTU = 1500
KIND_OF_NONE = "tap"  # without descriptors the workers never come to ask


class Made(NamedTuple):
    """A port's section with the link that it was for, and its traffic control then."""

    section: tuple[Any, ...]
    control: TrafficControl


@dataclass(frozen=True, slots=True)
class Picture:
    """A configuration with its devices by port name, the rules, and queues. Every port is in `devices` or in
    `missing`."""

    config: Config = Config()
    devices: Mapping[str, Device] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    rulesets: Rulesets = Rulesets()
    controls: Mapping[str, TrafficControl] = field(default_factory=dict)  # of ports that have any
    made: Mapping[str, Made] = field(default_factory=dict)  # what ports' sections were, and what they made

    def port(self, name: str) -> Port:
        """The configuration of a port that is there."""
        port = self.config.find_port(name)
        assert port is not None, name
        return port

    def link(self, name: str) -> Link | None:
        """A port as its queues see it; None: there is no such port."""
        port, device = self.config.find_port(name), self.devices.get(name)
        return None if port is None else Link(name, device.mtu if device else port.mtu or DEFAULT_MTU)

    def controlled(self, name: str, control: TrafficControl) -> Picture:
        """The same, with other traffic control for a port."""
        controls = {other: one for other, one in self.controls.items() if other != name}
        return replace(self, controls=controls if control.empty else {**controls, name: control})

    def without(self, missing: Mapping[str, str]) -> Picture:
        """The same, the ports named missing for the reasons given."""
        devices = {name: device for name, device in self.devices.items() if name not in missing}
        return replace(self, devices=devices, missing={**self.missing, **missing})

    def having(self, name: str, device: Device) -> Picture:
        """The same, with a device for a port."""
        missing = {other: why for other, why in self.missing.items() if other != name}
        return replace(self, devices={**self.devices, name: device}, missing=missing)


def queued(picture: Picture, before: Picture) -> Picture:
    """The same, with the queues that its ports are to have: what their sections say, else what they had.

    What a section says that is there already stays as it is, whoever has made it; where it differs, disciplines keep
    what they hold as far as they go on.
    """
    controls, made = {}, {}
    for port in picture.config.port:
        had, name = before.controls.get(port.name, NOTHING), port.name
        if port.limit is not None or port.tc is not None:
            made[name] = _made(port, picture.link(name), had, before.made.get(name))
            had = made[name].control
        if not had.empty:
            controls[name] = had
    return replace(picture, controls=controls, made=made)


def _made(port: Port, link: Link | None, had: TrafficControl, last: Made | None) -> Made:
    key = (port.limit, port.tc, link)
    if last is not None and last.section == key and last.control is had:
        return last
    assert link is not None
    said = section.wanted(port, link)
    assert said is not None
    return Made(key, had if said.shape == had.shape else adopted(said, had, lasting))


def bridge_views(config: Config, dataplane: Dataplane) -> Iterator[BridgeView]:
    """The bridges for the workers."""
    for bridge in config.bridge:
        yield _bridge_view(bridge, dataplane)


def _bridge_view(bridge: Bridge, dataplane: Dataplane) -> BridgeView:
    return BridgeView(
        id=dataplane.bridge_ids.get(bridge.name),
        name=bridge.name,
        ageing_s=bridge.ageing_s,
        mac_limit=bridge.mac_limit,
    )


def port_views(picture: Picture, dataplane: Dataplane) -> Iterator[PortView]:
    """The ports for the workers."""
    for port in picture.config.port:
        yield _port_view(port, picture.devices.get(port.name), dataplane)


def _port_view(port: Port, device: Device | None, dataplane: Dataplane) -> PortView:
    storm = port.storm or Storm()
    return PortView(
        id=dataplane.port_ids.get(port.name),
        name=port.name,
        kind=device.kind if device else KIND_OF_NONE,
        fds=device.fds if device and device.ready else (),  # a dead one would only wake its worker
        bridge=None if port.bridge is None else dataplane.bridge_ids.get(port.bridge),
        vlan=vlan_mode(port),
        mtu=device.mtu if device else port.mtu or DEFAULT_MTU,
        up=bool(device and device.ready),
        offloads=device.offloads if device else Offload(0),
        isolated=port.isolated,
        hairpin=port.hairpin,
        mac_limit=port.mac_limit or 0,
        storm=(storm.broadcast or 0, storm.multicast or 0, storm.unknown_unicast or 0),
        memory=getattr(device, "memory", None),
    )


def vlan_mode(port: Port) -> VlanMode:
    """A port's VLANs as the workers take them."""
    trunk = None if port.trunk is None else text.vlan_set(port.trunk)
    return VlanMode(access=port.access, trunk=trunk, native=port.native)


def device_views(picture: Picture, dataplane: Dataplane) -> tuple[DeviceView, ...]:
    """The devices of layer 3, which take ids of their own in the data plane."""
    named = interfaces_named(picture.rulesets)
    return tuple(_builder(picture, dataplane).devices(anything(picture.rulesets), named))


def layer3_view(picture: Picture, dataplane: Dataplane, firewall: Firewall) -> Layer3View:
    """Devices, routes and rules for the workers. Raises ValueError where a table has no room for them."""
    devices = device_views(picture, dataplane)
    ports = tuple((port.name, dataplane.port_ids.get(port.name)) for port in picture.config.port)
    bridges = tuple((dataplane.bridge_ids.get(bridge.name), bridge.name) for bridge in picture.config.bridge)
    return Layer3View(
        devices=devices,
        routers=route_views(picture, dataplane),
        rules=firewall.compiled(picture.rulesets, Names(ports, devices, bridges)),
        nat=translates(picture.rulesets) or any(view.mode is NetworkMode.NAT for view in devices),
    )


def route_views(picture: Picture, dataplane: Dataplane) -> tuple[tuple[RouteView, ...], ...]:
    """The routes of each router, by its number."""
    return _builder(picture, dataplane).routes()


def _builder(picture: Picture, dataplane: Dataplane) -> Builder:
    return Builder(picture.config, dataplane, picture.devices)
