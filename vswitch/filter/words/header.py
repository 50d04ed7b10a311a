"""length, tos, dscp, ttl, hl, and TOS, DSCP, TTL, HL: the fields of the IP header, asked and written.

DSCP classes: CSn is n * 8, AFxy is x * 8 + y * 2, EF is 46, BE is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..matches import Compare, Dscp, HopLimit, Length, Tos, Ttl
from ..targets import Change, SetDscp, SetHopLimit, SetTos, SetTtl
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .readers import number, ranged, within, write_range

MANGLE = Demands(tables=("mangle",))


def _turned(value: Any) -> str:
    return " !" if value.inverted else ""


LENGTH = Extension(
    name="length",
    struct=Length,
    options=(Option("--length", "length", ranged(65535), write_range, invert=True, required=True),),
    show=lambda value, numeric: f" length {'!' if value.inverted else ''}{write_range(value.length)}",
)


# TOS

SYMBOLS = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}
SYMBOL_MASK = 0x3F


def _tos(text: str, asked: Asked) -> tuple[int, int]:
    """VALUE[/MASK], or a symbol of the old meaning, under a mask that leaves ECN alone."""
    first, slash, last = text.partition("/")
    value, mask = number(first), number(last) if slash else 0xFF
    if value is None and not slash:
        for name, bits in SYMBOLS.items():
            if name.lower() == text.lower():
                return bits, SYMBOL_MASK
        raise Complaint(f'Symbolic name "{text}" is unknown')
    if value is None or mask is None or value > 255 or mask > 255:
        raise Complaint(f'Illegal value: "{text}"')
    return value, mask


def _tos_match(fields: Fields) -> Tos:
    value, mask = fields.values["value"]
    return Tos(value=value, mask=mask, inverted=frozenset(fields.inverted))


def _symbol(value: int, mask: int) -> str | None:
    return next((name for name, bits in SYMBOLS.items() if bits == value and mask == SYMBOL_MASK), None)


def _show_tos_match(held: Tos, numeric: bool) -> str:
    name = None if numeric else _symbol(held.value, held.mask)
    turned = "!" if held.inverted else ""
    return f" tos match{turned}{' ' + name if name else f'0x{held.value:02x}/0x{held.mask:02x}'}"


TOS_MATCH = Extension(
    name="tos",
    struct=Tos,
    options=(Option("--tos", "value", _tos, invert=True, required=True),),
    show=_show_tos_match,
    save=lambda held: f"{_turned(held)} --tos 0x{held.value:02x}/0x{held.mask:02x}",
    make=_tos_match,
)


def _tos_bits(turn: Callable[[int], tuple[int, int]]) -> Callable[[str, Asked], tuple[int, int]]:
    def read(text: str, asked: Asked) -> tuple[int, int]:
        value = number(text)
        if value is None or value > 255:
            raise asked.bad(255)
        return turn(value)

    return read


def _show_tos(held: SetTos, numeric: bool) -> str:
    if numeric:
        return f" TOS set 0x{held.value:02x}/0x{held.mask:02x}"
    name = _symbol(held.value, held.mask)
    if name:
        return f" TOS set {name}"
    if held.value == 0:
        return f" TOS and 0x{~held.mask & 0xFF:02x}"
    if held.value == held.mask:
        return f" TOS or 0x{held.value:02x}"
    return f" TOS xor 0x{held.value:02x}" if held.mask == 0 else f" TOS set 0x{held.value:02x}/0x{held.mask:02x}"


TOS_TARGET = Extension(
    name="TOS",
    struct=SetTos,
    options=(
        Option("--set-tos", "change", _tos),
        Option("--and-tos", "change", _tos_bits(lambda bits: (0, ~bits & 0xFF))),
        Option("--or-tos", "change", _tos_bits(lambda bits: (bits, bits))),
        Option("--xor-tos", "change", _tos_bits(lambda bits: (bits, 0))),
    ),
    show=_show_tos,
    save=lambda held: f" --set-tos 0x{held.value:02x}/0x{held.mask:02x}",
    make=lambda fields: SetTos(*fields.values["change"]),
    missing="TOS: An action is required",
    demands=MANGLE,
)


# DSCP

CLASSES = {"BE": 0, "EF": 46} | {f"CS{n}": n * 8 for n in range(8)}
CLASSES |= {f"AF{x}{y}": x * 8 + y * 2 for x in range(1, 5) for y in range(1, 4)}


def _class(text: str, asked: Asked) -> int:
    if text.upper() not in CLASSES:
        raise Complaint(f"Invalid DSCP value `{text}'")
    return CLASSES[text.upper()]


DSCP_MATCH = Extension(
    name="dscp",
    struct=Dscp,
    options=(
        Option("--dscp", "value", within(63), lambda value: f"0x{value:02x}", invert=True),
        Option("--dscp-class", "value", _class, invert=True, printed=False),
    ),
    show=lambda held, numeric: f" DSCP match {'!' if held.inverted else ''}0x{held.value:02x}",
    missing="DSCP match: Parameter --dscp is required",
)

DSCP_TARGET = Extension(
    name="DSCP",
    struct=SetDscp,
    options=(
        Option("--set-dscp", "value", within(63), lambda value: f"0x{value:02x}"),
        Option("--set-dscp-class", "value", _class, printed=False),
    ),
    show=lambda held, numeric: f" DSCP set 0x{held.value:02x}",
    missing="DSCP target: Parameter --set-dscp is required",
    demands=MANGLE,
)


# TTL and hop limit: the same under two names

COMPARES = {"eq": (Compare.EQUAL, "=="), "lt": (Compare.LESS, "<"), "gt": (Compare.GREATER, ">")}
CHANGES = {
    "set": (Change.SET, "set to"),
    "inc": (Change.INCREASE, "increment by"),
    "dec": (Change.DECREASE, "decrement by"),
}


def _with(kind: Any, low: int) -> Callable[[str, Asked], tuple[Any, int]]:
    read = within(255, low)
    return lambda text, asked: (kind, read(text, asked))


def _ttl_match(word: str, struct: type, family: int, missing: str) -> Extension:
    names = {compare: name for name, (compare, _) in COMPARES.items()}
    signs = {compare: sign for compare, sign in COMPARES.values()}

    def make(fields: Fields) -> Any:
        compare, value = fields.values["value"]
        return struct(compare=compare, value=value, inverted=frozenset(fields.inverted))

    def show(held: Any, numeric: bool) -> str:
        sign = "!=" if held.inverted else signs[held.compare]
        return f" {word.upper()} match {word.upper()} {sign} {held.value}"

    return Extension(
        name=word,
        struct=struct,
        options=tuple(
            Option(f"--{word}-{name}", "value", _with(compare, 0), invert=name == "eq")
            for name, (compare, _) in COMPARES.items()
        ),
        show=show,
        save=lambda held: f"{_turned(held)} --{word}-{names[held.compare]} {held.value}",
        make=make,
        missing=missing,
        families=(family,),
    )


def _ttl_target(word: str, struct: type, family: int) -> Extension:
    names = {change: name for name, (change, _) in CHANGES.items()}
    said = {change: text for change, text in CHANGES.values()}
    return Extension(
        name=word.upper(),
        struct=struct,
        options=tuple(
            Option(f"--{word}-{name}", "value", _with(change, 0 if name == "set" else 1))
            for name, (change, _) in CHANGES.items()
        ),
        show=lambda held, numeric: f" {word.upper()} {said[held.change]} {held.value}",
        save=lambda held: f" --{word}-{names[held.change]} {held.value}",
        make=lambda fields: struct(*fields.values["value"]),
        missing=f"{word.upper()}: You must specify an action",
        families=(family,),
        demands=MANGLE,
    )


MUST = "{} match: You must specify one of `--{}-eq', `--{}-lt', `--{}-gt"
EXTENSIONS = (
    LENGTH,
    TOS_MATCH,
    DSCP_MATCH,
    _ttl_match("ttl", Ttl, 4, MUST.format("TTL", *["ttl"] * 3)),
    _ttl_match("hl", HopLimit, 6, MUST.format("HL", *["hl"] * 3) + "'"),
)
TARGETS = (TOS_TARGET, DSCP_TARGET, _ttl_target("ttl", SetTtl, 4), _ttl_target("hl", SetHopLimit, 6))
