"""The words of iptables' extensions: one small module a kind, each a table of what it reads and how it is printed.

`match` and `target` find an extension by the name that a rule says; `of` by the struct that the model holds.
"""

from __future__ import annotations

from typing import Any

from ..targets import RestoreMark, SaveMark
from . import conntrack, header, icmp, link, marks, misc, nat, ports, refuse, track
from .base import NO_DEMANDS, Extension


def _by_name(extensions: tuple[Extension, ...]) -> dict[int, dict[str, Extension]]:
    return {
        family: {name: e for e in extensions if family in e.families for name in (e.name, *e.also)} for family in (4, 6)
    }


_MATCHES = (
    *ports.EXTENSIONS,
    *icmp.EXTENSIONS,
    *conntrack.EXTENSIONS,
    *marks.EXTENSIONS,
    *header.EXTENSIONS,
    *link.EXTENSIONS,
    *misc.EXTENSIONS,
)
_TARGETS = (*nat.TARGETS, *refuse.TARGETS, *marks.TARGETS, *header.TARGETS, *track.TARGETS)

MATCHES = _by_name(_MATCHES)
TARGETS = _by_name(_TARGETS)
_BY_STRUCT: dict[type, Extension] = {e.struct: e for e in (*_MATCHES, *_TARGETS)}
_BY_STRUCT |= {SaveMark: marks.CONNMARK_TARGET, RestoreMark: marks.CONNMARK_TARGET}

DEMANDING = {struct: extension for struct, extension in _BY_STRUCT.items() if extension.demands != NO_DEMANDS}


def match(name: str, family: int) -> Extension | None:
    return MATCHES[family].get(name)


def target(name: str, family: int) -> Extension | None:
    return TARGETS[family].get(name)


def of(value: Any) -> Extension:
    """The extension of a match or a target of the model."""
    return _BY_STRUCT[type(value)]
