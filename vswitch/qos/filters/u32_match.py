"""u32's selectors: `match ip src 10.0.0.0/8`, `match u16 0x50 0xffff at 22` and so on, down to words and masks.

A key is 32 bits at an offset from the IP header, or from what is behind it (`nexthdr+`). Selectors of less than 32 bits
share a key where they lie in the same word; two that contradict each other are refused. Offsets are tc's own, `sport`
at 20 among them, which holds for IP headers without options.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from .. import units
from ..complaint import Refusal, illegal
from ..words import Words, matches

MOST_KEYS = 128


def unreadable() -> Refusal:
    return illegal('Illegal "match"')


class Key(NamedTuple):
    offset: int
    beyond: bool  # behind the IP header
    value: int
    mask: int


@dataclass(slots=True)
class Selector:
    """Keys being gathered, and the mark."""

    keys: dict[tuple[int, bool], tuple[int, int]] = field(default_factory=dict)
    mark: tuple[int, int] | None = None

    def add(self, value: int, mask: int, offset: int, beyond: bool) -> None:
        value &= mask
        if (offset, beyond) in self.keys:
            held, held_mask = self.keys[offset, beyond]
            if (held ^ value) & held_mask & mask:
                raise unreadable()
            self.keys[offset, beyond] = held | value, held_mask | mask
            return
        if len(self.keys) >= MOST_KEYS or offset % 4:
            raise unreadable()
        self.keys[offset, beyond] = value, mask

    def frozen(self) -> tuple[Key, ...]:
        return tuple(Key(offset, beyond, *pair) for (offset, beyond), pair in self.keys.items())


def parse_selector(words: Words, selector: Selector) -> None:
    """One selector, from behind the word match."""
    word = words.take()
    for name, read in _SELECTORS:
        if matches(word, name):
            return read(words, selector)
    raise unreadable()


def _numbers(words: Words, top: int) -> tuple[int, int]:
    if len(words) < 2:
        raise unreadable()
    try:
        value, mask = units.whole(words.take(), 0), units.whole(words.take(), 16)
    except ValueError:
        raise unreadable() from None
    if max(value, mask) > top:
        raise unreadable()
    return value, mask


def _at(words: Words, offset: int, beyond: bool) -> tuple[int, bool]:
    """`at OFFSET`, `at nexthdr+OFFSET`, `at nexthdr+ OFFSET`, or nothing."""
    if words.next != "at":
        return offset, beyond
    words.take()
    text = words.take()
    if text.startswith("nexthdr+") and text != "nexthdr+":
        text, beyond = text.removeprefix("nexthdr+"), True
    elif matches(text, "nexthdr+"):
        text, beyond = words.take(), True
    try:
        return units.signed(text), beyond
    except ValueError:
        raise unreadable() from None


def _word32(words: Words, selector: Selector, offset: int = 0, beyond: bool = False) -> None:
    value, mask = _numbers(words, units.TOP32)
    selector.add(value, mask, *_at(words, offset, beyond))


def _word16(words: Words, selector: Selector, offset: int = 0, beyond: bool = False) -> None:
    value, mask = _numbers(words, 0xFFFF)
    _add16(selector, value, mask, *_at(words, offset, beyond))


def _word8(words: Words, selector: Selector, offset: int = 0, beyond: bool = False) -> None:
    value, mask = _numbers(words, 0xFF)
    _add8(selector, value, mask, *_at(words, offset, beyond))


def _add16(selector: Selector, value: int, mask: int, offset: int, beyond: bool) -> None:
    shift = 0 if offset & 3 else 16
    selector.add(value << shift, mask << shift, offset & ~3, beyond)


def _add8(selector: Selector, value: int, mask: int, offset: int, beyond: bool) -> None:
    shift = (24, 16, 8, 0)[offset & 3]
    selector.add(value << shift, mask << shift, offset & ~3, beyond)


# Addresses


def _ip4_address(words: Words, selector: Selector, offset: int) -> None:
    text, slash, length = words.take().partition("/")
    value, bits = ipv4(text)
    if slash:
        bits = _prefix(length, 32) if bits else -1
    if bits < 0:
        raise unreadable()
    selector.add(value, _mask(bits, 32), *_at(words, offset, False))


def ipv4(text: str) -> tuple[int, int]:
    """The address and its default prefix length. 10.8 is 10.8.0.0 to tc, and any is everything."""
    if text in ("default", "all", "any"):
        return 0, 0
    try:
        parts = [units.whole(part, 0, 255) for part in text.split(".")]
    except ValueError:
        raise unreadable() from None
    if len(parts) > 4:
        raise unreadable()
    return int.from_bytes(bytes(parts).ljust(4, b"\0"), "big"), 32


def _prefix(text: str, most: int) -> int:
    try:
        return units.whole(text, 0, most)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Network(f"0.0.0.0/{text}").prefixlen if most == 32 and "." in text else -1
    except ValueError:
        return -1


def _mask(bits: int, width: int) -> int:
    return (1 << width) - (1 << (width - bits))


def _ip6_address(words: Words, selector: Selector, offset: int) -> None:
    text, slash, length = words.take().partition("/")
    try:
        everything = text in ("default", "all", "any")
        value = 0 if everything else int(ipaddress.IPv6Address(text))
    except ValueError:
        raise unreadable() from None
    bits = 0 if everything else _prefix(length, 128) if slash else 128
    if bits < 0 or everything and slash:
        raise unreadable()
    offset, beyond = _at(words, offset, False)
    mask = _mask(bits, 128)
    for word in range((bits + 31) // 32):
        shift = 96 - 32 * word
        selector.add(value >> shift & units.TOP32, mask >> shift & units.TOP32, offset + 4 * word, beyond)


def _mac(words: Words, selector: Selector, offset: int) -> None:
    text = words.take()
    try:
        octets = [units.whole(part, 16, 255) for part in text.split(":")]
    except ValueError:
        octets = []
    if len(octets) != 6:
        raise Refusal(f"parse_ether_addr: improperly formed address '{text}'\n{unreadable().text}", 1)
    offset, beyond = _at(words, offset, False)
    for index, octet in enumerate(octets):
        _add8(selector, octet, 0xFF, offset + index, beyond)


# Families of selectors


def _flag(value: int, mask: int, words: Words, selector: Selector) -> None:
    _add16(selector, value, mask, 6, False)


def _class6(words: Words, selector: Selector) -> None:
    value, mask = _numbers(words, 0xFF)
    selector.add(value << 20, mask << 20, 0, False)


Read = Callable[[Words, Selector], None]
_IP: dict[str, Read] = {
    "src": partial(_ip4_address, offset=12), "dst": partial(_ip4_address, offset=16), "tos": partial(_word8, offset=1),
    "dsfield": partial(_word8, offset=1), "precedence": partial(_word8, offset=1), "ihl": _word8,
    "protocol": partial(_word8, offset=9), "nofrag": partial(_flag, 0, 0x3FFF),
    "firstfrag": partial(_flag, 0x2000, 0x3FFF),
    "df": partial(_flag, 0x4000, 0x4000), "mf": partial(_flag, 0x2000, 0x2000), "dport": partial(_word16, offset=22),
    "sport": partial(_word16, offset=20), "icmp_type": partial(_word8, offset=20),
    "icmp_code": partial(_word8, offset=21),
}  # fmt: skip
_IP6: dict[str, Read] = {
    "src": partial(_ip6_address, offset=8), "dst": partial(_ip6_address, offset=24), "priority": _class6,
    "protocol": partial(_word8, offset=6), "flowlabel": _word32, "dport": partial(_word16, offset=42),
    "sport": partial(_word16, offset=40), "icmp_type": partial(_word8, offset=40),
    "icmp_code": partial(_word8, offset=41),
}  # fmt: skip
_PORTS: dict[str, Read] = {"src": partial(_word16, beyond=True), "dst": partial(_word16, offset=2, beyond=True)}
_ICMP: dict[str, Read] = {"type": partial(_word8, beyond=True), "code": partial(_word8, offset=1, beyond=True)}
_ETHER: dict[str, Read] = {"src": partial(_mac, offset=-8), "dst": partial(_mac, offset=-14)}


def _family(table: dict[str, Read], words: Words, selector: Selector) -> None:
    if len(words) < 2:
        raise unreadable()
    word = words.take()
    name = next((name for name in ("dsfield", "precedence") if table is _IP and matches(word, name)), word)
    if name not in table:
        raise unreadable()
    table[name](words, selector)


def _mark(words: Words, selector: Selector) -> None:
    pair = []
    for name in ("value", "mask"):
        try:
            pair.append(units.whole(words.take()))
        except ValueError:
            raise Refusal(f'Illegal "mark" {name}\n{unreadable().text}', 1) from None
    if pair[0] & ~pair[1]:
        raise Refusal(f'Illegal "mark" (impossible combination)\n{unreadable().text}', 1)
    selector.mark = pair[0], pair[1]


_SELECTORS: tuple[tuple[str, Read], ...] = (
    ("u32", _word32), ("u16", _word16), ("u8", _word8), ("ip", partial(_family, _IP)), ("ip6", partial(_family, _IP6)),
    ("udp", partial(_family, _PORTS)), ("tcp", partial(_family, _PORTS)), ("icmp", partial(_family, _ICMP)),
    ("mark", _mark), ("ether", partial(_family, _ETHER)),
)  # fmt: skip
