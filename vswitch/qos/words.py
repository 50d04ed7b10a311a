"""A command line on its way through the readers, and the small grammars in it: handles, classes, protocols.

`Words` is read from the left. `options` reads the options of a discipline from a table; as tc itself, it takes the
first name in the table that a word abbreviates, where the option may be abbreviated at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import units
from .complaint import illegal, wrong

ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1  # as parents
AT_INGRESS, AT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # as parents of filters
MAJOR, MINOR = 0xFFFF0000, 0x0000FFFF

PROTOCOLS = {
    "ip": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ipv6": 0x86DD, "ppp_disc": 0x8863, "ppp_ses": 0x8864, "all": 0x0003,
    "802.1Q": 0x8100, "802.1ad": 0x88A8, "mpls_uc": 0x8847, "mpls_mc": 0x8848, "LLDP": 0x88CC, "profinet": 0x8892,
    "aoe": 0x88A2, "ethercat": 0x88A4, "ipx": 0x8137, "ipv4": 0x0800,
}  # fmt: skip
ALL = PROTOCOLS["all"]


def matches(word: str, name: str) -> bool:
    """Whether a word is a name or the beginning of it."""
    return bool(word) and name.startswith(word)


class Words:
    """What is left of a command line."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._left = list(reversed(argv))

    def __bool__(self) -> bool:
        return bool(self._left)

    def __len__(self) -> int:
        return len(self._left)

    @property
    def next(self) -> str:
        """The next word, left where it is; an empty one at the end."""
        return self._left[-1] if self._left else ""

    def take(self) -> str:
        """The next word. A command that ends where one has to follow is not complete."""
        if not self._left:
            raise wrong('Command line is not complete. Try option "help"')
        return self._left.pop()


@dataclass(frozen=True, slots=True)
class Option:
    """A name, how its value is read (None: it has none), and what is said if it comes twice."""

    name: str
    read: Callable[[str], Any] | None = None
    whole: bool = True  # must not be abbreviated
    key: str = ""
    twice: str = ""
    value: Any = True  # of an option that has none to read


def options(
    words: Words, table: Sequence[Option], bad: Callable[[str, str], str], unknown: Callable[[str], str], usage: str
) -> dict[str, Any]:
    """Every option that is given, by key. `bad` and `unknown` are how this discipline complains."""
    given: dict[str, Any] = {}
    while words:
        word = words.take()
        option = next((o for o in table if word == o.name or not o.whole and matches(word, o.name)), None)
        if option is None:
            raise illegal(usage if word == "help" else f"{unknown(word)}\n{usage}")
        key = option.key or option.name
        value = option.value
        if option.read is not None:
            text = words.take()
            if option.twice and given.get(key):
                raise illegal(option.twice)
            try:
                value = option.read(text)
            except ValueError:
                raise illegal(bad(word, text)) from None
        given[key] = value
    return given


def what_is(word: str) -> str:
    return f'What is "{word}"?'


def illegal_name(name: str, _: str) -> str:
    return f'Illegal "{name}"'


# Handles


def qdisc_handle(text: str) -> int:
    """MAJOR: or MAJOR, in hexadecimal."""
    if text == "none":
        return 0
    major, rest = units.leading(text, 16)
    if not 0 <= major <= 0xFFFF or rest[:1] not in ("", ":"):
        raise ValueError
    return major << 16


def class_id(text: str) -> int:
    """MAJOR:MINOR, MAJOR:, :MINOR or a whole id."""
    if text in ("root", "none"):
        return ROOT if text == "root" else 0
    major, rest = (0, text) if text.startswith(":") else units.leading(text, 16)
    if not rest:
        return units.whole(text, 16)
    minor = units.whole(rest[1:], 16, 0xFFFF) if rest != ":" else 0
    if rest[0] != ":" or not 0 <= major <= 0xFFFF:
        raise ValueError
    return major << 16 | minor


def written(id: int) -> str:
    """A handle or class as text."""
    if id in (ROOT, 0):
        return "root" if id else "none"
    major, minor = id >> 16, id & MINOR
    return f"{f'{major:x}' if major else ''}:{f'{minor:x}' if minor else ''}"


def protocol(text: str) -> int:
    for name, number in PROTOCOLS.items():
        if name.lower() == text.lower():
            return number
    return units.whole(text, 0, 0xFFFF)


def protocol_text(number: int) -> str:
    return next((name for name, other in PROTOCOLS.items() if other == number), f"[{number}]")
