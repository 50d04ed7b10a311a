"""HTB's places in line. Classes of a priority that may send take turns by class id; so do, within each class, the
children that borrow from it (its feed). `Row.leaf` walks down by whose turn it is in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .htb_class import Class


@dataclass
class Row:
    members: list[Class] = field(default_factory=list)
    turn: Class | None = None
    lost: int = 0  # the class id of whose turn it was, when it left

    def add(self, cls: Class) -> None:
        self.members.append(cls)
        self.members.sort(key=lambda member: member.view.class_id)

    def remove(self, cls: Class) -> None:
        """A row goes on with the next."""
        if self.turn is cls:
            self.advance()
        self.members.remove(cls)

    def remove_from_feed(self, cls: Class) -> None:
        """A feed remembers who it was, for it may be back in a moment."""
        if self.turn is cls:
            self.turn, self.lost = None, cls.view.class_id
        self.members.remove(cls)

    def advance(self) -> None:
        """The next one's turn; behind the last, nobody's."""
        if self.turn is not None:
            behind = self.members.index(self.turn) + 1
            self.turn = self.members[behind] if behind < len(self.members) else None

    def _recover(self) -> None:
        if self.turn is None and self.lost:
            self.turn = next((member for member in self.members if member.view.class_id >= self.lost), None)
        self.lost = 0

    def leaf(self, prio: int) -> Class | None:
        """The leaf class whose turn it is."""
        if not self.members:
            return None
        way = [self]
        while True:
            here = way[-1]
            here._recover()
            if here.turn is None:  # all had theirs: begin again, and go on above
                here.turn = here.members[0]
                if len(way) > 1:
                    way.pop()
                    way[-1].advance()
            elif here.turn.level == 0:
                return here.turn
            else:
                way.append(here.turn.feeds[prio])
