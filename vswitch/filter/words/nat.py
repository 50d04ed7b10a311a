"""SNAT, DNAT, MASQUERADE, REDIRECT and NETMAP: the targets of table nat."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..targets import Dnat, Masquerade, Netmap, Redirect, Snat
from ..values import AddressRange, Net, Range
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .names import WITH_PORTS, WITH_PORTS_NAMES, service_number
from .readers import address, net, number, write_addresses, write_net, write_range

TOP = 65535
PORTS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")

Place = tuple[AddressRange | None, Range | None, int | None]  # addresses, ports, base


# Reading


def _place(text: str, asked: Asked) -> Place:
    """[ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]]; an IPv6 address with a port stands in brackets."""
    if asked.family == 4:
        where, colon, ports = text.partition(":")
    elif text.startswith("["):
        where, bracket, ports = text[1:].partition("]")
        colon, ports = ports[:1], ports[1:]
        if not bracket or colon not in ("", ":"):
            raise Complaint("Invalid address format")
    else:
        where, colon, ports = text, "", ""
    addresses = None if colon and not where else _addresses(where, asked)
    return (addresses, *_ports(ports, asked.option == "--to-destination")) if colon else (addresses, None, None)


def _addresses(text: str, asked: Asked) -> AddressRange:
    first, dash, last = text.partition("-")
    both = [address(part, asked.family) for part in ((first, last) if dash else (first, first))]
    for part, value in zip((first, last), both, strict=True):
        if value is None:
            raise Complaint(f'Bad IP address "{part}"')
    return AddressRange(both[0], both[1])


def _ports(text: str, with_base: bool) -> tuple[Range, int | None]:
    """One port by number or name, or a range in numbers: a dash may also belong to the name of a service."""
    named = service_number(text) if text and not text[0].isdigit() else None
    if named is not None:
        return Range(named, named), None
    ports, slash, base = text.partition("/")
    parts = PORTS.fullmatch(ports)
    if parts is None or int(parts[1]) > TOP:
        raise Complaint(f"Port `{text}' not valid")
    first = int(parts[1])
    last = int(parts[2]) if parts[2] else first
    if not first <= last <= TOP:
        raise Complaint(f"Port range `{parts[2]}' funky")
    if slash and not (with_base and parts[2]):
        raise Complaint(f"Garbage after port value: `/{base}'")
    return Range(first, last), _base(base) if slash else None


def _base(text: str) -> int:
    value = number(text) if text[:1].isdigit() else service_number(text)
    if not value or value > TOP:
        raise Complaint(f"Port `{text}' not valid")
    return value


def _only_ports(text: str, asked: Asked) -> Range:
    return _ports(text, False)[0]


def _need_ports(fields: Fields, ports: Range | None) -> None:
    if ports is not None and fields.protocol not in WITH_PORTS:
        raise Complaint(f"Need {WITH_PORTS_NAMES} with port specification")


# Making


def _make_snat(fields: Fields) -> Snat:
    addresses, ports, _ = fields.values.pop("to")
    _need_ports(fields, ports)
    return Snat(addresses=addresses, ports=ports, **fields.values)


def _make_dnat(fields: Fields) -> Dnat:
    addresses, ports, base = fields.values.pop("to")
    _need_ports(fields, ports)
    return Dnat(addresses=addresses, ports=ports, base=base, **fields.values)


def _make(struct: type) -> Callable[[Fields], Any]:
    def make(fields: Fields) -> Any:
        _need_ports(fields, fields.values.get("ports"))
        return struct(**fields.values)

    return make


# Writing

FLAGS = (("random", "random"), ("random_fully", "random-fully"), ("persistent", "persistent"))


def _write_flags(held: Any, dashes: str) -> str:
    return "".join(f" {dashes}{name}" for field, name in FLAGS if getattr(held, field, False))


def _write_place(held: Any) -> str:
    where = "" if held.addresses is None else write_addresses(held.addresses)
    if held.ports is None:
        return where
    if ":" in where:
        where = f"[{where}]"
    base = getattr(held, "base", None)
    return f"{where}:{write_range(held.ports, '-')}{'' if base is None else f'/{base}'}"


def _show_place(held: Any, numeric: bool) -> str:
    return f" to:{_write_place(held)}{_write_flags(held, '')}"


def _save_place(option: str) -> Callable[[Any], str]:
    return lambda held: f" {option} {_write_place(held)}{_write_flags(held, '--')}"


def _save_ports(held: Any) -> str:
    ports = "" if held.ports is None else f" --to-ports {write_range(held.ports, '-')}"
    return ports + _write_flags(held, "--")


def _show_ports(word: str) -> Callable[[Any, bool], str]:
    def show(held: Any, numeric: bool) -> str:
        ports = "" if held.ports is None else f" {word} {write_range(held.ports, '-')}"
        return ports + _write_flags(held, "")

    return show


# The targets


def _in(*chains: str) -> Demands:
    return Demands(tables=("nat",), chains=chains)


RANDOM = Option("--random", "random", words=0)
FULLY = Option("--random-fully", "random_fully", words=0)
PERSISTENT = Option("--persistent", "persistent", words=0)
TO_PORTS = Option("--to-ports", "ports", _only_ports)

SNAT = Extension(
    name="SNAT",
    struct=Snat,
    options=(Option("--to-source", "to", _place, required=True), RANDOM, FULLY, PERSISTENT),
    show=_show_place,
    save=_save_place("--to-source"),
    make=_make_snat,
    demands=_in("INPUT", "POSTROUTING"),
)

DNAT = Extension(
    name="DNAT",
    struct=Dnat,
    options=(Option("--to-destination", "to", _place, required=True), RANDOM, PERSISTENT),
    show=_show_place,
    save=_save_place("--to-destination"),
    make=_make_dnat,
    demands=_in("PREROUTING", "OUTPUT"),
)

MASQUERADE = Extension(
    name="MASQUERADE",
    struct=Masquerade,
    options=(TO_PORTS, RANDOM, FULLY),
    show=_show_ports("masq ports:"),
    save=_save_ports,
    make=_make(Masquerade),
    demands=_in("POSTROUTING"),
)

REDIRECT = Extension(
    name="REDIRECT",
    struct=Redirect,
    options=(TO_PORTS, RANDOM),
    show=_show_ports("redir ports"),
    save=_save_ports,
    make=_make(Redirect),
    demands=_in("PREROUTING", "OUTPUT"),
)


def _net(text: str, asked: Asked) -> Net:
    whole = net(text, asked.family)
    if whole.prefix is None:
        raise Complaint(f"invalid mask `{whole.mask}' specified")
    return whole


NETMAP = Extension(
    name="NETMAP",
    struct=Netmap,
    options=(Option("--to", "net", _net, write_net, required=True),),
    show=lambda held, numeric: f" to:{write_net(held.net)}",
    make=lambda fields: Netmap(fields.values["net"]),
    demands=_in("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
)

TARGETS = (SNAT, DNAT, MASQUERADE, REDIRECT, NETMAP)
