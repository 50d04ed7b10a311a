"""A `memory` port: frames from and to a buffer of the fast path.

It needs no privilege and is always up; tests and benchmarks use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vswitch.dataplane import Dataplane, MemoryPort, Offload
from vswitch.ports.device import UP, Device, State

if TYPE_CHECKING:
    from vswitch.config.model import Port

MTU = 1500


class MemoryDevice:
    """A buffer of the fast path, `memory`, dressed as a device."""

    kind = "memory"
    fds: tuple[int, ...] = ()
    ifindex = 0
    netns = None
    up = carrier = ready = True
    kernel_drops = 0

    def __init__(self, port: Port, dataplane: Dataplane) -> None:
        self.name = port.name
        self.memory: MemoryPort = dataplane.memory_port(port.name)
        self.on_change: Callable[[Device], object] | None = None
        self._take(port)

    def state(self) -> State:
        """Always up."""
        return UP

    async def adjust(self, port: Port) -> None:
        """Take over `mtu`, `mac` and `offloads`."""
        self._take(port)

    async def close(self, *, stopping: bool = False) -> None:
        """Nothing of it is the kernel's."""

    def _take(self, port: Port) -> None:
        self.mtu = port.mtu or MTU
        self.mac = port.mac
        self.offloads = ~Offload(0) if port.offloads else Offload(0)
