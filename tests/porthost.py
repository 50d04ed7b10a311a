"""A host with netdev ports and no switch: `python -m tests.porthost DEVICE...`, to be run in a namespace of its own.

It opens the ports and says so (`ready`), then tells of every frame that arrives (`frame DEVICE ETHERTYPE`, VLAN tags left
out) and of every change (`state DEVICE STATE`), a line each, until SIGTERM, when it closes them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from vswitch.config.model import Port
from vswitch.ports import Device, Links, open_device
from vswitch.ports.packet import VNET_HDR_LEN

ETHERTYPE = slice(VNET_HDR_LEN + 12, VNET_HDR_LEN + 14)


def tell(*words: str) -> None:
    print(*words, flush=True)


def receive(device: Device) -> None:
    try:
        frame = os.read(device.fds[0], 1 << 17)
    except (BlockingIOError, OSError):  # ENETDOWN is told once, when the device goes
        return
    tell("frame", device.name, frame[ETHERTYPE].hex())


async def main(names: list[str]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    links = Links()
    await links.start()
    devices = [await open_device(Port(name=name, kind="netdev"), 1, links) for name in names]
    for device in devices:
        device.on_change = lambda device: tell("state", device.name, device.state().name)
        loop.add_reader(device.fds[0], receive, device)
    tell("ready")
    await ended.wait()
    for device in devices:
        loop.remove_reader(device.fds[0])
        await device.close()
    await links.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
