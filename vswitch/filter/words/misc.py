"""comment, limit, iprange and frag: matches that belong to nothing else."""

from __future__ import annotations

import re

from ..matches import Comment, Frag, Iprange, Limit
from ..values import AddressRange
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .readers import address, octets, ranged, within, write_range

PLAIN = re.compile(r"[-_0-9a-zA-Z]+")


def quoted(text: str) -> str:
    """A word as a save has it: in quotes unless it is plain."""
    if PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r"([\"\\'])", r"\\\1", text) + '"'


# comment

LONGEST_COMMENT = 255


def _comment(text: str, asked: Asked) -> str:
    if "\n" in text or "\r" in text:
        raise Complaint("comment: newlines not allowed in --comment")  # a save is of lines
    return octets(text)[:LONGEST_COMMENT].decode(errors="ignore")


COMMENT = Extension(
    name="comment",
    struct=Comment,
    options=(Option("--comment", "text", _comment, quoted, required=True),),
    show=lambda held, numeric: f" /* {held.text} */",
)


# limit

SCALE = 10_000  # of the kernel: ten-thousandths of a second
UNITS = {"day": 86_400 * SCALE, "hour": 3600 * SCALE, "min": 60 * SCALE, "sec": SCALE}
SPELLED = {"second": "sec", "minute": "min", "hour": "hour", "day": "day"}
RATE = re.compile(r"([0-9]{1,9})(?:/([a-zA-Z]+))?")


def _rate(text: str, asked: Asked) -> int:
    """N[/UNIT], the unit's name as short as one likes, into the time between two packets."""
    parts = RATE.fullmatch(text)
    unit = _unit(parts[2]) if parts else None
    if parts is None or unit is None or int(parts[1]) == 0:
        raise Complaint(f'bad rate "{text}"\'')
    period = UNITS[unit] // int(parts[1])
    if period == 0:
        raise Complaint(f'Rate too fast "{text}"')
    return period


def _unit(text: str | None) -> str | None:
    if text is None:
        return "sec"
    return next((unit for name, unit in SPELLED.items() if name.startswith(text.lower())), None)


def write_rate(period: int) -> str:
    """In the smallest unit that loses nothing of it, as iptables finds it."""
    shown = "day"
    for unit, length in UNITS.items():
        if period > length or length // period < length % period:
            break
        shown = unit
    return f"{UNITS[shown] // period}/{shown}"


def _save_limit(held: Limit) -> str:
    burst = "" if held.burst == 5 else f" --limit-burst {held.burst}"
    return f" --limit {write_rate(held.period)}{burst}"


LIMIT = Extension(
    name="limit",
    struct=Limit,
    options=(Option("--limit", "period", _rate), Option("--limit-burst", "burst", within(10_000))),
    show=lambda held, numeric: f" limit: avg {write_rate(held.period)} burst {held.burst}",
    save=_save_limit,
    demands=Demands(further=lambda held, spec, chains: None if held.burst else "a burst of 0 never matches"),
)


# iprange


def _addresses(text: str, asked: Asked) -> AddressRange:
    first, dash, last = text.partition("-")
    for part in (first, last) if dash else (first,):
        if address(part, asked.family) is None:
            raise Complaint(f'iprange: Bad value for "{asked.option}" option: "{part}"')
    low = address(first, asked.family)
    return AddressRange(low, address(last, asked.family) if dash else low)


def _write_range(held: AddressRange) -> str:
    return f"{held.first}-{held.last}"


def _show_iprange(held: Iprange, numeric: bool) -> str:
    text = ""
    for field in ("source", "destination"):
        value = getattr(held, field)
        if value is not None:
            text += f" {field} IP range {'! ' if field in held.inverted else ''}{_write_range(value)}"
    return text


IPRANGE = Extension(
    name="iprange",
    struct=Iprange,
    options=(
        Option("--src-range", "source", _addresses, _write_range, invert=True),
        Option("--dst-range", "destination", _addresses, _write_range, invert=True),
    ),
    show=_show_iprange,
    missing="iprange match: You must specify `--src-range' or `--dst-range'",
)


# frag


def _make_frag(fields: Fields) -> Frag:
    if "more" in fields.values and "last" in fields.values:
        raise Complaint('frag: option "--fragmore" cannot be used together with "--fraglast".\n')
    return Frag(**fields.values, inverted=frozenset(fields.inverted))


def _show_frag(held: Frag, numeric: bool) -> str:
    text = " frag"
    if held.ids is not None:
        plural = "" if held.ids.first == held.ids.last else "s"
        text += f" id{plural}:{'!' if 'ids' in held.inverted else ''}{write_range(held.ids)}"
    if held.length is not None:
        text += f" length:{'!' if 'length' in held.inverted else ''}{held.length}"
    flags = (("reserved", held.reserved), ("first", held.first), ("more", held.more), ("last", held.last))
    return text + "".join(f" {name}" for name, on in flags if on)


FRAG = Extension(
    name="frag",
    struct=Frag,
    options=(
        Option("--fragid", "ids", ranged(0xFFFFFFFF), write_range, invert=True),
        Option("--fraglen", "length", within(0xFFFFFFFF), invert=True),
        Option("--fragres", "reserved", words=0),
        Option("--fragfirst", "first", words=0),
        Option("--fragmore", "more", words=0),
        Option("--fraglast", "last", words=0),
    ),
    show=_show_frag,
    make=_make_frag,
    families=(6,),
)

EXTENSIONS = (COMMENT, LIMIT, IPRANGE, FRAG)
