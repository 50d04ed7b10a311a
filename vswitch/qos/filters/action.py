"""What a filter does beside choosing a class: let pass, drop, police.

Actions belong to what comes in; the fast path knows them as policers. `mark` behind `police` is a word of the switch's
own: what exceeds is marked instead of dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import units
from ..complaint import Refusal, illegal, wrong
from ..kinds.linklayer import ethernet
from ..printer import Printer
from ..words import Words, matches

CONTROLS = ("continue", "drop", "shot", "pass", "ok", "reclassify", "pipe", "trap")
SAME = {"shot": "drop", "ok": "pass"}
_SHOWN_MTU = 2040  # the kernel's default, which bounds nothing here


@dataclass(frozen=True, slots=True)
class Gact:
    """Pass or drop."""

    control: str


@dataclass(frozen=True, slots=True)
class Police:
    """`burst` in bytes, `frames` a second. `old`: said without the word action, which is printed another way."""

    rate: int
    burst: int
    frames: int
    frame_burst: int
    exceed: str = "reclassify"
    conform: str | None = None
    mark: int | None = None
    old: bool = False


def parse_action(words: Words) -> Gact | Police:
    """What follows the word action; one action is all that there can be."""
    word = words.take()
    if word == "police":
        return parse_police(words)
    control = _control(words.take() if word == "gact" else word)
    if control is None:
        raise illegal(f'bad action "{word}": the switch has police, pass and drop\nIllegal "action"')
    return Gact(control)


def _control(word: str) -> str | None:
    found = next((name for name in CONTROLS if matches(word, name)), None)
    return None if found is None else SAME.get(found, found)


# Policing

_NUMBERS = (  # names, the first abbreviated if it may; how it is read
    (("burst", "buffer", "maxburst"), "burst", True, units.size_and_cell),
    (("mtu", "minburst"), "mtu", False, units.size_and_cell),
    (("mpu",), "mpu", False, units.size),
    (("rate",), "rate", False, units.rate),
    (("avrate",), "avrate", False, units.rate),
    (("peakrate",), "peakrate", True, units.rate),
    (("overhead",), "overhead", True, units.short),
    (("linklayer",), "linklayer", True, ethernet),
    (("pkts_rate",), "pkts_rate", True, lambda text: units.whole(text, 10, units.TOP64)),
    (("pkts_burst",), "pkts_burst", True, lambda text: units.whole(text, 10, units.TOP64)),
    (("mark",), "mark", False, units.whole),
    (("index",), "index", True, units.decimal),
)
_LACKING = ("mtu", "mpu", "avrate", "peakrate", "overhead")


def parse_police(words: Words, old: bool = False) -> Police:
    given: dict[str, Any] = {}
    while words and _police_word(words, given):
        pass
    _check_police(given)
    return Police(
        given.get("rate", 0), given.get("burst", 0), given.get("pkts_rate", 0), given.get("pkts_burst", 0),
        given.get("exceed", "reclassify"), given.get("conform"), given.get("mark"), old,
    )  # fmt: skip


def _police_word(words: Words, given: dict[str, Any]) -> bool:
    """Read one option; False: the next word is somebody else's."""
    word = words.next
    for names, key, short, read in _NUMBERS:
        if word in names or short and matches(word, names[0]):
            words.take()
            if given.get(key) and key != "linklayer":
                raise wrong(f'Error: duplicate "{"/".join(names[:2])}": "{words.take()}" is the second value.')
            given[key] = _number(words.take(), key, read)
            return True
    if word == "conform-exceed":
        words.take()
        exceed, slash, conform = words.take().partition("/")
        given["exceed"] = _needed(exceed)
        if slash:
            given["conform"] = _needed(conform)
        return True
    control = None if word.startswith("trap") else _control(word)
    if control is not None:
        words.take()
        given["exceed"] = control
    return control is not None


def _number(text: str, key: str, read: Any) -> Any:
    try:
        return read(text)
    except ValueError:
        raise wrong(f'Error: argument "{text}" is wrong: {key}') from None


def _needed(word: str) -> str:
    control = _control(word)
    if control is None:
        raise illegal(f'Bad action type {word}\nIllegal "police"')
    return control


def _check_police(given: dict[str, Any]) -> None:
    """The switch takes a rate of bytes and one of frames in one policer, which tc does not."""
    if not any(given.get(key) for key in ("rate", "avrate", "mtu", "pkts_rate")):
        raise illegal("'rate' or 'avrate' or 'mtu' or 'pkts_rate' MUST be specified.\nIllegal \"police\"")
    if given.get("rate") and not given.get("burst"):
        raise illegal("'burst' requires 'rate'.\nIllegal \"police\"")
    if given.get("pkts_rate") and not given.get("pkts_burst"):
        raise illegal("'pkts_burst' requires 'pkts_rate'.\nIllegal \"police\"")
    if given.get("mark") is not None and given.setdefault("exceed", "pass") != "pass":
        raise illegal("'mark' is instead of dropping: conform-exceed pass.\nIllegal \"police\"")
    lacking = next((key for key in _LACKING if given.get(key)), None)
    if lacking:
        raise Refusal(f"Error: police {lacking}: the switch polices by rate and burst, pkts_rate and pkts_burst.\n", 2)
    if given.get("rate"):
        try:
            units.burst_ticks(given["rate"], given["burst"])
        except ValueError:
            raise illegal('POLICE: burst out of range\nIllegal "police"') from None


def words(action: Gact | Police | None) -> str:
    """The words that make such an action."""
    match action:
        case None:
            return ""
        case Gact():
            return f"action {action.control}"
    said = "police" if action.old else "action police"
    if action.rate:
        said += f" rate {action.rate}bps burst {action.burst}b"
    if action.frames:
        said += f" pkts_rate {action.frames} pkts_burst {action.frame_burst}"
    if action.mark is not None:
        said += f" mark {action.mark:#x}"
    return f"{said} conform-exceed {action.exceed}" + (f"/{action.conform}" if action.conform else "")


# Printing


def show(action: Gact | Police | None, out: Printer) -> None:
    """Behind the filter's own options."""
    if action is None:
        return
    out.text("\n")
    if isinstance(action, Police) and action.old:
        with out.object("police"):
            _show_police(action, out)
        return
    with out.element("actions"):
        out.put("order", "\taction order {}: ", 1)
        if isinstance(action, Police):
            _show_police(action, out)
        else:
            _show_gact(action, out)


def _show_gact(action: Gact, out: Printer) -> None:
    out.put("kind", "{} ", "gact")
    _show_control("action ", action.control, out)
    with out.object("prob"):
        out.put("random_type", "\n\t random type {}", "none")
        _show_control(" ", "pass", out)
        out.put("val", " val {}", 0)
    out.put("index", "\n\t index {}", 1)
    _show_refs(out, " ref {}", " bind {}\n")


def _show_police(police: Police, out: Printer) -> None:
    out.json("kind", "police")
    out.text(" police 0x1 ")
    out.json("index", 1)
    if police.rate or not police.frames:
        out.text(f"rate {units.rate_text(police.rate)} ")
        burst = units.burst_size(police.rate, units.burst_ticks(police.rate, police.burst))
        out.text(f"burst {units.size_text(burst)} ")
    else:
        out.text("rate 0bit burst 0b ")
    out.text(f"mtu {units.size_text(_SHOWN_MTU)} ")
    if police.frames:
        out.put("pkts_rate", "pkts_rate {} ", police.frames)
        out.put("pkts_burst", "pkts_burst {} ", police.frame_burst)
    if police.mark is not None:
        out.put("mark", "mark {:#x} ", police.mark)
    _show_control("action ", police.exceed, out)
    if police.conform is not None:
        _show_control("/", police.conform, out)
    out.size("overhead", " overhead {} ", 0)
    _show_refs(out, "\n\tref {} ", "bind {} \n")


def _show_control(before: str, control: str, out: Printer) -> None:
    out.text(before + control)
    with out.object("control_action"):
        out.json("type", control)


def _show_refs(out: Printer, ref: str, bind: str) -> None:
    out.put("ref", ref, 1)
    out.put("bind", bind, 1)
