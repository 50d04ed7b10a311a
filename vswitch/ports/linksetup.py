"""Giving a device what its port asks for: MTU, MAC, and that it is up.

Works in the calling thread's namespace and blocks: call it from a thread of the pool.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from vswitch.ports import netlink
from vswitch.ports.device import PortError
from vswitch.ports.netlink import Link

if TYPE_CHECKING:
    from vswitch.config.model import Port


def set_up(name: str, port: Port, *, up: bool) -> Link:
    """Give the device called `name` the port's MTU and MAC where it has any, and bring it up if asked.

    Returns the link as it is then. Raises PortError, and then puts back what it changed.
    """
    old = netlink.read_link(name)
    if old is None:
        raise PortError("name", name, "no such device")
    for key, value, attributes in _changes(old, port, up):
        try:
            netlink.change_link(old.ifindex, **attributes)
        except OSError as error:
            with contextlib.suppress(OSError):
                netlink.change_link(old.ifindex, mtu=old.mtu, address=old.mac)
            raise PortError(key, value, f"the device refuses that: {os.strerror(error.errno)}") from None
    return netlink.read_link(name) or old


def _changes(old: Link, port: Port, up: bool) -> list[tuple[str, object, dict[str, object]]]:
    """What differs, as (the port's key, its value, the link's attributes). The MAC first: some take it only when down."""
    changes: list[tuple[str, object, dict[str, object]]] = []
    if port.mac is not None and port.mac.lower() != old.mac:
        changes.append(("mac", port.mac, {"address": port.mac}))
    if port.mtu is not None and port.mtu != old.mtu:
        changes.append(("mtu", port.mtu, {"mtu": port.mtu}))
    if up and not old.up:
        changes.append(("name", old.name, {"state": "up"}))
    return changes
