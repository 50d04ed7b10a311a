"""Where rules count. The model never gives an id twice, so ids grow; the fast path's counters are an array of fixed
size.

A rule, or a policy, gets a place in the array when it first appears and keeps it for life. What leaves gives its
place back only by `settle`, when no worker looks at the old rules any more, or a packet under way would count for a
stranger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from .model import Rulesets


class CounterSlots(Mapping[int, int]):
    """Place by id. Place 0 is nobody's: user chains, which have no policy, name it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._slots: dict[int, int] = {0: 0}
        self._free = deque(range(1, capacity))
        self._leaving: list[int] = []

    def assign(self, rulesets: Rulesets) -> list[int]:
        """Places for all of `rulesets`, and for nothing else; returns the new ones, whose counters are to be recycled.

        Raises ValueError, with nothing changed, when there are more rules than places.
        """
        ids = _ids(rulesets)
        new = [number for number in ids if number not in self._slots]
        if len(new) > len(self._free):
            most = self._capacity - 1
            raise ValueError(f"no room for {len(new)} more rules: {most} with their policies are the most")
        gone = self._slots.keys() - ids.keys() - {0}
        self._leaving += [self._slots.pop(number) for number in gone]
        for number in new:
            self._slots[number] = self._free.popleft()
        return [self._slots[number] for number in new]

    def settle(self) -> None:
        """No worker has the rules from before the last `assign` any more."""
        self._free.extend(self._leaving)
        self._leaving.clear()

    def __getitem__(self, number: int) -> int:
        return self._slots[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)


def _ids(rulesets: Rulesets) -> dict[int, None]:
    """Every id in use, in order of appearance."""
    ids: dict[int, None] = {}
    for family in (rulesets.ipv4, rulesets.ipv6):
        for table in family.tables.values():
            for chain in table.chains.values():
                ids[chain.policy_id] = None
                for rule in chain.rules:
                    ids[rule.id] = None
    ids.pop(0, None)
    return ids
