"""Router advertisements of a network (RFC 4861, 6.2): with them its hosts find a router, a prefix and a resolver.

    advertiser = RouterAdvertiser(settings, Router(mac, link_local, (prefix,)))
    advertiser.handle(frame)                  # an untagged frame to ff02::2: perhaps a solicitation
    frames = advertiser.due()                 # when the clock has reached advertiser.next_s: flood them

A host configures itself from a prefix of 64 bits (SLAAC, RFC 4862); prefixes of other lengths are announced as on the
link only. Advertisements are multicast: three soon after the start, then at random times of up to `interval_s`, and
within half a second of a solicitation, but never two within three seconds, however many solicit. `farewell` tells
hosts that the router goes. What is ignored is counted by reason in `ignored`. One thread; the clock and the dice are
passed in.
"""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface

from . import text
from .settings import Ra
from .wire import Icmp6, Malformed, build_icmp6, mac_bytes, parse_icmp6, unicast

SOLICITATION, ADVERTISEMENT = 133, 134
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")

# RFC 4861, 10
MIN_DELAY_BETWEEN_RAS_S = 3.0
MAX_RA_DELAY_S = 0.5
MAX_INITIAL_INTERVAL_S = 16.0
MAX_INITIAL = 3

_HOP_LIMIT = 255  # of neighbour discovery: proof that no router forwarded it
_SOURCE_MAC, _PREFIX, _MTU, _RDNSS, _DNSSL = 1, 3, 5, 25, 31
_ON_LINK, _AUTONOMOUS = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class Router:
    """The router on a network: its MAC, its link-local address and its addresses with their prefixes."""

    mac: str
    link_local: IPv6Address
    addresses: tuple[IPv6Interface, ...]
    mtu: int = 1500


class RouterAdvertiser:
    """The advertisements of one network."""

    def __init__(
        self,
        settings: Ra,
        router: Router,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.ignored: Counter[str] = Counter()
        self._settings = settings
        self._router = router
        self._clock = clock
        self._uniform = uniform
        self._initial = MAX_INITIAL
        self._last_s = float("-inf")
        self.next_s = clock()  # when `due` will have something

    def handle(self, frame: bytes, checked: bool = False) -> None:
        """Take a frame; a sound solicitation brings the next advertisement forward."""
        try:
            _check_solicitation(parse_icmp6(frame, checked))
        except Malformed as reason:
            self.ignored[str(reason)] += 1
            return
        soon = self._clock() + self._uniform(0.0, MAX_RA_DELAY_S)
        self.next_s = min(self.next_s, max(soon, self._last_s + MIN_DELAY_BETWEEN_RAS_S))

    def due(self) -> list[bytes]:
        """The advertisement, if it is time for one."""
        now = self._clock()
        if now < self.next_s:
            return []
        self._last_s = now
        most = float(self._settings.interval_s)
        wait = self._uniform(max(MIN_DELAY_BETWEEN_RAS_S, most / 3), most)
        self._initial = max(0, self._initial - 1)
        self.next_s = now + (min(wait, MAX_INITIAL_INTERVAL_S) if self._initial else wait)
        return [self._frame(self._settings.lifetime_s)]

    def farewell(self) -> list[bytes]:
        """The last advertisement: a router no more."""
        return [self._frame(0)]

    def _frame(self, lifetime_s: int) -> bytes:
        fixed = struct.pack("!BBHII", 64, 0, lifetime_s, 0, 0)  # hosts' hop limit; no DHCPv6; reachability theirs
        body = fixed + b"".join(self._options())
        router = self._router
        return build_icmp6(Icmp6(
            mac_bytes(router.mac), ALL_NODES_MAC, router.link_local, ALL_NODES, _HOP_LIMIT, ADVERTISEMENT, 0, body,
        ))

    def _options(self) -> Iterator[bytes]:
        settings, router = self._settings, self._router
        yield _option(_SOURCE_MAC, mac_bytes(router.mac))
        yield _option(_MTU, struct.pack("!HI", 0, settings.mtu or router.mtu))
        for address in router.addresses:
            yield _prefix(address, settings)
        servers = [address.ip for address in router.addresses[:1]]
        if settings.dns is not None:
            servers = [text.ipv6(server) for server in settings.dns]
        lifetime = 3 * settings.interval_s  # RFC 8106, 5.1
        if servers:
            packed = b"".join(server.packed for server in servers)
            yield _option(_RDNSS, struct.pack("!HI", 0, lifetime) + packed)
        if settings.domain:
            yield _option(_DNSSL, struct.pack("!HI", 0, lifetime) + _labels(settings.domain))


def _check_solicitation(message: Icmp6) -> None:
    """RFC 4861, 6.1.1. Raises Malformed."""
    if message.type != SOLICITATION or message.code:
        raise Malformed("not a solicitation")
    if message.hop_limit != _HOP_LIMIT:
        raise Malformed("hop limit")
    if not unicast(message.eth_src) or message.src.is_multicast:
        raise Malformed("source")
    if len(message.body) < 4:
        raise Malformed("length")
    at = 4
    while at < len(message.body):
        size = message.body[at + 1] * 8 if at + 2 <= len(message.body) else 0
        if not size or at + size > len(message.body):
            raise Malformed("options")
        if message.body[at] == _SOURCE_MAC and message.src.is_unspecified:
            raise Malformed("source")
        at += size


def _option(kind: int, value: bytes) -> bytes:
    """An option, filled up to whole units of eight bytes."""
    units = (len(value) + 9) // 8
    return bytes((kind, units)) + value.ljust(units * 8 - 2, b"\0")


def _prefix(address: IPv6Interface, settings: Ra) -> bytes:
    network = address.network
    flags = _ON_LINK | (_AUTONOMOUS if network.prefixlen == 64 else 0)
    lifetimes = struct.pack("!BBIII", network.prefixlen, flags, settings.valid_s, settings.preferred_s, 0)
    return _option(_PREFIX, lifetimes + network.network_address.packed)


def _labels(domain: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in domain.split(".")) + b"\0"
