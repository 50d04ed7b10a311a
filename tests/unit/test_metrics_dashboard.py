"""What Prometheus and Grafana are given in conf/ speaks of metrics that exist, and is well-formed."""

import itertools
import re
import shutil
import subprocess

import pytest

from tests import dashboard
from tests.unit.test_metrics import FakeSwitch, scrape

METRIC = re.compile(r"\b(?:vswitch|process)_\w+")


def exported() -> set[str]:
    return {name for name, _ in scrape(FakeSwitch())}


@pytest.mark.parametrize("query", dashboard.queries(), ids=lambda query: query.title)
def test_a_query_asks_for_metrics_that_exist(query: dashboard.Query) -> None:
    asked = set(METRIC.findall(query.expr))
    assert asked and asked <= exported()


def test_alerts_ask_for_metrics_that_exist() -> None:
    text = (dashboard.CONF / "prometheus-alerts.yml").read_text()
    assert set(METRIC.findall(text)) <= exported()


def test_no_metric_is_left_out_of_the_dashboard() -> None:
    asked = {name for query in dashboard.queries() for name in METRIC.findall(query.expr)}
    assert {name for name in exported() if name.startswith("vswitch_")} <= asked


@pytest.mark.parametrize("panel", dashboard.panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel: dict) -> None:
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    if panel["type"] in ("timeseries", "stat"):
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    everything = dashboard.load()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for one, other in itertools.combinations([panel["gridPos"] for panel in everything], 2):
        assert (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip


def test_variables_are_defined_before_they_are_used() -> None:
    known = {"__rate_interval": "1m"}
    for name, found in dashboard.variables().items():
        dashboard.substitute(found["selector"], known)
        known[name] = "x"
    for query in dashboard.queries():
        dashboard.substitute(query.expr, known)


@pytest.mark.parametrize("check", [("config", "prometheus.yml"), ("rules", "prometheus-alerts.yml")])
def test_promtool_accepts(check: tuple[str, str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    kind, file = check
    done = subprocess.run([promtool, "check", kind, dashboard.CONF / file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
