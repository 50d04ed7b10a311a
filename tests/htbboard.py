"""Boards on which classes of htb have been kept backlogged, and what each of them got."""

from __future__ import annotations

from collections.abc import Sequence

from tests.qos_model import Packet
from tests.qosboard import START_NS, Board, FastPort, Sent, bytes_by_stream, packet, saturate, streams
from tests.qostrees import KBIT, MAJOR, SECOND, Cls, cls, htb, tree


def in_class(minor: int, payload: int = 1460, **what) -> Packet:
    return packet(class_id=MAJOR | minor, payload=payload, **what)


def loaded(classes: Sequence[Cls], minors: Sequence[int], seconds: float = 4, payloads: Sequence[int] = ()) -> Board:
    """A board on which the classes have been backlogged for so long."""
    board = Board(FastPort(tree(htb(list(classes)))))
    sizes = payloads or [1460] * len(minors)
    loads = streams(in_class(minor, size) for minor, size in zip(minors, sizes, strict=True))
    saturate(board, loads, START_NS + int(seconds * SECOND))
    board.check()
    return board


def rates(board: Board, n: int, settle_ns: int = SECOND // 2) -> list[float]:
    """Bits a second of each stream, without the bursts of the beginning."""
    shares = bytes_by_stream(board.sent, START_NS + settle_ns)
    return [shares[number] * 8 * SECOND / (board.now - START_NS - settle_ns) for number in range(n)]


def of_stream(board: Board, number: int) -> list[Sent]:
    return [one for one in board.sent if one.stream == number]


def seed(default: int = 12) -> list[Cls]:
    """The tree of tc-htb's manual: 100 kbyte a second for 30, 10 and 60."""
    rate, leaves = 800 * KBIT, {10: 240 * KBIT, 11: 80 * KBIT, 12: 480 * KBIT}
    return [cls(1, rate), *(cls(minor, own, rate, parent=1) for minor, own in leaves.items())]
