"""The values that rules compare with and write: networks, ranges of addresses and ports.

A netmask of iptables need not be a prefix (`10.0.12.0/255.0.255.0`), so a network here is an address and a mask, both
as `ipaddress` has addresses. Everything is immutable and compares by value.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

Address = IPv4Address | IPv6Address
NONE: frozenset[str] = frozenset()


class Net(msgspec.Struct, frozen=True, gc=False):
    """The addresses that equal `address` under `mask`; bits of `address` outside the mask are zero."""

    address: Any  # Address; msgspec need not know, for nothing here is decoded
    mask: Any

    @property
    def is_all(self) -> bool:
        return not int(self.mask)

    @property
    def prefix(self) -> int | None:
        """The length of the prefix, or None when the mask has holes."""
        width, bits = self.mask.max_prefixlen, int(self.mask)
        length = bits.bit_count()
        return length if bits == ((1 << length) - 1) << (width - length) else None


class AddressRange(msgspec.Struct, frozen=True, gc=False):
    """From `first` to `last`, both included."""

    first: Any
    last: Any


class Range(msgspec.Struct, frozen=True, gc=False):
    """From `first` to `last`, both included: ports, lengths, seconds."""

    first: int
    last: int


ALL_PORTS = Range(0, 65535)
