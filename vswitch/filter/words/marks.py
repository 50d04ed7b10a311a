"""mark, connmark, MARK and CONNMARK: the packet's mark and its connection's.

However a mark is set, iptables keeps (mark & ~mask) ^ value, and prints it so; listings find back the word that was
meant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..matches import Connmark, Mark
from ..targets import RestoreMark, SaveMark, SetConnmark, SetMark
from .base import Asked, Extension, Fields, Option
from .complaint import Complaint
from .readers import masked, number, within, write_masked

ALL = 0xFFFFFFFF


# The matches


def _match(name: str, struct: type, plain: str) -> Extension:
    """`plain` is what a listing of iptables has where `!` could be."""

    def make(fields: Fields) -> Any:
        value, mask = fields.values["value"]
        return struct(value=value, mask=mask, inverted=frozenset(fields.inverted))

    def save(held: Any) -> str:
        return f"{' !' if held.inverted else ''} --mark {write_masked(held.value, held.mask)}"

    def show(held: Any, numeric: bool) -> str:
        return f" {name} match {'! ' if held.inverted else plain}{write_masked(held.value, held.mask)}"

    option = Option("--mark", "value", masked(), invert=True, required=True)
    return Extension(name=name, struct=struct, options=(option,), show=show, save=save, make=make)


# How a mark is set: each word reads into (value, mask) of (mark & ~mask) ^ value


def _set(text: str, asked: Asked) -> tuple[int, int]:
    value, mask = masked()(text, asked)
    return value, mask | value


def _bits(turn: Callable[[int], tuple[int, int]]) -> Callable[[str, Asked], tuple[int, int]]:
    def read(text: str, asked: Asked) -> tuple[int, int]:
        value = number(text)
        if value is None or value > ALL:
            raise asked.bad()
        return turn(value)

    return read


SETTERS = (
    Option("--set-xmark", "change", masked()),
    Option("--set-mark", "change", _set),
    Option("--and-mark", "change", _bits(lambda bits: (0, ~bits & ALL))),
    Option("--or-mark", "change", _bits(lambda bits: (bits, bits))),
    Option("--xor-mark", "change", _bits(lambda bits: (bits, 0))),
)


def _show_set(value: int, mask: int) -> str:
    if value == 0:
        return f"and 0x{~mask & ALL:x}"
    if value == mask:
        return f"or 0x{value:x}"
    if mask == 0:
        return f"xor 0x{value:x}"
    return f"set 0x{value:x}" if mask == ALL else f"xset 0x{value:x}/0x{mask:x}"


MARK_TARGET = Extension(
    name="MARK",
    struct=SetMark,
    options=SETTERS,
    show=lambda held, numeric: f" MARK {_show_set(held.value, held.mask)}",
    save=lambda held: f" --set-xmark 0x{held.value:x}/0x{held.mask:x}",
    make=lambda fields: SetMark(*fields.values["change"]),
    missing="MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required",
)


# CONNMARK


def _make_connmark(fields: Fields) -> Any:
    values = fields.values
    if "change" not in values:
        raise Complaint("CONNMARK target: No operation specified")
    shift = values.get("shift", 0)
    if isinstance(values["change"], tuple):
        if values.keys() & {"mask", "nfmask", "ctmask"}:
            raise Complaint("CONNMARK: --mask, --nfmask and --ctmask go with --save-mark and --restore-mark")
        value, mask = values["change"]
        return SetConnmark(value=value, mask=mask, shift=shift)
    both = values.get("mask", ALL)
    return values["change"](nfmask=values.get("nfmask", both), ctmask=values.get("ctmask", both), shift=shift)


def _operation(struct: type) -> Callable[[str, Asked], type]:
    return lambda words, asked: struct


def _shift(sign: int) -> Callable[[str, Asked], int]:
    read = within(32)
    return lambda text, asked: sign * read(text, asked)


def _write_shift(shift: int) -> str:
    return f" --{'left' if shift > 0 else 'right'}-shift-mark {abs(shift)}" if shift else ""


def _save_connmark(held: Any) -> str:
    if isinstance(held, SetConnmark):
        return f" --set-xmark 0x{held.value:x}/0x{held.mask:x}{_write_shift(held.shift)}"
    word = "save" if isinstance(held, SaveMark) else "restore"
    return f" --{word}-mark --nfmask 0x{held.nfmask:x} --ctmask 0x{held.ctmask:x}{_write_shift(held.shift)}"


def _show_masks(held: Any) -> str:
    if held.nfmask == held.ctmask:
        return "" if held.nfmask == ALL else f" mask 0x{held.nfmask:x}"
    if isinstance(held, SaveMark):
        return f" nfmask 0x{held.nfmask:x} ctmask ~0x{held.ctmask:x}"
    return f" ctmask 0x{held.ctmask:x} nfmask ~0x{held.nfmask:x}"


def _show_connmark(held: Any, numeric: bool) -> str:
    shift = _write_shift(held.shift).replace("--", "")
    if isinstance(held, SetConnmark):
        return f" CONNMARK {_show_set(held.value, held.mask)}{shift}"
    return f" CONNMARK {'save' if isinstance(held, SaveMark) else 'restore'}{_show_masks(held)}{shift}"


CONNMARK_TARGET = Extension(
    name="CONNMARK",
    struct=SetConnmark,
    options=(
        *SETTERS,
        Option("--save-mark", "change", _operation(SaveMark), words=0),
        Option("--restore-mark", "change", _operation(RestoreMark), words=0),
        Option("--left-shift-mark", "shift", _shift(1)),
        Option("--right-shift-mark", "shift", _shift(-1)),
        Option("--mask", "mask", within(ALL)),
        Option("--nfmask", "nfmask", within(ALL)),
        Option("--ctmask", "ctmask", within(ALL)),
    ),
    show=_show_connmark,
    save=_save_connmark,
    make=_make_connmark,
)

EXTENSIONS = (_match("mark", Mark, ""), _match("connmark", Connmark, " "))
TARGETS = (MARK_TARGET, CONNMARK_TARGET)
