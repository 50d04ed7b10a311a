"""mac, physdev, pkttype and addrtype: how the packet came, and whom it is for."""

from __future__ import annotations

import re
from typing import Any

from ..matches import AddressType, Addrtype, Mac, PacketType, Physdev, Pkttype
from .base import Asked, Demands, Extension, Fields, Option, written
from .complaint import Complaint
from .readers import octets, savable

MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
LONGEST_INTERFACE = 15


def interface(text: str) -> str:
    """The name of an interface: its form is all that is checked, for it may come later.

    iptables only warns of characters that no interface's name can have; but then a save could not be read back.
    """
    if not text:
        raise Complaint("Empty interface is likely to be undesired")
    if len(octets(text)) > LONGEST_INTERFACE:
        raise Complaint(f"interface name `{text}' must be shorter than IFNAMSIZ ({LONGEST_INTERFACE})")
    if "/" in text or not savable(text):
        raise Complaint(f"weird character in interface `{text}' ('/' and ' ' are not allowed by the kernel).")
    return text


# mac


def _mac(text: str, asked: Asked) -> bytes:
    if not MAC.fullmatch(text):
        raise Complaint("Invalid MAC address specified.")
    return bytes.fromhex(text.replace(":", ""))


MAC_MATCH = Extension(
    name="mac",
    struct=Mac,
    options=(Option("--mac-source", "source", _mac, lambda mac: mac.hex(":"), invert=True, required=True),),
    show=lambda held, numeric: f" MAC {'! ' if held.inverted else ''}{held.source.hex(':')}",
    demands=Demands(chains=("PREROUTING", "INPUT", "FORWARD")),
)


# physdev


def _physdev_further(held: Physdev, spec: Any, chains: frozenset[str]) -> str | None:
    asks_out = held.out_port is not None or held.is_out
    bridged = held.is_bridged and "is_bridged" not in held.inverted
    if asks_out and not bridged and "OUTPUT" in chains:
        return "--physdev-out and --physdev-is-out are only supported in the FORWARD and POSTROUTING chains"
    return None


def _port(text: str, asked: Asked) -> str:
    return interface(text)


PHYSDEV: Extension = Extension(
    name="physdev",
    struct=Physdev,
    options=(
        Option("--physdev-is-in", "is_in", invert=True, words=0),
        Option("--physdev-in", "in_port", _port, invert=True),
        Option("--physdev-is-out", "is_out", invert=True, words=0),
        Option("--physdev-out", "out_port", _port, invert=True),
        Option("--physdev-is-bridged", "is_bridged", invert=True, words=0),
    ),
    show=lambda held, numeric: f" PHYSDEV match{written(PHYSDEV, held)}",
    missing="PHYSDEV: no physdev option specified",
    demands=Demands(further=_physdev_further),
)


# pkttype

PACKET_TYPES = {
    "unicast": PacketType.UNICAST,
    "broadcast": PacketType.BROADCAST,
    "multicast": PacketType.MULTICAST,
    "otherhost": PacketType.OTHERHOST,
    "bcast": PacketType.BROADCAST,
    "mcast": PacketType.MULTICAST,
    "host": PacketType.UNICAST,
}


def _packet_type(text: str, asked: Asked) -> PacketType:
    if text.lower() not in PACKET_TYPES:
        raise Complaint(f"Bad packet type '{text}'")
    return PACKET_TYPES[text.lower()]


PKTTYPE = Extension(
    name="pkttype",
    struct=Pkttype,
    options=(Option("--pkt-type", "type", _packet_type, lambda held: held.name.lower(), invert=True, required=True),),
    show=lambda held, numeric: f" PKTTYPE {'!=' if held.inverted else '='} {held.type.name.lower()}",
)


# addrtype


def _address_types(text: str, asked: Asked) -> AddressType:
    total = AddressType(0)
    for name in text.split(","):
        if name.upper() not in AddressType.__members__:
            raise Complaint(f'addrtype: bad type "{name}"')
        total |= AddressType[name.upper()]
    return total


def _write_types(held: AddressType) -> str:
    return ",".join(str(kind.name) for kind in AddressType if kind & held)


def _make_addrtype(fields: Fields) -> Addrtype:
    values = fields.values
    if "source" not in values and "destination" not in values:
        raise Complaint("addrtype: you must specify --src-type or --dst-type")
    if "limit_in" in values and "limit_out" in values:
        raise Complaint("addrtype: both incoming and outgoing interface limitation cannot be selected")
    return Addrtype(**values, inverted=frozenset(fields.inverted))


def _addrtype_further(held: Addrtype, spec: Any, chains: frozenset[str]) -> str | None:
    if held.limit_in and chains & {"POSTROUTING", "OUTPUT"}:
        return "input interface limitation not valid in POSTROUTING and OUTPUT"
    if held.limit_out and chains & {"PREROUTING", "INPUT"}:
        return "output interface limitation not valid in PREROUTING and INPUT"
    return None


def _show_addrtype(held: Addrtype, numeric: bool) -> str:
    text = " ADDRTYPE match"
    for field, name in (("source", "src-type"), ("destination", "dst-type")):
        if getattr(held, field) is not None:
            text += f" {name} {'!' if field in held.inverted else ''}{_write_types(getattr(held, field))}"
    return text + (" limit-in" if held.limit_in else "") + (" limit-out" if held.limit_out else "")


ADDRTYPE = Extension(
    name="addrtype",
    struct=Addrtype,
    options=(
        Option("--src-type", "source", _address_types, _write_types, invert=True),
        Option("--dst-type", "destination", _address_types, _write_types, invert=True),
        Option("--limit-iface-in", "limit_in", words=0),
        Option("--limit-iface-out", "limit_out", words=0),
    ),
    show=_show_addrtype,
    make=_make_addrtype,
    demands=Demands(further=_addrtype_further),
)

EXTENSIONS = (MAC_MATCH, PHYSDEV, PKTTYPE, ADDRTYPE)
