"""Whether what came out of two routers is the same.

Frame by frame: the other's is given this one's addresses and ports, where `Translation` lets them stand for each other,
every checksum kept as right or wrong as it was; what `deliberate` lists is masked; then every byte must agree. Where
there are fragments, those that make a whole datagram, in order, are put together first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.oracle.build import ECHO_TYPES, TCP
from tests.oracle.deliberate import is_deliberate
from tests.oracle.driver import Sent
from tests.oracle.steps import Echo, Error, Step
from tests.oracle.subject import Outcome, Tuple
from tests.oracle.translation import Translation
from tests.oracle.topology import spelled
from tests.oracle.wire import ERROR_TYPES, Editor, Parsed, is_ip, parse

TCP_FLAGS, RESET = 13, 4


class FrameComparison:
    """For the length of a scenario."""

    def __init__(self, translation: Translation) -> None:
        self.translation = translation

    def same(self, step: Step, here: Sent, there: Sent) -> bool:
        """Whether two subjects did the same with the same step's frame."""
        own = _own_types(step)
        came = parse(here.frame) if is_ip(here.frame) else None
        resets = came is None or _is_reset(came)
        one, other = here.out, there.out
        if is_deliberate("fragment-geometry") and len(one) + len(other) > 2:
            one, other = _joined(one), _joined(other)
        return len(one) == len(other) and all(
            port == port2 and self._same_frame(frame, frame2, own, elsewhere=port != here.port, came_reset=resets)
            for (port, frame), (port2, frame2) in zip(one, other, strict=True)
        )

    def _same_frame(
        self, here: bytes, there: bytes, own: frozenset[int], *, elsewhere: bool, came_reset: bool
    ) -> bool:
        packet, packet2 = (parse(frame) if is_ip(frame) else None for frame in (here, there))
        if packet is None or packet2 is None or packet.family != packet2.family:
            return here == there
        if not self._same_tuples(packet, packet2):
            return False
        is_own = packet.icmp_type in own
        # Whether the error is not about the frame that came in, but about the router's answer to it.
        own_quoted = is_own and (elsewhere or (not came_reset and _is_reset(packet.quoted)))
        return _masked(packet, packet, is_own, own_quoted) == _masked(packet2, packet, is_own, own_quoted)

    def _same_tuples(self, here: Parsed, there: Parsed) -> bool:
        if here.is_error and there.is_error:
            return _addresses_may_differ(here, there) and self._same_quoted(here.quoted, there.quoted)
        if not (here.is_whole_or_first and there.is_whole_or_first):
            return here.ends == there.ends
        return self._same_tuple(here, there)

    def _same_quoted(self, here: Parsed | None, there: Parsed | None) -> bool:
        if here is None or there is None:
            return here is there
        return self._same_tuple(here, there)

    def _same_tuple(self, here: Parsed, there: Parsed) -> bool:
        """ICMP that has no identifier is nobody's: its tuple's zero must not be taken for an echo's."""
        if here.icmp_type is not None and not here.port_fields and here.tuple == there.tuple:
            return True
        return self.translation.same(here.tuple, there.tuple)


def _is_reset(packet: Parsed | None) -> bool:
    if packet is None or packet.protocol != TCP or not packet.is_whole_or_first:
        return False
    return len(packet.data) > packet.upper + TCP_FLAGS and bool(packet.data[packet.upper + TCP_FLAGS] & RESET)


def _addresses_may_differ(here: Parsed, there: Parsed) -> bool:
    """An error's own addresses: those of the quoted packet's ends where they differ at all."""
    if here.ends == there.ends or here.quoted is None or there.quoted is None:
        return here.ends == there.ends
    pairs = dict(zip(here.quoted.ends, there.quoted.ends, strict=True))
    return all(one == other or pairs.get(one) == other for one, other in zip(here.ends, there.ends, strict=True))


def _masked(packet: Parsed, model: Parsed, is_own: bool, own_quoted: bool) -> bytes:
    """A frame with the model's tuples, and without what may differ."""
    editor = Editor(packet)
    editor.readdress(packet, model.tuple)
    quoted, model_quoted = editor.quoted, model.quoted
    if quoted is not None and model_quoted is not None and quoted.family == model_quoted.family:
        editor.readdress(quoted, model_quoted.tuple)
    for part in (packet, quoted):
        if part is not None and part.fragment and part.family == 6 and is_deliberate("fragment-ident"):
            editor.number_fragment(part, 0)
    if is_own and packet.family == 4 and is_deliberate("own-ident"):
        editor.clear_ident(packet)
    if own_quoted and is_deliberate("own-quoted-checksum"):
        editor.clear_quoted_checksum()
    return editor.done()


def _own_types(step: Step) -> frozenset[int]:
    """The types of ICMP that the router itself has made, if they come of this step: not the packet passed on."""
    if isinstance(step.body, Error):
        return frozenset()
    is_request = isinstance(step.body, Echo) and not step.body.reply
    reply = ECHO_TYPES[step.flow.family][1]
    return frozenset((*ERROR_TYPES[step.flow.family], *([reply] if is_request else [])))


def _joined(out: Sequence[Outcome]) -> list[Outcome]:
    """The same with each datagram that is whole in adjacent fragments as one frame: the first, with the data of all."""
    joined: list[Outcome] = []
    at = 0
    while at < len(out):
        pieces = _datagram(out[at:])
        if pieces:
            joined.append((out[at][0], _without_cut(pieces[0]) + b"".join(one.data[one.upper :] for one in pieces[1:])))
        else:
            joined.append(out[at])
        at += max(1, len(pieces))
    return joined


def _datagram(out: Sequence[Outcome]) -> list[Parsed]:
    """The fragments at the start that follow on each other up to the last; none if any is missing."""
    pieces: list[Parsed] = []
    length = 0
    for port, frame in out:
        packet = parse(frame) if is_ip(frame) else None
        if packet is None or packet.fragment is None or port != out[0][0]:
            return []
        if packet.fragment[1] != length or (pieces and _kept(packet) != _kept(pieces[0])):
            return []
        pieces.append(packet)
        length += len(packet.data) - packet.upper
        if not packet.fragment[2]:
            return pieces
    return []


def _kept(packet: Parsed) -> tuple[object, ...]:
    """What all fragments of a datagram have alike, link addresses and TTL included."""
    ttl = packet.data[packet.at + (8 if packet.family == 4 else 7)]
    return packet.data[:14], packet.ends, packet.fragment and packet.fragment[0], packet.protocol, ttl


def _without_cut(packet: Parsed) -> bytes:
    """A first fragment that does not tell where it was cut."""
    editor = Editor(packet)
    editor.clear_length(packet)
    return bytes(editor.data)


def described(outcome: Outcome) -> str:
    """A frame in a line."""
    port, frame = outcome
    packet = parse(frame) if is_ip(frame) else None
    if packet is None:
        return f"{port}: {frame.hex()}"
    piece = f" fragment {packet.fragment}" if packet.fragment else ""
    kind = f" type {packet.icmp_type}" if packet.icmp_type is not None else ""
    return f"{port}: {words(packet.tuple)}{kind}{piece} {frame[packet.at :].hex()}"


def words(one: Tuple) -> str:
    """A tuple in words."""
    return f"{one.protocol} {spelled(one.src)}:{one.sport} > {spelled(one.dst)}:{one.dport}"
