"""prio: up to sixteen bands, the first served first; the map says which band a packet's priority means.

pfifo_fast is the same with three bands that nothing can be put into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import units
from ..complaint import INVALID, errno, illegal
from ..model import Link
from ..printer import Printer
from ..view import FifoView, PrioView
from ..view import Kind as ViewKind
from ..words import Words, what_is
from .base import Kind, Unasked, no_options
from .fifo import Fifo, packets

DEFAULT_MAP = (1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
MOST_BANDS = 16
_USAGE = "Usage: ... prio [ bands NUMBER ] [ priomap P1 P2 ... ]"


@dataclass(frozen=True, slots=True)
class Prio:
    bands: int = 3
    priomap: tuple[int, ...] = DEFAULT_MAP


def _parse(name: str, words: Words) -> Prio:
    bands, bands_of, mapped = 3, list(DEFAULT_MAP), -1  # `mapped`: how many of the map are given; -1: no map
    while words:
        word = words.take()
        if word == "bands":
            bands = _number(words.take(), "bands")
        elif word == "priomap" and mapped < 0:
            mapped = 0
        elif word in ("priomap", "help") or mapped < 0:
            said = {"priomap": "Error: duplicate priomap", "help": _USAGE}
            raise illegal(said.get(word, f"{what_is(word)}\n{_USAGE}"))
        else:
            bands_of[mapped] = _element(word, bands, mapped)
            mapped += 1
    return Prio(bands, tuple(bands_of))


def _number(text: str, name: str) -> int:
    try:
        return units.whole(text, 10, 0x7FFFFFFF, -0x80000000)
    except ValueError:
        raise illegal(f'Illegal "{name}"') from None


def _element(text: str, bands: int, index: int) -> int:
    try:
        band = units.decimal(text)
    except ValueError:
        raise illegal('Illegal "priomap" element') from None
    if band >= bands:
        raise illegal('"priomap" element is out of bands')
    if index > 15:
        raise illegal('"priomap" index > TC_PRIO_MAX=15')
    return band


def _make(given: Prio, link: Link) -> Prio:
    if not 2 <= given.bands <= MOST_BANDS or max(given.priomap) >= given.bands:
        raise errno(INVALID)
    return given


def _slots(prio: Prio, link: Link) -> Mapping[int, Unasked]:
    return {band: ("pfifo", Fifo(link.txqueuelen or 1)) for band in range(1, prio.bands + 1)}


def _show(bands: int, priomap: tuple[int, ...], out: Printer) -> None:
    out.put("bands", "bands {} ", bands)
    out.text("priomap" + "".join(f" {band}" for band in priomap))
    out.json("priomap", list(priomap))
    out.json("multiqueue", False)


def _words(prio: Prio) -> str:
    return f"bands {prio.bands} priomap {' '.join(map(str, prio.priomap))}"


PRIO = Kind(
    "prio", _parse, _make, lambda o, out: _show(o.bands, o.priomap, out), _words,
    lambda old, given, link: _make(given, link),
    lambda o: (ViewKind.PRIO, PrioView(o.priomap)), _slots, classful=True, filters=True,
)  # fmt: skip
PFIFO_FAST = Kind("pfifo_fast", no_options, packets, lambda o, out: _show(3, DEFAULT_MAP, out), lambda o: "",
                  compile=lambda o: (ViewKind.PFIFO_FAST, FifoView(o.limit)))  # fmt: skip
