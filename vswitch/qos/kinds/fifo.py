"""pfifo and bfifo: one queue, bounded in packets or in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import units
from ..model import Link
from ..printer import Printer
from ..view import FifoView
from ..view import Kind as ViewKind
from ..words import Option, Words, options
from .base import Kind

_OPTIONS = (Option("limit", units.size),)
_USAGE = "Usage: ... pfifo|bfifo [ limit NUMBER ]"


@dataclass(frozen=True, slots=True)
class Fifo:
    limit: int


def _parse(name: str, words: Words) -> dict[str, Any] | None:
    given = options(
        words, _OPTIONS, lambda option, value: f'{name}: Illegal value for "{option}": "{value}"',
        lambda word: f'{name}: unknown parameter "{word}"', _USAGE,
    )  # fmt: skip
    return given or None


def packets(given: dict[str, Any] | None, link: Link) -> Fifo:
    return Fifo(given["limit"] if given else link.txqueuelen or 1)


def _bytes(given: dict[str, Any] | None, link: Link) -> Fifo:
    return Fifo(given["limit"] if given else (link.txqueuelen or 1) * link.frame)


def _change(old: Fifo, given: dict[str, Any], link: Link) -> Fifo:
    return Fifo(given["limit"])


def _words(fifo: Fifo) -> str:
    return f"limit {fifo.limit}"


def _show_packets(fifo: Fifo, out: Printer) -> None:
    out.put("limit", "limit {}p", fifo.limit)


def _show_bytes(fifo: Fifo, out: Printer) -> None:
    out.size("limit", "limit {}", fifo.limit)


PFIFO = Kind(
    "pfifo", _parse, packets, _show_packets, _words, _change, lambda o: (ViewKind.PFIFO, FifoView(o.limit))
)  # fmt: skip
BFIFO = Kind(
    "bfifo", _parse, _bytes, _show_bytes, _words, _change, lambda o: (ViewKind.BFIFO, FifoView(o.limit))
)  # fmt: skip
