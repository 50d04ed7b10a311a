"""Datagrams and ICMPv6 messages to and from Ethernet frames, untagged: what the services of a network speak.

Every frame is from an enemy. A `parse_` function checks each length once, against what is really there, and gives a
value that may be read freely, or raises Malformed with the name of what is wrong; the names are a fixed few, so they
may be counted by. Fragments and extension headers are refused, since no client of these services has use for them.

Checksums are verified, except where the caller has the device's word for the frame (`checked`): a guest's frame whose
checksum is still partial carries only the pseudo-header's sum, and would look wrong here. Pure functions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

IPV4, IPV6 = 0x0800, 0x86DD
UDP, ICMP6 = 17, 58
BROADCAST = b"\xff" * 6

_ETHERNET = 14
_TTL = 64
_IP4 = struct.Struct("!BBHHHBBH4s4s")
_IP6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")

Address = IPv4Address | IPv6Address


class Malformed(ValueError):
    """A frame that is not what it should be; `str()` is the reason, one of a fixed few."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram and the addresses around it; both IP addresses are of one family."""

    eth_src: bytes
    eth_dst: bytes
    src: Address
    dst: Address
    sport: int
    dport: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Icmp6:
    """An ICMPv6 message and the addresses around it; `body` follows the checksum."""

    eth_src: bytes
    eth_dst: bytes
    src: IPv6Address
    dst: IPv6Address
    hop_limit: int
    type: int
    code: int
    body: bytes


def mac_text(mac: bytes) -> str:
    """A MAC in its normal form."""
    return mac.hex(":")


def mac_bytes(mac: str) -> bytes:
    """The bytes of a MAC in its normal form."""
    return bytes.fromhex(mac.replace(":", ""))


def unicast(mac: bytes) -> bool:
    """Whether one station can have the MAC."""
    return not mac[0] & 1 and mac != bytes(6)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); 0 over data that carries its right one."""
    padded = data + b"\0" if len(data) & 1 else data
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def parse_udp(frame: bytes, checked: bool = False) -> Datagram:
    """The datagram in a frame. Raises Malformed."""
    src, dst, protocol, _, body = _parse_ip(frame)
    if protocol != UDP:
        raise Malformed("not UDP")
    if len(body) < _UDP.size:
        raise Malformed("length")
    sport, dport, length, check = _UDP.unpack_from(body)
    if not _UDP.size <= length <= len(body):
        raise Malformed("length")
    unsummed = not check and isinstance(src, IPv4Address)  # UDP over IPv4 may go without
    if not checked and not unsummed and checksum(_pseudo(src, dst, UDP, length) + body[:length]):
        raise Malformed("checksum")
    return Datagram(frame[6:12], frame[:6], src, dst, sport, dport, bytes(body[_UDP.size : length]))


def parse_icmp6(frame: bytes, checked: bool = False) -> Icmp6:
    """The ICMPv6 message in a frame. Raises Malformed."""
    src, dst, protocol, hop_limit, body = _parse_ip(frame)
    if protocol != ICMP6 or isinstance(src, IPv4Address) or isinstance(dst, IPv4Address):
        raise Malformed("not ICMPv6")
    if len(body) < 4:
        raise Malformed("length")
    if not checked and checksum(_pseudo(src, dst, ICMP6, len(body)) + body):
        raise Malformed("checksum")
    return Icmp6(frame[6:12], frame[:6], src, dst, hop_limit, body[0], body[1], bytes(body[4:]))


def _parse_ip(frame: bytes) -> tuple[Address, Address, int, int, bytes]:
    """Source, destination, protocol, TTL or hop limit, and what the header carries."""
    if len(frame) < _ETHERNET:
        raise Malformed("length")
    kind = int.from_bytes(frame[12:14], "big")
    if kind == IPV4:
        return _parse_ipv4(frame[_ETHERNET:])
    if kind == IPV6:
        return _parse_ipv6(frame[_ETHERNET:])
    raise Malformed("not IP")


def _parse_ipv4(packet: bytes) -> tuple[Address, Address, int, int, bytes]:
    if len(packet) < _IP4.size:
        raise Malformed("length")
    version, _, total, _, fragment, ttl, protocol, _, src, dst = _IP4.unpack_from(packet)
    header = (version & 15) * 4
    if version >> 4 != 4 or not _IP4.size <= header <= total <= len(packet):
        raise Malformed("length")
    if checksum(packet[:header]):
        raise Malformed("checksum")
    if fragment & 0x3FFF:  # more fragments, or an offset
        raise Malformed("fragment")
    return IPv4Address(src), IPv4Address(dst), protocol, ttl, packet[header:total]


def _parse_ipv6(packet: bytes) -> tuple[Address, Address, int, int, bytes]:
    if len(packet) < _IP6.size:
        raise Malformed("length")
    version, length, protocol, hops, src, dst = _IP6.unpack_from(packet)
    if version >> 28 != 6 or length > len(packet) - _IP6.size:
        raise Malformed("length")
    return IPv6Address(src), IPv6Address(dst), protocol, hops, packet[_IP6.size : _IP6.size + length]


def _pseudo(src: Address, dst: Address, protocol: int, length: int) -> bytes:
    """The pseudo-header, in the one layout that sums alike for both families."""
    return src.packed + dst.packed + struct.pack("!II", length, protocol)


def build_udp(datagram: Datagram) -> bytes:
    """The frame of a datagram. A payload that no datagram carries raises ValueError."""
    length = _UDP.size + len(datagram.payload)
    if length > 0xFFFF - _IP4.size:
        raise ValueError(f"a datagram of {length} bytes")
    head = _UDP.pack(datagram.sport, datagram.dport, length, 0)
    check = checksum(_pseudo(datagram.src, datagram.dst, UDP, length) + head + datagram.payload) or 0xFFFF
    body = head[:6] + check.to_bytes(2, "big") + datagram.payload
    return _frame(datagram, UDP, _TTL, body)


def build_icmp6(message: Icmp6) -> bytes:
    """The frame of an ICMPv6 message."""
    head = bytes((message.type, message.code))
    unsummed = head + b"\0\0" + message.body
    check = checksum(_pseudo(message.src, message.dst, ICMP6, len(unsummed)) + unsummed)
    return _frame(message, ICMP6, message.hop_limit, head + check.to_bytes(2, "big") + message.body)


def _frame(message: Datagram | Icmp6, protocol: int, hops: int, body: bytes) -> bytes:
    macs = message.eth_dst + message.eth_src
    src, dst = message.src.packed, message.dst.packed
    if isinstance(message.src, IPv6Address):
        return macs + IPV6.to_bytes(2, "big") + _IP6.pack(6 << 28, len(body), protocol, hops, src, dst) + body
    fields = (0x45, 0, _IP4.size + len(body), 0, 0x4000, hops, protocol)  # never to be fragmented, so no id
    check = checksum(_IP4.pack(*fields, 0, src, dst))
    return macs + IPV4.to_bytes(2, "big") + _IP4.pack(*fields, check, src, dst) + body
