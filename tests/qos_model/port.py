"""A port's whole tree."""

from __future__ import annotations

from dataclasses import replace

from vswitch.qos.view import Kind, TreeView

from .discipline import Books, Discipline
from .fifo import Fifo
from .fq_codel import FqCodel
from .htb import Htb
from .packet import Packet
from .prio import Prio
from .sfq import Sfq
from .tbf import Tbf

SIMPLE = {Kind.PFIFO: Fifo, Kind.BFIFO: Fifo, Kind.PFIFO_FAST: Fifo, Kind.SFQ: Sfq, Kind.FQ_CODEL: FqCodel}


class Port:
    def __init__(self, tree: TreeView) -> None:
        self.books = Books()
        self.root = self._build(tree, 0)

    def _build(self, tree: TreeView, index: int) -> Discipline:
        view, whose = tree.qdiscs[index], (tree, index, self.books)
        children = [self._build(tree, child) for child in view.children]
        if view.kind == Kind.PRIO:
            return Prio(*whose, children=children)
        if view.kind == Kind.TBF:
            return Tbf(*whose, child=children[0])
        if view.kind == Kind.HTB:
            leaves = {cls.leaf: self._build(tree, cls.leaf) for cls in view.classes if cls.leaf is not None}
            return Htb(*whose, leaves=leaves)
        return SIMPLE[view.kind](*whose)

    def offer(self, packet: Packet, now: int) -> str | None:
        """None: taken. Else why it was dropped, or another in its place. The caller's packet stays as it is."""
        before = len(self.books.dropped)
        self.root.offer(replace(packet), now)
        return self.books.dropped[before][1] if len(self.books.dropped) > before else None

    def serve(self, now: int, most: int | None = None) -> list[Packet]:
        sent: list[Packet] = []
        while most is None or len(sent) < most:
            packet = self.root.take(now)
            if packet is None:
                break
            sent.append(packet)
        return sent

    def due(self) -> int | None:
        return self.root.due()

    @property
    def held(self) -> int:
        return self.root.qlen

    @property
    def drops(self) -> dict[str, int]:
        return dict(self.books.drops)
