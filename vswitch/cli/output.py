"""What a command prints: one JSON value for programs, text and tables for people.

`Session` is click's context object: the daemon to talk to and the form in which to answer. Tables are plain columns
under a headline, without lines or colours, so that they read well on a terminal and survive `grep` and `awk` in a
pipe; there they are as wide as they need to be. rich is imported only when a table is drawn.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .client import Client

GAP = 2  # columns of space between two columns
PIPE_WIDTH = 1000  # columns: nothing is cut for a program that reads

_NUMBER = re.compile(r"[\d,.]+( ?[A-Za-z/%]+)?")


class Session:
    """One run of vswitchctl."""

    def __init__(self, run_dir: str, form: str) -> None:
        self.client = Client(run_dir)
        self.json = form == "json"

    def print(self, value: Any, text: Callable[[Any], None]) -> None:
        """The value as JSON, or as `text` shows it to people."""
        if self.json:
            print(json.dumps(value, indent=2, ensure_ascii=False))
        else:
            text(value)

    def changed(self, reply: dict[str, Any]) -> None:
        """What a command has changed."""
        self.print(reply, _print_changes)


def _print_changes(reply: dict[str, Any]) -> None:
    for line in reply["changes"] or ["nothing to change"]:
        print(line)


def table(headline: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, numbers set to the right; on a narrow terminal cells fold at spaces."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[cell(value) for value in row] for row in rows]
    columns = [[title, *(row[index] for row in cells)] for index, title in enumerate(headline)]
    least = [max(len(word) for text in column for word in text.split()) for column in columns]
    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column, width in zip(columns, least, strict=True):
        drawn.add_column(Text(column[0]), justify="right" if _numeric(column[1:]) else "left", min_width=width)
    for row in cells:
        drawn.add_row(*map(Text, row))
    wide = max(Console().width, sum(least) + GAP * (len(least) + 1)) if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=wide)
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        print(line.rstrip())


def cell(value: object) -> str:
    """A value as a cell: thousands set apart, a dash for what is not there."""
    if value is None or value == "":
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _numeric(column: Sequence[str]) -> bool:
    """Whether a column has numbers, with or without a unit, and nothing else."""
    filled = [text for text in column if text != "-"]
    return bool(filled) and all(_NUMBER.fullmatch(text) for text in filled)


def size(count: int) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, "PB"
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: "1d 2h", "3m 4s", "5s"."""
    left, parts = int(seconds), []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
