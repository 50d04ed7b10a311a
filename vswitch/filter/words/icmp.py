"""icmp and icmp6: types and codes, with the names that iptables has for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..matches import Icmp, Icmp6
from ..values import Range
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .names import ICMP, ICMP6
from .readers import number

ANY_CODE = Range(0, 255)
ANY = 255  # the type that iptables shows for "any"

Names = dict[str, tuple[int, Range]]


def _names(table: dict[str, tuple[int, int | None]]) -> Names:
    return {name: (kind, ANY_CODE if code is None else Range(code, code)) for name, (kind, code) in table.items()}


V4 = _names(
    {
        "any": (ANY, None), "echo-reply": (0, None), "pong": (0, None),
        "destination-unreachable": (3, None), "network-unreachable": (3, 0), "host-unreachable": (3, 1),
        "protocol-unreachable": (3, 2), "port-unreachable": (3, 3), "fragmentation-needed": (3, 4),
        "source-route-failed": (3, 5), "network-unknown": (3, 6), "host-unknown": (3, 7),
        "network-prohibited": (3, 9), "host-prohibited": (3, 10), "TOS-network-unreachable": (3, 11),
        "TOS-host-unreachable": (3, 12), "communication-prohibited": (3, 13),
        "host-precedence-violation": (3, 14), "precedence-cutoff": (3, 15),
        "source-quench": (4, None), "redirect": (5, None), "network-redirect": (5, 0), "host-redirect": (5, 1),
        "TOS-network-redirect": (5, 2), "TOS-host-redirect": (5, 3), "echo-request": (8, None), "ping": (8, None),
        "router-advertisement": (9, None), "router-solicitation": (10, None), "time-exceeded": (11, None),
        "ttl-exceeded": (11, None), "ttl-zero-during-transit": (11, 0), "ttl-zero-during-reassembly": (11, 1),
        "parameter-problem": (12, None), "ip-header-bad": (12, 0), "required-option-missing": (12, 1),
        "timestamp-request": (13, None), "timestamp-reply": (14, None), "address-mask-request": (17, None),
        "address-mask-reply": (18, None),
    }
)  # fmt: skip

V6 = _names(
    {
        "destination-unreachable": (1, None), "no-route": (1, 0), "communication-prohibited": (1, 1),
        "beyond-scope": (1, 2), "address-unreachable": (1, 3), "port-unreachable": (1, 4), "failed-policy": (1, 5),
        "reject-route": (1, 6), "packet-too-big": (2, None), "time-exceeded": (3, None), "ttl-exceeded": (3, None),
        "ttl-zero-during-transit": (3, 0), "ttl-zero-during-reassembly": (3, 1), "parameter-problem": (4, None),
        "bad-header": (4, 0), "unknown-header-type": (4, 1), "unknown-option": (4, 2), "echo-request": (128, None),
        "ping": (128, None), "echo-reply": (129, None), "pong": (129, None), "router-solicitation": (133, None),
        "router-advertisement": (134, None), "neighbour-solicitation": (135, None),
        "neighbor-solicitation": (135, None), "neighbour-advertisement": (136, None),
        "neighbor-advertisement": (136, None), "redirect": (137, None),
    }
)  # fmt: skip


def _reader(names: Names, protocol: str) -> Callable[[str, Asked], tuple[int, Range]]:
    """A name, its unambiguous beginning, or TYPE[/CODE] in numbers."""

    def read(text: str, asked: Asked) -> tuple[int, Range]:
        exact = [name for name in names if name.lower() == text.lower()]
        found = exact or [name for name in names if name.lower().startswith(text.lower()) and text]
        if len(found) > 1:
            raise Complaint(f"Ambiguous {protocol} type `{text}': `{found[0]}' or `{found[1]}'?")
        return names[found[0]] if found else _numbers(text, protocol)

    return read


def _numbers(text: str, protocol: str) -> tuple[int, Range]:
    first, slash, last = text.partition("/")
    kind, code = number(first), number(last) if slash else 0
    if kind is None or kind > 255 or code is None or code > 255:
        raise Complaint(f"Unknown {protocol} type `{text}'")
    return kind, Range(code, code) if slash else ANY_CODE


def _make(fields: Fields) -> Icmp:
    kind, codes = fields.values["type"]
    inverted = frozenset(fields.inverted)
    return Icmp(type=None if kind == ANY and codes == ANY_CODE else kind, codes=codes, inverted=inverted)


def _make6(fields: Fields) -> Icmp6:
    kind, codes = fields.values["type"]
    return Icmp6(type=kind, codes=codes, inverted=frozenset(fields.inverted))


def _save(option: str) -> Callable[[Any], str]:
    def save(value: Any) -> str:
        code = "" if value.codes == ANY_CODE else f"/{value.codes.first}"
        return f"{' !' if value.inverted else ''} {option} {'any' if value.type is None else value.type}{code}"

    return save


def _show(names: Names, prefix: str) -> Callable[[Any, bool], str]:
    by_value = {value: name for name, value in reversed(names.items())}

    def show(value: Any, numeric: bool) -> str:
        turned = "!" if value.inverted else ""
        kind = ANY if value.type is None else value.type
        if not numeric and (kind, value.codes) in by_value:
            return f" {prefix} {turned}{by_value[kind, value.codes]}"
        code = "" if value.codes == ANY_CODE else f" code {value.codes.first}"
        return f" {prefix} {turned}type {kind}{code}" if turned else f" {prefix}type {kind}{code}"

    return show


ICMP_MATCH = Extension(
    name="icmp",
    struct=Icmp,
    options=(Option("--icmp-type", "type", _reader(V4, "ICMP"), invert=True, required=True),),
    show=_show(V4, "icmp"),
    save=_save("--icmp-type"),
    make=_make,
    families=(4,),
    demands=Demands(protocols=(ICMP,)),
)

ICMP6_MATCH = Extension(
    name="icmp6",
    struct=Icmp6,
    options=(Option("--icmpv6-type", "type", _reader(V6, "ICMPv6"), invert=True, required=True),),
    show=_show(V6, "ipv6-icmp"),
    save=_save("--icmpv6-type"),
    make=_make6,
    families=(6,),
    demands=Demands(protocols=(ICMP6,)),
    also=("icmpv6", "ipv6-icmp"),
)

EXTENSIONS = (ICMP_MATCH, ICMP6_MATCH)
