"""The DNS server of a network: its own names answered, the rest relayed.

    server = DnsServer(settings, Names(settings, "lab.example", (subnet,), (dhcp.leases,)))
    server.handle_query(payload, client, reply)      # `reply(payload)` now, later, or never
    server.handle(frame, port, send)                 # the same for whole frames: `send(frame)`

A client (the name of its port, say) may ask so and so often a second, and have so many questions with others'
servers. Malformed queries are dropped or get FORMERR; what is dropped is counted by reason in `ignored`. One event
loop, which may be the daemon's: nothing here blocks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from ipaddress import IPv4Address

from .. import text
from ..meter import Meter
from ..settings import Dns
from ..wire import Datagram, Malformed, build_udp, parse_udp, unicast
from .message import Fault, Query, error, parse, truncated
from .names import Names
from .relay import Relay

PORT = 53
QUERIES_A_SECOND, QUERIES_BURST = 500, 1000  # of one client

Reply = Callable[[bytes], object]


class DnsServer:
    """The server of one network."""

    def __init__(self, settings: Dns, names: Names, clock: Callable[[], float] = time.monotonic) -> None:
        self.ignored: Counter[str] = Counter()
        self.answered = 0  # by the network itself
        self.relayed = 0
        self.relay = Relay(tuple(map(text.either, settings.servers)), settings.port, settings.per_client)
        self._names = names
        self._clock = clock
        self._meter = Meter(QUERIES_A_SECOND, QUERIES_BURST)

    def handle_query(self, payload: bytes, client: Hashable, reply: Reply) -> None:
        """Answer a query by `reply`: at once if the network knows, later if others have to be asked."""
        try:
            if not self._meter.allow(client, self._clock()):
                raise Malformed("too fast")
            query = parse(payload)
        except Malformed as reason:
            self.ignored[str(reason)] += 1
        except Fault as fault:
            self.ignored[str(fault)] += 1
            reply(error(payload, fault.code))
        else:
            self._answer(payload, query, client, reply)

    def _answer(self, payload: bytes, query: Query, client: Hashable, reply: Reply) -> None:
        answer = self._names.answer(query)
        if answer is not None:
            self.answered += 1
            reply(answer)
        elif self.relay.ask(payload, query, client, reply):
            self.relayed += 1
        else:
            self.ignored["too many outstanding"] += 1

    def handle(self, frame: bytes, port: str, send: Reply, mtu: int = 1500, checked: bool = False) -> None:
        """The same for a frame to the network's address, untagged, from a port; `send` takes the frame back to it."""
        try:
            datagram = parse_udp(frame, checked)
            if datagram.dport != PORT or not datagram.sport or not unicast(datagram.eth_dst):
                raise Malformed("not for the server")
            if not unicast(datagram.eth_src) or datagram.src.is_multicast or datagram.src.is_unspecified:
                raise Malformed("source")
        except Malformed as reason:
            self.ignored[str(reason)] += 1
            return
        self.handle_query(datagram.payload, port, lambda answer: send(_back(datagram, answer, mtu)))

    async def close(self) -> None:
        """Give up what others have been asked."""
        await self.relay.close()


def _back(query: Datagram, answer: bytes, mtu: int) -> bytes:
    """The frame of an answer. What is too large for one packet is cut, for the client to ask over TCP."""
    headers = (20 if isinstance(query.src, IPv4Address) else 40) + 8
    if len(answer) > mtu - headers:
        answer = truncated(answer, parse(query.payload).question)
    return build_udp(replace(
        query, eth_src=query.eth_dst, eth_dst=query.eth_src, src=query.dst, dst=query.src,
        sport=query.dport, dport=query.sport, payload=answer,
    ))
