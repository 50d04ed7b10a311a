"""The block that keeps the host's own stack off the frames of `netdev` ports.

A frame that arrives on a device goes first to the AF_PACKET sockets, then to the hooks, then to the kernel's stack. An
nftables chain on the device's ingress hook with policy drop and no rule therefore takes every frame from the stack (and
from a kernel bridge or VLAN device stacked upon it) after the switch has had it: the host neither answers ARP nor
counts a packet there.

The chains stand in a table with `flags owner`: `nft flush ruleset` passes it by, nobody else may change it, and the
kernel removes it when the netlink socket that made it is closed, so a daemon that dies leaves the host's network as it
was. That wants one socket for as long as the block stands: libnftables (what `nft` itself is made of) keeps one per
context. CAP_NET_ADMIN is enough. A device that vanishes takes its hook along; `block` it anew when it returns.

Commands run in the thread pool, one at a time; everything else is the event loop's.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
from collections.abc import Callable

from vswitch.ports.device import PortError
from vswitch.ports.pool import in_thread

LIBRARY = "libnftables.so.1"
EARLIEST = -(2**31)  # before any other hook on the device


class NftError(Exception):
    """nftables refused a command; the text is its own, one line."""


class Nft:
    """A context of libnftables: a netlink socket, of the namespace of the thread that makes it, that takes nft's words.

    To be used by one thread at a time.
    """

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(LIBRARY)
        except OSError:
            raise NftError(f"{LIBRARY} is missing; Debian's package nftables brings it") from None
        self._lib.nft_ctx_new.restype = ctypes.c_void_p
        self._lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._lib.nft_ctx_new(0))
        if not self._context:
            raise NftError("libnftables could not open a netlink socket")
        self._lib.nft_ctx_buffer_error(self._context)

    def run(self, command: str) -> None:
        """Run commands, all or none of them. Raises NftError."""
        if self._lib.nft_run_cmd_from_buffer(self._context, command.encode()) != 0:
            text = self._lib.nft_ctx_get_error_buffer(self._context).decode()
            raise NftError(text.partition("\n")[0].strip() or "nftables gave no reason")

    def close(self) -> None:
        """Close the socket; the kernel removes the tables it owns."""
        self._lib.nft_ctx_free(self._context)


class HostStack:
    """The devices whose frames the host's stack does not see."""

    def __init__(self) -> None:
        self._nft: Nft | None = None
        self._table = f"vswitch_{os.getpid()}"
        self._chains: dict[str, str] = {}  # by device
        self._numbers = itertools.count()
        self._lock = asyncio.Lock()

    async def block(self, device: str) -> None:
        """Take a device's frames from the host's stack; also anew, when the device has returned. Raises PortError."""
        async with self._lock:
            try:
                await in_thread(self._block, device)
            except NftError as error:
                right = f"cannot keep the host's stack off this device: {error}"
                raise PortError("name", device, right) from None

    async def release(self, *devices: str) -> None:
        """Give devices back to the host's stack, at one go. Those not blocked are passed over."""
        async with self._lock:
            chains = [self._chains.pop(device) for device in devices if device in self._chains]
            if chains:
                await in_thread(self._delete, chains)

    async def close(self) -> None:
        """Give back all devices at once."""
        async with self._lock:
            self._chains.clear()
            if self._nft is not None:
                nft, self._nft = self._nft, None
                await in_thread(nft.close)

    def _block(self, device: str) -> None:
        if self._nft is None:
            self._nft = self._open()
        chain = f"port{next(self._numbers)}"
        hook = f'type filter hook ingress device "{device}" priority {EARLIEST}; policy drop;'
        self._nft.run(f"add chain netdev {self._table} {chain} {{ {hook} }}")
        old = self._chains.get(device)
        self._chains[device] = chain
        if old is not None:
            self._delete([old])

    def _open(self) -> Nft:
        nft = Nft()
        try:
            nft.run(f"add table netdev {self._table} {{ flags owner; }}")
        except NftError:
            nft.close()
            raise
        return nft

    def _delete(self, chains: list[str]) -> None:
        """Delete chains; a kernel that took one away with its device has none to delete any more."""
        delete: Callable[[str], str] = f"delete chain netdev {self._table} {{}}".format
        try:
            self._nft.run("; ".join(map(delete, chains)))
        except NftError:
            for chain in chains:
                try:
                    self._nft.run(delete(chain))
                except NftError:
                    continue
