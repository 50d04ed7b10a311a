"""What the daemon decides by itself, without a process: which workers hang, and how a refusal reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from vswitch.config.errors import ConfigError
from vswitch.daemon import placed, stuck_workers
from vswitch.dataplane import WorkerCounters


def worker(polls: int, *, parked: bool = False) -> WorkerCounters:
    return WorkerCounters(bursts=0, frames=0, polls=polls, sleeps=0, busy_ns=0, started_ns=0, heartbeat_ns=0, parked=parked)


@pytest.mark.parametrize(
    ("description", "before", "now", "stuck"),
    [
        ("both move", [worker(1), worker(5)], [worker(2), worker(6)], []),
        ("one hangs", [worker(1), worker(5)], [worker(2), worker(5)], [1]),
        ("asleep all the time", [worker(1, parked=True)], [worker(1, parked=True)], []),
        ("just woken", [worker(1, parked=True)], [worker(1)], []),
        ("just gone to sleep", [worker(1)], [worker(1, parked=True)], []),
        ("no worker at all", [], [], []),
    ],
)
def test_stuck_workers(description: str, before: list[WorkerCounters], now: list[WorkerCounters], stuck: list[int]) -> None:
    assert stuck_workers(before, now) == stuck, description


FILE = Path("/etc/v.toml")


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ConfigError(["switch.run_dir: bad"]), ["/etc/v.toml: switch.run_dir: bad"]),
        (ConfigError(["/etc/v.toml: a: bad", "/etc/v.toml: b: bad"]), ["/etc/v.toml: a: bad", "/etc/v.toml: b: bad"]),
        (ConfigError(["a: bad", "b: bad"]), ["/etc/v.toml: a: bad", "/etc/v.toml: b: bad"]),
        (OSError(1, "control socket /x: not permitted"), ["/etc/v.toml: control socket /x: not permitted"]),
        (OSError(2, "not there", "/x"), ["/etc/v.toml: [Errno 2] not there: '/x'"]),
    ],
)
def test_a_refusal_names_the_file_once_a_line(error: Exception, lines: list[str]) -> None:
    assert placed(error, FILE).splitlines() == lines
