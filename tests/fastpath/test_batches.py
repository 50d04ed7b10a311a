"""Whose frames go through io_uring: only those of files whose requests can be told never to wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from vswitch._fastpath import _probe
from vswitch.dataplane import Dataplane, PortView


@pytest.fixture
def terminal() -> Iterator[int]:
    """A descriptor to wait for whose file, like a tap's before Linux 6.4, refuses requests that must not wait."""
    ends = os.openpty()
    yield ends[0]
    for end in ends:
        os.close(end)


async def test_a_file_that_would_refuse_every_request_of_a_batch_is_kept_out_of_them(terminal):
    """Debian 12's kernel is such: each frame of a batch to or from a tap came back as an error, and was lost."""
    dataplane = Dataplane(workers=1, busy_poll_us=0)
    await dataplane.publish([], [PortView(0, "tap0", "tap", (terminal,), bridge=None)])
    assert not _probe.in_batches(dataplane.workers.workers[0], 0)
    await dataplane.publish([], [])


async def test_only_taps_are_in_batches():
    """The ring holds on to a file for a moment longer than its port: for a socket there is no reason to."""
    dataplane = Dataplane(workers=1, busy_poll_us=0)
    memory = dataplane.memory_port("m")
    await dataplane.publish([], [PortView(0, "m", "memory", (), bridge=None, memory=memory)])
    assert not _probe.in_batches(dataplane.workers.workers[0], 0)
    await dataplane.publish([], [])
