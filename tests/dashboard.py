"""The Grafana dashboard as tests read it: its panels, its variables and every query it sends to Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

CONF = Path(__file__).parent.parent / "conf"
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


class Query(NamedTuple):
    """A PromQL expression, template variables still in it, and where in the dashboard it stands."""

    title: str
    expr: str


def load() -> dict[str, Any]:
    """The dashboard's JSON."""
    return json.loads((CONF / "grafana/vswitch.json").read_text())


def panels() -> list[dict[str, Any]]:
    """All panels but the rows' headings."""
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every query of the panels and of the annotations."""
    shown = [
        Query(f"{panel['title']} {target['refId']}", target["expr"]) for panel in panels() for target in panel["targets"]
    ]
    marks = [Query(mark["name"], mark["expr"]) for mark in load()["annotations"]["list"] if "expr" in mark]
    return shown + marks


def variables() -> dict[str, re.Match[str]]:
    """The variables that Prometheus fills: name -> match of LABEL_VALUES, in the order they depend on each other."""
    found = {}
    for variable in load()["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = LABEL_VALUES.fullmatch(variable["query"]["query"])
    return found


def substitute(text: str, values: dict[str, str]) -> str:
    """The text with each `$name` replaced as Grafana would; KeyError for a variable that has no value."""
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)
