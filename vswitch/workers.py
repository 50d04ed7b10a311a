"""The workers: one thread each, in the fast path's loop from start to stop.

A thread gives the GIL up once and takes it again only at its end, so workers and the event loop do not wait for each other.
"""

from __future__ import annotations

import threading

from vswitch._fastpath.worker import QUEUE_MEMORY, Shared, Worker


class Workers:
    """`count` workers over one shared state. Thread safety: start and stop from the control thread only."""

    def __init__(self, count: int, shared: Shared, busy_poll_us: int, queue_memory: int = QUEUE_MEMORY) -> None:
        self.workers = [Worker(index, shared, busy_poll_us, queue_memory // count) for index in range(count)]
        if count > 1:
            for worker in self.workers:
                worker.meet(self.workers)
        self._threads: list[threading.Thread] = []

    def __iter__(self):
        return iter(self.workers)

    def __len__(self) -> int:
        return len(self.workers)

    def start(self) -> None:
        """Start every worker's thread."""
        for index, worker in enumerate(self.workers):
            thread = threading.Thread(target=worker.run, name=f"worker-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Tell all workers to stop, and wait until they have: a burst's time."""
        for worker in self.workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def passed(self, generation: int) -> bool:
        """Whether no worker uses a snapshot older than `generation`."""
        return all(worker.passed(generation) for worker in self.workers)
