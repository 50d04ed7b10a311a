"""Where two subjects may differ and both be right: the address and port that NAT chose.

A rule names a range, and the kernel picks from it by a hash of its own, or at random where the first choice is taken.
So the first time that two frames, or connections, differ in a tuple, it has to be by two members of one range. From
then on the two tuples stand for each other, both ways, and for no other: whoever changes his mind in the middle of a
connection, or gives two connections one tuple, is found out. Connections in different zones may well have one tuple:
it stands for another in each zone, as the tables tell, since frames do not.

A connection that no rule translates may get another port too, where its tuple is that of a translated one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from tests.oracle import topology
from tests.oracle.build import ICMP, ICMPV6, TCP, UDP
from tests.oracle.subject import Tuple

Ports = tuple[int, int]
End = tuple[bytes, int]  # an address and a port
Pair = tuple[Tuple, Tuple]  # of either subject
Zones = Mapping[Tuple, frozenset[int]]  # in which a tuple is in a connection table
PORT_CLASSES: tuple[Ports, ...] = ((0, 511), (512, 1023), (1024, 65535))  # a port chosen freely stays in its class
ANY_PORT: tuple[Ports, ...] = ((0, 65535),)  # so does an echo's identifier, which has but one
RULE = re.compile(
    r"^-A \S+(?: -p (tcp|udp))?.* -j (SNAT --to-source|DNAT --to-destination|MASQUERADE|REDIRECT) ?(.*)$", re.MULTILINE
)
TARGET_4 = re.compile(r"(?P<low>[0-9.]+)(?:-(?P<high>[0-9.]+))?(?::(?P<ports>\d+(?:-\d+)?))?(?: --.*)?")
TARGET_6 = re.compile(r"\[?(?P<low>[0-9a-f:]+)(?:-(?P<high>[0-9a-f:]+))?(?:\]:(?P<ports>\d+(?:-\d+)?))?(?: --.*)?")
TO_PORTS = re.compile(r"--to-ports (\d+(?:-\d+)?)")


@dataclass(frozen=True)
class Choice:
    """What one rule lets NAT choose from."""

    low: bytes
    high: bytes
    ports: tuple[Ports, ...]
    protocol: int | None = None  # the only one, where the rule names one

    def has(self, protocol: int, address: bytes) -> bool:
        """Whether this rule may have chosen an address."""
        fits = self.protocol in (None, protocol) and len(address) == len(self.low)
        return fits and self.low <= address <= self.high

    def has_ports(self, one: int, other: int) -> bool:
        """Whether it may have chosen either port."""
        return one == other or any(low <= min(one, other) and max(one, other) <= high for low, high in self.ports)

    def tears(self, one: int, other: int) -> bool:
        """Whether one of two ports lies in the range that the rule names, the other outside."""
        low, high = self.ports[0]
        return self.ports != PORT_CLASSES and (low <= one <= high) != (low <= other <= high)


def choices(rules: str) -> Iterator[Choice]:
    """Those of all rules in a text, of either family."""
    for name, kind, words in RULE.findall(rules):
        protocol = {"tcp": TCP, "udp": UDP}.get(name)
        if kind in ("MASQUERADE", "REDIRECT"):
            given = TO_PORTS.search(words)
            for port in topology.PORTS:
                for family in topology.FAMILIES:
                    address = topology.packed(port, family, topology.ROUTER)
                    yield Choice(address, address, _ports(given[1] if given else None), protocol)
        elif found := (TARGET_4 if "." in words else TARGET_6).fullmatch(words):
            low = ip_address(found["low"]).packed
            high = ip_address(found["high"]).packed if found["high"] else low
            yield Choice(low, high, _ports(found["ports"]), protocol)


def _ports(text: str | None) -> tuple[Ports, ...]:
    if text is None:
        return PORT_CLASSES
    low, _, high = text.partition("-")
    return ((int(low), int(high or low)),)


class Translation:
    """Which tuples of one subject stand for which of the other.

    `alive` tells, for each subject, which tuples are in its connection table, and in which zones; it is asked where a
    pair contradicts earlier ones, which is right only if those connections have gone, or are in other zones.
    """

    def __init__(self, alive: Callable[[], tuple[Zones, Zones]], *rules: str) -> None:
        self._choices = [choice for text in rules for choice in choices(text)]
        self._alive = alive
        self._pairs: set[Pair] = set()

    def same(self, here: Tuple, there: Tuple) -> bool:
        """Whether they stand for each other; from the first time on that they could."""
        if (here, there) > (here.reversed(), there.reversed()):
            here, there = here.reversed(), there.reversed()
        pair = here, there
        if pair in self._pairs:
            return True
        if not self._could_be(here, there):
            return False
        rivals = {other for other in self._pairs if other[0] == here or other[1] == there}
        if rivals and not self._gives_way(rivals, pair):
            return False
        self._pairs.add(pair)
        return True

    def _gives_way(self, rivals: set[Pair], pair: Pair) -> bool:
        """Whether none of the earlier pairs contradicts the new one. Those that have gone are forgotten."""
        here, there = self._alive()
        living = {one for one in rivals if (one[1] in there if one[0] == pair[0] else one[0] in here)}
        self._pairs -= rivals - living
        taken = {zone for one in living for zone in _zones(one, here, there)}
        return not living or bool(_zones(pair, here, there) - taken)

    def _could_be(self, here: Tuple, there: Tuple) -> bool:
        if here.protocol != there.protocol:
            return False
        free = ANY_PORT if here.protocol in (ICMP, ICMPV6) else PORT_CLASSES
        sources = (here.src, here.sport), (there.src, there.sport)
        destinations = (here.dst, here.dport), (there.dst, there.dport)
        return all(
            one == other or self._could_be_end(here.protocol, one, other, free)
            for one, other in (sources, destinations)
        )

    def _could_be_end(self, protocol: int, here: End, there: End, free: tuple[Ports, ...]) -> bool:
        """By a rule for both; or, the address being the same, by a free choice of port that breaks no rule's range."""
        able = [choice for choice in self._choices if choice.has(protocol, here[0]) and choice.has(protocol, there[0])]
        if any(choice.has_ports(here[1], there[1]) for choice in able):
            return True
        torn = any(choice.tears(here[1], there[1]) for choice in able)
        return not torn and here[0] == there[0] and Choice(here[0], here[0], free).has_ports(here[1], there[1])


def _zones(pair: Pair, here: Zones, there: Zones) -> frozenset[int]:
    """Those in which both tuples are some connection's."""
    return here.get(pair[0], frozenset()) & there.get(pair[1], frozenset())
