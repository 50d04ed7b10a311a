"""A real Prometheus scrapes a running switch with traffic on it; every query of the dashboard must return data.

One switch and one Prometheus, both started here and found nowhere else, serve all tests of the module. Prometheus runs
on the files of conf/, with the addresses and the interval put in.
"""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import dashboard
from tests.lab import Lab, Running, inside, require_root, wait_for

BIN = Path(sys.executable).parent
START_LIMIT_S = 20
SCRAPE_LIMIT_S = 15
WORLD = "203.0.113.254"
RATE_WINDOW = "5s"  # what Grafana would put for $__rate_interval at one scrape a second

CONFIG = """
[switch]
run_dir = "{run_dir}"
state_dir = "{state_dir}"
[metrics]
listen = "127.0.0.1:0"
[[bridge]]
name = "br0"
[[port]]
name = "{uplink}"
kind = "netdev"
address = "203.0.113.2/24"
gateway = "203.0.113.254"
[[network]]
bridge = "br0"
vlan = 10
address = ["10.0.0.254/24", "fd00::1/64"]
mode = "nat"
dhcp = {{ range = ["10.0.0.100", "10.0.0.200"] }}
dns = {{ servers = ["203.0.113.254"] }}
ra = {{ }}
"""

PORT = """
[[port]]
name = "{name}"
bridge = "br0"
kind = "tap"
netns = "{netns}"
access = 10
{queues}
"""
QUEUES = (
    'limit = { egress = "100mbit" }',
    'tc = ["qdisc add root handle 1: tbf rate 50mbit burst 64kb latency 50ms"]',
)


class Prometheus:
    """The HTTP API of a Prometheus server."""

    def __init__(self, address: str) -> None:
        self._base = f"http://{address}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/-/ready", timeout=5) as response:
                return response.status == 200
        except urllib.error.URLError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an API answer; fails the test with Prometheus' own words."""
        url = f"{self._base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path} {parameters}: {error.read().decode()}")

    def values(self, expr: str) -> list[float]:
        """The value of every series that an instant query returns."""
        return [float(series["value"][1]) for series in self.get("query", query=expr)["result"]]

    def rule_health(self) -> set[str]:
        """How the rules fare: "ok", "unknown" before their first evaluation, "err"."""
        return {rule["health"] for group in self.get("rules")["groups"] for rule in group["rules"]}

    def label_values(self, label: str, selector: str) -> list[str]:
        """What a label is set to in the series that match."""
        return self.get(f"label/{label}/values", **{"match[]": selector})


class Host:
    """A running switch and a Prometheus that watches it. Two guests ping each other, and one the world, by NAT."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ports = {lab.name(stem): lab.namespace(stem) for stem in ("A", "B")}
        self.config = lab.path("vswitch.toml")
        self.run_dir = lab.path("run")
        self.state_dir = lab.path("state")
        self.state_dir.mkdir()
        self.uplink = self._make_uplink()
        self.switch = self._start_switch()
        self.address = self._metrics_address()
        self._start_traffic()
        self.prometheus = self._start_prometheus()

    def write_config(self, ports: list[str]) -> None:
        """Have the configuration file name these ports only."""
        queues = dict(zip(self.ports, QUEUES, strict=True))
        text = [PORT.format(name=name, netns=self.ports[name], queues=queues[name]) for name in ports]
        common = CONFIG.format(run_dir=self.run_dir, state_dir=self.state_dir, uplink=self.uplink)
        self.config.write_text(common + "".join(text))

    def control(self, *words: str) -> str:
        """Run vswitchctl and return what it prints."""
        return self.lab.run(str(BIN / "vswitchctl"), "--run-dir", str(self.run_dir), *words).stdout

    def _make_uplink(self) -> str:
        """A cable to a namespace that is the world."""
        netns = self.lab.namespace("world")
        uplink, world = self.lab.veth("U", "W", far_netns=netns)
        self.lab.address(world, f"{WORLD}/24", netns=netns)
        return uplink

    def _start_switch(self) -> Running:
        self.write_config(list(self.ports))
        switch = self.lab.start(str(BIN / "vswitchd"), "--config", str(self.config))
        socket_path = self.run_dir / "control.sock"
        wait_for(lambda: socket_path.exists() or not switch.alive(), START_LIMIT_S, "the switch to start")
        assert switch.alive(), switch.text()
        return switch

    def _metrics_address(self) -> str:
        return json.loads(self.control("-o", "json", "show"))["metrics_listen"]

    def _start_traffic(self) -> None:
        for number, (port, netns) in enumerate(self.ports.items(), 1):
            self.lab.address(port, f"10.0.0.{number}/24", netns=netns)
        guest = next(iter(self.ports.values()))
        wait_for(lambda: self.lab.ping("10.0.0.2", netns=guest), START_LIMIT_S, "the guests to reach each other")
        self.lab.ip("route", "add", "default", "via", "10.0.0.254", netns=guest)
        wait_for(lambda: self.lab.ping(WORLD, netns=guest), START_LIMIT_S, "a guest to reach the world")
        for address in ("10.0.0.2", WORLD):
            self.lab.start("ping", "-n", "-q", "-i", "0.05", address, netns=guest)

    def _start_prometheus(self) -> Prometheus:
        address = free_address()
        config = self._prometheus_config()
        server = self.lab.start(
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.lab.path('tsdb')}",
            f"--web.listen-address={address}", "--log.level=warn",
        )  # fmt: skip
        prometheus = Prometheus(address)
        wait_for(lambda: prometheus.ready() or not server.alive(), START_LIMIT_S, "Prometheus to start")
        assert server.alive(), server.text()
        enough = f"min(count_over_time(vswitch_port_receive_frames_total[{RATE_WINDOW}])) >= 3"
        wait_for(lambda: prometheus.values(enough), SCRAPE_LIMIT_S, "three scrapes of the switch")
        return prometheus

    def _prometheus_config(self) -> Path:
        text = (dashboard.CONF / "prometheus.yml").read_text()
        config = self.lab.path("prometheus.yml")
        config.write_text(text.replace("127.0.0.1:9478", self.address).replace("_interval: 15s", "_interval: 1s"))
        shutil.copy(dashboard.CONF / "prometheus-alerts.yml", config.parent)
        return config


def free_address() -> str:
    """A TCP address of this host that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return "127.0.0.1:%d" % probe.getsockname()[1]


def tagged(vlan: int) -> bytes:
    """A broadcast frame with an 802.1Q tag."""
    return b"\xff" * 6 + bytes.fromhex("020000000001 8100") + vlan.to_bytes(2) + bytes.fromhex("88b5") + bytes(46)


def send(device: str, netns: str, frame: bytes) -> None:
    """Send a raw frame out of a guest's device."""
    with inside(netns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        sender.send(frame)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    require_root()
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian package prometheus)")
    with Lab() as lab:
        yield Host(lab)


@pytest.fixture(scope="module")
def chosen(host: Host) -> dict[str, str]:
    """The dashboard's variables as Grafana fills them when "All" is chosen."""
    values = {"__rate_interval": RATE_WINDOW}
    for name, found in dashboard.variables().items():
        selector = dashboard.substitute(found["selector"], values)
        values[name] = "|".join(host.prometheus.label_values(found["label"], selector))
    return values


def test_the_variables_find_switch_bridge_and_ports(host: Host, chosen: dict[str, str]) -> None:
    assert chosen["instance"] == host.address
    assert chosen["bridge"] == "br0"
    assert chosen["port"] == "|".join(sorted(host.ports))


@pytest.mark.parametrize("query", dashboard.queries(), ids=lambda query: query.title)
def test_a_query_of_the_dashboard_returns_data(host: Host, chosen: dict[str, str], query: dashboard.Query) -> None:
    values = host.prometheus.values(dashboard.substitute(query.expr, chosen))
    assert any(map(math.isfinite, values)), f"{query.expr} returned {values}"


def test_traffic_shows_on_every_port(host: Host) -> None:
    for direction in ("receive", "transmit"):
        rates = f"rate(vswitch_port_{direction}_frames_total[{RATE_WINDOW}]) > 0"
        wait_for(lambda: len(host.prometheus.values(rates)) == 3, SCRAPE_LIMIT_S, f"{direction} rates of all ports")


def test_a_translated_connection_shows(host: Host) -> None:
    ports = 'vswitch_nat_ports{address="203.0.113.2", protocol="icmp"} >= 1'
    assert host.prometheus.values(ports)
    assert host.prometheus.values('vswitch_conntrack_zone_entries{kind="router", zone="main"} >= 1')
    assert host.prometheus.values(f'vswitch_conntrack_port_entries{{port="{next(iter(host.ports))}"}} >= 1')
    assert host.prometheus.values(f'vswitch_neighbours{{device="{host.uplink}", state="reachable"}} >= 1')


def test_a_drop_shows_under_its_reason(host: Host) -> None:
    port, netns = next(iter(host.ports.items()))
    send(port, netns, tagged(20))  # on an access port of VLAN 10
    drops = f'vswitch_port_dropped_frames_total{{port="{port}", reason="tag_not_allowed"}}'
    wait_for(lambda: host.prometheus.values(f"increase({drops}[1m]) > 0"), SCRAPE_LIMIT_S, "the drop to be seen")


def test_queues_show_what_tc_says(host: Host) -> None:
    port = next(iter(host.ports))
    labels = f'{{port="{port}", classid="1:1"}}'
    sent = f"vswitch_class_sent_bytes_total{labels}"

    def said() -> int:
        return json.loads(host.control("tc", "-s", "-j", "class", "show", "dev", port))[0]["stats"]["bytes"]

    before = said()
    wait_for(lambda: host.prometheus.values(f"{sent} > {before}"), SCRAPE_LIMIT_S, "bytes to be sent")
    assert host.prometheus.values(sent)[0] <= said()
    assert host.prometheus.values(f"vswitch_class_rate_bytes_per_second{labels}") == [12.5e6]
    assert host.prometheus.values(f"0 < vswitch_class_achieved_bytes_per_second{labels} < 12.5e6")


def test_counters_never_go_down(host: Host) -> None:
    every_sample = host.prometheus.get("query", query='{__name__=~"vswitch_.+_total"}[1m]')["result"]
    assert every_sample
    for series in every_sample:
        counted = [float(value) for _, value in series["values"]]
        assert counted == sorted(counted), series["metric"]


def test_promtool_has_nothing_to_say_of_a_running_switch(host: Host) -> None:
    with urllib.request.urlopen(f"http://{host.address}/metrics", timeout=10) as response:
        page = response.read()
    check = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_show_tells_of_the_router(host: Host) -> None:
    lines = [line.split() for line in host.control("show").splitlines()]
    assert any(words[:3] == ["br0.10", "10.0.0.254/24", "fd00::1/64"] for words in lines)
    assert any(words[:3] == [host.uplink, "203.0.113.2/24", WORLD] for words in lines)
    assert any(words[:1] == ["connections:"] and int(words[1]) >= 1 for words in lines)


def test_prometheus_has_no_complaint(host: Host) -> None:
    targets = host.prometheus.get("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    wait_for(lambda: host.prometheus.rule_health() == {"ok"}, SCRAPE_LIMIT_S, "every alert to be evaluated")
    wait_for(lambda: not host.prometheus.get("alerts")["alerts"], SCRAPE_LIMIT_S, "a healthy switch to raise no alert")


def test_a_removed_port_leaves_no_series(host: Host) -> None:
    kept, removed = host.ports
    series = f'count({{port="{removed}"}})'
    assert host.prometheus.values(series)
    host.write_config([kept])
    host.control("apply", str(host.config))
    wait_for(lambda: not host.prometheus.values(series), SCRAPE_LIMIT_S, "the removed port's series to end")
    assert host.prometheus.values(f'count({{port="{kept}"}})')
