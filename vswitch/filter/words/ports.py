"""tcp, udp and multiport: matches on ports, and on TCP's flags and options."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..matches import Multiport, Side, Tcp, Udp
from ..values import ALL_PORTS, Range
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .names import TCP, UDP
from .readers import number, port, port_range, show_ports, write_range

FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}
GROUPS = {"ALL": 63, "NONE": 0}
SYN_ONLY = (FLAGS["FIN"] | FLAGS["SYN"] | FLAGS["RST"] | FLAGS["ACK"], FLAGS["SYN"])


@lru_cache(256)
def _flags(text: str) -> int:
    total = 0
    for name in text.split(","):
        if name.upper() not in FLAGS and name.upper() not in GROUPS:
            raise Complaint(f"Unknown TCP flag `{name}'")
        total |= FLAGS.get(name.upper(), GROUPS.get(name.upper(), 0))
    return total


def _write_flag(value: int) -> str:
    return ",".join(name for name, bit in FLAGS.items() if value & bit) or "NONE"


def _tcp_flags(words: tuple[str, str], asked: Asked) -> tuple[int, int]:
    return _flags(words[0]), _flags(words[1])


def _syn(words: str, asked: Asked) -> tuple[int, int]:
    return SYN_ONLY


def _write_flags(value: tuple[int, int]) -> str:
    return f"{_write_flag(value[0])} {_write_flag(value[1])}"


def _tcp_option(text: str, asked: Asked) -> int:
    value = number(text)
    if value is None or not 1 <= value <= 255:
        raise Complaint(f'Bad TCP option "{text}"')
    return value


def _make(struct: Any) -> Any:
    """A range of all ports asks nothing, unless it is turned round."""

    def make(fields: Fields) -> Any:
        values = {k: v for k, v in fields.values.items() if v != ALL_PORTS or k in fields.inverted}
        return struct(**values, inverted=frozenset(fields.inverted))

    return make


def _port_option(name: str, field: str) -> Option:
    once = f"Only one `--{field}-port' allowed"
    return Option(name, field, port_range, write_range, (f"--{field}-port",), invert=True, once=once)


SOURCE = _port_option("--sport", "source")
DESTINATION = _port_option("--dport", "destination")
ONE_FLAGS = "Only one of `--syn' or `--tcp-flags'  allowed"


def _show_ports(value: Any, protocol: str, numeric: bool) -> str:
    text = f" {protocol}"
    for field, name in (("source", "spt"), ("destination", "dpt")):
        ports: Range | None = getattr(value, field)
        if ports is not None:
            plural = "s" if ports.first != ports.last else ""
            turned = "!" if field in value.inverted else ""
            text += f" {name}{plural}:{turned}{show_ports(ports, protocol, numeric)}"
    return text


def _show_tcp(value: Tcp, numeric: bool) -> str:
    text = _show_ports(value, "tcp", numeric)
    if value.option is not None:
        text += f" option={'!' if 'option' in value.inverted else ''}{value.option}"
    if value.flags is not None:
        turned = "!" if "flags" in value.inverted else ""
        both = [f"0x{flag:02X}" if numeric else _write_flag(flag) for flag in value.flags]
        text += f" flags:{turned}{both[0]}/{both[1]}"
    return text


TCP_MATCH = Extension(
    name="tcp",
    struct=Tcp,
    options=(
        SOURCE,
        DESTINATION,
        Option("--tcp-option", "option", _tcp_option, invert=True),
        Option("--tcp-flags", "flags", _tcp_flags, _write_flags, words=2, invert=True, once=ONE_FLAGS),
        Option("--syn", "flags", _syn, words=0, invert=True, printed=False, once=ONE_FLAGS),
    ),
    show=_show_tcp,
    make=_make(Tcp),
    demands=Demands(protocols=(TCP,)),
)

UDP_MATCH = Extension(
    name="udp",
    struct=Udp,
    options=(SOURCE, DESTINATION),
    show=lambda value, numeric: _show_ports(value, "udp", numeric),
    make=_make(Udp),
    demands=Demands(protocols=(UDP,)),
)


# multiport

MOST_PORTS = 15
MULTIPORT_PROTOCOLS = (6, 17, 136, 132, 33)
SIDES = {Side.SOURCE: "sports", Side.DESTINATION: "dports", Side.EITHER: "ports"}


def _port_list(side: Side) -> Any:
    def read(text: str, asked: Asked) -> tuple[Side, tuple[Range, ...]]:
        ranges = []
        for part in text.split(","):
            first, colon, last = part.partition(":")
            ranges.append(Range(port(first), port(last) if colon else port(first)))
            if ranges[-1].first > ranges[-1].last:
                raise Complaint("invalid portrange specified")
        if sum(1 if r.first == r.last else 2 for r in ranges) > MOST_PORTS:
            raise Complaint("too many ports specified")
        return side, tuple(ranges)

    return read


def _make_multiport(fields: Fields) -> Multiport:
    if fields.protocol not in MULTIPORT_PROTOCOLS:
        raise Complaint("multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'")
    side, ports = fields.values["ports"]
    return Multiport(side=side, ports=ports, inverted=frozenset(fields.inverted))


def _save_multiport(value: Multiport) -> str:
    turned = " !" if value.inverted else ""
    return f"{turned} --{SIDES[value.side]} {','.join(write_range(r) for r in value.ports)}"


def _show_multiport(value: Multiport, numeric: bool) -> str:
    turned = " !" if value.inverted else ""
    ports = ",".join(show_ports(r, "tcp", numeric) for r in value.ports)
    return f" multiport {SIDES[value.side]} {turned}{ports}"


MULTIPORT = Extension(
    name="multiport",
    struct=Multiport,
    options=(
        Option("--source-ports", "ports", _port_list(Side.SOURCE), also=("--sports",), invert=True),
        Option("--destination-ports", "ports", _port_list(Side.DESTINATION), also=("--dports",), invert=True),
        Option("--ports", "ports", _port_list(Side.EITHER), invert=True),
    ),
    show=_show_multiport,
    save=_save_multiport,
    make=_make_multiport,
    missing="multiport expection an option",
    demands=Demands(protocols=MULTIPORT_PROTOCOLS),
)

EXTENSIONS = (TCP_MATCH, UDP_MATCH, MULTIPORT)
