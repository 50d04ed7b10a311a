"""Where the state of disciplines and classes lies with a worker: slots, given out by serial number and taken back.

A worker ends the state of whatever its newest trees no longer name before it begins any other's, so a slot may be given
to another as soon as no tree names its old owner.
"""

from __future__ import annotations


class NoRoom(ValueError):
    """All slots of a kind are taken."""


class Slots:
    """The slots of one worker: `qdiscs`, `classes`, `flows` and `words` of them, numbered from 1."""

    def __init__(self, qdiscs: int, classes: int, flows: int, words: int) -> None:
        self._qdiscs = _Numbers(qdiscs, "queueing disciplines")
        self._classes = _Numbers(classes, "classes")
        self._flows = _Ranges(flows, "flows of sfq and fq_codel")
        self._words = _Ranges(words, "words for classes in line")

    def qdisc(self, serial: int) -> int:
        """The slot of a discipline, a free one if it has none yet. Raises NoRoom, as the others do."""
        return self._qdiscs.of(serial)

    def cls(self, serial: int) -> int:
        return self._classes.of(serial)

    def flows(self, serial: int, count: int) -> int:
        """The first of `count` slots in a row, for a discipline's flows; always the same for the same serial."""
        return self._flows.of(serial, count)

    def words(self, generation: int, count: int) -> int:
        """The first of `count` words for a tree, which has a generation of its own."""
        return self._words.of(generation, count)

    def keep(self, serials: set[int], generations: set[int]) -> None:
        """Take back what belongs to other disciplines and classes, and other trees."""
        for numbers in (self._qdiscs, self._classes, self._flows):
            numbers.keep(serials)
        self._words.keep(generations)


class _Numbers:
    def __init__(self, size: int, what: str) -> None:
        self._size, self._what = size, what
        self._of: dict[int, int] = {}
        self._free: list[int] = []
        self._used = 0

    def of(self, serial: int) -> int:
        if (slot := self._of.get(serial)) is not None:
            return slot
        if self._free:
            slot = self._free.pop()
        elif self._used < self._size:
            self._used += 1
            slot = self._used
        else:
            raise NoRoom(f"no room for more than {self._size} {self._what} with one worker")
        self._of[serial] = slot
        return slot

    def keep(self, serials: set[int]) -> None:
        for serial in self._of.keys() - serials:
            self._free.append(self._of.pop(serial))


class _Ranges:
    """First fit, in order of place."""

    def __init__(self, size: int, what: str) -> None:
        self._size, self._what = size, what
        self._of: dict[int, tuple[int, int]] = {}

    def of(self, serial: int, count: int) -> int:
        if (found := self._of.get(serial)) is not None:
            if found[1] < count:
                raise ValueError(f"discipline {serial} has {found[1]} flows and wants {count}")
            return found[0]
        at = 1
        for first, length in sorted(self._of.values()):
            if first - at >= count:
                break
            at = first + length
        if at + count - 1 > self._size:
            raise NoRoom(f"no room for more than {self._size} {self._what} with one worker")
        self._of[serial] = (at, count)
        return at

    def keep(self, serials: set[int]) -> None:
        for serial in self._of.keys() - serials:
            del self._of[serial]
