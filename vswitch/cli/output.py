"""What a command prints: one JSON value for programs, text and tables for people.

`Session` is click's context object: the daemon to talk to and the form in which to answer. Tables are plain columns
under a headline, without lines or colours, so that they read well on a terminal and survive `grep` and `awk` in a
pipe; there they are as wide as they need to be. rich is imported only when a table is drawn.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .client import Client

GAP = 2  # columns of space between two columns

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
    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="none")
    for column, width in zip(columns, _widths(columns), strict=True):
        drawn.add_column(Text(column[0]), justify="right" if _numeric(column[1:]) else "left", width=width)
    for row in cells:
        drawn.add_row(*map(Text, row))
    console = Console(width=sum(column.width + GAP for column in drawn.columns))
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        print(line.rstrip())


def _widths(columns: list[list[str]]) -> list[int]:
    """The width of each column: as it wants, or the widest of them folded until all fit the terminal or none can be.

    Rich would cut the last columns off where the words of all are wider than the terminal.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in columns]
    least = [max(cell_len(word) for text in column for word in text.split()) for column in columns]
    room = shutil.get_terminal_size().columns - GAP * (len(columns) - 1) if sys.stdout.isatty() else sum(widths)
    while sum(widths) > room and widths != least:
        loose = [index for index, width in enumerate(widths) if width > least[index]]
        widths[max(loose, key=widths.__getitem__)] -= 1
    return widths


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
