"""Devices: where the frames come from and go to.

    links = Links()
    await links.start()
    device = await open_device(port, workers, links, dataplane)
    ...
    await device.close()
    await links.stop()

`device.py` says what a device is; `tap.py`, `netdev.py` and `memory.py` are the three kinds; `links.py` hears what the
kernel says about network devices. Only this module need be known outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.ports.device import Device, PortError, State
from vswitch.ports.links import Links
from vswitch.ports.memory import MemoryDevice
from vswitch.ports.netdev import NetDev
from vswitch.ports.tap import Tap

if TYPE_CHECKING:
    from vswitch.config.model import Port
    from vswitch.dataplane import Dataplane

__all__ = ["Device", "Links", "PortError", "State", "open_device"]


async def open_device(port: Port, workers: int, links: Links, dataplane: Dataplane | None = None) -> Device:
    """Open a port's device, ready to be published; a `memory` port wants `dataplane`.

    Raises PortError when the device cannot be had as configured; then nothing is left behind.
    """
    try:
        if port.kind == "tap":
            return await Tap.open(port, workers, links)
        if port.kind == "netdev":
            return await NetDev.open(port, links)
    except OSError as error:
        raise PortError("name", port.name, f"cannot open the device: {error.strerror or error}") from None
    if port.kind == "memory" and dataplane is not None:
        return MemoryDevice(port, dataplane)
    raise PortError("kind", port.kind, "is not supported here; right: tap, netdev or memory")
