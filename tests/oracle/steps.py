"""The words in which a scenario is told.

A scenario is a list of `Step`s that name a conversation (`Flow`), who of its two speaks, and what is said; never an
address that a router made up. Those are filled in by `driver`, for each subject with the addresses that this subject
has shown. So one scenario exercises both routers even where NAT chooses differently, and steps can be left out at will.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.oracle.build import Envelope

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MSS_OPTION = bytes((2, 4, 5, 180))  # 1460
WINDOW_SCALE_7 = bytes((1, 3, 3, 7))
SACK_PERMITTED = bytes((1, 1, 4, 2))


@dataclass(frozen=True)
class End:
    """Who speaks: a port of the router, the number of a station behind it, a port number (or an echo's identifier)."""

    side: str
    station: int
    port: int


@dataclass(frozen=True)
class Flow:
    """A conversation as its client begins it: it may well address the router, or what NAT makes of the address."""

    number: int
    family: int
    protocol: int
    client: End
    server: End


@dataclass(frozen=True)
class Segment:
    """TCP."""

    flags: int
    seq: int
    ack: int = 0
    length: int = 0
    window: int = 8192
    options: bytes = b""


@dataclass(frozen=True)
class Datagram:
    """UDP; or, in a flow of another protocol, just so many bytes."""

    length: int


@dataclass(frozen=True)
class Echo:
    """ICMP echo of the flow's family."""

    reply: bool
    sequence: int
    length: int = 32


@dataclass(frozen=True)
class Error:
    """An ICMP error about the last packet that the speaker has received in this flow.

    `rubbish` spoils the quotation: "port", "address", "short", "protocol", "nested" or nothing.
    `from_router` has a router on the way say it, not the addressee: another source address.
    """

    kind: int
    code: int
    rest: int = 0
    rubbish: str = ""
    from_router: bool = False


Body = Segment | Datagram | Echo | Error


@dataclass(frozen=True)
class Step:
    """One packet, which may be sent in pieces."""

    flow: Flow
    by_client: bool
    body: Body
    envelope: Envelope = field(default_factory=Envelope)
