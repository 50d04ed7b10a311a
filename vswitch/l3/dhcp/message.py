"""DHCP messages (RFC 2131, 2132): from bytes, every length checked, and to bytes.

Options are a dict of code and value. What was split over several options of one code comes joined (RFC 3396), and
what stands in the fields `file` and `sname` (option 52) comes after the rest; on the way out a long value is split
again, and what does not fit into the size that the client takes is left off from the end. Pure functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address

from ..wire import Malformed

CLIENT_PORT, SERVER_PORT = 68, 67
BROADCAST_FLAG = 0x8000
NOWHERE = IPv4Address(0)

_COOKIE = b"\x63\x82\x53\x63"
_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_ETHERNET = 1
_LEAST = 576  # bytes of a packet that every client takes (RFC 2131, 2), IP and UDP headers and all
_MOST = 1500
_HEADERS = 20 + 8 + _FIXED.size
_BOOTP_MIN = 300  # what BOOTP had; some clients still throw away less


class Kind(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """The options that the server reads or writes."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    DNS = 6
    HOST_NAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    REQUESTED = 50
    LEASE = 51
    OVERLOAD = 52
    KIND = 53
    SERVER = 54
    PARAMETERS = 55
    MESSAGE = 56
    MAX_SIZE = 57
    RENEWAL = 58
    REBINDING = 59
    CLIENT_ID = 61
    RELAY_AGENT = 82
    ROUTES = 121
    END = 255


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `chaddr` is an Ethernet address."""

    op: int
    xid: int
    chaddr: bytes
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> int:
        """The message's type; 0 for BOOTP, which has none."""
        value = self.options.get(Option.KIND, b"")
        return value[0] if len(value) == 1 else 0

    def address(self, code: Option) -> IPv4Address | None:
        """The address in an option, if it holds one."""
        value = self.options.get(code, b"")
        return IPv4Address(value) if len(value) == 4 else None

    @property
    def max_size(self) -> int:
        """Bytes of the largest packet that the client takes."""
        value = self.options.get(Option.MAX_SIZE, b"")
        return min(max(int.from_bytes(value, "big"), _LEAST), _MOST) if len(value) == 2 else _LEAST


def parse(payload: bytes) -> Message:
    """The message in a datagram. Raises Malformed."""
    if len(payload) < _FIXED.size:
        raise Malformed("length")
    op, htype, hlen, _, xid, secs, flags, *addresses, chaddr, sname, file, cookie = _FIXED.unpack_from(payload)
    if cookie != _COOKIE:
        raise Malformed("not DHCP")
    if (htype, hlen) != (_ETHERNET, 6):
        raise Malformed("not Ethernet")
    options = _joined(_options(payload[_FIXED.size :]))
    more = options.get(Option.OVERLOAD, b"\0")[0]
    for bit, area in ((1, file), (2, sname)):
        if more & bit:
            options = _joined([*options.items(), *_options(area)])
    return Message(op, xid, chaddr[:6], secs, flags, *map(IPv4Address, addresses), options)


def _options(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(area) and area[at] != Option.END:
        if area[at] == Option.PAD:
            at += 1
            continue
        if at + 2 > len(area) or at + 2 + area[at + 1] > len(area):
            raise Malformed("options")
        yield area[at], area[at + 2 : at + 2 + area[at + 1]]
        at += 2 + area[at + 1]


def _joined(pairs: Iterator[tuple[int, bytes]] | list[tuple[int, bytes]]) -> dict[int, bytes]:
    parts: dict[int, list[bytes]] = {}
    for code, value in pairs:
        parts.setdefault(code, []).append(value)
    joined = {code: b"".join(values) for code, values in parts.items()}
    if joined.get(Option.OVERLOAD) == b"":
        raise Malformed("options")
    return joined


def build(message: Message, max_size: int = _MOST) -> bytes:
    """The bytes of a message, options in the order of the dict as far as a packet of `max_size` bytes holds them."""
    fixed = _FIXED.pack(
        message.op, _ETHERNET, 6, 0, message.xid, message.secs, message.flags, message.ciaddr.packed,
        message.yiaddr.packed, message.siaddr.packed, message.giaddr.packed, message.chaddr, b"", b"", _COOKIE,
    )
    room = max_size - _HEADERS - 1
    area = bytearray()
    for code, value in message.options.items():
        encoded = _encoded(code, value)
        if len(area) + len(encoded) <= room:
            area += encoded
    return (fixed + bytes(area) + bytes((Option.END,))).ljust(_BOOTP_MIN, b"\0")


def _encoded(code: int, value: bytes) -> bytes:
    pieces = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((code, len(piece))) + piece for piece in pieces)
