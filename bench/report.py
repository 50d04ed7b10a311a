"""Results for people (two tables) and for programs (JSON)."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.experiments.base import Metric
from bench.rounds import Series
from bench.verdict import Figure, Verdict, summarise
from bench.world import ROOT

RESULTS = ROOT / "bench" / "results"
WORDS = {"worth": "[green]worth reaching[/]", "must": "[green]must reached[/]",
         "short": "[red]short[/]", "told": "told", "not measured": "[dim]not measured[/]"}


def machine() -> dict[str, Any]:
    """Where and what was measured: figures compare within one run, never between two."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "kernel": platform.release(),
            "cpu": _cpu_model(), "cores": os.cpu_count(), "load_before": os.getloadavg()[0],
            "commit": _commit()}


def as_json(about: dict[str, Any], series: Series, verdicts: list[Verdict],
            notes: list[str]) -> str:
    """One JSON object: machine, samples by metric and contender, verdicts, notes."""
    samples = {metric: {contender: [None if math.isnan(v) else v for v in values]
                        for contender, values in contenders.items()}
               for metric, contenders in series.items()}
    return json.dumps({"machine": about, "samples": samples, "notes": notes,
                       "verdicts": [asdict(verdict) for verdict in verdicts]}, indent=1)


def save(text: str, about: dict[str, Any]) -> Path:
    """Write the JSON to bench/results, named by its time; returns the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{about['at'].replace(':', '').partition('+')[0]}.json"
    path.write_text(text)
    return path


def show(console: Console, series: Series, metrics: list[Metric], titles: dict[str, str],
         verdicts: list[Verdict], notes: list[str]) -> None:
    """Both tables and the notes."""
    console.print(_measured(series, metrics, titles))
    console.print(_required(verdicts))
    for note in notes:
        console.print(f"[yellow]note[/] {note}", highlight=False)


def _measured(series: Series, metrics: list[Metric], titles: dict[str, str]) -> Table:
    table = Table("work", "who", "median", "spread", "unit", "rounds", title="Measured")
    for metric in metrics:
        work = metric.title
        for contender, values in series.get(metric.key, {}).items():
            figure = summarise(values)
            table.add_row(work, titles.get(contender, contender), _number(figure.value),
                          _spread(figure), metric.unit, str(figure.rounds))
            work = ""
        if not work:
            table.add_section()
    return table


def _required(verdicts: list[Verdict]) -> Table:
    table = Table("work", "must", "worth", "measured", "spread", "", title="Required and measured")
    for verdict in verdicts:
        required, figure = verdict.requirement, verdict.figure
        sign = "<=" if required.at_most else ">="
        marks = [f"{sign} {mark:g} {required.unit}" if mark is not None else ""
                 for mark in (required.must, required.worth)]
        measured = [_number(figure.value), _spread(figure)] if figure else ["", ""]
        table.add_row(required.title, *marks, *measured, WORDS[verdict.outcome])
    return table


def _spread(figure: Figure) -> str:
    return f"{_number(figure.low)} - {_number(figure.high)}" if figure.rounds > 1 else ""


def _number(value: float) -> str:
    """Three digits of it, and no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str | None:
    """The revision under test, "+" when files differ from it; None where git cannot tell."""
    if shutil.which("git") is None:
        return None
    told = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"],
                          capture_output=True, text=True)
    return told.stdout.strip() or None
