"""What a port's device is to the rest of the control side.

A device is where frames come from and go to: a tap (`tap.py`), an existing network device (`netdev.py`) or a buffer in
memory (`memory.py`). The fast path gets its descriptors, its MTU and what it may leave undone (`offloads`); the Switch
asks for its state and is told, by `on_change`, when any of that has changed. Moving frames is none of its business.

A device lives on the daemon's event loop: it is opened, asked, changed and closed there, and `on_change` is called
there. Whatever may block (ioctls wait for the kernel's link lock) runs in a thread meanwhile. `kernel_drops` may be
read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from vswitch.config.model import Port
    from vswitch.dataplane import Offload

Kind = Literal["tap", "packet", "memory"]
StateName = Literal["up", "down", "no carrier", "missing", "unusable"]


class PortError(Exception):
    """A device that cannot be had, or not so: which key of the port, its value, and what would be right.

    One line when printed, to stand behind the port's place in the configuration: `netns: blue: no such namespace ...`.
    """

    def __init__(self, key: str, value: object, right: str) -> None:
        super().__init__(f"{key}: {value}: {right}")
        self.key = key
        self.value = value
        self.right = right


class State(NamedTuple):
    """How a device is; `reason` says why it is not "up", and what an administrator can do about it."""

    name: StateName
    reason: str | None = None


UP = State("up")


class Device(Protocol):
    """A port's device. Attributes follow the device; they change on the event loop only."""

    name: str  # the port's name, whatever the device is called by now
    kind: Kind
    fds: tuple[int, ...]  # a tap: one a worker; an AF_PACKET socket: one; memory: none
    ifindex: int  # 0 where there is no network device
    netns: str | None  # as configured
    mac: str | None
    mtu: int  # bytes, without the Ethernet header
    up: bool  # administratively
    carrier: bool
    offloads: Offload  # what transmit to the device may leave undone
    on_change: Callable[[Device], object] | None

    @property
    def ready(self) -> bool:
        """Whether frames can pass: it is there, up, and has carrier."""

    @property
    def kernel_drops(self) -> int:
        """Frames that the kernel dropped before the switch could read them, since the device was opened."""

    def state(self) -> State:
        """Its state in words, as `show` prints it. To be asked about once a second: some ends no news tell."""

    async def adjust(self, port: Port) -> None:
        """Take over the port's `mtu`, `mac` and `offloads` with frames flowing. Raises PortError, then unchanged."""

    async def close(self, *, stopping: bool = False) -> None:
        """Give the device up. The workers must have passed: its descriptors are closed.

        `stopping` is the daemon's end, not the port's: a tap that it made for a virtual machine and that is in use
        stays, so that a new daemon finds the machine still attached.
        """
