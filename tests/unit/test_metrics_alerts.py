"""Each alert of conf/ fires on its own fault and on no other, as Prometheus itself evaluates it: `promtool test rules`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import dashboard

RULES = dashboard.CONF / "prometheus-alerts.yml"
WHEN = "30m"  # the faults below last from the start on


class Fault(NamedTuple):
    """Series in promtool's notation (start+step x times, a sample a minute), and the alert they raise with its labels."""

    alert: str
    series: dict[str, str]
    labels: dict[str, str]


HEALTHY = {
    'up{job="vswitch", instance="h"}': "1x40",
    'vswitch_config_last_apply_successful{instance="h"}': "1x40",
    'vswitch_port_state{instance="h", port="p", state="up"}': "1x40",
    'vswitch_port_state{instance="h", port="p", state="down"}': "0x40",
    'vswitch_port_receive_frames_total{instance="h", port="p"}': "0+60000x40",
    'vswitch_port_copied_frames_total{instance="h", port="p"}': "0+0x40",
    'vswitch_port_kernel_dropped_frames_total{instance="h", port="p"}': "0+1x40",
    'vswitch_port_dropped_frames_total{instance="h", port="p", reason="tx_full"}': "0+60x40",
    'vswitch_port_dropped_frames_total{instance="h", port="p", reason="storm_broadcast"}': "0+0x40",
    'vswitch_port_dropped_frames_total{instance="h", port="p", reason="link_local"}': "0+30000x40",
    'vswitch_fdb_moves_total{instance="h", bridge="b"}': "0+1x40",
    'vswitch_fdb_limit_hits_total{instance="h", bridge="b"}': "0+0x40",
    'vswitch_fdb_learned_entries{instance="h", bridge="b"}': "10x40",
    'vswitch_fdb_learned_entries_limit{instance="h", bridge="b"}': "100x40",
    'vswitch_port_dropped_frames_total{instance="h", port="p", reason="spoofed"}': "0+0x40",
    'vswitch_port_dropped_frames_total{instance="h", port="p", reason="punt_full"}': "0+6x40",
    'vswitch_conntrack_entries{instance="h"}': "800x40",
    'vswitch_conntrack_entries_limit{instance="h"}': "1000x40",
    'vswitch_conntrack_drops_total{instance="h"}': "0+0x40",
    'vswitch_conntrack_port_refused_total{instance="h", port="p"}': "0+6x40",
    'vswitch_nat_exhausted_total{instance="h"}': "7+0x40",
    'vswitch_neighbour_failures_total{instance="h"}': "0+6x40",
    'vswitch_dhcp_ignored_messages_total{instance="h", network="n", reason="no free address"}': "0+0x40",
    'vswitch_dhcp_ignored_messages_total{instance="h", network="n", reason="too fast"}': "0+60x40",
    'vswitch_dns_server_failures_total{instance="h", network="n", server="s"}': "0+1x40",
    'vswitch_queue_delay_seconds_bucket{instance="h", port="p", classid="1:1", le="0.262144"}': "0+98x40",
    'vswitch_queue_delay_seconds_bucket{instance="h", port="p", classid="1:1", le="1.048576"}': "0+100x40",
    'vswitch_queue_delay_seconds_bucket{instance="h", port="p", classid="1:1", le="+Inf"}': "0+100x40",
    'vswitch_queue_memory_bytes{instance="h"}': "80x40",
    'vswitch_queue_memory_limit_bytes{instance="h"}': "100x40",
    'vswitch_worker_busy_seconds_total{instance="h", worker="0"}': "0+30x40",
    'vswitch_worker_run_seconds_total{instance="h", worker="0"}': "0+60x40",
}

FAULTS = [
    Fault("VswitchUnreachable", {'up{job="vswitch", instance="h"}': "0x40"}, {"job": "vswitch"}),
    Fault("VswitchChangeRolledBack", {'vswitch_config_last_apply_successful{instance="h"}': "0x40"}, {}),
    Fault(
        "VswitchPortNotUp",
        {
            'vswitch_port_state{instance="h", port="p", state="up"}': "0x40",
            'vswitch_port_state{instance="h", port="p", state="down"}': "1x40",
        },
        {"port": "p", "state": "down"},
    ),
    Fault(
        "VswitchPortDropsAtTransmit",
        {'vswitch_port_dropped_frames_total{instance="h", port="p", reason="tx_full"}': "0+900x40"},
        {"port": "p"},
    ),
    Fault(
        "VswitchKernelDrops",
        {'vswitch_port_kernel_dropped_frames_total{instance="h", port="p"}': "0+900x40"},
        {"port": "p"},
    ),
    Fault(
        "VswitchStorm",
        {'vswitch_port_dropped_frames_total{instance="h", port="p", reason="storm_broadcast"}': "0+10x40"},
        {"port": "p"},
    ),
    Fault("VswitchMacFlapping", {'vswitch_fdb_moves_total{instance="h", bridge="b"}': "0+120x40"}, {"bridge": "b"}),
    Fault("VswitchFdbFull", {'vswitch_fdb_limit_hits_total{instance="h", bridge="b"}': "0+5x40"}, {"bridge": "b"}),
    Fault("VswitchFdbFull", {'vswitch_fdb_learned_entries{instance="h", bridge="b"}': "95x40"}, {"bridge": "b"}),
    Fault("VswitchConnectionsNearlyFull", {'vswitch_conntrack_entries{instance="h"}': "950x40"}, {}),
    Fault("VswitchConnectionsDropped", {'vswitch_conntrack_drops_total{instance="h"}': "0+1x40"}, {}),
    Fault(
        "VswitchPortConnectionsRefused",
        {'vswitch_conntrack_port_refused_total{instance="h", port="p"}': "0+120x40"},
        {"port": "p"},
    ),
    Fault("VswitchNatExhausted", {'vswitch_nat_exhausted_total{instance="h"}': "0+1x40"}, {}),
    Fault("VswitchNeighbourFailures", {'vswitch_neighbour_failures_total{instance="h"}': "0+120x40"}, {}),
    Fault(
        "VswitchSpoofing",
        {'vswitch_port_dropped_frames_total{instance="h", port="p", reason="spoofed"}': "0+1x40"},
        {"port": "p", "reason": "spoofed"},
    ),
    Fault(
        "VswitchDaemonOverrun",
        {'vswitch_port_dropped_frames_total{instance="h", port="p", reason="punt_full"}': "0+120x40"},
        {},
    ),
    Fault(
        "VswitchQueueDelay",
        {'vswitch_queue_delay_seconds_bucket{instance="h", port="p", classid="1:1", le="0.262144"}': "0+70x40"},
        {"port": "p", "classid": "1:1"},
    ),
    Fault("VswitchQueueMemoryFull", {'vswitch_queue_memory_bytes{instance="h"}': "95x40"}, {}),
    Fault(
        "VswitchDhcpNoAddress",
        {'vswitch_dhcp_ignored_messages_total{instance="h", network="n", reason="no free address"}': "0+1x40"},
        {"network": "n", "reason": "no free address"},
    ),
    Fault(
        "VswitchDnsServerFailing",
        {'vswitch_dns_server_failures_total{instance="h", network="n", server="s"}': "0+60x40"},
        {"network": "n", "server": "s"},
    ),
    Fault(
        "VswitchWorkerSaturated",
        {'vswitch_worker_busy_seconds_total{instance="h", worker="0"}': "0+59x40"},
        {"worker": "0"},
    ),
]
ALERTS = re.findall(r"alert: (\w+)", RULES.read_text())


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return found


def judge(promtool: str, directory: Path, series: dict[str, str], firing: dict[str, dict[str, str]]) -> None:
    """Fail unless exactly these alerts fire, with these labels beside instance and severity."""
    tests = [{"alertname": alert, "eval_time": WHEN, "exp_alerts": expected(firing, alert)} for alert in ALERTS]
    unit = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": tests,
    }
    file = directory / "test.json"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [unit]}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def expected(firing: dict[str, dict[str, str]], alert: str) -> list[dict]:
    if alert not in firing:
        return []
    severity = "critical" if alert == "VswitchUnreachable" else "warning"
    labels = {"instance": "h", "severity": severity} | firing[alert]
    return [{"exp_labels": labels, "exp_annotations": annotations(alert, labels)}]


def annotations(alert: str, labels: dict[str, str]) -> dict[str, str]:
    """The alert's texts, with its labels filled in as Prometheus does."""
    rule = RULES.read_text().partition(f"alert: {alert}\n")[2]
    texts = re.findall(r'^ +(summary|description): "?(.+?)"?$', rule, re.MULTILINE)[:2]
    return {name: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text) for name, text in texts}


def test_every_alert_has_a_fault_that_raises_it() -> None:
    assert {fault.alert for fault in FAULTS} == set(ALERTS)


def test_a_healthy_switch_raises_none(promtool: str, tmp_path: Path) -> None:
    judge(promtool, tmp_path, HEALTHY, {})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.alert}-{next(iter(fault.series)).partition('{')[0]}")
def test_a_fault_raises_its_alert_alone(promtool: str, tmp_path: Path, fault: Fault) -> None:
    judge(promtool, tmp_path, HEALTHY | fault.series, {fault.alert: fault.labels})
