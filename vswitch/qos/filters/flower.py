"""flower, of which the switch has what names flows: VLAN, addresses, protocol, ports, TOS."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .. import units
from ..complaint import illegal
from ..model import FilterList, Node
from ..printer import Printer
from ..view import Base, KeyView
from ..words import ALL, PROTOCOLS, Words, protocol, protocol_text, written
from . import action
from .base import VLAN_TAGGED, Ask, Classifier, common, protocol_key

IP, IP6 = PROTOCOLS["ip"], PROTOCOLS["ipv6"]
TRANSPORTS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58, "esp": 50, "ah": 51}
WITH_PORTS = (6, 17, 132)
_USAGE = """Usage: ... flower [ vlan_id VID ] [ vlan_prio PRIO ] [ vlan_ethtype TYPE ] [ src_mac MAC ] [ dst_mac MAC ]
               [ ip_proto PROTOCOL ] [ ip_tos TOS[/MASK] ] [ src_ip PREFIX ] [ dst_ip PREFIX ]
               [ src_port PORT ] [ dst_port PORT ] [ classid CLASSID ] [ action ACTION ]"""


@dataclass(frozen=True, slots=True)
class Match:
    """Values by the names of the options; addresses as (number, prefix length, width), others with a mask or plain."""

    ethertype: int = ALL
    values: tuple[tuple[str, Any], ...] = field(default=())

    def get(self, name: str) -> Any:
        return dict(self.values).get(name)


# Reading


def _masked(text: str, top: int) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    return units.whole(value, 16, top), units.whole(mask, 16, top) if slash else top


def _mac(text: str) -> tuple[int, int, int]:
    address, slash, mask = text.partition("/")
    octets = [units.whole(part, 16, 255) for part in address.split(":")]
    if len(octets) != 6:
        raise ValueError
    return int.from_bytes(octets, "big"), units.whole(mask, 10, 48) if slash else 48, 48


def _net(text: str) -> tuple[int, int, int]:
    net = ipaddress.ip_interface(text)
    return int(net.network.network_address), net.network.prefixlen, net.max_prefixlen


def _ip_proto(text: str) -> int:
    return TRANSPORTS[text] if text in TRANSPORTS else units.whole(text, 16, 255)


_READ = {
    "vlan_id": lambda text: units.whole(text, 10, 4095), "vlan_prio": lambda text: units.whole(text, 10, 7),
    "vlan_ethtype": protocol, "dst_mac": _mac, "src_mac": _mac, "ip_proto": _ip_proto,
    "ip_tos": lambda text: _masked(text, 255), "dst_ip": _net, "src_ip": _net,
    "dst_port": lambda text: units.whole(text, 10, 65535), "src_port": lambda text: units.whole(text, 10, 65535),
}  # fmt: skip


def _parse(handle: str | None, outer: int, words: Words) -> Ask:
    ask, values = Ask(options=bool(words)), dict[str, Any]()
    try:
        ask.handle = units.whole(handle) if handle else 0
    except ValueError:
        raise illegal("Illegal \"handle\"") from None
    while words:
        name = words.next
        if name not in _READ:
            common(words, ask, _USAGE)
            continue
        words.take()
        try:
            values[name] = _READ[name](words.take())
        except ValueError:
            raise illegal(f'Illegal "{name}"') from None
        _check(name, values, outer)
    inner = values.get("vlan_ethtype", ALL) if outer in VLAN_TAGGED else outer
    ask.match = Match(inner, tuple((name, values[name]) for name in _READ if name in values))
    return ask


def _check(name: str, values: dict[str, Any], outer: int) -> None:
    """What an option needs before it."""
    inner = values.get("vlan_ethtype", 0) if outer in VLAN_TAGGED else outer
    if name.startswith("vlan_") and outer not in VLAN_TAGGED:
        raise illegal(f'Can\'t set "{name}" if ethertype isn\'t 802.1Q or 802.1AD')
    if name in ("ip_proto", "ip_tos") and inner not in (IP, IP6):
        raise illegal('Illegal "eth_type" for ip proto')
    if name.endswith("_ip") and inner != (IP if values[name][2] == 32 else IP6):
        raise illegal(f'Illegal "{name}"')
    if name.endswith("_port") and values.get("ip_proto") not in WITH_PORTS:
        raise illegal(f'Illegal "{name}"')


# For the fast path


def _keys(filters: FilterList, node: Node) -> tuple[KeyView, ...]:
    match: Match = node.match
    keys = [*protocol_key(match.ethertype), *_vlan(match)]
    for name, offset in (("dst_mac", -14), ("src_mac", -8)):
        keys += _words(match.get(name), offset)
    version6 = match.ethertype == IP6
    for name, offset in (("src_ip", 8 if version6 else 12), ("dst_ip", 24 if version6 else 16)):
        keys += _words(match.get(name), offset)
    if (number := match.get("ip_proto")) is not None:
        offset, shift = (4, 8) if version6 else (8, 16)
        keys.append(KeyView(Base.NETWORK, offset, number << shift, 0xFF << shift))
    if (tos := match.get("ip_tos")) is not None:
        shift = 20 if version6 else 16
        keys.append(KeyView(Base.NETWORK, 0, (tos[0] & tos[1]) << shift, tos[1] << shift))
    for name, shift in (("src_port", 16), ("dst_port", 0)):
        if (port := match.get(name)) is not None:
            keys.append(KeyView(Base.TRANSPORT, 0, port << shift, 0xFFFF << shift))
    return tuple(keys)


def _vlan(match: Match) -> Iterator[KeyView]:
    vid, prio = match.get("vlan_id"), match.get("vlan_prio")
    mask = (0 if vid is None else 0xFFF) | (0 if prio is None else 0xE000)
    if mask:
        yield KeyView(Base.VLAN, 0, (vid or 0) | (prio or 0) << 13, mask)


def _words(address: tuple[int, int, int] | None, offset: int) -> Iterator[KeyView]:
    """An address as words of four bytes; the last of a MAC has two bytes more than it asks."""
    if address is None:
        return
    number, bits, width = address
    whole = (width + 31) // 32 * 32
    number, mask = number << (whole - width), ((1 << bits) - 1) << (whole - bits)
    for shift in range(whole - 32, -1, -32):
        if mask >> shift & units.TOP32:
            yield KeyView(Base.NETWORK, offset, (number & mask) >> shift & units.TOP32, mask >> shift & units.TOP32)
        offset += 4


def _option_words(name: str, value: Any) -> str:
    """An option as it is read."""
    if name == "ip_tos":
        return f"{name} {value[0]:#x}/{value[1]:#x}"
    return f"{name} {_text(name, value)}"


def _text(name: str, value: Any) -> str:
    match name:
        case "vlan_ethtype":
            text = protocol_text(value)
            return text if not text.startswith("[") else f"{value:#x}"
        case "ip_proto":
            return next((text for text, number in TRANSPORTS.items() if number == value), f"0x{value:02x}")
        case "dst_mac" | "src_mac":
            return value[0].to_bytes(6, "big").hex(":") + (f"/{value[1]}" if value[1] < 48 else "")
        case "dst_ip" | "src_ip":
            number, bits, width = value
            address = ipaddress.IPv4Address(number) if width == 32 else ipaddress.IPv6Address(number)
            return str(address) + (f"/{bits}" if bits < width else "")
    return str(value)


def _words_of(filters: FilterList, node: Node) -> tuple[str, str]:
    match: Match = node.match
    return f"{node.handle:#x}", " ".join(_option_words(name, value) for name, value in match.values)


# Printing


def _show(filters: FilterList, node: Node, out: Printer) -> None:
    out.put("handle", "handle {:#x} ", node.handle)
    if node.classid is not None:
        out.put("classid", "classid {} ", written(node.classid))
    match: Match = node.match
    with out.object("keys"):
        for name, value in match.values:
            if name == "ip_proto":
                _show_type(match, out)
            _show_value(name, value, out)
        if match.get("ip_proto") is None:
            _show_type(match, out)
    out.put("not_in_hw", "\n  not_in_hw", True)
    action.show(node.action, out)


def _show_type(match: Match, out: Printer) -> None:
    names = {IP: "ipv4", IP6: "ipv6", PROTOCOLS["arp"]: "arp", PROTOCOLS["rarp"]: "rarp"}
    if match.ethertype != ALL:
        out.put("eth_type", "\n  eth_type {}", names.get(match.ethertype, f"{match.ethertype:04x}"))


def _show_value(name: str, value: Any, out: Printer) -> None:
    if name == "ip_tos":
        out.put(name, f"\n  {name} {{:#x}}", value[0])
        if value[1] != 255:
            out.put(f"{name}_mask", "/{:#x}", value[1])
    else:
        plain = isinstance(value, int) and name not in ("vlan_ethtype", "ip_proto")
        out.put(name, f"\n  {name} {{}}", value if plain else _text(name, value))


FLOWER = Classifier("flower", _parse, _show, _keys, _words_of)
