"""From a snapshot of the switch to Prometheus' metric families.

`SwitchCollector` is a custom collector of prometheus-client: it holds no counters of its own, each scrape is built
afresh from one `Snapshot`. So a port that is gone leaves no series behind, and a counter is as monotone as the one
it copies. What lies above layer 2 is router_families.py's, queues are queueing_families.py's.

What a scrape holds is stated as tables: an attribute of a report, the metric's name, its help. Counters carry only
the name of what they count (`port`, `bridge`, `worker`); what describes a port (its bridge, kind, VLANs) is in
`vswitch_port_info`, to be joined with `* on(instance, port) group_left(bridge)`. Moving a port to another bridge
then does not break its series.

Every drop reason, error kind and state is exported for every port from the start, at 0: rate() sees nothing of a
series whose first sample is already 5, and the first drops are the ones worth an alert. The price is about ninety
samples a port, which is why `metrics` renders on another thread.

Thread safety: a `Snapshot` is immutable, so `collect` may run on any thread.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from .families import Table, families
from .queueing import QueueingReport
from .queueing_families import queueing_families
from .report import PORT_ERRORS, PORT_STATES, PortReport, PortStats, SwitchReport
from .router import RouterReport
from .router_families import router_families


class Observed(Protocol):
    """The side of `vswitch.switch.Switch` that observation looks at."""

    @property
    def drop_reasons(self) -> tuple[str, ...]: ...
    def show(self) -> SwitchReport: ...
    def stats(self) -> list[PortStats]: ...
    def census(self) -> Any:
        """A look at every connection: some 40 ms for a million, on any thread."""

    def routing(self, census: Any) -> RouterReport: ...
    def queueing(self) -> QueueingReport: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one scrape tells, taken at one moment."""

    report: SwitchReport
    stats: list[PortStats]
    drop_reasons: tuple[str, ...]
    routing: RouterReport
    queueing: QueueingReport

    @classmethod
    def take(cls, switch: Observed, census: Any) -> "Snapshot":
        """Look at the switch once. Call it where the switch lives: on the daemon's loop."""
        return cls(switch.show(), switch.stats(), switch.drop_reasons, switch.routing(census), switch.queueing())


PORT_COUNTERS: Table = (
    ("rx_frames", "vswitch_port_receive_frames", "Frames read from the port's device."),
    ("rx_bytes", "vswitch_port_receive_bytes", "Bytes of the frames read from the port's device."),
    ("tx_frames", "vswitch_port_transmit_frames", "Frames written to the port's device."),
    ("tx_bytes", "vswitch_port_transmit_bytes", "Bytes of the frames written to the port's device."),
    ("kernel_drops", "vswitch_port_kernel_dropped_frames", "Frames the kernel dropped before the switch read them."),
    ("copied", "vswitch_port_copied_frames", "Extra copies made of frames from this port, by flooding."),
    ("generated", "vswitch_port_generated_frames", "Frames the switch made itself and charged to this port."),
    ("delivered", "vswitch_port_delivered_frames", "Frames from this port, copies included, that left by some port."),
    ("consumed", "vswitch_port_consumed_frames", "Frames from this port that the switch itself used up."),
    ("merged", "vswitch_port_merged_frames", "Fragments from this port that became part of a whole packet."),
    ("segments", "vswitch_port_segments", "Segments cut from super-frames that left by this port."),
    ("segments_lost", "vswitch_port_lost_segments", "Segments of super-frames from this port that could not be sent."),
)

PORT_GAUGES: Table = (
    ("queued", "vswitch_port_queued_frames", "Frames from this port that are held back just now."),
)

BRIDGE_GAUGES: Table = (
    ("macs", "vswitch_fdb_entries", "MAC addresses in the bridge's forwarding database, static ones included."),
    ("learned", "vswitch_fdb_learned_entries", "Learned MAC addresses in the bridge's forwarding database."),
    ("mac_limit", "vswitch_fdb_learned_entries_limit", "MAC addresses the bridge may hold learned."),
    ("ageing_s", "vswitch_fdb_ageing_seconds", "Time after which an unseen MAC address is forgotten; 0: never."),
)

BRIDGE_COUNTERS: Table = (
    ("learn_events", "vswitch_fdb_learn_events", "MAC addresses learned anew."),
    ("moves", "vswitch_fdb_moves", "Learned MAC addresses that moved to another port."),
    ("limit_hits", "vswitch_fdb_limit_hits", "MAC addresses not learned because the bridge or the port was full."),
    ("evicted", "vswitch_fdb_evictions", "Learned MAC addresses thrown out because their place in the table was full."),
    ("aged", "vswitch_fdb_aged", "MAC addresses forgotten because they were not seen for the ageing time."),
    ("static_conflicts", "vswitch_fdb_static_conflicts", "Frames whose source is static on another port."),
)

WORKER_COUNTERS: Table = (
    ("bursts", "vswitch_worker_bursts", "Bursts of frames the worker moved."),
    ("frames", "vswitch_worker_frames", "Frames the worker received."),
    ("polls", "vswitch_worker_polls", "Rounds in which the worker asked its ports for frames."),
    ("sleeps", "vswitch_worker_sleeps", "Times the worker went to sleep because no frame came."),
    ("busy_s", "vswitch_worker_busy_seconds", "Time the worker spent moving frames."),
    ("total_s", "vswitch_worker_run_seconds", "Time since the worker started; the busy share's denominator."),
)


class SwitchCollector(Collector):
    """The metric families of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        report, reasons = self._snapshot.report, self._snapshot.drop_reasons
        stats = {port.name: port for port in self._snapshot.stats}
        bridges = {bridge.name: bridge for bridge in report.bridges}
        workers = {str(worker.index): worker for worker in report.workers}
        yield from _daemon(report)
        yield from _configuration(report)
        yield from _ports(report.ports)
        yield from families(CounterMetricFamily, "port", stats, PORT_COUNTERS)
        yield from families(GaugeMetricFamily, "port", stats, PORT_GAUGES)
        yield _drops(stats, reasons)
        yield _errors(stats)
        yield from families(GaugeMetricFamily, "bridge", bridges, BRIDGE_GAUGES)
        yield from families(CounterMetricFamily, "bridge", bridges, BRIDGE_COUNTERS)
        yield from families(CounterMetricFamily, "worker", workers, WORKER_COUNTERS)
        yield from router_families(self._snapshot.routing, reasons)
        yield from queueing_families(self._snapshot.queueing)


def _daemon(report: SwitchReport) -> Iterator[Metric]:
    build = {
        "version": report.version,
        "python": platform.python_version(),
        "cython": report.cython,
        "loop": report.loop,
    }
    yield InfoMetricFamily("vswitch_build", "The running build.", value=build)
    yield GaugeMetricFamily("vswitch_uptime_seconds", "Time since the daemon started.", value=report.uptime_s)


def _configuration(report: SwitchReport) -> Iterator[Metric]:
    source = {"source": report.config_file}
    yield InfoMetricFamily("vswitch_config", "Where the configuration in force came from.", value=source)
    yield GaugeMetricFamily(
        "vswitch_config_generation", "Changes of configuration that came into force.", value=report.generation
    )
    yield GaugeMetricFamily(
        "vswitch_config_last_apply_success_timestamp_seconds",
        "When the configuration in force was applied, since the epoch.",
        value=report.applied_at,
    )
    yield GaugeMetricFamily(
        "vswitch_config_last_apply_successful",
        "1 if the last attempt to change the configuration succeeded, 0 if it was refused or rolled back.",
        value=0 if report.apply_failed else 1,
    )


def _ports(ports: Iterable[PortReport]) -> Iterator[Metric]:
    info = InfoMetricFamily("vswitch_port", "What a port is: join on it by port.", labels=["port"])
    state = GaugeMetricFamily("vswitch_port_state", "1 for the state the port is in, else 0.", labels=["port", "state"])
    mtu = GaugeMetricFamily("vswitch_port_mtu_bytes", "Largest payload of a frame the port takes.", labels=["port"])
    for port in ports:
        info.add_metric([port.name], _description(port))
        for name in PORT_STATES:
            state.add_metric([port.name, name], 1 if name == port.state else 0)
        mtu.add_metric([port.name], port.mtu)
    yield from (info, state, mtu)


def _description(port: PortReport) -> dict[str, str]:
    return {
        "bridge": port.bridge or "",
        "kind": port.kind,
        "netns": port.netns or "",
        "vlan": port.vlan,
        "mac": port.mac or "",
    }


def _drops(stats: Mapping[str, PortStats], reasons: tuple[str, ...]) -> Metric:
    text = "Frames from this port, copies included, that the switch dropped."
    metric = CounterMetricFamily("vswitch_port_dropped_frames", text, labels=["port", "reason"])
    for name, port in stats.items():
        for reason in reasons:
            metric.add_metric([name, reason], port.drops.get(reason, 0))
    return metric


def _errors(stats: Mapping[str, PortStats]) -> Metric:
    text = "Calls to the port's device that failed."
    metric = CounterMetricFamily("vswitch_port_errors", text, labels=["port", "error"])
    for name, port in stats.items():
        for error in PORT_ERRORS:
            metric.add_metric([name, error], port.errors.get(error, 0))
    return metric
