"""What taps and netdev ports share: the attributes that follow a link, and telling the Switch when they change.

Everything here runs on the daemon's event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from vswitch.ports.device import UP, Device, State
from vswitch.ports.links import Following
from vswitch.ports.netlink import Link

log = logging.getLogger(__name__)


class LinkedDevice:
    """A device with a link behind it: up, carrier, MTU and MAC are the link's; `missing` says why there is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ifindex = 0
        self.mac: str | None = None
        self.mtu = 0
        self.up = False
        self.carrier = False
        self.missing: str | None = None
        self.unusable: str | None = None
        self.on_change: Callable[[Device], object] | None = None
        self._following: Following | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether frames can pass."""
        return self.up and self.carrier and self.missing is None and self.unusable is None

    def state(self) -> State:
        """Its state in words."""
        if self.missing is not None:
            return State("missing", self.missing)
        if self.unusable is not None:
            return State("unusable", self.unusable)
        if not self.up:
            return State("down", f"set down by the administrator; `ip link set {self.name} up` where it is")
        if not self.carrier:
            return State("no carrier", self.no_carrier())
        return UP

    def no_carrier(self) -> str:
        """Why a device of this kind has no carrier."""
        return "nothing is connected at the other end"

    def take_link(self, link: Link) -> None:
        """Be as the link is; tell if that is news."""
        before = self._picture()
        self.ifindex, self.up, self.carrier = link.ifindex, link.up, link.carrier
        self.mtu, self.mac, self.missing = link.mtu, link.mac, None
        self._tell_since(before)

    def lose_link(self, reason: str) -> None:
        """Have no link any more."""
        before = self._picture()
        self.missing, self.carrier, self.unusable = reason, False, None
        self._tell_since(before)

    def spoil(self, reason: str) -> None:
        """Have a link that cannot be used."""
        before = self._picture()
        self.unusable = reason
        self._tell_since(before)

    def _picture(self) -> tuple[object, ...]:
        return self.ifindex, self.up, self.carrier, self.mtu, self.mac, self.missing, self.unusable

    def _tell_since(self, before: tuple[object, ...]) -> None:
        if self._picture() == before or self._closed or self.on_change is None:
            return
        log.info("port %s: %s", self.name, ": ".join(filter(None, self.state())))
        self.on_change(self)

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that an event called for and that takes waiting."""
        errand = asyncio.get_running_loop().create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._end_errand)

    def _end_errand(self, errand: asyncio.Task[None]) -> None:
        self._errands.discard(errand)
        if not errand.cancelled() and (error := errand.exception()) is not None:
            log.error("port %s: cannot follow its device", self.name, exc_info=error)

    async def _stop_following(self) -> None:
        """Hear no more of the link, and have no errand under way."""
        self._closed = True
        await asyncio.gather(*self._errands, return_exceptions=True)
        if self._following is not None:
            self._following.cancel()
