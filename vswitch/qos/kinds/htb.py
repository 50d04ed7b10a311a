"""htb: a tree of classes, each with a rate of its own and a ceiling up to which it may borrow from its parent.

The discipline itself says only where packets go that no filter takes. What `class add` says is read here too; the
default bursts and the quantum are tc's and the kernel's: a burst of what the rate carries in a timer's tick and one
MTU, a quantum of rate / r2q between 1,000 and 200,000 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import units
from ..complaint import illegal
from ..model import HtbClass, Link
from ..printer import Printer
from ..view import HtbView, QdiscStats
from ..view import Kind as ViewKind
from ..words import Option, Words, illegal_name, options, what_is
from .base import Kind
from .linklayer import ethernet

MTU, LEAST_QUANTUM, MOST_QUANTUM, LAST_PRIO = 1600, 1000, 200_000, 7
_USAGE = """Usage: ... qdisc add ... htb [ default MINOR ] [ r2q NUMBER ] [ direct_qlen PACKETS ]
       ... class add ... htb rate RATE [ ceil RATE ] [ burst BYTES ] [ cburst BYTES ] [ prio NUMBER ]
                             [ quantum BYTES ] [ mtu BYTES ] [ mpu BYTES ] [ overhead BYTES ]"""
_OPTIONS = (
    Option("r2q", units.decimal, whole=False), Option("default", lambda text: units.whole(text, 16), whole=False),
    Option("debug", str, whole=False), Option("direct_qlen", units.decimal, whole=False),
)  # fmt: skip
_CLASS = (
    Option("prio", units.decimal, whole=False), Option("mtu", units.decimal, whole=False),
    Option("mpu", units.short, whole=False), Option("overhead", units.short, whole=False),
    Option("linklayer", ethernet, whole=False), Option("quantum", units.decimal, whole=False),
    Option("burst", units.size_and_cell, whole=False), Option("buffer", units.size_and_cell, key="burst"),
    Option("maxburst", units.size_and_cell, key="burst"), Option("cburst", units.size_and_cell, whole=False),
    Option("cbuffer", units.size_and_cell, key="cburst"), Option("cmaxburst", units.size_and_cell, key="cburst"),
    Option("ceil", units.rate, twice='Double "ceil" spec'), Option("rate", units.rate, twice='Double "rate" spec'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Htb:
    default: int
    r2q: int
    direct_qlen: int


def _parse(name: str, words: Words) -> dict[str, Any]:
    return options(words, _OPTIONS, illegal_name, what_is, _USAGE)


def _make(given: dict[str, Any], link: Link) -> Htb:
    return Htb(given.get("default", 0), given.get("r2q", 10) or 1, given.get("direct_qlen", link.txqueuelen))


def _words(htb: Htb) -> str:
    return f"default {htb.default:x} r2q {htb.r2q} direct_qlen {htb.direct_qlen}"


def _show(htb: Htb, out: Printer) -> None:
    out.put("r2q", "r2q {}", htb.r2q)
    out.put("default", " default {}", f"{htb.default:#x}" if htb.default or out.is_json else "0")
    out.put("direct_packets_stat", " direct_packets_stat {}", out.direct)
    if out.details:
        out.put("ver", " ver {}", "3.17")
    out.put("direct_qlen", " direct_qlen {}", htb.direct_qlen)


HTB = Kind(
    "htb", _parse, _make, _show, _words, None, lambda o: (ViewKind.HTB, HtbView(o.default, o.direct_qlen)),
    classful=True, filters=True,
)  # fmt: skip


# Classes


def parse_class(words: Words) -> dict[str, Any]:
    """What `class add ... htb` says, bursts as ticks."""
    given = options(words, _CLASS, illegal_name, what_is, _USAGE)
    if not given.get("rate"):
        raise illegal('"rate" is required.')
    given["ceil"] = given.get("ceil") or given["rate"]
    given["sizes"] = ()
    for burst, rate in (("burst", given["rate"]), ("cburst", given["ceil"])):
        size = given.get(burst) or rate // units.HZ + given.get("mtu", MTU)
        given["sizes"] += (size,)
        try:
            given[burst] = units.burst_ticks(rate, size)
        except ValueError:
            raise illegal("htb: burst out of range") from None
    return given


def make_class(given: dict[str, Any], htb: Htb, serial: int, id: int, parent: int) -> tuple[HtbClass, str]:
    """The class, and a warning about its quantum or nothing."""
    share, warning = given["rate"] // htb.r2q, ""
    quantum = given.get("quantum") or computed_quantum(given["rate"], htb)
    if not given.get("quantum") and quantum != share:
        size = "small" if share < LEAST_QUANTUM else "big"
        warning = f"Warning: sch_htb: quantum of class {id:X} is {size}. Consider r2q change.\n"
    return HtbClass(
        serial, id, parent, given["rate"], given["ceil"], given["burst"], given["cburst"], given.get("overhead", 0),
        given.get("mpu", 0), min(given.get("prio", 0), LAST_PRIO), quantum, given["sizes"],
    ), warning  # fmt: skip


def computed_quantum(rate: int, htb: Htb) -> int:
    return min(max(rate // htb.r2q, LEAST_QUANTUM), MOST_QUANTUM)


def class_words(cls: HtbClass, htb: Htb) -> str:
    """The options that make such a class."""
    said = [f"rate {cls.rate}bps", f"ceil {cls.ceil}bps" if cls.ceil != cls.rate else ""]
    for name, rate, size in (("burst", cls.rate, cls.sizes[0]), ("cburst", cls.ceil, cls.sizes[1])):
        said.append(f"{name} {size}b" if size != rate // units.HZ + MTU else "")
    for name, value in (("overhead", cls.overhead), ("mpu", cls.mpu), ("prio", cls.prio)):
        said.append(f"{name} {value}" if value else "")
    said.append(f"quantum {cls.quantum}" if cls.quantum != computed_quantum(cls.rate, htb) else "")
    return " ".join(filter(None, said))


def show_class(cls: HtbClass, level: int, out: Printer) -> None:
    if not level:
        out.put("prio", "prio {} ", cls.prio)
        if out.details:
            out.put("quantum", "quantum {} ", cls.quantum)
    out.rate("rate", "rate {} ", cls.rate)
    if cls.overhead:
        out.put("overhead", "overhead {} ", cls.overhead)
    out.rate("ceil", "ceil {} ", cls.ceil)
    if out.details:
        out.put("linklayer", "linklayer {} ", "ethernet")
    _show_burst(out, "burst", "mpu_rate", units.burst_size(cls.rate, cls.burst), cls.mpu)
    _show_burst(out, "cburst", "mpu_ceil", units.burst_size(cls.ceil, cls.cburst), cls.mpu)
    if out.details:
        out.put("level", "level {} ", level)


def _show_burst(out: Printer, name: str, mpu_key: str, size: int, mpu: int) -> None:
    if not out.details:
        out.size(name, name + " {} ", size)
        return
    out.size(name, name + " {}/", size)
    out.put(f"{name}_cell", "{} ", 1)
    out.size(mpu_key, "mpu {} ", mpu)


def show_class_stats(out: Printer, stats: QdiscStats) -> None:
    lended, borrowed, tokens, ctokens = (*stats.extra, 0, 0, 0, 0)[:4]
    out.put("lended", " lended: {} ", lended)
    out.put("borrowed", "borrowed: {} ", borrowed)
    out.put("giants", "giants: {}\n", 0)
    out.put("tokens", " tokens: {} ", tokens // units.TICK_NS)
    out.put("ctokens", "ctokens: {}\n", ctokens // units.TICK_NS)
