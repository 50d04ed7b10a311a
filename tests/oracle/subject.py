"""What is compared: two routers behind one face.

A `Subject` is a router of `topology` that does what iptables rules say. The kernel is one (`kernel.KernelSubject`); the
switch is the other (`switch.SwitchSubject`), driven step by step through memory ports.

- `reset` forgets connections and half-received datagrams, as if the router had just been started.
- `load` replaces the rules of all tables of both families and sets all counters to zero. Its texts are whole
  iptables-restore files. Connection tracking runs always, whether or not a rule asks for it.
- `send` is synchronous: when it returns, the router is done with the frame, and nothing comes out later.
- `conntrack` lists what the router remembers, in any order.
- `counters` is `iptables-save -c`; tables may come in any order, chains and rules within one may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

Outcome = tuple[str, bytes]  # the port by which a frame came out, and the frame


class Tuple(NamedTuple):
    """One direction of a connection. An echo's identifier is both its ports; other ICMP and generic ones have none."""

    protocol: int
    src: bytes
    sport: int
    dst: bytes
    dport: int

    def reversed(self) -> Tuple:
        """The other direction, where nothing is translated."""
        return Tuple(self.protocol, self.dst, self.dport, self.src, self.sport)


@dataclass(frozen=True, order=True)
class Connection:
    """An entry of the connection table, without what time decides."""

    original: Tuple
    reply: Tuple
    state: str  # TCP's, by the kernel's name; "" for what has none
    flags: frozenset[str]  # ASSURED, SEEN_REPLY
    mark: int = 0
    zones: tuple[int, int] = (0, 0)  # of the original and of the reply direction
    icmp: tuple[int, int] | None = None  # type and code of the original, where it is ICMP


class Subject(Protocol):
    """A router under comparison."""

    name: str

    def reset(self) -> None:
        """Forget all connections and fragments."""

    def load(self, ipv4_rules: str, ipv6_rules: str) -> None:
        """Put rules in force."""

    def send(self, port: str, frame: bytes) -> list[Outcome]:
        """Have a frame come in by a port; what comes out, in order."""

    def conntrack(self) -> list[Connection]:
        """The connection table."""

    def counters(self) -> dict[int, str]:
        """The rules with their counters, by family (4 and 6)."""
