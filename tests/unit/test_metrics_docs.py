"""docs/metrics.md names every metric with its type and labels, and every drop reason; nothing more and nothing else."""

import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.unit.test_metrics import FakeSwitch, snapshot
from vswitch.dataplane import Dataplane
from vswitch.observe.metrics import render

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
METRIC_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|[^|]*\|[^|]+\|$", re.MULTILINE)
REASON_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", re.MULTILINE)


def exported() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of every metric, by the name that queries use."""
    text = render(snapshot(FakeSwitch()), "", "").body.decode()
    return {family.samples[0].name: (kind(family), set(family.samples[0].labels)) for family in parse_text(text)}


def kind(family: Metric) -> str:
    """The metric's type; the text format has no word for info."""
    return "info" if family.name.endswith("_info") else family.type


def test_every_metric_is_explained_and_no_other() -> None:
    explained = {
        name: (type_, set(re.findall(r"`(\w+)`", labels))) for name, type_, labels in METRIC_ROW.findall(PAGE)
    }
    assert explained == exported()


def test_every_drop_reason_is_explained_in_the_order_of_the_enum() -> None:
    assert tuple(REASON_ROW.findall(PAGE)) == Dataplane.drop_reasons


@pytest.mark.parametrize("name", sorted(exported()))
def test_help_is_a_sentence(name: str) -> None:
    text = render(snapshot(FakeSwitch()), "", "").body.decode()
    help_line = re.search(rf"^# HELP {name.removesuffix('_bucket')} (.+)$", text, re.MULTILINE)
    assert help_line and help_line[1].endswith(".")
