"""sfq: flows by a hash of their addresses and ports, served in turn, a quantum each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .. import units
from ..complaint import INVALID, denied, errno, illegal
from ..model import Link
from ..printer import Printer
from ..view import Kind as ViewKind
from ..view import SfqView
from ..words import Option, Words, illegal_name, options, what_is
from .base import Kind

DEEPEST, MOST_FLOWS, MOST_SLOTS = 127, 0x10000 - 127 - 1, 65_536
TOP_SECONDS = 0x7FFFFFFF // 1000
_USAGE = """Usage: ... sfq [ limit PACKETS ] [ perturb SECONDS ] [ quantum BYTES ] [ divisor NUMBER ]
               [ flows NUMBER ] [ depth PACKETS ] [ headdrop ]"""
_OPTIONS = (
    Option("quantum", units.size), Option("perturb", units.signed), Option("limit", units.whole),
    Option("divisor", units.whole), Option("flows", units.whole), Option("depth", units.whole), Option("headdrop"),
)  # fmt: skip
_RED = ("redflowlimit", "min", "max", "avpkt", "burst", "probability", "ecn", "harddrop")


@dataclass(frozen=True, slots=True)
class Sfq:
    quantum: int
    limit: int = DEEPEST
    depth: int = DEEPEST
    flows: int = 128
    divisor: int = 1024
    perturb: int = 0
    headdrop: bool = False


def _unknown(word: str) -> str:
    if word in _RED:
        return f'sfq: the switch has no RED within flows; leave out "{word}" or use fq_codel'
    return what_is(word)


def _parse(name: str, words: Words) -> dict[str, Any] | None:
    given = options(words, _OPTIONS, illegal_name, _unknown, _USAGE)
    if 0 <= given.get("limit", 2) < 2:
        raise illegal('Illegal "limit", must be > 1')
    return given or None


def _make(given: dict[str, Any] | None, link: Link) -> Sfq:
    fresh = Sfq(quantum=link.frame)
    return _change(fresh, given, link) if given else fresh


def _change(old: Sfq, given: dict[str, Any], link: Link) -> Sfq:
    """As the kernel does it: zero and absent are the same, limits bound each other."""
    divisor = given.get("divisor", 0)
    if divisor and (divisor.bit_count() != 1 or divisor > MOST_SLOTS):
        raise errno(INVALID)
    if given.get("quantum", 0) >> 31:
        raise denied("sch_sfq: invalid quantum")
    if not 0 <= given.get("perturb", 0) <= TOP_SECONDS:
        raise denied("sch_sfq: invalid perturb period")
    flows = min(given.get("flows") or old.flows, MOST_FLOWS, divisor or MOST_FLOWS)
    depth = min(given.get("depth") or old.depth, DEEPEST)
    limit = min(given["limit"], depth * flows) if given.get("limit") else old.limit
    return replace(
        old, quantum=given.get("quantum") or old.quantum, perturb=given.get("perturb", 0), depth=depth, limit=limit,
        flows=min(flows, limit), divisor=divisor or old.divisor, headdrop="headdrop" in given,
    )  # fmt: skip


def _words(sfq: Sfq) -> str:
    return (
        f"limit {sfq.limit} quantum {sfq.quantum} depth {sfq.depth} flows {sfq.flows} divisor {sfq.divisor} "
        f"perturb {sfq.perturb}{' headdrop' * sfq.headdrop}"
    )


def _show(sfq: Sfq, out: Printer) -> None:
    out.put("limit", "limit {}p ", sfq.limit)
    out.size("quantum", "quantum {} ", sfq.quantum)
    out.put("depth", "depth {} ", sfq.depth)
    if sfq.headdrop:
        out.put("headdrop", "headdrop ", True)
    if out.details:
        out.put("flows", "flows {} ", sfq.flows)
    out.put("divisor", "divisor {} ", sfq.divisor)
    if sfq.perturb:
        out.put("perturb", "perturb {}sec ", sfq.perturb)


def _compile(sfq: Sfq) -> tuple[ViewKind, SfqView]:
    return ViewKind.SFQ, SfqView(
        sfq.limit, sfq.depth, sfq.flows, sfq.divisor, sfq.quantum, sfq.perturb * 10**9, sfq.headdrop
    )


SFQ = Kind(
    "sfq", _parse, _make, _show, _words, _change, _compile, fixed=lambda o: (o.divisor, o.flows, o.depth),
    classful=True, filters=True,
)  # fmt: skip
