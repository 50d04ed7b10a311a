"""A packet as one line, in the form that the kernel's LOG has (nf_log_syslog.c) and that log readers know.

    IN=br0 OUT=br0 PHYSIN=tapA PHYSOUT=tapB MAC=... SRC=10.0.0.1 DST=10.0.0.2 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF
    PROTO=TCP SPT=1000 DPT=80 WINDOW=64240 RES=0x00 SYN URGP=0

The ports of a bridge are named as the kernel names them for its own bridge. What a record has cut off is INCOMPLETE, as is
what the packet itself lacks. --log-uid has nothing to tell: no packet here has an owner. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from .targets import Log, LogFlag

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # from bit 0; written from the last to the first
QUOTING = (3, 4, 11)  # ICMP types that quote a packet: unreachable, source quench, time exceeded
EXTENSIONS = (0, 43, 44, 60)
_TCP = struct.Struct("!HHIIBBHHH")
_DONT_FRAGMENT, _MORE, _OFFSET = 0x4000, 0x2000, 0x1FFF


class Place(NamedTuple):
    """Where a packet came in, or leaves: the device that rules name, and the port if it is known."""

    device: str = ""
    port: str = ""


def line(record: Mapping[str, Any], target: Log, came_in: Place, leaves: Place) -> str:
    """The line of a record as `LogRings` gives it."""
    words = [f"IN={came_in.device} OUT={leaves.device}"]
    words += [f"{name}={place.port}" for name, place in (("PHYSIN", came_in), ("PHYSOUT", leaves))
              if place.device and place.port and place.port != place.device]
    if came_in.device:
        ethertype = b"\x08\x00" if record["family"] == 4 else b"\x86\xdd"
        words.append("MAC=" + (record["dst_mac"] + record["src_mac"] + ethertype).hex(":"))
    words += (_ipv4 if record["family"] == 4 else _ipv6)(record["data"], target.flags)
    if record["mark"]:
        words.append(f"MARK={record['mark']:#x}")
    return target.prefix + " ".join(words)


def _ipv4(data: bytes, flags: LogFlag, outer: bool = True) -> Iterator[str]:
    if len(data) < 20:
        yield "TRUNCATED"
        return
    tos, length, ident, fragment, ttl, protocol = struct.unpack_from("!xBHHHBB", data)
    header = max((data[0] & 15) * 4, 20)
    yield f"SRC={IPv4Address(data[12:16])} DST={IPv4Address(data[16:20])} LEN={length}"
    yield f"TOS=0x{tos & 0x1E:02X} PREC=0x{tos & 0xE0:02X} TTL={ttl} ID={ident}"
    yield from (word for bit, word in ((0x8000, "CE"), (_DONT_FRAGMENT, "DF"), (_MORE, "MF")) if fragment & bit)
    if fragment & _OFFSET:
        yield f"FRAG:{fragment & _OFFSET}"
    if flags & LogFlag.IP_OPTIONS and header > 20:
        yield _options(data[20:header])
    yield from _layer4(protocol, data[header:], bool(fragment & _OFFSET), flags, outer)


def _ipv6(data: bytes, flags: LogFlag) -> Iterator[str]:
    if len(data) < 40:
        yield "TRUNCATED"
        return
    first, length, protocol, hops = struct.unpack_from("!IHBB", data)
    yield f"SRC={IPv6Address(data[8:24]).exploded} DST={IPv6Address(data[24:40]).exploded} LEN={length + 40}"
    yield f"TC={first >> 20 & 0xFF} HOPLIMIT={hops} FLOWLBL={first & 0xFFFFF}"
    at, fragment = 40, 0
    while protocol in EXTENSIONS and at + 8 <= len(data):
        if protocol == 44:
            fragment, ident = struct.unpack_from("!HI", data, at + 2)
            yield f"FRAG:{fragment & 0xFFF8}" + " INCOMPLETE" * (fragment & 1) + f" ID:{ident:08x}"
        protocol, at = data[at], at + (8 if protocol == 44 else (data[at + 1] + 1) * 8)
    yield from _layer4(protocol, data[at:], bool(fragment & 0xFFF8), flags, True)


def _layer4(protocol: int, data: bytes, fragment: bool, flags: LogFlag, outer: bool) -> Iterator[str]:
    """Of a fragment that is not the first there is only the protocol to tell."""
    name, least, tell = PROTOCOLS.get(protocol, (str(protocol), 0, None))
    yield f"PROTO={name}"
    if fragment or tell is None:
        return
    if len(data) < least:
        yield f"INCOMPLETE [{len(data)} bytes]"
        return
    yield from tell(data, flags, outer)


def _tcp(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    sport, dport, sequence, acknowledged, offset, bits, window, _, urgent = _TCP.unpack_from(data)
    yield f"SPT={sport} DPT={dport}"
    if flags & LogFlag.TCP_SEQUENCE:
        yield f"SEQ={sequence} ACK={acknowledged}"
    yield f"WINDOW={window} RES=0x{(offset & 15) << 2:02x}"
    yield from (TCP_FLAGS[bit] for bit in range(7, -1, -1) if bits >> bit & 1)
    yield f"URGP={urgent}"
    end = (offset >> 4) * 4
    if flags & LogFlag.TCP_OPTIONS and end > 20:
        yield _options(data[20:end])


def _udp(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    sport, dport, length = struct.unpack_from("!HHH", data)
    yield f"SPT={sport} DPT={dport} LEN={length}"


def _icmp(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    kind, code, high, low = struct.unpack_from("!BBxxHH", data)
    yield f"TYPE={kind} CODE={code}"
    if kind in (0, 8):
        yield f"ID={high} SEQ={low}"
    elif kind == 12:
        yield f"PARAMETER={high >> 8}"
    elif kind == 5:
        yield f"GATEWAY={IPv4Address(data[4:8])}"
    if kind in (*QUOTING, 5) and outer:
        yield "[" + " ".join(_ipv4(data[8:], flags, False)) + " ]"
        if (kind, code) == (3, 4):
            yield f"MTU={low}"


def _icmp6(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    kind, code, high, low = struct.unpack_from("!BBxxHH", data)
    yield f"TYPE={kind} CODE={code}"
    if kind in (128, 129):
        yield f"ID={high} SEQ={low}"


def _spi(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    yield f"SPI={int.from_bytes(data[4:8], 'big'):#x}"


def _esp(data: bytes, flags: LogFlag, outer: bool) -> Iterator[str]:
    yield f"SPI={int.from_bytes(data[:4], 'big'):#x}"


def _options(options: bytes) -> str:
    return f"OPT ({options.hex().upper()})"


# By number: name, bytes that its words are in, and what tells them
PROTOCOLS = {
    1: ("ICMP", 8, _icmp), 6: ("TCP", 20, _tcp), 17: ("UDP", 8, _udp), 50: ("ESP", 8, _esp), 51: ("AH", 12, _spi),
    58: ("ICMPv6", 8, _icmp6), 136: ("UDPLITE", 8, _udp),
}  # fmt: skip
