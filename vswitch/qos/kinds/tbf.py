"""tbf: a token bucket over one other discipline, with a second, shallow one for the peak if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import units
from ..complaint import INVALID, errno, illegal
from ..model import Link
from ..printer import Printer
from ..view import Kind as ViewKind
from ..view import Shape, TbfView
from ..words import Option, Words, options
from .base import Kind, Unasked
from .fifo import Fifo
from .linklayer import ethernet

_USAGE = """Usage: ... tbf rate RATE burst BYTES { limit BYTES | latency TIME } [ peakrate RATE mtu BYTES ]
               [ overhead BYTES ] [ mpu BYTES ] [ linklayer ethernet ]"""


def _twice(name: str) -> str:
    return f'tbf: duplicate "{name}" specification'


_BURST, _MTU = _twice("buffer/burst/maxburst"), _twice("mtu/minburst")
_OPTIONS = (
    Option("limit", units.size, whole=False, twice=_twice("limit")),
    Option("latency", units.time, whole=False, twice=_twice("latency")),
    Option("burst", units.size_and_cell, whole=False, twice=_BURST),
    Option("buffer", units.size_and_cell, key="burst", twice=_BURST),
    Option("maxburst", units.size_and_cell, key="burst", twice=_BURST),
    Option("mtu", units.size_and_cell, twice=_MTU), Option("minburst", units.size_and_cell, key="mtu", twice=_MTU),
    Option("mpu", units.size, twice=_twice("mpu")), Option("rate", units.rate, twice=_twice("rate")),
    Option("peakrate", units.rate, whole=False, twice=_twice("peakrate")),
    Option("overhead", units.short, whole=False, twice=_twice("overhead")),
    Option("linklayer", ethernet, whole=False),
)  # fmt: skip
_NEEDED = (
    ("rate", 'tbf: the "rate" parameter is mandatory.'), ("burst", 'tbf: the "burst" parameter is mandatory.'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tbf:
    """`burst_ns` is what the burst takes at the rate, `mtu_ns` what the mtu takes at the peak (0: no peak)."""

    rate: int
    burst: int
    burst_ns: int
    limit: int
    peak: int = 0
    mtu: int = 0
    mtu_ns: int = 0
    overhead: int = 0
    mpu: int = 0


def _parse(name: str, words: Words) -> dict[str, Any]:
    given = options(
        words, _OPTIONS, lambda option, value: f'tbf: illegal value for "{option}": "{value}"',
        lambda word: f'tbf: unknown parameter "{word}"', _USAGE,
    )  # fmt: skip
    if given.get("limit") and given.get("latency"):
        raise illegal('tbf: specifying both "latency" and "limit" is not allowed')
    missing = [text for key, text in _NEEDED if not given.get(key)]
    if given.get("peakrate") and not given.get("mtu"):
        missing.append('tbf: when "peakrate" is specified, "mtu" must also be specified.')
    if not given.get("limit") and not given.get("latency"):
        missing.append('tbf: either "limit" or "latency" is required.')
    if missing:
        raise illegal("\n".join([*missing, _USAGE]))
    return given


def _make(given: dict[str, Any], link: Link) -> Tbf:
    rate, burst, peak = given["rate"], given["burst"], given.get("peakrate", 0)
    overhead, mpu, mtu = given.get("overhead", 0), given.get("mpu", 0), given.get("mtu", 0)
    if peak and peak <= rate:
        raise errno(INVALID)
    return Tbf(
        rate, burst, units.wire_ns(rate, burst, overhead, mpu), given.get("limit") or _limit(given), peak,
        mtu if peak else 0, units.wire_ns(peak, mtu, overhead, mpu) if peak else 0, overhead, mpu,
    )  # fmt: skip


def _limit(given: dict[str, Any]) -> int:
    """What has to wait for no longer than the latency."""
    pairs = [(given["rate"], given["burst"])]
    if given.get("peakrate"):
        pairs.append((given["peakrate"], given["mtu"]))
    return min(int(rate * float(given["latency"]) / units.US + size) for rate, size in pairs) & units.TOP32


def _slots(tbf: Tbf, link: Link) -> Mapping[int, Unasked]:
    return {1: ("bfifo", Fifo(tbf.limit))}


def _words(tbf: Tbf) -> str:
    said = f"rate {tbf.rate}bps burst {tbf.burst}b limit {tbf.limit}b"
    if tbf.peak:
        said += f" peakrate {tbf.peak}bps mtu {tbf.mtu}b"
    return said + f" overhead {tbf.overhead}" * bool(tbf.overhead) + f" mpu {tbf.mpu}b" * bool(tbf.mpu)


def _ticks(ns: int) -> int:
    return ns // units.TICK_NS


def _show(tbf: Tbf, out: Printer) -> None:
    out.rate("rate", "rate {} ", tbf.rate)
    _show_burst(out, ("burst", "burst"), units.burst_size(tbf.rate, _ticks(tbf.burst_ns)), tbf.mpu)
    latency = _latency(tbf.limit, tbf.rate, tbf.burst_ns)
    if tbf.peak:
        out.rate("peakrate", "peakrate {} ", tbf.peak)
        _show_burst(out, ("minburst", "mtu"), units.burst_size(tbf.peak, _ticks(tbf.mtu_ns)), tbf.mpu)
        latency = max(latency, _latency(tbf.limit, tbf.peak, tbf.mtu_ns))
    if latency >= 0:
        out.time("lat", "lat {} ", int(latency))
    else:
        out.size("limit", "limit {} ", tbf.limit)
    if tbf.overhead:
        out.put("overhead", "overhead {} ", tbf.overhead)
    if out.details:
        out.put("linklayer", "linklayer {} ", "ethernet")


def _show_burst(out: Printer, names: tuple[str, str], size: int, mpu: int) -> None:
    if out.details:
        out.put(names[1], names[1] + " {} ", f"{units.size_text(size)}/1")
        out.size("mpu", "mpu {} ", mpu)
    else:
        out.size(names[0], names[0] + " {} ", size)


def _latency(limit: int, rate: int, burst_ns: int) -> float:
    return units.US * (limit / rate) - units.ticks_time(_ticks(burst_ns))


def _compile(tbf: Tbf) -> tuple[ViewKind, TbfView]:
    shape, peak = Shape(tbf.rate, tbf.overhead, tbf.mpu), None
    if tbf.peak:
        peak = Shape(tbf.peak, tbf.overhead, tbf.mpu)
    largest = min(tbf.burst, tbf.mtu) if tbf.peak else tbf.burst
    return ViewKind.TBF, TbfView(shape, tbf.burst_ns, peak, tbf.mtu_ns, largest)


TBF = Kind(
    "tbf", _parse, _make, _show, _words, lambda old, given, link: _make(given, link), _compile, _slots, classful=True
)  # fmt: skip
