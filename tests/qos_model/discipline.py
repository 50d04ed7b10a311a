"""What all disciplines share. A packet that has been picked (`peek`) belongs to the discipline until it is taken."""

from __future__ import annotations

from collections import Counter

from vswitch.qos.view import FilterView, KeyView, QdiscView, TreeView

from .packet import Packet


class Books:
    """What has become of the packets that were not served."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self.dropped: list[tuple[int, str]] = []

    def drop(self, packet: Packet, name: str) -> str:
        self.drops[name] += 1
        self.dropped.append((packet.label, name))
        return name


class Discipline:
    """`offer`, `_take` and `_held` say what it is; whoever can look without taking has a `peek` of its own."""

    def __init__(self, tree: TreeView, index: int, books: Books) -> None:
        self.view: QdiscView = tree.qdiscs[index]
        self.books = books
        self.picked: Packet | None = None

    @property
    def qlen(self) -> int:
        return len(self.held())

    @property
    def backlog(self) -> int:
        return sum(packet.wire for packet in self.held())

    def held(self) -> list[Packet]:
        """All that wait, in no order."""
        return [*self._held(), *([self.picked] if self.picked else [])]

    def offer(self, packet: Packet, now: int) -> str | None:
        """None: taken. Else why this packet was dropped; that others were, only the books say."""
        raise NotImplementedError

    def peek(self, now: int) -> Packet | None:
        """What leaves next."""
        if self.picked is None:
            self.picked = self._take(now)
        return self.picked

    def take(self, now: int) -> Packet | None:
        """The same, and it is gone."""
        packet, self.picked = self.picked, None
        return packet or self._take(now)

    def due(self) -> int | None:
        """When time alone lets something leave; None: at once, or never."""
        return None

    def _take(self, now: int) -> Packet | None:
        raise NotImplementedError

    def _held(self) -> list[Packet]:
        raise NotImplementedError


def matching(filters: tuple[FilterView, ...], packet: Packet) -> int | None:
    """The class id of the first filter that matches. The model knows marks only."""
    for candidate in filters:
        if all(_holds(key, packet) for key in candidate.keys):
            return candidate.class_id
    return None


def _holds(key: KeyView, packet: Packet) -> bool:
    assert key.base.name == "MARK"
    return packet.mark & key.mask == key.value & key.mask


def earliest(times: list[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)
