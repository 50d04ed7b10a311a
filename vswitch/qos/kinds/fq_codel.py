"""fq_codel: flows by hash, new ones first, and CoDel within each, which drops or marks what has waited too long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .. import units
from ..complaint import INVALID, denied, errno
from ..model import Link
from ..printer import Printer
from ..view import FqCodelView, QdiscStats
from ..view import Kind as ViewKind
from ..words import Option, Words, illegal_name, options, what_is
from .base import Kind

_USAGE = """Usage: ... fq_codel [ limit PACKETS ] [ flows NUMBER ] [ memory_limit BYTES ] [ target TIME ]
                    [ interval TIME ] [ quantum BYTES ] [ [no]ecn ] [ ce_threshold TIME ] [ drop_batch SIZE ]"""
_OPTIONS = (
    Option("limit", units.whole), Option("flows", units.whole), Option("quantum", units.whole),
    Option("drop_batch", units.whole), Option("target", units.time), Option("ce_threshold", units.time),
    Option("memory_limit", units.size), Option("interval", units.time), Option("ecn"),
    Option("noecn", key="ecn", value=False),
)  # fmt: skip
LEAST_QUANTUM, MOST_QUANTUM, MOST_FLOWS, MOST_MEMORY = 256, 1 << 20, 65_536, 1 << 31


@dataclass(frozen=True, slots=True)
class FqCodel:
    """Times in units of 1,024 ns, as the kernel keeps them."""

    quantum: int
    limit: int = 10_240
    flows: int = 1024
    target: int = 5_000_000 >> 10
    interval: int = 100_000_000 >> 10
    ce_threshold: int | None = None
    ecn: bool = True
    memory_limit: int = 32 << 20
    drop_batch: int = 64


def _parse(name: str, words: Words) -> dict[str, Any]:
    return options(words, _OPTIONS, illegal_name, what_is, _USAGE)


def _make(given: dict[str, Any], link: Link) -> FqCodel:
    flows = given.get("flows") or 1024
    if flows > MOST_FLOWS:
        raise errno(INVALID)
    rest = {key: value for key, value in given.items() if key != "flows"}
    return _change(FqCodel(max(link.frame, LEAST_QUANTUM), flows=flows), rest, link)


def _change(old: FqCodel, given: dict[str, Any], link: Link) -> FqCodel:
    if given.get("flows"):
        raise errno(INVALID)
    if given.get("quantum", 0) > MOST_QUANTUM:
        raise denied("Invalid quantum")
    new: dict[str, Any] = {key: _codel(given[key]) for key in ("target", "interval") if given.get(key)}
    new |= {key: given[key] for key in ("limit", "drop_batch") if given.get(key)}
    if given.get("quantum"):
        new["quantum"] = max(given["quantum"], LEAST_QUANTUM)
    if "ce_threshold" in given:
        new["ce_threshold"] = _codel(given["ce_threshold"])
    if "memory_limit" in given:
        new["memory_limit"] = min(given["memory_limit"], MOST_MEMORY)
    if "ecn" in given:
        new["ecn"] = given["ecn"]
    return replace(old, **new)


def _codel(us: int) -> int:
    return us * 1000 >> 10


def _us(codel: int) -> int:
    return (codel << 10) // 1000


def _words(fq: FqCodel) -> str:
    """Times a unit too long for a microsecond to be lost in them."""
    said = f"limit {fq.limit} flows {fq.flows} quantum {fq.quantum}"
    said += f" target {_up(fq.target)}us interval {_up(fq.interval)}us"
    if fq.ce_threshold is not None:
        said += f" ce_threshold {_up(fq.ce_threshold)}us"
    return f"{said} memory_limit {fq.memory_limit}b drop_batch {fq.drop_batch} {'ecn' if fq.ecn else 'noecn'}"


def _up(codel: int) -> int:
    return -(-(codel << 10) // 1000)


def _show(fq: FqCodel, out: Printer) -> None:
    out.put("limit", "limit {}p ", fq.limit)
    out.put("flows", "flows {} ", fq.flows)
    out.put("quantum", "quantum {} ", fq.quantum)
    out.time("target", "target {} ", _us(fq.target))
    if fq.ce_threshold is not None:
        out.time("ce_threshold", "ce_threshold {} ", _us(fq.ce_threshold))
    out.time("interval", "interval {} ", _us(fq.interval))
    out.size("memory_limit", "memory_limit {} ", fq.memory_limit)
    if fq.ecn:
        out.put("ecn", "ecn ", True)
    out.put("drop_batch", "drop_batch {} ", fq.drop_batch)


def _show_stats(out: Printer, stats: QdiscStats) -> bool:
    largest, overlimit, new, marked, new_len, old_len, ce, memory, overmemory = (*stats.extra, *[0] * 9)[:9]
    out.put("maxpacket", "  maxpacket {}", largest)
    out.put("drop_overlimit", " drop_overlimit {}", overlimit)
    out.put("new_flow_count", " new_flow_count {}", new)
    out.put("ecn_mark", " ecn_mark {}", marked)
    for key, value in (("ce_mark", ce), ("memory_used", memory), ("drop_overmemory", overmemory)):
        if value:
            out.put(key, f" {key} {{}}", value)
    out.put("new_flows_len", "\n  new_flows_len {}", new_len)
    out.put("old_flows_len", " old_flows_len {}", old_len)
    return True


def _compile(fq: FqCodel) -> tuple[ViewKind, FqCodelView]:
    threshold = None if fq.ce_threshold is None else fq.ce_threshold << 10
    return ViewKind.FQ_CODEL, FqCodelView(
        fq.limit, fq.flows, fq.quantum, fq.target << 10, fq.interval << 10, threshold, fq.ecn, fq.memory_limit,
        fq.drop_batch,
    )  # fmt: skip


FQ_CODEL = Kind(
    "fq_codel", _parse, _make, _show, _words, _change, _compile, show_stats=_show_stats, fixed=lambda o: o.flows,
    classful=True, filters=True,
)  # fmt: skip
