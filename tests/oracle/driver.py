"""A scenario spoken to one subject, from both sides.

The driver knows what each speaker knows. A client says what the flow says. A server answers the packet that reached
it, so to the addresses and ports that the router showed it; one that nothing has reached yet answers as if there were
no NAT. An ICMP error quotes what its speaker has received.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.oracle import topology
from tests.oracle.build import (
    ECHO_TYPES, ICMP, ICMPV6, OTHER, TCP, UDP, Envelope, ethernet, icmp, packets, tcp, udp,
)  # fmt: skip
from tests.oracle.steps import Datagram, Echo, Error, Flow, Segment, Step
from tests.oracle.subject import Outcome, Subject, Tuple
from tests.oracle.wire import ETHERNET_BYTES, Editor, Parsed, is_ip, parse

QUOTE_BYTES = 128
IDENTS = 1 << 16
NEXT_HOP = 20  # the station that plays a router on the way
STRANGER = 77  # one that nobody talks to
SCTP = 132


@dataclass(frozen=True)
class Sent:
    """A frame that went in, and what came of it."""

    port: str
    frame: bytes
    out: list[Outcome]


class Driver:
    """One subject's side of a scenario, whose packets' identifications begin with `first_ident`."""

    def __init__(self, subject: Subject, first_ident: int = 0) -> None:
        self.subject = subject
        self._first_ident = first_ident
        self._answers: dict[int, tuple[str, Tuple]] = {}  # of a flow's server: from where, and what
        self._received: dict[tuple[int, str], bytes] = {}  # the last packet by flow and side

    def play(self, step: Step) -> list[Sent]:
        """Say it."""
        port, ends = self._speaker(step)
        sent = []
        for packet in self._packets(step, port, ends):
            router, speaker = topology.mac(port, topology.ROUTER), self._source_mac(step, port)
            frame = ethernet(router, speaker, step.flow.family, packet)
            out = [] if _is_stolen(ends.src) else self.subject.send(port, frame)
            sent.append(Sent(port, frame, out))
            self._learn(step, ends, sent[-1].out)
        return sent

    def _speaker(self, step: Step) -> tuple[str, Tuple]:
        forward = client_tuple(step.flow)
        if step.by_client:
            return step.flow.client.side, forward
        untranslated = topology.home(forward.dst), forward.reversed()
        return self._answers.get(step.flow.number, untranslated)

    def _source_mac(self, step: Step, port: str) -> bytes:
        station = step.flow.client.station if step.by_client else step.flow.server.station
        return topology.mac(port, station if station != topology.ROUTER else NEXT_HOP)

    def _packets(self, step: Step, port: str, ends: Tuple) -> list[bytes]:
        body, protocol = step.body, ends.protocol
        envelope = replace(step.envelope, ident=(self._first_ident + step.envelope.ident) % IDENTS)
        if isinstance(body, Error):
            src, payload = self._error(step.flow, body, port, ends)
            return packets(src, ends.dst, ICMP if step.flow.family == 4 else ICMPV6, payload, envelope)
        return packets(ends.src, ends.dst, protocol, _payload(body, ends), envelope)

    def _error(self, flow: Flow, body: Error, port: str, ends: Tuple) -> tuple[bytes, bytes]:
        src = topology.packed(port, flow.family, NEXT_HOP) if body.from_router else ends.src
        heard = self._received.get((flow.number, port)) or _imagined(ends)
        quote = _spoil_quote(heard, body.rubbish)[:QUOTE_BYTES]
        return src, icmp(src, ends.dst, body.kind, body.code, body.rest, quote)

    def _learn(self, step: Step, ends: Tuple, out: list[Outcome]) -> None:
        for port, frame in out:
            packet = parse(frame) if is_ip(frame) else None
            if packet is None or packet.is_error or packet.protocol != step.flow.protocol:
                continue
            if isinstance(step.body, Error) or answers(packet, step, ends):
                continue
            if packet.port_fields or (packet.protocol == OTHER and packet.is_whole_or_first):
                self._received[step.flow.number, port] = frame[ETHERNET_BYTES:]
                if step.by_client:
                    self._answers[step.flow.number] = (port, packet.tuple.reversed())


def answers(packet: Parsed, step: Step, ends: Tuple) -> bool:
    """Whether a packet is the router's own answer to the step's, not that one passed on."""
    if isinstance(step.body, Echo):
        return not step.body.reply and packet.icmp_type == ECHO_TYPES[packet.family][1]
    return packet.protocol in (TCP, UDP) and packet.tuple == ends.reversed()


def _is_stolen(source: bytes) -> bool:
    """Whether a packet claims to come from the router: in IPv6 the switch drops such, "own-source"."""
    return len(source) == 16 and source in (topology.packed(port, 6, topology.ROUTER) for port in topology.PORTS)


def client_tuple(flow: Flow) -> Tuple:
    """A flow as its client sees it."""
    src = topology.packed(flow.client.side, flow.family, flow.client.station)
    dst = topology.packed(flow.server.side, flow.family, flow.server.station)
    if flow.protocol == OTHER:
        return Tuple(OTHER, src, 0, dst, 0)
    is_echo = flow.protocol in (ICMP, ICMPV6)
    return Tuple(flow.protocol, src, flow.client.port, dst, flow.client.port if is_echo else flow.server.port)


def _payload(body: Segment | Datagram | Echo, ends: Tuple) -> bytes:
    four = ends.src, ends.sport, ends.dst, ends.dport
    if isinstance(body, Segment):
        data = bytes(at & 0xFF for at in range(body.length))
        return tcp(four, body.seq, body.ack, body.flags, body.window, body.options, data)
    if isinstance(body, Datagram):
        data = bytes(at & 0xFF for at in range(body.length))
        return data if ends.protocol == OTHER else udp(four, data)
    kind = ECHO_TYPES[4 if len(ends.src) == 4 else 6][body.reply]
    return icmp(ends.src, ends.dst, kind, 0, ends.sport << 16 | body.sequence, bytes(range(body.length)))


def _imagined(ends: Tuple) -> bytes:
    """A packet that never was, as the speaker would have received it."""
    back = ends.reversed()
    if back.protocol == TCP:
        body: Segment | Datagram | Echo = Segment(2, 1)
    else:
        body = Datagram(20) if back.protocol in (UDP, OTHER) else Echo(False, 1)
    return packets(back.src, back.dst, back.protocol, _payload(body, back), Envelope(ident=1))[0]


def _spoil_quote(packet: bytes, rubbish: str) -> bytes:
    """What is changed does not hang on what NAT chose, so that two subjects get the same rubbish."""
    heard = parse(packet, 0)
    if heard is None or not rubbish:
        return packet
    if rubbish in ("port", "address"):
        editor, ends = Editor(heard), heard.tuple
        other = topology.packed(topology.home(ends.dst), heard.family, STRANGER)
        editor.readdress(heard, ends._replace(sport=1) if rubbish == "port" else ends._replace(dst=other))
        return editor.done()
    if rubbish == "short":
        return packet[: heard.upper + (4 if heard.protocol in (TCP, UDP) else 2)]
    is_4 = heard.family == 4
    protocol, kind = (SCTP, 0) if rubbish == "protocol" else (ICMP, 3) if is_4 else (ICMPV6, 1)
    data = bytearray(packet[: heard.upper]) + bytes((kind, 0, 0, 0, 0, 0, 0, 0))
    data[9 if is_4 else heard.fragment_at or 6] = protocol
    return bytes(data)
