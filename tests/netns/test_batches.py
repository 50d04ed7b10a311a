"""A real tap's frames go in batches where the kernel can do it, and finding that out leaves no trace on the tap."""

from __future__ import annotations

import os
import re

from tests.lab import Lab
from vswitch._fastpath import _probe
from vswitch.dataplane import Dataplane, PortView
from vswitch.ports import tun

BATCHES_SINCE = (6, 4)


async def test_a_tap_is_read_and_written_in_batches_where_the_kernel_can(lab: Lab) -> None:
    name = lab.name("t")
    queues = tun.open_queues(name, 1)
    try:
        lab.ip("link", "set", name, "up")
        dataplane = Dataplane(workers=1, busy_poll_us=0)
        await dataplane.publish([], [PortView(0, name, "tap", (queues[0].fileno(),), bridge=None)])
        kernel = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
        assert _probe.in_batches(dataplane.workers.workers[0], 0) == (kernel >= BATCHES_SINCE)
        counters = lab.ip("-s", "link", "show", name)
        assert re.findall(r"RX:.*\n\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", counters) == [("0", "0", "0", "0")]
        await dataplane.publish([], [])
        assert not _probe.in_batches(dataplane.workers.workers[0], 0)
    finally:
        tun.close_queues(queues)
