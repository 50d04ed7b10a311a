"""Frames as they came out: where their fields lie, and how to put other ones in.

`Parsed` finds addresses and ports, through IPv6's fragment header, and within an ICMP error those of the packet that it
quotes. `Editor` changes fields and keeps each checksum exactly as right or wrong as it was: it updates it by the
difference (RFC 1624), through the quoted packet's checksums up to the outer one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.build import CHECKSUM_AT, ECHO_TYPES, FRAGMENT_HEADER, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP
from tests.oracle.subject import Tuple

ETHERNET_BYTES = 14
ERROR_TYPES = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4)}


@dataclass(frozen=True)
class Parsed:
    """An IP packet at `at` in a buffer; `upper` is where its payload begins."""

    data: bytes
    at: int
    family: int
    protocol: int
    upper: int
    fragment: tuple[int, int, bool] | None  # identification, offset in bytes, more follow
    fragment_at: int = 0  # of IPv6's fragment header

    @property
    def addresses_at(self) -> tuple[int, int]:
        """Where source and destination lie."""
        return (self.at + 12, self.at + 16) if self.family == 4 else (self.at + 8, self.at + 24)

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """Source and destination address."""
        size = 4 if self.family == 4 else 16
        src, dst = self.addresses_at
        return self.data[src : src + size], self.data[dst : dst + size]

    @property
    def is_whole_or_first(self) -> bool:
        """Whether the payload's header is in it."""
        return self.fragment is None or self.fragment[1] == 0

    @property
    def icmp_type(self) -> int | None:
        """The message's type, where it is ICMP of the packet's family."""
        is_icmp = self.protocol == (ICMP if self.family == 4 else ICMPV6)
        return self.data[self.upper] if is_icmp and self.is_whole_or_first and len(self.data) > self.upper else None

    @property
    def is_error(self) -> bool:
        """Whether it is an ICMP error."""
        return self.icmp_type in ERROR_TYPES[self.family]

    @property
    def port_fields(self) -> tuple[int, ...]:
        """Where the ports lie (an echo's identifier is one field); none where there are none."""
        if self.is_whole_or_first:
            if self.protocol in (TCP, UDP) and len(self.data) >= self.upper + 4:
                return (self.upper, self.upper + 2)
            if self.icmp_type in ECHO_TYPES[self.family] and len(self.data) >= self.upper + 6:
                return (self.upper + 4,)
        return ()

    @property
    def tuple(self) -> Tuple:
        """The packet's direction of its connection."""
        ports = [int.from_bytes(self.data[at : at + 2], "big") for at in self.port_fields] or [0]
        src, dst = self.ends
        return Tuple(self.protocol, src, ports[0], dst, ports[-1])

    @property
    def checksums(self) -> tuple[int, ...]:
        """Where the payload's checksum lies, if it is there and in use."""
        at = self.upper + CHECKSUM_AT.get(self.protocol, len(self.data))
        if not self.is_whole_or_first or len(self.data) < at + 2:
            return ()
        return () if self.protocol == UDP and self.data[at : at + 2] == b"\0\0" else (at,)

    @property
    def quoted(self) -> Parsed | None:
        """The packet that an ICMP error quotes."""
        return parse(self.data, self.upper + 8) if self.is_error else None


def parse(data: bytes, at: int = ETHERNET_BYTES) -> Parsed | None:
    """The IP packet at `at`; None where the header is not whole."""
    if len(data) >= at + 20 and data[at] >> 4 == 4:
        return _ipv4(data, at)
    if len(data) >= at + 40 and data[at] >> 4 == 6:
        return _ipv6(data, at)
    return None


def ethertype(frame: bytes) -> int:
    """What a frame carries."""
    return int.from_bytes(frame[12:14], "big")


def is_ip(frame: bytes) -> bool:
    """Whether a frame carries IP of either family."""
    return ethertype(frame) in (IPV4, IPV6)


def _ipv4(data: bytes, at: int) -> Parsed:
    ident, word = struct.unpack_from("!HH", data, at + 4)
    offset, more = (word & 0x1FFF) * 8, bool(word & 0x2000)
    piece = (ident, offset, more) if offset or more else None
    return Parsed(data, at, 4, data[at + 9], at + (data[at] & 15) * 4, piece)


def _ipv6(data: bytes, at: int) -> Parsed:
    protocol, upper = data[at + 6], at + 40
    if protocol != FRAGMENT_HEADER or len(data) < upper + 8:
        return Parsed(data, at, 6, protocol, upper, None)
    protocol, _, word, ident = struct.unpack_from("!BBHI", data, upper)
    return Parsed(data, at, 6, protocol, upper + 8, (ident, word & 0xFFF8, bool(word & 1)), upper)


class Editor:
    """A frame under change."""

    def __init__(self, packet: Parsed) -> None:
        self.data = bytearray(packet.data)
        self._covers: dict[int, Sequence[int]] = {}  # the checksums over a checksum
        self.packet = packet
        self.quoted = packet.quoted
        if self.quoted is not None:
            inner = [*self._header_checksum(self.quoted), *self.quoted.checksums]
            self._covers = {at: packet.checksums for at in inner}

    def readdress(self, packet: Parsed, to: Tuple) -> None:
        """Give the packet, or the quoted one, another tuple."""
        upper = self._above(packet)
        payload = packet.checksums
        pseudo = payload if packet.protocol != ICMP else ()
        for at, address in zip(packet.addresses_at, (to.src, to.dst), strict=True):
            for step in range(0, len(address), 2):
                covers = (*self._header_checksum(packet), *pseudo, *upper)
                self._set(at + step, int.from_bytes(address[step : step + 2], "big"), covers)
        for at, port in zip(packet.port_fields, (to.sport, to.dport), strict=False):
            self._set(at, port, (*payload, *upper))

    def clear_ident(self, packet: Parsed) -> None:
        """Set IPv4's identification to zero."""
        upper = self._above(packet)
        self._set(packet.at + 4, 0, (*self._header_checksum(packet), *upper))

    def clear_quoted_checksum(self) -> None:
        """Set the sum in the quoted packet's payload to zero."""
        for at in self.quoted.checksums if self.quoted else ():
            self._set(at, 0, self.packet.checksums)

    def clear_length(self, packet: Parsed) -> None:
        """Set the packet's own length, and that more follows, to zero, which tells where it was cut."""
        if packet.fragment and packet.fragment[2]:
            at = packet.at + 6 if packet.family == 4 else packet.fragment_at + 2
            word = int.from_bytes(self.data[at : at + 2], "big") & ~(0x2000 if packet.family == 4 else 1)
            self._set(at, word, self._header_checksum(packet))
        if packet.family == 4:
            self._set(packet.at + 2, 0, self._header_checksum(packet))
        else:
            self._set(packet.at + 4, 0, ())

    def number_fragment(self, packet: Parsed, ident: int) -> None:
        """Set IPv6's fragment identification."""
        upper = self._above(packet)
        for step, word in ((4, ident >> 16), (6, ident & 0xFFFF)):
            self._set(packet.fragment_at + step, word, upper)

    def done(self) -> bytes:
        """The frame, a sum of 0xffff spelled 0 where it means the same."""
        for at in (*self._covers, *self.packet.checksums):
            if self.data[at : at + 2] == b"\xff\xff":
                self.data[at : at + 2] = b"\0\0"
        return bytes(self.data)

    def _set(self, at: int, value: int, covers: Sequence[int]) -> None:
        old = int.from_bytes(self.data[at : at + 2], "big")
        self.data[at : at + 2] = struct.pack("!H", value)
        if old == value:
            return
        for sum_at in covers:
            total = (~int.from_bytes(self.data[sum_at : sum_at + 2], "big") & 0xFFFF) + (~old & 0xFFFF) + value
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            self._set(sum_at, ~total & 0xFFFF, self._covers.get(sum_at, ()))

    def _above(self, packet: Parsed) -> tuple[int, ...]:
        """The checksums over a packet that is quoted."""
        return () if packet.at == self.packet.at else self.packet.checksums

    def _header_checksum(self, packet: Parsed) -> tuple[int, ...]:
        return (packet.at + 10,) if packet.family == 4 else ()
