"""Random scenarios: conversations that go as they should, with each kind of thing that goes wrong.

A conversation is a generator of steps; a scenario draws from several at a time, so that they meet in the tables. All
chance comes from the one `random.Random` that is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from tests.oracle import topology
from tests.oracle.build import DAMAGE, ICMP, ICMPV6, OTHER, TCP, UDP, Envelope
from tests.oracle.steps import (
    ACK, FIN, MSS_OPTION, PSH, RST, SACK_PERMITTED, SYN, URG, WINDOW_SCALE_7, Datagram, Echo, End, Error, Flow,
    Segment, Step,
)  # fmt: skip

# Few of each, so that connections meet, and rules that ask for them match.
SERVICES = (22, 53, 80, 443, 8080)
CLIENT_PORTS = (600, 1024, 1025, 20000, 20001, 40000)
NAT_STATIONS = (50, 51, 52, 55, 60)  # where rules.py may put SNAT and DNAT of the outside
AT_ONCE = 4
MTU = 1500
END = 1 << 16  # of a payload, however long it turns out

ERRORS = {
    4: ((3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (11, 1), (12, 0), (4, 0), (5, 1)),
    6: ((1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1)),
}
RUBBISH = ("port", "address", "short", "protocol", "nested")


def scenario(rng: random.Random, packets: int) -> list[Step]:
    """So many steps, whose packets are numbered from 0: two with one identification could be fragments of one."""
    steps: list[Step] = []
    active: list[Iterator[Step]] = []
    flows = 0
    while len(steps) < packets:
        while len(active) < AT_ONCE:
            active.append(_conversation(rng, flows))
            flows += 1
        talk = rng.choice(active)
        step = next(talk, None)
        if step is None:
            active.remove(talk)
            continue
        steps.append(replace(step, envelope=_envelope(rng, step, len(steps))))
    return steps


def _conversation(rng: random.Random, number: int) -> Iterator[Step]:
    flow = _flow(rng, number)
    talk = {TCP: _tcp, UDP: _udp, ICMP: _echo, ICMPV6: _echo, OTHER: _udp}[flow.protocol](rng, flow)
    return _with_errors(rng, flow, talk)


def _flow(rng: random.Random, number: int) -> Flow:
    family = 4 if rng.random() < 0.6 else 6
    protocol = rng.choices((TCP, UDP, ICMP if family == 4 else ICMPV6, OTHER), (10, 6, 4, 1))[0]
    client_side, server_side = rng.choices((("a", "b"), ("b", "a"), ("a", "a")), (6, 3, 1))[0]
    station = rng.choice(topology.STATIONS[:6])
    draw = rng.random()
    if draw < 0.15 or client_side == server_side:
        server_side, target = rng.choice(topology.PORTS), topology.ROUTER
    elif draw < 0.25:
        server_side, target = "b", rng.choice(NAT_STATIONS)
    elif server_side == "a" and draw < 0.6:
        server_side, target = "b", topology.ROUTER
    else:
        target = rng.choice(topology.STATIONS[:6])
    client = End(client_side, station, rng.choice(CLIENT_PORTS))
    return Flow(number, family, protocol, client, End(server_side, target, rng.choice(SERVICES)))


def _with_errors(rng: random.Random, flow: Flow, talk: Iterator[Step]) -> Iterator[Step]:
    """Now and then somebody says an ICMP error about what it received."""
    for step in talk:
        yield step
        if rng.random() < 0.08:
            kind, code = rng.choice(ERRORS[flow.family])
            rest = rng.choice((0, 1280, 1400))
            rubbish = rng.choice(RUBBISH) if rng.random() < 0.35 else ""
            yield Step(flow, rng.random() < 0.3, Error(kind, code, rest, rubbish, rng.random() < 0.3))


def _udp(rng: random.Random, flow: Flow) -> Iterator[Step]:
    for turn in range(rng.randint(1, 6)):
        by_client = turn == 0 or rng.random() < 0.5
        yield Step(flow, by_client, Datagram(rng.choice((0, 1, 20, 100, 700, 700, 3000))))


def _echo(rng: random.Random, flow: Flow) -> Iterator[Step]:
    if rng.random() < 0.1:
        yield Step(flow, True, Echo(True, 1))  # a reply to nothing
    for number in range(rng.randint(1, 3)):
        yield Step(flow, True, Echo(False, number))
        if rng.random() < 0.8:
            yield Step(flow, False, Echo(True, number))
        if rng.random() < 0.1:
            yield Step(flow, False, Echo(False, number))  # asked by the one who is asked


def _tcp(rng: random.Random, flow: Flow) -> Iterator[Step]:
    """A connection by the book, each step of which may be said twice, in disorder, or with what does not belong."""
    here, there = rng.randrange(1 << 32), rng.randrange(1 << 32)
    options = MSS_OPTION + rng.choice((b"", WINDOW_SCALE_7, SACK_PERMITTED + WINDOW_SCALE_7))
    book = [*_opening(rng, flow, here, there, options), *_transfer(rng, flow, here + 1, there + 1)]
    for step in book:
        if rng.random() < 0.06:
            yield _misfit(rng, flow, step)
        if rng.random() < 0.04:
            continue  # lost
        yield step
        if rng.random() < 0.08:
            yield step  # again
    if rng.random() < 0.25:
        yield from _opening(rng, flow, here + 100000, there + 100000, options)  # the ports taken into use again


def _opening(rng: random.Random, flow: Flow, here: int, there: int, options: bytes) -> list[Step]:
    syn = Step(flow, True, Segment(SYN, here, 0, options=options))
    if rng.random() < 0.08:  # both at once: RFC 9293, 3.5
        return [syn, Step(flow, False, Segment(SYN, there, 0, options=options)),
                Step(flow, True, Segment(SYN | ACK, here, there + 1, options=options)),
                Step(flow, False, Segment(SYN | ACK, there, here + 1, options=options))]  # fmt: skip
    syn_ack = Step(flow, False, Segment(SYN | ACK, there, here + 1, options=options if rng.random() < 0.8 else b""))
    ack = Step(flow, True, Segment(ACK, here + 1, there + 1))
    draw = rng.random()
    if draw < 0.08:
        return [ack]  # picked up in the middle
    if draw < 0.12:
        return [syn_ack]  # an answer to nothing
    return [syn, syn_ack, ack] if draw < 0.95 else [syn, Step(flow, False, Segment(RST | ACK, 0, here + 1))]


def _transfer(rng: random.Random, flow: Flow, here: int, there: int) -> list[Step]:
    steps = []
    for _ in range(rng.randint(0, 4)):
        length = rng.choice((1, 10, 100, 1000))
        by_client = rng.random() < 0.6
        seq, ack = (here, there) if by_client else (there, here)
        steps.append(Step(flow, by_client, Segment(ACK | PSH, seq, ack, length)))
        steps.append(Step(flow, not by_client, Segment(ACK, ack, seq + length)))
        here, there = (here + length, there) if by_client else (here, there + length)
    return steps + _closing(rng, flow, here, there)


def _closing(rng: random.Random, flow: Flow, here: int, there: int) -> list[Step]:
    draw = rng.random()
    if draw < 0.2:
        return []
    if draw < 0.4:
        by_client = rng.random() < 0.5
        seq, ack = (here, there) if by_client else (there, here)
        return [Step(flow, by_client, Segment(RST | (ACK if rng.random() < 0.5 else 0), seq, ack))]
    first = rng.random() < 0.6
    one, other = (here, there) if first else (there, here)
    steps = [Step(flow, first, Segment(FIN | ACK, one, other)), Step(flow, not first, Segment(ACK, other, one + 1))]
    if draw < 0.5:
        return steps
    last = [Step(flow, not first, Segment(FIN | ACK, other, one + 1)),
            Step(flow, first, Segment(ACK, one + 1, other + 1))]  # fmt: skip
    return steps + last if draw < 0.85 else [steps[0], last[0], steps[1], last[1]]


def _misfit(rng: random.Random, flow: Flow, step: Step) -> Step:
    """A segment out of its window, or with flags that no stack would send, in place of this one."""
    body = step.body
    away = rng.choice((-100000, -70000, -1, 1, 70000, 1 << 24, 1 << 31))
    choices = (
        replace(body, seq=body.seq + away),
        replace(body, ack=body.ack + away),
        replace(body, flags=RST, seq=body.seq + away),
        replace(body, flags=rng.choice((0, SYN | FIN, SYN | RST, FIN, FIN | PSH | URG, 0x3F, URG | ACK, SYN, 0xC2))),
        Segment(SYN, rng.randrange(1 << 32), 0, options=MSS_OPTION),
        replace(body, window=0),
    )
    return Step(flow, step.by_client if rng.random() < 0.8 else not step.by_client, rng.choice(choices))


def _envelope(rng: random.Random, step: Step, ident: int) -> Envelope:
    envelope = Envelope(ident=ident, tos=rng.choice((0, 0, 0, 0x10, 0x48, 0xB8)), dont_fragment=rng.random() < 0.7)
    draw = rng.random() if _size(step) < MTU else 0.15
    if draw < 0.04:
        return replace(envelope, ttl=rng.choice((1, 1, 2)))
    if draw < 0.09:
        return replace(envelope, damage=rng.choice(DAMAGE))
    if draw < 0.11 and step.flow.family == 4:
        return replace(envelope, options=rng.choice((b"\1\1\1\0", b"\x94\4\0\0", b"\x1e\4\0\0\x88\4\0\1")))
    if draw < 0.2 and _size(step):
        return replace(envelope, cut=_cut(rng, _size(step), _least(step)), dont_fragment=False)
    return envelope


def _size(step: Step) -> int:
    """How long the packet's payload will be, at least."""
    body = step.body
    if isinstance(body, Segment):
        return 20 + len(body.options) + body.length
    return 28 if isinstance(body, Error) else body.length + (8 if step.flow.protocol != OTHER else 0)


def _least(step: Step) -> int:
    """How much the first fragment must have: of IPv6 the whole upper header ("cut-header")."""
    return 24 if step.flow.family == 6 and isinstance(step.body, Segment) else 8


def _cut(rng: random.Random, size: int, least: int) -> tuple[tuple[int, int, bool], ...]:
    """Fragments: in order mostly; else in disorder, one missing, one twice, or two that overlap."""
    size = max(1, size)
    step = max(least, size // (rng.choice((2, 3, 4)) + size // MTU) // 8 * 8)
    pieces = [(at, at + step, True) for at in range(0, size, step)]
    pieces[-1] = (pieces[-1][0], END, False)
    draw = rng.random()
    if draw < 0.3:
        rng.shuffle(pieces)
    elif draw < 0.4:
        pieces.pop(rng.randrange(len(pieces)))
    elif draw < 0.5:
        pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(pieces))
    elif draw < 0.65 and len(pieces) > 1:
        start, end, more = pieces[-1]
        pieces[-1] = (start - 8, end, more)
    return tuple(pieces)
