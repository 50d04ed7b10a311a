"""The running switch in the words of `observe.report`: from configuration, devices and counters to reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .config.check import vlan_text
from .config.model import Bridge, Port
from .config.picture import DEFAULT_MTU, Picture
from .dataplane import FdbCounters, FdbRow, Offload, PortCounters, WorkerCounters
from .describe_queues import egress_text, ingress_text
from .l3.report import LeaseReport
from .observe.report import (
    BridgeReport,
    FdbEntry,
    NeighbourReport,
    NetworkLease,
    PortReport,
    PortStats,
    RouteReport,
    WorkerReport,
)
from .ports.device import Device, State
from .qos.model import NOTHING
from .views import DeviceView, RouteView


def port_state(picture: Picture, name: str) -> State:
    """How a port is: what its device says, or why it has none."""
    device = picture.devices.get(name)
    return device.state() if device else State("missing", picture.missing.get(name))


def port_report(picture: Picture, port: Port) -> PortReport:
    """A port for `show`."""
    device, state = picture.devices.get(port.name), port_state(picture, port.name)
    control = picture.controls.get(port.name, NOTHING)
    return PortReport(
        name=port.name,
        kind=port.kind,
        bridge=port.bridge,
        netns=port.netns,
        vlan=vlan_text(port),
        state=state.name,
        reason=state.reason,
        mtu=device.mtu if device else port.mtu or DEFAULT_MTU,
        mac=device.mac if device else port.mac,
        offloads=[flag.name.lower() for flag in Offload if device and flag in device.offloads],
        queues=len(device.fds) if device else 0,
        isolated=port.isolated,
        hairpin=port.hairpin,
        egress=egress_text(control),
        ingress=ingress_text(control),
    )


def port_stats(port: Port, device: Device | None, counters: PortCounters) -> PortStats:
    """A port for `stats`."""
    return PortStats(
        name=port.name,
        bridge=port.bridge,
        rx_frames=counters.rx_frames,
        rx_bytes=counters.rx_bytes,
        tx_frames=counters.tx_frames,
        tx_bytes=counters.tx_bytes,
        copied=counters.copied,
        generated=counters.generated,
        delivered=counters.delivered,
        consumed=counters.consumed,
        merged=counters.merged,
        queued=counters.queued,
        segments=counters.segments,
        segments_lost=counters.segments_lost,
        drops=counters.drops,
        errors={"receive": counters.rx_errors} if counters.rx_errors else {},
        kernel_drops=device.kernel_drops if device else 0,
    )


def bridge_report(bridge: Bridge, ports: list[str], counters: FdbCounters) -> BridgeReport:
    """A bridge for `show`."""
    return BridgeReport(
        name=bridge.name,
        ageing_s=bridge.ageing_s,
        mac_limit=bridge.mac_limit,
        ports=ports,
        macs=counters.entries,
        learned=counters.learned,
        learn_events=counters.learn_events,
        moves=counters.moves,
        limit_hits=counters.limit_hits,
        evicted=counters.evicted,
        aged=counters.aged,
        static_conflicts=counters.static_conflicts,
    )


def worker_report(index: int, counters: WorkerCounters, now_ns: int) -> WorkerReport:
    """A worker for `show`; `now_ns` is CLOCK_MONOTONIC's, as the counters' own times are."""
    total_ns = max(now_ns - counters.started_ns, 1)
    return WorkerReport(
        index=index,
        bursts=counters.bursts,
        frames=counters.frames,
        polls=counters.polls,
        sleeps=counters.sleeps,
        busy_share=min(counters.busy_ns / total_ns, 1.0),
        busy_s=counters.busy_ns / 1e9,
        total_s=total_ns / 1e9,
    )


def fdb_entry(row: FdbRow, ports: Mapping[int, str]) -> FdbEntry:
    """An FDB row with its port by name."""
    return FdbEntry(mac=row.mac, vlan=row.vlan, port=ports.get(row.port, "?"), age_s=row.age_s, static=row.static)


def routes(devices: Iterable[DeviceView], tables: Sequence[Sequence[RouteView]], routers: Iterable[tuple[str, int]]) -> list[RouteReport]:
    """The routes of every router, but for those of the switch's own addresses."""
    names = {view.id: view.name for view in devices}
    own = {str(interface.ip) for view in devices for interface in view.addresses}
    numbers = {number: name for name, number in routers}
    return [
        RouteReport(router=numbers[number], to=route.network, via=route.gateway, device=names.get(route.device, "?"))
        for number, table in enumerate(tables)
        for route in table
        if number in numbers and not (route.gateway is None and route.network.partition("/")[0] in own)
    ]


def neighbour(row: Any, devices: Mapping[int, str]) -> NeighbourReport:
    """A row of the neighbour table with its device by name."""
    return NeighbourReport(
        device=devices.get(row.device, "?"), address=row.address, mac=row.mac, state=row.state, age_s=row.age_s
    )


def lease(network: str, lease: LeaseReport) -> NetworkLease:
    """A lease with its network."""
    return NetworkLease(network=network, address=lease.address, mac=lease.mac, name=lease.name, state=lease.state,
                        expires_s=lease.expires_s, port=lease.port)
