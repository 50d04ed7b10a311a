"""Headers from fields, and ways to spoil them. Quick, since a long run builds 200,000 packets: struct, no scapy."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

IPV4, IPV6 = 0x0800, 0x86DD
ICMP, TCP, UDP, ICMPV6 = socket.IPPROTO_ICMP, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6
OTHER = 253  # for experiments: RFC 3692; connection tracking knows it as generic
FRAGMENT_HEADER = socket.IPPROTO_FRAGMENT

ECHO_TYPES = {4: (8, 0), 6: (128, 129)}  # request, reply


@dataclass(frozen=True)
class Envelope:
    """What a packet has around its payload. `cut` lists fragments as (offset, end, more) in bytes of the payload."""

    ttl: int = 61
    tos: int = 0
    ident: int = 0
    dont_fragment: bool = True
    options: bytes = b""
    cut: tuple[tuple[int, int, bool], ...] = ()
    damage: str = ""


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def family_of(address: bytes) -> int:
    """4 or 6."""
    return 4 if len(address) == 4 else 6


def ethernet(dst: bytes, src: bytes, family: int, packet: bytes) -> bytes:
    """A frame around an IP packet, which may lie about its version."""
    return dst + src + struct.pack("!H", IPV4 if family == 4 else IPV6) + packet


def tcp(
    ends: tuple[bytes, int, bytes, int], seq: int, ack: int, flags: int, window: int, options: bytes, payload: bytes
) -> bytes:
    """A segment; `options` is a multiple of 4 bytes, and the high 4 bits of `flags` are the data offset's to spoil."""
    src, sport, dst, dport = ends
    words = (5 + len(options) // 4) << 4
    header = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words, flags, window, 0, 0)
    segment = header + options + payload
    return _sealed(segment, 16, TCP, src, dst)


def udp(ends: tuple[bytes, int, bytes, int], payload: bytes) -> bytes:
    """A datagram."""
    src, sport, dst, dport = ends
    return _sealed(struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload, 6, UDP, src, dst)


def icmp(src: bytes, dst: bytes, kind: int, code: int, rest: int, payload: bytes) -> bytes:
    """A message of the addresses' family; `rest` is the second word."""
    message = struct.pack("!BBHI", kind, code, 0, rest) + payload
    if family_of(src) == 6:
        return _sealed(message, 2, ICMPV6, src, dst)
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def _sealed(data: bytes, at: int, protocol: int, src: bytes, dst: bytes) -> bytes:
    pseudo = src + dst + struct.pack("!II", len(data), protocol)
    value = checksum(pseudo + data) or (0xFFFF if protocol == UDP else 0)
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]


def packets(src: bytes, dst: bytes, protocol: int, payload: bytes, envelope: Envelope) -> list[bytes]:
    """The payload in one packet, or in the fragments that the envelope asks for, in its order."""
    payload = _spoil_payload(payload, protocol, envelope.damage)
    if not envelope.cut:
        make = _ipv4 if family_of(src) == 4 else _ipv6
        return [_spoil_header(make(src, dst, protocol, payload, envelope, None), envelope.damage)]
    return [_fragment(src, dst, protocol, payload, envelope, piece) for piece in envelope.cut]


def _fragment(
    src: bytes, dst: bytes, protocol: int, payload: bytes, envelope: Envelope, piece: tuple[int, int, bool]
) -> bytes:
    start, end, more = piece
    make = _ipv4 if family_of(src) == 4 else _ipv6
    return make(src, dst, protocol, payload[start:end], envelope, start | more)


def _ipv4(src: bytes, dst: bytes, protocol: int, payload: bytes, envelope: Envelope, piece: int | None) -> bytes:
    options = envelope.options
    fragment = 0x4000 if envelope.dont_fragment else 0
    if piece is not None:
        fragment = piece >> 3 | (0x2000 if piece & 1 else 0)
    first = 0x45 + len(options) // 4
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", first, envelope.tos, length, envelope.ident, fragment, envelope.ttl, protocol, 0)
    return _with_header_checksum(head + src + dst + options) + payload


def _ipv6(src: bytes, dst: bytes, protocol: int, payload: bytes, envelope: Envelope, piece: int | None) -> bytes:
    if piece is not None:
        payload = struct.pack("!BBHI", protocol, 0, piece, envelope.ident) + payload
        protocol = FRAGMENT_HEADER
    first = 6 << 28 | envelope.tos << 20
    return struct.pack("!IHBB", first, len(payload), protocol, envelope.ttl) + src + dst + payload


def _with_header_checksum(header: bytes) -> bytes:
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:]


CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
PAYLOAD_DAMAGE = ("checksum", "no checksum", "stump", "data offset", "udp length")
HEADER_DAMAGE = ("header checksum", "total length", "header length", "version", "cut short", "padding")
DAMAGE: Sequence[str] = PAYLOAD_DAMAGE + HEADER_DAMAGE


def _spoil_payload(payload: bytes, protocol: int, damage: str) -> bytes:
    if protocol not in CHECKSUM_AT:
        return payload
    data = bytearray(payload)
    at = CHECKSUM_AT[protocol]
    if damage == "checksum":
        data[at : at + 2] = _wrong_sum(data[at : at + 2])
    elif damage == "no checksum" and protocol == UDP:
        data[at : at + 2] = b"\0\0"
    elif damage == "stump":
        del data[5 if protocol in (TCP, UDP) else 2 :]  # not the sum over an identifier that NAT chose
    elif damage == "data offset" and protocol == TCP:
        data[12] = 0x40 if data[13] & 1 else 0xF0
    elif damage == "udp length" and protocol == UDP:
        data[4:6] = struct.pack("!H", len(data) + 9)
    return bytes(data)


def _wrong_sum(value: bytes) -> bytes:
    """A wrong sum, and wrong by as much whatever the addresses are that NAT has chosen."""
    more = int.from_bytes(value, "big") + 0x0101
    return struct.pack("!H", (more & 0xFFFF) + (more >> 16))


def _spoil_header(packet: bytes, damage: str) -> bytes:
    data = bytearray(packet)
    is_4 = data[0] >> 4 == 4
    length_at = 2 if is_4 else 4
    if damage == "header checksum" and is_4:
        data[10:12] = _wrong_sum(data[10:12])
    elif damage == "total length":
        data[length_at : length_at + 2] = struct.pack("!H", len(data) + 100)
    elif damage == "header length" and is_4:
        data[0] = 0x43
    elif damage == "version":
        data[0] = 0x50 | data[0] & 15
    elif damage == "cut short":
        return bytes(data[:18])
    elif damage == "padding":
        return bytes(data) + b"\xaa" * 7
    if is_4 and damage in ("total length", "header length", "version"):
        data[10:20] = _with_header_checksum(bytes(data[:10]) + b"\0\0" + bytes(data[12:20]))[10:20]
    return bytes(data)
