"""The disciplines of all ports as the workers have them: compiled trees, their slots, their counters. Belongs to dataplane.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vswitch._fastpath.qos.state import SLOTS
from vswitch._fastpath.qos.tree import CompiledTree
from vswitch._fastpath.worker import QUEUE_MEMORY, Worker

from .qos.slots import Slots
from .qos.view import QdiscStats

if TYPE_CHECKING:
    from .views import PortView

__all__ = ["QUEUE_MEMORY", "Schedulers"]

Trees = dict[int, CompiledTree]


class Schedulers:
    """A port's home is the worker that has its number, modulo how many there are: it alone touches the port's queues."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._slots = [Slots(*SLOTS) for _ in workers]
        self._trees: Trees = {}
        self._changed: set[int] = set()  # workers that have something to take up

    def compile(self, ports: Iterable[PortView]) -> Trees:
        """The trees of these ports, by id: those that have not changed as they are. Raises ValueError where there is no room."""
        trees: Trees = {}
        try:
            for view in ports:
                if view.tree is not None:
                    old = self._trees.get(view.id)
                    home = view.id % len(self._workers)
                    unchanged = old is not None and old.view == view.tree
                    trees[view.id] = old if unchanged else CompiledTree(view.tree, self._slots[home], home)
        except ValueError:
            self._keep(self._trees)
            raise
        self._changed = {id % len(self._workers) for id in {*trees, *self._trees} if trees.get(id) is not self._trees.get(id)}
        return trees

    def kick(self) -> None:
        """Have the workers look that have other trees now: what is gone is to be gone, even if no frame comes."""
        for index in self._changed:
            self._workers[index].kick()

    def settle(self, trees: Trees) -> None:
        """These are in force; take back what only others had."""
        self._trees = trees
        self._keep(trees)

    def _keep(self, trees: Trees) -> None:
        for index, slots in enumerate(self._slots):
            own = [tree for id, tree in trees.items() if id % len(self._workers) == index]
            slots.keep({serial for tree in own for serial in tree.serials}, {tree.generation for tree in own})

    def stats(self, id: int) -> dict[int, QdiscStats]:
        """By serial number; zeros for what no worker has taken up yet."""
        tree = self._trees.get(id)
        if tree is None:
            return {}
        slots, scheduler = self._slots[id % len(self._workers)], self._workers[id % len(self._workers)].scheduler
        found: dict[int, QdiscStats] = {}
        for qdisc in tree.view.qdiscs:
            counts = scheduler.qdisc(slots.qdisc(qdisc.serial), qdisc.serial)
            found[qdisc.serial] = QdiscStats(*counts) if counts else QdiscStats()
        for qdisc in tree.view.qdiscs:
            for cls in qdisc.classes:
                counts = scheduler.cls(slots.cls(cls.serial), cls.serial)
                below = found[tree.view.qdiscs[cls.leaf].serial] if cls.leaf is not None else QdiscStats()
                if counts:
                    found[cls.serial] = QdiscStats(*counts[:5], below.backlog, below.qlen, counts[5:], below.delays)
                else:
                    found[cls.serial] = QdiscStats()
        return found

    def memory(self) -> tuple[int, int, int]:
        """Bytes that waiting frames take, how many frames those are, and the most bytes that they may take."""
        used = [worker.scheduler.memory for worker in self._workers]
        return sum(n for n, _ in used), sum(n for _, n in used), sum(worker.scheduler.limit for worker in self._workers)
