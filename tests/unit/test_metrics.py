"""The metrics of a switch that is only pretended: what they say, how they are served, and that promtool likes them."""

import asyncio
import gzip
import re
import shutil
import socket
import subprocess

import aiohttp
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.fake_queueing import queueing
from tests.fake_routing import routing
from vswitch.observe import metrics
from vswitch.observe.collector import Snapshot
from vswitch.observe.metrics import MetricsError, MetricsServer, render
from vswitch.observe.queueing import QueueingReport
from vswitch.observe.report import BridgeReport, PortReport, PortStats, SwitchReport, WorkerReport
from vswitch.observe.router import RouterReport

REASONS = ("runt", "no_destination", "tx_full")
ANY_PORT = "127.0.0.1:0"


def port_report(name: str, bridge: str | None = "br0") -> PortReport:
    return PortReport(
        name=name, kind="tap", bridge=bridge, netns=None, vlan="access 10", state="up", reason=None, mtu=1500,
        mac="02:00:00:00:00:01", offloads=["csum"], queues=1, isolated=False, hairpin=False,
    )  # fmt: skip


def port_stats(name: str, bridge: str | None = "br0") -> PortStats:
    return PortStats(
        name=name, bridge=bridge, rx_frames=10, rx_bytes=1000, tx_frames=7, tx_bytes=700, copied=2, generated=0,
        delivered=8, consumed=0, merged=6, queued=1, segments=3, drops={"runt": 4}, errors={"receive": 1}, kernel_drops=5,
    )  # fmt: skip


class FakeSwitch:
    """Answers as a switch with two ports, one bridge and one worker would."""

    drop_reasons = REASONS

    def __init__(self) -> None:
        self.names = ["tapA", "tapB"]

    def show(self) -> SwitchReport:
        bridge = BridgeReport(
            name="br0", ageing_s=300, mac_limit=8192, ports=self.names, macs=2, learned=2, learn_events=3, moves=1,
            limit_hits=0,
        )  # fmt: skip
        worker = WorkerReport(
            index=0, bursts=5, frames=20, polls=50, sleeps=3, busy_share=0.25, busy_s=1.5, total_s=6
        )
        return SwitchReport(
            version="0.1.0", cython="3.1.0", pid=1, loop="asyncio", uptime_s=6.0,
            config_file="/etc/vswitch/vswitch.toml", generation=4, applied_at=1.7e9, metrics_listen=None,
            bridges=[bridge], ports=list(map(port_report, self.names)), workers=[worker],
        )  # fmt: skip

    def stats(self) -> list[PortStats]:
        return [port_stats(name) for name in self.names]

    def census(self) -> str:
        return "a census"

    def routing(self, census: str) -> RouterReport:
        assert census == "a census"
        return routing(self.names)

    def queueing(self) -> QueueingReport:
        return queueing(self.names)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of an exposition by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def snapshot(switch: FakeSwitch) -> Snapshot:
    return Snapshot.take(switch, switch.census())


def scrape(switch: FakeSwitch) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return samples(render(snapshot(switch), "", "").body.decode())


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
async def server():
    running = MetricsServer(FakeSwitch())
    yield running
    await running.stop()


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def get(address: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        asked = {"Accept-Encoding": "identity"} | headers
        async with session.get(f"http://{address}/metrics", headers=asked) as response:
            return response, await response.read()


# What a scrape says


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("vswitch_port_receive_frames_total", {"port": "tapA"}, 10),
        ("vswitch_port_receive_bytes_total", {"port": "tapA"}, 1000),
        ("vswitch_port_transmit_frames_total", {"port": "tapB"}, 7),
        ("vswitch_port_transmit_bytes_total", {"port": "tapB"}, 700),
        ("vswitch_port_dropped_frames_total", {"port": "tapA", "reason": "runt"}, 4),
        ("vswitch_port_errors_total", {"port": "tapA", "error": "receive"}, 1),
        ("vswitch_port_kernel_dropped_frames_total", {"port": "tapA"}, 5),
        ("vswitch_port_copied_frames_total", {"port": "tapA"}, 2),
        ("vswitch_port_delivered_frames_total", {"port": "tapA"}, 8),
        ("vswitch_port_segments_total", {"port": "tapA"}, 3),
        ("vswitch_port_merged_frames_total", {"port": "tapA"}, 6),
        ("vswitch_port_queued_frames", {"port": "tapA"}, 1),
        ("vswitch_port_mtu_bytes", {"port": "tapA"}, 1500),
        ("vswitch_port_state", {"port": "tapA", "state": "up"}, 1),
        ("vswitch_port_state", {"port": "tapA", "state": "no carrier"}, 0),
        ("vswitch_fdb_entries", {"bridge": "br0"}, 2),
        ("vswitch_fdb_learned_entries_limit", {"bridge": "br0"}, 8192),
        ("vswitch_fdb_moves_total", {"bridge": "br0"}, 1),
        ("vswitch_worker_busy_seconds_total", {"worker": "0"}, 1.5),
        ("vswitch_worker_run_seconds_total", {"worker": "0"}, 6),
        ("vswitch_conntrack_entries", {}, 7),
        ("vswitch_conntrack_entries_limit", {}, 1000),
        ("vswitch_conntrack_early_drops_total", {}, 3),
        ("vswitch_conntrack_protocol_entries", {"protocol": "tcp"}, 5),
        ("vswitch_conntrack_protocol_entries", {"protocol": "gre"}, 0),
        ("vswitch_conntrack_tcp_entries", {"state": "TIME_WAIT"}, 1),
        ("vswitch_conntrack_zone_entries", {"kind": "router", "zone": "main"}, 6),
        ("vswitch_conntrack_port_entries", {"port": "tapB"}, 3),
        ("vswitch_conntrack_port_entries_limit", {"port": "tapB"}, 500),
        ("vswitch_conntrack_port_refused_total", {"port": "tapB"}, 1),
        ("vswitch_nat_exhausted_total", {}, 4),
        ("vswitch_nat_connections", {"translation": "source"}, 6),
        ("vswitch_nat_ports", {"address": "203.0.113.2", "protocol": "tcp"}, 5),
        ("vswitch_rules", {"family": "ipv4", "table": "filter"}, 12),
        ("vswitch_rules", {"family": "ipv6", "table": "raw"}, 0),
        ("vswitch_rule_paths", {}, 8),
        ("vswitch_neighbours", {"device": "br0", "state": "reachable"}, 2),
        ("vswitch_neighbour_failures_total", {}, 3),
        ("vswitch_reassembly_packets_total", {}, 20),
        ("vswitch_icmp_errors_refused_total", {}, 5),
        ("vswitch_own_generated_frames_total", {}, 30),
        ("vswitch_own_dropped_frames_total", {"reason": "tx_full"}, 1),
        ("vswitch_own_dropped_frames_total", {"reason": "runt"}, 0),
        ("vswitch_dhcp_leases", {"network": "br0", "state": "bound"}, 2),
        ("vswitch_dhcp_messages_total", {"network": "br0", "kind": "ACK"}, 2),
        ("vswitch_dhcp_ignored_messages_total", {"network": "br0", "reason": "too fast"}, 4),
        ("vswitch_dns_answered_queries_total", {"network": "br0"}, 6),
        ("vswitch_dns_server_failures_total", {"network": "br0", "server": "192.0.2.1"}, 2),
        ("vswitch_ra_ignored_solicitations_total", {"network": "br0", "reason": "hop limit"}, 1),
        ("vswitch_qdisc_info", {"port": "tapA", "handle": "1:", "kind": "htb", "parent": "root"}, 1),
        ("vswitch_qdisc_sent_bytes_total", {"port": "tapA", "handle": "1:"}, 9000),
        ("vswitch_qdisc_rate_bytes_per_second", {"port": "tapA", "handle": "10:"}, 2000),
        ("vswitch_qdisc_marked_packets_total", {"port": "tapA", "handle": "20:"}, 4),
        ("vswitch_class_info", {"port": "tapA", "classid": "1:1", "kind": "htb", "parent": "root", "leaf": "10:"}, 1),
        ("vswitch_class_sent_bytes_total", {"port": "tapA", "classid": "1:1"}, 9000),
        ("vswitch_class_sent_packets_total", {"port": "tapA", "classid": "1:1"}, 9),
        ("vswitch_class_dropped_frames_total", {"port": "tapA", "classid": "1:1"}, 3),
        ("vswitch_class_overlimits_total", {"port": "tapA", "classid": "1:1"}, 2),
        ("vswitch_class_requeues_total", {"port": "tapA", "classid": "1:1"}, 0),
        ("vswitch_class_backlog_bytes", {"port": "tapA", "classid": "1:1"}, 500),
        ("vswitch_class_backlog_frames", {"port": "tapA", "classid": "1:1"}, 1),
        ("vswitch_class_rate_bytes_per_second", {"port": "tapA", "classid": "1:1"}, 1000),
        ("vswitch_class_ceil_bytes_per_second", {"port": "tapA", "classid": "1:1"}, 3000),
        ("vswitch_class_achieved_bytes_per_second", {"port": "tapA", "classid": "1:1"}, 990.5),
        ("vswitch_class_lends_total", {"port": "tapA", "classid": "1:1"}, 5),
        ("vswitch_class_borrows_total", {"port": "tapA", "classid": "1:1"}, 6),
        ("vswitch_class_tokens_seconds", {"port": "tapA", "classid": "1:1"}, -0.25),
        ("vswitch_class_ceil_tokens_seconds", {"port": "tapA", "classid": "1:1"}, 0.5),
        ("vswitch_queue_delay_seconds_bucket", {"port": "tapA", "classid": "1:1", "le": "1.6e-05"}, 5),
        ("vswitch_queue_delay_seconds_bucket", {"port": "tapA", "classid": "1:1", "le": "3.2e-05"}, 6),
        ("vswitch_queue_delay_seconds_bucket", {"port": "tapA", "classid": "1:1", "le": "4.194304"}, 23),
        ("vswitch_queue_delay_seconds_bucket", {"port": "tapA", "classid": "1:1", "le": "+Inf"}, 24),
        ("vswitch_queue_memory_bytes", {}, 4096),
        ("vswitch_queue_memory_limit_bytes", {}, 67_108_864),
        ("vswitch_queue_memory_frames", {}, 2),
        ("vswitch_config_info", {"source": "/etc/vswitch/vswitch.toml"}, 1),
        ("vswitch_config_generation", {}, 4),
        ("vswitch_config_last_apply_successful", {}, 1),
        ("vswitch_config_last_apply_success_timestamp_seconds", {}, 1.7e9),
    ],
)
def test_a_field_becomes_a_sample(name: str, labels: dict[str, str], expected: float) -> None:
    assert value(scrape(FakeSwitch()), name, **labels) == expected


@pytest.mark.parametrize("reason", REASONS)
def test_every_drop_reason_exists_from_zero(reason: str) -> None:
    expected = port_stats("tapB").drops.get(reason, 0)
    assert value(scrape(FakeSwitch()), "vswitch_port_dropped_frames_total", port="tapB", reason=reason) == expected


def test_a_removed_port_leaves_no_series() -> None:
    switch = FakeSwitch()
    switch.names.remove("tapB")
    assert not [labels for _, labels in scrape(switch) if ("port", "tapB") in labels]


def test_a_port_without_bridge_namespace_or_mac_has_empty_labels() -> None:
    switch = FakeSwitch()
    lonely = msgspec.structs.replace(port_report("tapA", bridge=None), mac=None)
    report = msgspec.structs.replace(switch.show(), ports=[lonely])
    text = render(Snapshot(report, [], REASONS, routing([]), queueing([])), "", "").body.decode()
    described = dict(port="tapA", bridge="", kind="tap", netns="", vlan="access 10", mac="")
    assert value(samples(text), "vswitch_port_info", **described) == 1


def test_a_rolled_back_change_shows() -> None:
    switch = FakeSwitch()
    report = msgspec.structs.replace(switch.show(), apply_failed=True)
    text = render(Snapshot(report, switch.stats(), REASONS, routing([]), queueing([])), "", "").body.decode()
    assert value(samples(text), "vswitch_config_last_apply_successful") == 0


def test_the_process_is_measured_too() -> None:
    names = {name for name, _ in scrape(FakeSwitch())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    page = render(snapshot(FakeSwitch()), "", "").body
    check = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


# How it is served


@pytest.mark.parametrize("listen", [ANY_PORT, "[::1]:0"])
async def test_serves_on_the_address_it_tells(server: MetricsServer, listen: str) -> None:
    if "::1" in listen and not has_ipv6_loopback():
        pytest.skip("this host has no ::1")
    address = await server.start(listen)
    assert address is not None and address.rpartition(":")[0] == listen.rpartition(":")[0]
    response, body = await get(address)
    assert response.status == 200
    assert b"vswitch_port_receive_frames_total" in body


async def test_negotiates_openmetrics(server: MetricsServer) -> None:
    address = await server.start(ANY_PORT)
    response, body = await get(address, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "vswitch_port" in {family.name for family in parse_openmetrics(body.decode())}


async def test_compresses_only_where_asked(server: MetricsServer) -> None:
    address = await server.start(ANY_PORT)
    response, body = await get(address, **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert samples(gzip.decompress(body).decode())
    response, body = await get(address)
    assert "Content-Encoding" not in response.headers
    assert samples(body.decode())


async def test_the_loop_goes_on_while_a_scrape_is_rendered(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ticked = asyncio.get_running_loop(), asyncio.Event()

    def render_after_a_tick(*arguments: object):
        asyncio.run_coroutine_threadsafe(set_event(ticked), loop).result(timeout=10)
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("vswitch.observe.metrics.render", render_after_a_tick)
    address = await server.start(ANY_PORT)
    response, _ = await get(address)
    assert response.status == 200 and ticked.is_set()


async def set_event(event: asyncio.Event) -> None:
    event.set()


# Where it is served


async def test_a_connection_that_asks_for_nothing_is_closed(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "IDLE_S", 0.05)
    host, _, port = (await server.start("127.0.0.1:0")).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metr")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_moves_to_a_changed_address(server: MetricsServer) -> None:
    first = await server.start(ANY_PORT)
    second = await server.start("127.0.0.2:0")
    assert second is not None and second.startswith("127.0.0.2:") and server.address == second
    assert (await get(second))[0].status == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(first)


async def test_the_same_address_keeps_its_port(server: MetricsServer) -> None:
    assert await server.start(ANY_PORT) == await server.start(ANY_PORT)


async def test_an_empty_address_serves_nowhere(server: MetricsServer) -> None:
    first = await server.start(ANY_PORT)
    assert await server.start("") is None
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(first)


async def test_an_address_in_use_is_refused_and_the_old_one_kept(server: MetricsServer) -> None:
    first = await server.start(ANY_PORT)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = "127.0.0.1:%d" % other.getsockname()[1]
        with pytest.raises(MetricsError, match=rf'^metrics\.listen: "{taken}": the address is in use'):
            await server.start(taken)
    assert server.address == first
    assert (await get(first))[0].status == 200


@pytest.mark.parametrize("listen", ["192.0.2.1:0", "no-such-host.invalid:0", "a..b:0", "9478"])
async def test_an_address_that_is_not_here_is_refused_by_name(server: MetricsServer, listen: str) -> None:
    with pytest.raises(MetricsError, match=rf'^metrics\.listen: "{re.escape(listen)}": '):
        await server.start(listen)
    assert server.address is None
