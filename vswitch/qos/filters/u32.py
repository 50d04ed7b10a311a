"""u32: matches words of the packet under masks. One hash table a priority, of one bucket; others are refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .. import units
from ..complaint import Refusal, illegal
from ..model import FilterList, Node
from ..printer import Printer
from ..view import Base, KeyView
from ..words import PROTOCOLS, Words, matches, written
from . import action
from .base import Ask, Classifier, common, protocol_key
from .u32_match import Key, Selector, parse_selector

HASHING = ("divisor", "link", "ht", "hashkey", "offset", "sample")
FIRST_NODE, TOP_NODE = 0x800, 0xFFF
ETHERNET = -14
_USAGE = """Usage: ... u32 [ match SELECTOR ... ] [ classid CLASSID ] [ action ACTION ] [ police POLICE ]
               [ order NUMBER ]
SELECTOR := { ip | ip6 | udp | tcp | icmp | ether | u32 | u16 | u8 | mark } ..."""


@dataclass(frozen=True, slots=True)
class Match:
    keys: tuple[Key, ...]
    mark: tuple[int, int] | None = None


def handle(text: str) -> int:
    """TABLE:BUCKET:NODE in hexadecimal, or a whole number that begins with 0x."""
    if ":" not in text:
        if text.startswith("0x"):
            return units.whole(text, 16)
        raise ValueError
    parts = [*text.split(":"), "", ""][:3]
    table, bucket, node = (units.whole(part, 16, top) if part else 0 for part, top in zip(parts, (0xFFF, 0xFF, 0xFFF),
                                                                                          strict=True))  # fmt: skip
    return table << 20 | bucket << 12 | node


def _parse(text: str | None, protocol: int, words: Words) -> Ask:
    ask, selector, order = Ask(options=bool(words)), Selector(), 0
    try:
        ask.handle = handle(text) if text else 0
    except ValueError:
        raise illegal("Illegal filter ID") from None
    chosen = False
    while words:
        word = words.next
        if matches(word, "match"):
            words.take()
            parse_selector(words, selector)
            chosen = True
        elif matches(word, "order"):
            order = _order(words)
        elif matches(word, "police"):
            words.take()
            ask.action = action.parse_police(words, old=True)
        else:
            _refuse_lacking(word)
            common(words, ask, _USAGE)
    if order and ask.handle & TOP_NODE not in (0, order):
        raise illegal('"order" contradicts "handle"')
    ask.handle |= order
    ask.match = Match(selector.frozen(), selector.mark) if chosen else None
    return ask


def _order(words: Words) -> int:
    words.take()
    try:
        return units.whole(words.take())
    except ValueError:
        raise illegal('Illegal "order"') from None


def _refuse_lacking(word: str) -> None:
    if word == "indev":
        raise Refusal("Error: indev: Network device not found; the switch tells ports apart by marks, with fw.\n", 2)
    if any(word == name or name in ("divisor", "hashkey", "offset") and matches(word, name) for name in HASHING):
        raise Refusal(f"Error: cls_u32: {word}: the switch has no hash tables of u32; filters are asked in order.\n", 2)


# For the fast path


def _keys(filters: FilterList, node: Node) -> tuple[KeyView, ...]:
    match: Match = node.match
    keys = [*protocol_key(filters.protocol), *map(_key, match.keys)]
    if match.mark is not None:
        keys.append(KeyView(Base.MARK, 0, *match.mark))
    return tuple(key for key in keys if key.mask)


def _key(key: Key) -> KeyView:
    base = Base.TRANSPORT if key.beyond else Base.NETWORK
    if base is Base.NETWORK and key.offset < ETHERNET and not key.mask >> 8 * (key.offset - ETHERNET + 4):
        shift = ETHERNET - key.offset  # the word begins before the frame, what is asked does not
        return KeyView(base, ETHERNET, key.value << 8 * shift, key.mask << 8 * shift)
    return KeyView(base, key.offset, key.value, key.mask)


def _words(filters: FilterList, node: Node) -> tuple[str, str]:
    match: Match = node.match
    said = [
        f"match u32 {key.value:#010x} {key.mask:#010x} at {'nexthdr+' * key.beyond}{key.offset}" for key in match.keys
    ]
    if match.mark is not None:
        said.append(f"match mark {match.mark[0]:#x} {match.mark[1]:#x}")
    return f"::{node.handle:x}", " ".join(said)


# Printing


def handle_text(number: int) -> str:
    table, bucket, node = number >> 20, number >> 12 & 0xFF, number & TOP_NODE
    return f"{table:x}:" + (f"{bucket:x}" if bucket else "") + (f":{node:x}" if node else "")


def show_table(filters: FilterList, out: Printer) -> None:
    out.put("fh", "fh {} ", f"{filters.table:x}:")
    out.put("ht_divisor", "ht divisor {} ", 1)


def _show(filters: FilterList, node: Node, out: Printer) -> None:
    number = filters.table << 20 | node.handle
    out.put("fh", "fh {} ", handle_text(number))
    out.put("order", "order {} ", node.handle)
    out.put("key_ht", "key ht {} ", f"{filters.table:x}")
    out.put("bkt", "bkt {} ", "0")
    if node.classid is not None:
        out.put("flowid", "flowid {} ", written(node.classid))
    elif node.action is not None:
        out.text("terminal flowid ")
    out.put("not_in_hw", "not_in_hw ", True)
    match: Match = node.match
    if match.mark is not None:
        out.put("fwmark_value", "\n  mark {} ", _mark(match.mark[0], out))
        out.put("fwmark_mask", "{} ", _mark(match.mark[1], out))
        out.put("fwmark_success", "(success {})", 0)
    for key in match.keys:
        _show_key(key, filters.protocol, out)
    action.show(node.action, out)


def _mark(value: int, out: Printer) -> str:
    return f"{value:#x}" if out.is_json else f"0x{value:04x}"


def _show_key(key: Key, protocol: int, out: Printer) -> None:
    with out.object("match"):
        if out.pretty and protocol in (PROTOCOLS["ip"], PROTOCOLS["ipv6"]):
            _show_meaning(key, protocol == PROTOCOLS["ipv6"], out)
            return
        out.put("value", "\n  match {}", f"{key.value:x}" if out.is_json else f"{key.value:08x}")
        out.put("mask", "/{} ", f"{key.mask:x}" if out.is_json else f"{key.mask:08x}")
        out.put("offmask", "at {}", "nexthdr+" if key.beyond else "")
        out.put("off", "{}", key.offset)


def _show_meaning(key: Key, ipv6: bool, out: Printer) -> None:
    """What tc -pretty makes of the words of an IP header, those of IPv6 included that it takes for IPv4's."""
    match key.offset, key.mask:
        case 0, 0x0F000000:
            out.put("ip_ihl", "\n  match IP ihl {}", key.value >> 24)
        case 0, 0x00FF0000:
            field = key.value >> 16
            out.put("ip_dsfield", "\n  match IP dsfield {}", f"{field:#x}" if field or out.is_json else "0")
        case 8, 0x00FF0000:
            out.put("ip_protocol", "\n  match IP protocol {}", key.value >> 16)
        case (12 | 16), mask if not (~mask & units.TOP32) & ((~mask & units.TOP32) + 1):
            name = "src" if key.offset == 12 else "dst"
            out.text(f"\n  match IP {name} ")
            with out.object(name):
                out.put("address", "{}", str(ipaddress.IPv4Address(key.value)))
                out.put("prefixlen", "/{}", mask.bit_count())
        case 20, (0x0000FFFF | 0xFFFF0000 | 0xFFFFFFFF):
            _show_ports(key, ipv6, out)


def _show_ports(key: Key, ipv6: bool, out: Printer) -> None:
    high, low = ("dport", "sport") if ipv6 else ("sport", "dport")
    if key.mask == 0xFFFFFFFF:
        out.put(low, f"\n  match {low} {{}}, ", key.value & 0xFFFF)
        out.put(high, f"match {high} {{}}", key.value >> 16)
    else:
        name, value = (low, key.value & 0xFFFF) if key.mask == 0xFFFF else (high, key.value >> 16)
        out.put(name, ("\n  " if name == "sport" else "") + f"match {name} {{}}", value)


U32 = Classifier("u32", _parse, _show, _keys, _words)
